//! Bytes at random, and damaged components: an answer, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::docs::Docs;
use super::{BOUNDS, component, plain};

/// A component with something of everything: types, nested components,
/// aliases, imports, a custom section.
fn sample() -> Vec<u8> {
    wat::parse_str(plain(
        r#"(@custom "package-docs" "\01{\22worlds\22:{}}")
        (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $p))
        (type $r (record (field "a" (list (option string))) (field "b" (tuple u8 char))))
        (core module $e (memory 1) (table 1 funcref) (data (i32.const 0) "abc"))
        (component $c (alias outer 1 $e (core module $x)) (core instance (instantiate $x)) (export "m" (core module $x)))
        (instance $n (instantiate $c))
        (alias export $n "m" (core module $y))
        (core instance (instantiate $y))"#,
    ))
    .expect("a component")
}

/// At least 500 cases; `cargo xtask fuzz` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases.max(500),
        ..asked
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(component(&bytes, &BOUNDS).is_err());
    }

    #[test]
    fn any_sections(sections in vec((0_u8..14, vec(any::<u8>(), 0..40)), 0..8)) {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for (id, content) in sections {
            bytes.push(id);
            bytes.push(content.len() as u8);
            bytes.extend(content);
        }
        let _ = component(&bytes, &BOUNDS);
    }

    #[test]
    fn damaged(changes in vec((any::<Index>(), any::<u8>()), 1..6), cut in proptest::option::of(any::<Index>())) {
        let mut bytes = sample();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = component(&bytes, &BOUNDS);
    }

    #[test]
    fn any_docs(version in 0_u8..4, json in "[ -~]{0,60}") {
        let mut section = vec![version];
        section.extend(json.bytes());
        let _ = Docs::read(&[section, json.into_bytes()]);
    }
}

#[test]
fn the_sample_is_whole() {
    let found = component(&sample(), &BOUNDS).expect("a component");
    assert_eq!(found.imports, ["wasi:io/poll@0.2.0"]);
    // The module that comes out of an instance is not followed, but counted.
    assert_eq!((found.needs.instances, found.needs.memories), (3, 2));
}
