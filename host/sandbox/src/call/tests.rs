//! Each limit of a call at its value and beyond it, through the whole sandbox.

use std::time::Duration;

use crate::call::{CallError, CallReport, CallRequest};
use crate::grants::EffectClass;
use crate::limits::{ByteSize, Limits, Span};
use crate::testing::{self, CLOCK, ECHO, Guest, SPIN, TestSandbox, guest, request};

/// A guest that answers `0` after `does`, which leaves the i32 0 when all went
/// well; otherwise it traps.
fn zero_or_trap(fields: &str, does: &str) -> Guest<'static> {
    let body = format!(
        "(if (i32.ne (i32.const 0) {does}) (then unreachable))
         (i32.store8 (i32.const 1024) (i32.const 48))
         (call $answer (i32.const 1024) (i32.const 1))"
    );
    Guest {
        fields: Box::leak(fields.to_owned().into_boxed_str()),
        body: Box::leak(body.into_boxed_str()),
        ..Guest::default()
    }
}

/// A guest that waits on a clock of the host: `does` may call `$subscribe` with
/// nanoseconds, and `$block` and `$drop` with what that returned.
fn with_clock(does: &str) -> Guest<'static> {
    let Guest { fields, body, .. } = zero_or_trap("", does);
    Guest {
        fields,
        body,
        ..CLOCK
    }
}

async fn call_in(test: &TestSandbox, guest: &Guest<'_>, limits: Limits, input: &str) -> CallReport {
    let plugin = test.plugin("guest", guest.component(), "", limits, &["run"]);
    test.sandbox.call(&plugin, request("run", input)).await
}

fn reached(limit: &str, value: impl ToString) -> Result<String, CallError> {
    Err(CallError::Limit {
        limit: limit.to_owned(),
        value: value.to_string(),
    })
}

fn zero() -> Result<String, CallError> {
    Ok("0".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_answers_and_its_use_is_measured() {
    let report = testing::call(guest("", ECHO), "", "run", r#"{"a":1}"#).await;
    assert_eq!(report.result.as_deref(), Ok(r#"{"a":1}"#));
    let usage = &report.usage;
    assert_eq!(usage.peak_memory_bytes, 65_536);
    assert!(usage.cpu_us > 0 && usage.wall_us > 0, "{usage:?}");
    assert_eq!((report.denials, report.log), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tool_is_not_found() {
    let test = testing::sandbox();
    let plugin = test.plugin("guest", guest("", ECHO), "", Limits::default(), &["run"]);
    let report = test.sandbox.call(&plugin, request("walk", "{}")).await;
    assert!(
        matches!(report.result, Err(CallError::NotFound { .. })),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_no_json_never_reaches_the_guest() {
    let test = testing::sandbox();
    let plugin = test.plugin("guest", guest("", ECHO), "", Limits::default(), &["run"]);
    for input in ["", "{", "nothing", "1 2", "{\"a\":1,}"] {
        let report = test.sandbox.call(&plugin, request("run", input)).await;
        let refused = matches!(report.result, Err(CallError::InvalidInput { .. }));
        assert!(refused, "{input}: {report:?}");
        assert_eq!(report.usage.peak_memory_bytes, 0, "{input}: it ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_over_all_memories_together() {
    let test = testing::sandbox();
    // 32 pages; the template's memory has one from the start.
    let limits = || Limits {
        memory: ByteSize(2 << 20),
        ..Limits::default()
    };
    let refused = || reached("memory", "2MiB");
    let grow = |memory: &str, pages: u32| {
        format!("(i32.eq (i32.const -1) (memory.grow {memory} (i32.const {pages})))")
    };
    let both = |first, second| format!("(i32.or {} {})", grow("0", first), grow("$more", second));
    let failing = "(i32.add (i32.const 1) (memory.grow $small (i32.const 1)))";
    for (fields, does, expected, peak_pages) in [
        ("", grow("0", 31), zero(), 32),
        ("", grow("0", 32), refused(), 1),
        ("(memory $more 1)", both(15, 15), zero(), 32),
        ("(memory $more 1)", both(15, 16), refused(), 17),
        ("(memory $more 31)", "(i32.const 0)".to_owned(), zero(), 32),
        (
            "(memory $more 32)",
            "(i32.const 0)".to_owned(),
            refused(),
            1,
        ),
        // What the memory's own maximum refuses is not charged.
        (
            "(memory $small 1 1)",
            format!("(i32.or {failing} {})", grow("0", 30)),
            zero(),
            32,
        ),
    ] {
        let report = call_in(&test, &zero_or_trap(fields, &does), limits(), "0").await;
        assert_eq!(report.result, expected, "{fields} {does}");
        assert_eq!(
            report.usage.peak_memory_bytes,
            peak_pages << 16,
            "{fields} {does}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_growth_is_the_guests_to_handle() {
    let test = testing::sandbox();
    let limits = Limits {
        memory: ByteSize(2 << 20),
        ..Limits::default()
    };
    let handled = zero_or_trap("", "(i32.add (i32.const 1) (memory.grow (i32.const 9999)))");
    assert_eq!(call_in(&test, &handled, limits, "0").await.result, zero());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_instances_are_bounded() {
    let test = testing::sandbox();
    let limits = || Limits {
        table_elements: 100,
        instances: 2,
        ..Limits::default()
    };
    let grow =
        |n: u32| format!("(i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const {n})))");
    let nothing = || "(i32.const 0)".to_owned();
    let elements = || reached("table_elements", 100);
    let two = "(table $t 10 funcref) (table 40 funcref)";
    for (fields, does, expected) in [
        ("(table $t 10 funcref)", grow(90), zero()),
        ("(table $t 10 funcref)", grow(91), elements()),
        (two, grow(50), zero()),
        (two, grow(51), elements()),
        ("(table 101 funcref)", nothing(), elements()),
        ("(memory $b 1)", nothing(), zero()),
        (
            "(memory $b 1) (memory $c 1)",
            nothing(),
            reached("instances", 2),
        ),
        (
            "(table 1 funcref) (table 1 funcref) (table 1 funcref)",
            nothing(),
            reached("instances", 2),
        ),
    ] {
        let report = call_in(&test, &zero_or_trap(fields, &does), limits(), "0").await;
        assert_eq!(report.result, expected, "{fields} {does}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_time_is_bounded_wherever_it_is_spent() {
    let test = testing::sandbox();
    let limits = || Limits {
        cpu: Span(Duration::from_millis(50)),
        ..Limits::default()
    };
    let start = format!("(func $spin {SPIN}) (start $spin)");
    let allocate = Guest {
        body: ECHO,
        ..Guest::default()
    };
    for (name, guest) in [
        (
            "export",
            Guest {
                body: SPIN,
                ..Guest::default()
            },
        ),
        (
            "start function",
            Guest {
                fields: &start,
                ..allocate
            },
        ),
    ] {
        let report = call_in(&test, &guest, limits(), "{}").await;
        assert_eq!(report.result, reached("cpu", "50ms"), "{name}");
        let cpu = Duration::from_micros(report.usage.cpu_us);
        assert!(cpu >= Duration::from_millis(50), "{name}: {cpu:?}");
        assert!(cpu < Duration::from_secs(2), "{name}: {cpu:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_operation_ends_soon_after_its_time() {
    let test = testing::sandbox();
    let limits = Limits {
        cpu: Span(Duration::from_millis(50)),
        ..Limits::default()
    };
    let fill = "(drop (memory.grow (i32.const 1000)))
        (loop $again
          (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65470464))
          (br $again))
        (unreachable)";
    let report = call_in(
        &test,
        &Guest {
            body: fill,
            ..Guest::default()
        },
        limits,
        "{}",
    )
    .await;
    assert_eq!(report.result, reached("cpu", "50ms"));
    let over = Duration::from_micros(report.usage.cpu_us) - Duration::from_millis(50);
    println!("a fill of 62 MiB ended {over:?} of CPU after its limit");
    assert!(over < Duration::from_secs(2), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_time_covers_host_functions() {
    let test = testing::sandbox();
    let hour =
        with_clock("(call $block (call $subscribe (i64.const 3600000000000))) (i32.const 0)");
    let short = with_clock("(call $block (call $subscribe (i64.const 1000))) (i32.const 0)");
    let limits = || Limits {
        wall: Span(Duration::from_millis(200)),
        ..Limits::default()
    };
    let report = call_in(&test, &hour, limits(), "0").await;
    assert_eq!(report.result, reached("wall", "200ms"));
    assert!(report.usage.wall_us >= 200_000, "{:?}", report.usage);
    assert!(report.usage.cpu_us < 200_000, "{:?}", report.usage);
    assert_eq!(
        call_in(&test, &short, Limits::default(), "0").await.result,
        zero()
    );
    // The caller's own bound, and a guest that spins until the deadline.
    let plugin = test.plugin(
        "spin",
        guest("", SPIN),
        "",
        Limits {
            cpu: Span(Duration::from_secs(60)),
            ..Limits::default()
        },
        &["run"],
    );
    let mut hurried = request("run", "0");
    hurried.timeout = Some(Duration::from_millis(100));
    let report = test.sandbox.call(&plugin, hurried).await;
    assert_eq!(report.result, reached("wall", "100ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_bounded() {
    let test = testing::sandbox();
    let limits = || Limits {
        handles: 50,
        ..Limits::default()
    };
    let open = |count: u32, drops: &str| {
        let does = format!(
            "(loop $more
               {drops} (call $subscribe (i64.const 3600000000000)))
               (i32.store (i32.const 2048) (i32.add (i32.const 1) (i32.load (i32.const 2048))))
               (br_if $more (i32.lt_u (i32.load (i32.const 2048)) (i32.const {count}))))
             (i32.const 0)"
        );
        with_clock(&does)
    };
    for (count, drops, expected) in [
        (50, "(drop", zero()),
        (51, "(drop", reached("handles", 50)),
        (10_000, "(call $drop", zero()),
    ] {
        let report = call_in(&test, &open(count, drops), limits(), "0").await;
        assert_eq!(report.result, expected, "{count} {drops}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_and_output_are_bounded() {
    let test = testing::sandbox();
    let limits = || Limits {
        input: ByteSize(100),
        output: ByteSize(100),
        ..Limits::default()
    };
    let string = |bytes: u32| {
        let body = format!(
            "(memory.fill (i32.const 1024) (i32.const 97) (i32.const {bytes}))
             (i32.store8 (i32.const 1024) (i32.const 34))
             (i32.store8 (i32.add (i32.const 1023) (i32.const {bytes})) (i32.const 34))
             (call $answer (i32.const 1024) (i32.const {bytes}))"
        );
        body
    };
    for (bytes, fits) in [(100, true), (101, false), (20_000, false)] {
        let body = string(bytes);
        let report = call_in(
            &test,
            &Guest {
                body: &body,
                ..Guest::default()
            },
            limits(),
            "0",
        )
        .await;
        match fits {
            true => assert_eq!(report.result.map(|out| out.len()), Ok(bytes as usize)),
            false => assert_eq!(report.result, reached("output", "100B"), "{bytes}"),
        }
    }
    for (bytes, expected) in [(100, zero()), (101, reached("input", "100B"))] {
        let input = format!("\"{}\"", "a".repeat(bytes - 2));
        let guest = zero_or_trap("", "(i32.const 0)");
        assert_eq!(
            call_in(&test, &guest, limits(), &input).await.result,
            expected,
            "{bytes}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_the_hosts_share_is_not_copied() {
    let test = testing::sandbox();
    let limits = Limits {
        host_memory: ByteSize(1 << 20),
        ..Limits::default()
    };
    let flood =
        "(drop (memory.grow (i32.const 100))) (call $answer (i32.const 0) (i32.const 6000000))";
    let report = call_in(
        &test,
        &Guest {
            body: flood,
            ..Guest::default()
        },
        limits,
        "0",
    )
    .await;
    assert_eq!(report.result, reached("host_memory", "1MiB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_is_bounded() {
    let test = testing::sandbox();
    let fields = "(func $deep (param i64 i64) (result i64)
        (i64.add (call $deep (local.get 1) (local.get 0)) (local.get 1)))";
    let body = "(drop (call $deep (i64.const 1) (i64.const 2))) (unreachable)";
    let report = call_in(
        &test,
        &Guest {
            fields,
            body,
            ..Guest::default()
        },
        Limits::default(),
        "0",
    )
    .await;
    assert_eq!(report.result, reached("stack", "1MiB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_are_permanent_and_say_nothing_of_the_host() {
    let test = testing::sandbox();
    for (body, part) in [
        ("unreachable", "unreachable"),
        (
            "(drop (i32.load (i32.const 99999999))) unreachable",
            "out of bounds",
        ),
        (
            "(drop (i32.div_u (i32.const 1) (i32.const 0))) unreachable",
            "divide by zero",
        ),
        (
            "(i32.store8 (i32.const 1024) (i32.const 120)) (call $answer (i32.const 1024) (i32.const 1))",
            "not JSON",
        ),
        (
            "(call $answer (i32.const -16) (i32.const 100))",
            "ended by the host",
        ),
    ] {
        let report = call_in(
            &test,
            &Guest {
                body,
                ..Guest::default()
            },
            Limits::default(),
            "0",
        )
        .await;
        let Err(CallError::Permanent { message }) = &report.result else {
            panic!("{body}: {report:?}");
        };
        assert!(message.contains(part), "{body}: {message}");
        assert!(!message.contains('/'), "{body}: {message}");
    }
}

/// Every way to end without an answer: what the caller is told it may do next.
#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_has_its_outcome() {
    use EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
    let exit = |status: u32| format!("(call $exit (i32.const {status})) unreachable");
    let (zero, one) = (exit(0), exit(1));
    let abort = "unreachable";
    let crash = "(drop (i32.div_u (i32.const 1) (i32.const 0))) unreachable";
    let done = "the tool exited with status 0 instead of answering: there is no result, and its work may be done";
    let nothing = "the tool exited with status 0 instead of answering: there is no result";
    let failed = "the tool exited with status 1 instead of answering: it says that it failed";
    let aborted = "the tool aborted, as it does in a panic (wasm trap: wasm `unreachable` instruction executed); what it logged may say why";
    let crashed = "the tool crashed (wasm trap: integer divide by zero)";
    let unknown = |message: &str| CallError::Unknown {
        message: message.to_owned(),
    };
    let permanent = |message: &str| CallError::Permanent {
        message: message.to_owned(),
    };
    let test = testing::sandbox();
    for (body, class, expect) in [
        (zero.as_str(), Plain, unknown(done)),
        (&zero, Destructive, unknown(done)),
        (&zero, Idempotent, unknown(done)),
        (&zero, ReadOnly, permanent(nothing)),
        (&one, Plain, permanent(failed)),
        (&one, ReadOnly, permanent(failed)),
        (abort, Plain, permanent(aborted)),
        (abort, ReadOnly, permanent(aborted)),
        (crash, Plain, permanent(crashed)),
        (crash, ReadOnly, permanent(crashed)),
    ] {
        let guest = Guest {
            imports: r#"
                (import "wasi:cli/exit@0.2.0" (instance $cli
                  (export "exit" (func (param "status" (result))))))
                (core func $exit (canon lower (func $cli "exit")))
                (core instance $exits (export "exit" (func $exit)))"#,
            core_imports: r#"(import "exits" "exit" (func $exit (param i32)))"#,
            core_with: r#"(with "exits" (instance $exits))"#,
            body,
            ..Guest::default()
        };
        let plugin = test.plugin("guest", guest.component(), "", Limits::default(), &["run"]);
        let request = CallRequest {
            class,
            ..request("run", "0")
        };
        let report = test.sandbox.call(&plugin, request).await;
        assert_eq!(report.result, Err(expect), "{body} as {class:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_from_one_call_to_the_next() {
    let test = testing::sandbox_with(|config| config.calls_max = 1);
    let fields =
        "(global $seen (mut i32) (i32.const 0)) (table $t 4 funcref) (elem declare func $answer)";
    let seen = "(i32.or (global.get $seen) (i32.or (i32.load (i32.const 4096))
        (i32.or (i32.load (i32.const 65000)) (i32.eqz (ref.is_null (table.get $t (i32.const 2)))))))";
    let leave = format!(
        "(if (result i32) {seen} (then (i32.const 1)) (else
           (drop (memory.grow (i32.const 20)))
           (memory.fill (i32.const 2048) (i32.const 255) (i32.const 1000000))
           (table.set $t (i32.const 2) (ref.func $answer))
           (global.set $seen (i32.const 7))
           (i32.const 0)))"
    );
    let component = zero_or_trap(fields, &leave).component();
    let plugin = test.plugin("guest", component, "", Limits::default(), &["run"]);
    for round in 0..200 {
        let report = test.sandbox.call(&plugin, request("run", "0")).await;
        assert_eq!(report.result, zero(), "round {round}");
    }
}
