//! Bytes at random, and damaged components: an answer, never a panic.

use std::sync::LazyLock;

use airlock_fuzz::byte_damage;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::docs::Docs;
use super::{BOUNDS, component, plain};
use crate::testing::built;

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

proptest! {
    #![proptest_config(airlock_fuzz::cases(500))]

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
    fn damaged(damage in byte_damage()) {
        let _ = component(&damage.to(&sample()), &BOUNDS);
    }

    #[test]
    fn any_docs(version in 0_u8..4, json in "[ -~]{0,60}") {
        let mut section = vec![version];
        section.extend(json.bytes());
        let _ = Docs::read(&[section, json.into_bytes()]);
    }
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(60))]

    /// Components as compilers make them, damaged anywhere or in the part where
    /// their types and imports stand.
    #[test]
    fn damaged_real_components(of in any::<Index>(), at in any::<Index>(), part in any::<bool>(), damage in byte_damage()) {
        let all = &*REAL;
        let whole = &all[of.index(all.len())];
        let bytes = match part {
            false => damage.to(whole),
            true => {
                let from = at.index(whole.len());
                let to = whole.len().min(from + PART_BYTES);
                [&whole[..from], &damage.to(&whole[from..to]), &whole[to..]].concat()
            }
        };
        if let Err(error) = component(&bytes, &BOUNDS) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

const PART_BYTES: usize = 200;

/// Components built from the workspace: of the tool world, and of typed exports.
static REAL: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    ["evil_metadata", "typed_all", "typed_resource"]
        .map(built)
        .to_vec()
});

#[test]
fn the_sample_is_whole() {
    let found = component(&sample(), &BOUNDS).expect("a component");
    assert_eq!(found.imports, ["wasi:io/poll@0.2.0"]);
    // The module that comes out of an instance is not followed, but counted.
    assert_eq!((found.needs.instances, found.needs.memories), (3, 2));
}

#[test]
fn the_real_ones_are_whole() {
    let whole = REAL
        .iter()
        .filter(|bytes| component(bytes, &BOUNDS).is_ok());
    // The one with a resource in its exports is refused.
    assert_eq!(whole.count(), 2);
}
