//! What one instance of a component needs, against what a call could get.

use expect_test::expect;

use super::super::{compiled as check_compiled, component};
use super::{BOUNDS, answer, check, plain};

#[test]
fn needs() {
    let modules = |count: usize| {
        let instances: String = (0..count)
            .map(|_| "(core instance (instantiate $e))")
            .collect();
        plain(&format!("(core module $e) {instances}"))
    };
    let doubling: String = (1..200)
        .map(|level| format!(
            "(component $c{level} (alias outer 1 $c{0} (component $x)) (instance (instantiate $x)) (instance (instantiate $x)))",
            level - 1
        ))
        .collect();
    let cases = [
        ("what fits", modules(9)),
        ("one instance more", modules(10)),
        (
            "memory at the start",
            plain(r#"(core module $e (memory 1024)) (core instance (instantiate $e))"#),
        ),
        (
            "memory that nothing instantiates",
            plain("(core module (memory 65536))"),
        ),
        (
            "memory in parts",
            plain(
                r#"(core module $e (memory 512)) (core instance (instantiate $e)) (core instance (instantiate $e))"#,
            ),
        ),
        (
            "a 64-bit memory",
            plain(r#"(core module $e (memory i64 0x1000000000)) (core instance (instantiate $e))"#),
        ),
        (
            "a table",
            plain(r#"(core module $e (table 1001 funcref)) (core instance (instantiate $e))"#),
        ),
        (
            "many tables",
            plain(&format!(
                r#"(core module $e {}) (core instance (instantiate $e))"#,
                "(table 0 funcref)".repeat(11)
            )),
        ),
        (
            "components that double",
            plain(&format!(
                "(component $c0 (core module $e) (core instance (instantiate $e))) {doubling} (instance (instantiate $c199))"
            )),
        ),
        (
            "a module out of an outer component",
            plain(
                "(core module $e (memory 2000)) (component $c (alias outer 1 $e (core module $x)) (core instance (instantiate $x))) (instance (instantiate $c))",
            ),
        ),
    ];
    check(
        &cases,
        &expect![[r#"
            what fits
              Typed imports [] capabilities []
            one instance more
              limit-exceeded: the component needs 11 core instances; the limit `instances` is 10
            memory at the start
              limit-exceeded: the component needs 67174400 bytes of memory at its start; the limit `memory` is 67108864
            memory that nothing instantiates
              Typed imports [] capabilities []
            memory in parts
              limit-exceeded: the component needs 67174400 bytes of memory at its start; the limit `memory` is 67108864
            a 64-bit memory
              component-feature: the component uses 64-bit memories, which Airlock does not run: invalid var_u32: integer representation too long (at offset 0x1a)
            a table
              limit-exceeded: the component needs 1001 table elements; the limit `table_elements` is 1000
            many tables
              limit-exceeded: the component needs 11 tables; the limit `instances` is 10
            components that double
              limit-exceeded: the component needs 18446744073709551615 core instances; the limit `instances` is 10
            a module out of an outer component
              limit-exceeded: the component needs 131137536 bytes of memory at its start; the limit `memory` is 67108864
        "#]],
    );
    let large = vec![0; BOUNDS.component_bytes as usize + 1];
    expect!["component-too-large: the component has 1048577B; the limit `component_bytes` is 1MiB"]
        .assert_eq(&answer(&large));
}

/// A module that comes out of an instance hides what it needs from the bytes.
#[test]
fn needs_of_what_is_compiled() {
    let hidden = plain(
        r#"(component $c (core module $e (memory 2000)) (export "m" (core module $e)))
        (instance $n (instantiate $c)) (alias export $n "m" (core module $x)) (core instance (instantiate $x))"#,
    );
    let bytes = wat::parse_str(hidden).expect("a component");
    let found = component(&bytes, &BOUNDS).expect("nothing is seen");
    assert_eq!(found.needs.memory_bytes, 65_536);
    let engine = wasmtime::Engine::default();
    let compiled = wasmtime::component::Component::new(&engine, bytes).expect("it compiles");
    let error = check_compiled(&compiled, &BOUNDS).expect_err("2000 pages");
    expect![
        "the component needs 131072000 bytes of memory at its start; the limit `memory` is 67108864"
    ]
    .assert_eq(&error.to_string());
}
