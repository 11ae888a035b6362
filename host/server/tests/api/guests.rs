//! Components for the tests.

use airlock_sandbox::testing::{CLOCK, ECHO, Guest, SPIN, guest};
use bytes::Bytes;

/// Answers its input.
pub fn echo() -> Bytes {
    guest("", ECHO)
}

/// Answers its input, is another component, and claims to be read-only.
pub fn echo_read_only() -> Bytes {
    guest(r#"(data (i32.const 128) "\01")"#, ECHO)
}

/// Answers its input, and is another component.
pub fn echo_other() -> Bytes {
    guest(r#"(data (i32.const 2048) "other")"#, ECHO)
}

/// Spins.
pub fn spin() -> Bytes {
    guest("", SPIN)
}

/// Traps.
pub fn trap() -> Bytes {
    guest("", "(unreachable)")
}

/// Answers what is no JSON.
pub fn garbage() -> Bytes {
    guest("", "(call $answer (i32.const 64) (i32.const 4))")
}

/// Answers its input after 60 s, which no test waits for.
pub fn sleep() -> Bytes {
    let guest = Guest {
        body: r#"
            (call $block (call $subscribe (i64.const 60000000000)))
            (call $answer (local.get $input) (local.get $input_len))"#,
        ..CLOCK
    };
    guest.component()
}

/// Asks for the configuration value `color`, then answers its input.
pub fn asks() -> Bytes {
    asks_with(Guest::default(), "", "")
}

/// Asks for 100 more, with names that are long, and longer once they are written
/// down.
pub fn asks_much() -> Bytes {
    let at = |n: u32| 8_192 + n * 512;
    let ask = |n| {
        format!(
            "(call $get (i32.const {}) (i32.const 500) (i32.const 64))",
            at(n)
        )
    };
    let name = |n| {
        format!(
            r#"(data (i32.const {}) "{n:02}{}")"#,
            at(n),
            r#"\""#.repeat(498)
        )
    };
    let names: Vec<String> = (0..100).map(name).collect();
    let asks: Vec<String> = (0..100).map(ask).collect();
    asks_for(Guest::default(), "", &asks.join(" "), &names.join(" "))
}

/// Sleeps for 8 s, then does as [`asks`].
pub fn asks_late() -> Bytes {
    asks_with(
        CLOCK,
        "(call $block (call $subscribe (i64.const 8000000000)))",
        "",
    )
}

/// Does as [`asks`], but sleeps for 60 s, which no test waits for, before it
/// answers.
pub fn asks_and_sleeps() -> Bytes {
    asks_with(
        CLOCK,
        "",
        "(call $block (call $subscribe (i64.const 60000000000)))",
    )
}

/// Reports progress 1 of 3 to 3 of 3, half a second apart, then answers its
/// input.
pub fn reports() -> Bytes {
    let report = |done: u32| {
        format!(
            "(call $progress (f64.const {done}) (i32.const 1) (f64.const 3) (i32.const 8) (i32.const 5))"
        )
    };
    let sleep = "(call $block (call $subscribe (i64.const 500000000)))";
    let (first, second, third) = (report(1), report(2), report(3));
    let (clocks, core_clocks, with_clocks) = (CLOCK.imports, CLOCK.core_imports, CLOCK.core_with);
    let guest = Guest {
        imports: &format!(
            r#"{clocks}
            (import "airlock:tool/host@1.0.0" (instance $host
              (export "progress" (func
                (param "done" f64) (param "total" (option f64)) (param "message" string)))))
            (core module $libc
              (memory (export "memory") 1)
              (data (i32.const 8) "a\nb c"))
            (core instance $libc (instantiate $libc))
            (core func $progress (canon lower (func $host "progress")
              (memory (core memory $libc "memory"))))
            (core instance $reports (export "progress" (func $progress)))"#
        ),
        core_imports: &format!(
            r#"{core_clocks}
            (import "reports" "progress" (func $progress (param f64 i32 f64 i32 i32)))"#
        ),
        core_with: &format!(r#"{with_clocks} (with "reports" (instance $reports))"#),
        body: &format!(
            "{first} {sleep} {second} {sleep} {third}
            (call $answer (local.get $input) (local.get $input_len))"
        ),
        ..Guest::default()
    };
    guest.component()
}

fn asks_with(base: Guest<'_>, first: &str, then: &str) -> Bytes {
    asks_for(base, first, then, "")
}

fn asks_for(base: Guest<'_>, first: &str, then: &str, names: &str) -> Bytes {
    let (imports, core_imports, core_with) = (base.imports, base.core_imports, base.core_with);
    let guest = Guest {
        imports: &format!(
            r#"{imports}
            (import "wasi:config/store@0.2.0-rc.1" (instance $config
              (type (variant (case "upstream" string) (case "io" string)))
              (export "error" (type (eq 0)))
              (type (option string))
              (type (result 2 (error 1)))
              (export "get" (func (param "key" string) (result 3)))))
            (core module $libc
              (memory (export "memory") 1)
              (data (i32.const 8) "color")
              {names}
              (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 512)))
            (core instance $libc (instantiate $libc))
            (core func $get (canon lower (func $config "get")
              (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core instance $cfg (export "get" (func $get)))"#
        ),
        core_imports: &format!(
            r#"{core_imports} (import "cfg" "get" (func $get (param i32 i32 i32)))"#
        ),
        core_with: &format!(r#"{core_with} (with "cfg" (instance $cfg))"#),
        body: &format!(
            "{first} (call $get (i32.const 8) (i32.const 5) (i32.const 64)) {then}
            (call $answer (local.get $input) (local.get $input_len))"
        ),
        ..Guest::default()
    };
    guest.component()
}
