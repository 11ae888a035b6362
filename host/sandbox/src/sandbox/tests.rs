//! The sandbox as a whole: who waits for whom, what is kept, what is let go.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::mpsc;

use crate::call::{CallError, Usage};
use crate::inspect::{InstallError, Kind};
use crate::limits::{Limits, Span};
use crate::sandbox::{Plugin, Watch};
use crate::testing::{self, CLOCK, ECHO, Guest, SPIN, TestSandbox, guest, request};

/// Waits until `done`, at most a minute.
async fn until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spinner(test: &TestSandbox) -> Arc<Plugin> {
    let limits = Limits {
        cpu: Span(Duration::from_secs(600)),
        wall: Span(Duration::from_secs(600)),
        ..Limits::default()
    };
    test.plugin("spinner", guest("", SPIN), "", limits, &["run"])
}

/// A plugin that answers its input; each `n` is another component.
fn echo(test: &TestSandbox, n: u32) -> Arc<Plugin> {
    let component = guest(&format!("(global i32 (i32.const {n}))"), ECHO);
    test.plugin(
        &format!("echo{n}"),
        component,
        "",
        Limits::default(),
        &["run"],
    )
}

/// Calls that spin, and what they used so far.
struct Spinning {
    calls: Vec<tokio::task::JoinHandle<()>>,
    watches: Vec<Watch>,
}

impl Spinning {
    async fn begin(test: &TestSandbox, calls: usize) -> Self {
        Self::of(test, &spinner(test), calls).await
    }

    /// Calls of a plugin that does not answer.
    async fn of(test: &TestSandbox, plugin: &Arc<Plugin>, calls: usize) -> Self {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let spin = |_| {
            let (sandbox, plugin) = (Arc::clone(&test.sandbox), Arc::clone(plugin));
            let sender = sender.clone();
            tokio::spawn(async move {
                let call = sandbox.begin(&plugin, request("run", "1"));
                sender.send(call.watch()).expect("it is waited for");
                call.run().await;
            })
        };
        let spinning: Vec<_> = (0..calls).map(spin).collect();
        let mut watches = Vec::new();
        for _ in 0..calls {
            watches.push(receiver.recv().await.expect("each begins"));
        }
        Self {
            calls: spinning,
            watches,
        }
    }

    fn usages(&self) -> impl Iterator<Item = Usage> {
        let usage = |watch: &Watch| watch.report(Err(CallError::Cancelled)).usage;
        self.watches.iter().map(usage)
    }

    fn cpu_us(&self) -> Vec<u64> {
        self.usages().map(|usage| usage.cpu_us).collect()
    }

    /// How many had a turn while `work` went on.
    async fn turns_during<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let before = self.cpu_us();
        let done = work.await;
        let after = self.cpu_us();
        let turns = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before < after);
        (turns.count(), done)
    }
}

/// Who queues behind the spinners waits until each had its turn, however fast the
/// machine is and whatever else it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_calls_and_timers_go_on_beside_spinning_guests() {
    const SPINNERS: usize = 64;
    let test = testing::sandbox();
    let echo = echo(&test, 0);
    let sandbox = &test.sandbox;
    let call = || sandbox.call(&echo, request("run", "1"));
    call().await.result.expect("an answer");
    let spinning = Spinning::begin(&test, SPINNERS).await;
    until("all spin", || {
        spinning.cpu_us().iter().all(|cpu_us| *cpu_us > 0)
    })
    .await;
    let (mut beside_calls, mut beside_timers) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let (turns, report) = spinning.turns_during(call()).await;
        assert_eq!(report.result.as_deref(), Ok("1"));
        beside_calls.push(turns);
        let timer = tokio::time::sleep(Duration::from_millis(1));
        beside_timers.push(spinning.turns_during(timer).await.0);
    }
    for mut turns in [beside_calls, beside_timers] {
        turns.sort_unstable();
        assert!(turns[15] < SPINNERS / 2, "{turns:?}");
    }
    // Cancelling them all lets everything go.
    spinning
        .calls
        .iter()
        .for_each(tokio::task::JoinHandle::abort);
    until("all ended", || sandbox.stats().sandboxes == 0).await;
    assert_eq!(sandbox.stats().calls_in_flight, 0);
}

/// How often threads for long calls have gone to sleep.
#[expect(clippy::disallowed_methods, reason = "it looks at this process")]
fn rests_of_long_threads() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("the threads");
    let rests = threads.filter_map(|thread| {
        let thread = thread.ok()?.path();
        let name = std::fs::read_to_string(thread.join("comm")).ok()?;
        let status = std::fs::read_to_string(thread.join("status")).ok()?;
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        let is_long = name.trim() == "airlock-long";
        is_long.then(|| count.trim().parse::<u64>().expect("a number"))
    });
    rests.sum()
}

/// What the kernel does on a processor waits for no long call, see `guests`.
#[tokio::test(flavor = "multi_thread")]
async fn threads_of_long_calls_rest_at_each_tick() {
    /// Of about 40 ticks.
    const RESTS_MIN: u64 = 20;
    let test = testing::sandbox();
    let spinning = Spinning::begin(&test, 4).await;
    let used = || spinning.cpu_us().iter().sum::<u64>();
    until("all are long", || used() > 100_000).await;
    let (before, from) = (rests_of_long_threads(), used());
    until("they go on", || used() > from + 200_000).await;
    let rests = rests_of_long_threads().saturating_sub(before);
    assert!(rests >= RESTS_MIN, "{rests}");
    spinning
        .calls
        .iter()
        .for_each(tokio::task::JoinHandle::abort);
    until("all ended", || test.sandbox.stats().sandboxes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_ends_its_guest() {
    let test = testing::sandbox();
    let spinner = spinner(&test);
    for _ in 0..3 {
        let call = test.sandbox.begin(&spinner, request("run", "1"));
        let watch = call.watch();
        let started = Instant::now();
        {
            let mut call = std::pin::pin!(call.run());
            while watch.report(Err(CallError::Cancelled)).usage.cpu_us < 10_000 {
                let ended = tokio::time::timeout(Duration::from_millis(20), call.as_mut()).await;
                assert!(ended.is_err(), "it spins");
                assert!(started.elapsed() < Duration::from_secs(60), "it does not");
            }
        }
        watch.ended().await;
        let report = watch.report(Err(CallError::Cancelled));
        assert!(report.usage.cpu_us >= 10_000, "{:?}", report.usage);
        assert!(report.usage.peak_memory_bytes >= 65_536);
        until("the guest ended", || test.sandbox.stats().sandboxes == 0).await;
        assert_eq!(test.sandbox.stats().calls_in_flight, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_goes_down_with_guests_in_it() {
    let test = testing::sandbox();
    let spinner = spinner(&test);
    let sandbox = Arc::clone(&test.sandbox);
    let call = tokio::spawn(async move { sandbox.call(&spinner, request("run", "1")).await });
    until("it spins", || test.sandbox.stats().sandboxes == 1).await;
    let started = Instant::now();
    call.abort();
    drop(test);
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_slots_are_told_to_come_again() {
    // One slot, and those that are kept for sandboxes on their way out.
    let test = testing::sandbox_with(|config| config.calls_max = 1);
    let spinner = spinner(&test);
    let spinning: Vec<_> = (0..100)
        .map(|_| {
            let (sandbox, spinner) = (Arc::clone(&test.sandbox), Arc::clone(&spinner));
            tokio::spawn(async move { sandbox.call(&spinner, request("run", "1")).await })
        })
        .collect();
    until("the pool is full", || {
        spinning.iter().filter(|call| call.is_finished()).count() == 100 - 65
    })
    .await;
    for call in spinning {
        if !call.is_finished() {
            call.abort();
            continue;
        }
        let report = call.await.expect("a report");
        let transient = matches!(
            report.result,
            Err(CallError::Transient {
                retry_after_ms: Some(_),
                ..
            })
        );
        assert!(transient, "{report:?}");
    }
    until("all ended", || test.sandbox.stats().sandboxes == 0).await;
    let echo = echo(&test, 0);
    let report = test.sandbox.call(&echo, request("run", "1")).await;
    assert_eq!(report.result.as_deref(), Ok("1"));
}

/// Components may need many memories, which the engine has so many of.
#[tokio::test(flavor = "multi_thread")]
async fn many_memories_of_one_plugin_leave_each_call_its_own() {
    let test = testing::sandbox_with(|config| config.calls_max = 20);
    let more =
        "(core module $m (memory 0)) ".to_owned() + &"(core instance (instantiate $m)) ".repeat(41);
    let component = Guest {
        imports: &(CLOCK.imports.to_owned() + &more),
        body: "(call $block (call $subscribe (i64.const 600000000000))) (unreachable)",
        ..CLOCK
    };
    let limits = Limits {
        wall: Span(Duration::from_secs(600)),
        ..Limits::default()
    };
    let heavy = test.plugin("heavy", component.component(), "", limits, &["run"]);
    let waiting = Spinning::of(&test, &heavy, 4).await;
    until("all have their memories", || {
        let peaks = waiting.usages().map(|usage| usage.peak_memory_bytes);
        peaks.min() > Some(0)
    })
    .await;
    let fifth = test.sandbox.call(&heavy, request("run", "1")).await;
    assert!(
        matches!(fifth.result, Err(CallError::Transient { .. })),
        "{fifth:?}"
    );
    let echo = echo(&test, 0);
    let call = || test.sandbox.call(&echo, request("run", "1"));
    for report in futures_util::future::join_all((0..20).map(|_| call())).await {
        assert_eq!(report.result.as_deref(), Ok("1"));
    }
    waiting
        .calls
        .iter()
        .for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_on_the_guests_threads_calls_without_leaving_them() {
    let test = testing::sandbox();
    let echo = echo(&test, 0);
    let limits = Limits {
        cpu: Span(Duration::from_millis(50)),
        ..Limits::default()
    };
    let spin = test.plugin("spin", guest("", SPIN), "", limits, &["run"]);
    let sandbox = Arc::clone(&test.sandbox);
    let task = async move {
        let echoed = sandbox.call_here(&echo, request("run", "1")).await;
        let spun = sandbox.call_here(&spin, request("run", "1")).await;
        (echoed, spun)
    };
    let runtime = test.sandbox.guest_runtime().expect("a runtime");
    let (echoed, spun) = runtime.spawn(task).await.expect("no panic");
    assert_eq!(echoed.result.as_deref(), Ok("1"));
    let limit = CallError::Limit {
        limit: "cpu".to_owned(),
        value: "50ms".to_owned(),
    };
    assert_eq!(spun.result, Err(limit));
    until("all are down", || test.sandbox.stats().sandboxes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_compiled_once_loaded_lazily_and_let_go() {
    let test = testing::sandbox_with(|config| config.loaded_components_max = 2);
    let plugins: Vec<_> = (0..4).map(|n| echo(&test, n)).collect();
    assert_eq!(
        test.sandbox.stats().loaded,
        0,
        "nothing is loaded before its first call"
    );
    for round in 0..3 {
        for plugin in &plugins {
            let report = test.sandbox.call(plugin, request("run", "1")).await;
            assert_eq!(report.result.as_deref(), Ok("1"), "round {round}");
            assert!(test.sandbox.stats().loaded <= 2);
        }
    }
    let stats = test.sandbox.stats();
    assert_eq!((stats.compiled, stats.cache_misses), (4, 4));
    assert_eq!(stats.cache_hits, 8, "what was let go came back from disk");
    drop(plugins);
    let again = test.restart();
    for n in 0..4 {
        let plugin = echo(&again, n);
        again
            .sandbox
            .call(&plugin, request("run", "1"))
            .await
            .result
            .expect("an answer");
    }
    let stats = again.sandbox.stats();
    assert_eq!(
        (stats.compiled, stats.cache_hits),
        (0, 4),
        "a second start compiles nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_plugins_wait_on_disk() {
    let test = testing::sandbox_with(|config| config.loaded_components_max = 4);
    let plugins: Vec<_> = (0..1_000).map(|n| echo(&test, n)).collect();
    for plugin in plugins.iter().step_by(50) {
        let report = test.sandbox.call(plugin, request("run", "1")).await;
        assert_eq!(report.result.as_deref(), Ok("1"));
    }
    let stats = test.sandbox.stats();
    assert_eq!(
        (stats.compiled, stats.loaded),
        (20, 4),
        "only what was called"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_slow_to_load_is_there_for_a_later_call() {
    let test = testing::sandbox();
    let step = "(global.set $n (i32.add (i32.const 7) (i32.mul (global.get $n) (i32.const 3))))";
    let slow = format!(
        "(global $n (mut i32) (i32.const 1)) (func {})",
        step.repeat(20_000)
    );
    let component = guest(&slow, ECHO);
    let hurried = Limits {
        wall: Span(Duration::from_millis(1)),
        ..Limits::default()
    };
    let plugin = test.plugin("slow", component, "", hurried, &["run"]);
    let report = test.sandbox.call(&plugin, request("run", "1")).await;
    let again = matches!(&report.result, Err(CallError::Transient { message, retry_after_ms: Some(_) })
        if message.contains("still being loaded"));
    assert!(again, "{report:?}");
    until("it is loaded", || test.sandbox.stats().loaded == 1).await;
    plugin
        .replace(2, Default::default(), Limits::default())
        .expect("other limits");
    let report = test.sandbox.call(&plugin, request("run", "1")).await;
    assert_eq!(report.result.as_deref(), Ok("1"));
    assert_eq!(test.sandbox.stats().compiled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_together_load_once() {
    let test = testing::sandbox();
    let plugin = echo(&test, 0);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (sandbox, plugin) = (Arc::clone(&test.sandbox), Arc::clone(&plugin));
            tokio::spawn(async move { sandbox.call(&plugin, request("run", "1")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("a report").result.as_deref(), Ok("1"));
    }
    assert_eq!(test.sandbox.stats().compiled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn inspecting_tells_the_tools() {
    let test = testing::sandbox();
    let component = guest("", ECHO);
    let manifest = test
        .sandbox
        .inspect(component.clone())
        .await
        .expect("a manifest");
    assert_eq!(manifest.kind, Kind::ToolWorld);
    assert_eq!(manifest.contract.as_deref(), Some("airlock:tool@1.0.0"));
    assert_eq!(manifest.component_bytes, component.len() as u64);
    assert!(manifest.compiled_bytes > 0);
    let [tool] = manifest.tools.as_slice() else {
        panic!("{manifest:?}");
    };
    assert_eq!(
        (tool.name.as_str(), tool.description.as_str()),
        ("run", "Test guest")
    );
    assert_eq!(tool.input_schema, serde_json::json!({ "type": "object" }));
    until("all are down", || test.sandbox.stats().sandboxes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_functions_are_tools() {
    let test = testing::sandbox();
    let text = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32)
          (i32.add (local.get 0) (local.get 1))))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" u32) (param "b" u32) (result u32)
          (canon lift (core func $i "add"))))"#;
    let component = bytes::Bytes::from(wat::parse_str(text).expect("a component"));
    let manifest = test
        .sandbox
        .inspect(component.clone())
        .await
        .expect("a manifest");
    assert_eq!(manifest.kind, Kind::Typed);
    test.components.add(component);
    let plugin = test
        .sandbox
        .plugin(
            "typed",
            Arc::new(manifest),
            1,
            Default::default(),
            Limits::default(),
        )
        .expect("a plugin");
    let call = |input: &'static str| test.sandbox.call(&plugin, request("add", input));
    assert_eq!(call(r#"{"a":2,"b":40}"#).await.result.as_deref(), Ok("42"));
    let wrong = call(r#"{"a":2,"b":-1}"#).await.result;
    assert!(
        matches!(wrong, Err(CallError::InvalidInput { .. })),
        "{wrong:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_call_is_confined_too() {
    let test = testing::sandbox();
    let spin = format!("(func $spin {SPIN}) (start $spin)");
    let unlinked = r#"(component
        (import "wasi:nonsense/thing@0.2.0" (instance (export "f" (func))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let unlinked = wat::parse_str(unlinked).expect("a component");
    let echo = Guest {
        body: ECHO,
        ..Guest::default()
    };
    for (name, component, code, part) in [
        (
            "spins in list",
            Guest {
                list: "(loop $again (br $again))",
                ..echo
            }
            .component(),
            "metadata-failed",
            "limit cpu",
        ),
        (
            "spins at its start",
            Guest {
                fields: &spin,
                ..echo
            }
            .component(),
            "metadata-failed",
            "limit cpu",
        ),
        (
            "traps in list",
            Guest {
                list: "unreachable",
                ..echo
            }
            .component(),
            "metadata-failed",
            "unreachable",
        ),
        (
            "unknown import",
            unlinked.into(),
            "unknown-import",
            "wasi:nonsense/thing",
        ),
        (
            "garbage",
            vec![0; 100].into(),
            "component-invalid",
            "component",
        ),
    ] {
        let error = test.sandbox.inspect(component).await.expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    until("all are down", || test.sandbox.stats().sandboxes == 0).await;
}

/// The whole way of an installation with damaged components: installed, or
/// refused for what it is, and never the host's fault.
#[test]
fn fuzz_a_damaged_component_is_installed_or_refused() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_entered, whole) = (runtime.enter(), guest("", ECHO));
    let test = testing::sandbox();
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..airlock_fuzz::cases(60)
    });
    let checked = runner.run(&airlock_fuzz::byte_damage(), |damage| {
        let damaged = damage.to(&whole).into();
        match runtime.block_on(test.sandbox.inspect(damaged)) {
            Ok(manifest) => prop_assert!(!manifest.tools.is_empty()),
            Err(error) => prop_assert_ne!(error.code(), "internal", "{}", error),
        }
        Ok(())
    });
    checked.expect("no failure");
    let still = runtime.block_on(test.sandbox.inspect(whole));
    assert!(still.is_ok(), "{still:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_over_the_size_limit_is_refused() {
    let component = guest("", ECHO);
    let bytes = component.len() as u64;
    for (max, fits) in [(bytes, true), (bytes - 1, false)] {
        let test = testing::sandbox_with(|c| c.install.component_bytes.0 = max);
        match test.sandbox.inspect(component.clone()).await {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(
                    !fits && matches!(error, InstallError::TooLarge { .. }),
                    "{error}"
                );
            }
        }
    }
}
