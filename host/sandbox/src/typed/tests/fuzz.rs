//! Random types with random values: JSON and back gives the same value, the
//! JSON is valid under the type's schema, and no text whatever makes it panic.

use airlock_fuzz::json_damage;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use wasmtime::component::Val;

use super::super::ty::{Int, Named, SAFE_INTEGER, Ty};
use super::super::{LowerError, lower as lowering, schema};
use super::{lift, lower, schema_check};

/// Names as WIT has them, unique within a type.
fn names(len: usize) -> Vec<String> {
    (0..len).map(|index| format!("part-{index}")).collect()
}

fn named<T>(parts: Vec<T>) -> Named<T> {
    Named::new(names(parts.len()).into_iter().zip(parts).collect())
}

fn ints() -> impl Strategy<Value = Ty> {
    (any::<bool>(), prop::sample::select(vec![8_u32, 16, 32, 64]))
        .prop_map(|(signed, bits)| Ty::Int(Int { signed, bits }))
}

fn keys() -> impl Strategy<Value = Ty> {
    prop_oneof![ints(), Just(Ty::Bool), Just(Ty::Char), Just(Ty::String)]
}

fn leaves() -> impl Strategy<Value = Ty> {
    let units = |len: usize| named(vec![(); len]);
    prop_oneof![
        4 => ints(),
        3 => prop::sample::select(vec![Ty::Bool, Ty::F32, Ty::F64, Ty::Char, Ty::String, Ty::Bytes]),
        1 => (0_usize..5).prop_map(Ty::FixedBytes),
        1 => (1_usize..4).prop_map(move |len| Ty::Enum(units(len))),
        1 => (1_usize..40).prop_map(move |len| Ty::Flags(units(len))),
    ]
}

fn types() -> impl Strategy<Value = Ty> {
    leaves().prop_recursive(4, 24, 4, |inner| {
        let cases = vec(proptest::option::of(inner.clone()), 1..4);
        let pair = (
            proptest::option::of(inner.clone()),
            proptest::option::of(inner.clone()),
        );
        // `list<u8>` has a form of its own, so a list never has `u8` elements here.
        let element = inner.clone().prop_filter("is bytes", |ty| {
            *ty != Ty::Int(Int {
                signed: false,
                bits: 8,
            })
        });
        prop_oneof![
            element.clone().prop_map(|ty| Ty::List(Box::new(ty))),
            (element, 0_usize..4).prop_map(|(ty, len)| Ty::FixedList(Box::new(ty), len)),
            inner.clone().prop_map(|ty| Ty::Option(Box::new(ty))),
            vec(inner.clone(), 1..4).prop_map(Ty::Tuple),
            vec(inner.clone(), 1..5).prop_map(|types| Ty::Record(named(types))),
            cases.prop_map(|cases| Ty::Variant(named(cases))),
            (keys(), inner).prop_map(|(key, value)| Ty::Map(Box::new(key), Box::new(value))),
            pair.prop_map(|(ok, err)| {
                Ty::Result(Named::new(vec![
                    ("ok".to_owned(), ok),
                    ("err".to_owned(), err),
                ]))
            }),
        ]
    })
}

fn int_values(int: Int) -> BoxedStrategy<Val> {
    let edges = [
        int.min(),
        int.max(),
        0,
        SAFE_INTEGER,
        SAFE_INTEGER + 1,
        -SAFE_INTEGER,
        -SAFE_INTEGER - 1,
    ];
    let edges: Vec<i128> = edges
        .into_iter()
        .filter(|n| (int.min()..=int.max()).contains(n))
        .collect();
    prop_oneof![prop::sample::select(edges), int.min()..=int.max()]
        .prop_map(move |n| match (int.signed, int.bits) {
            (true, 8) => Val::S8(n as i8),
            (false, 8) => Val::U8(n as u8),
            (true, 16) => Val::S16(n as i16),
            (false, 16) => Val::U16(n as u16),
            (true, 32) => Val::S32(n as i32),
            (false, 32) => Val::U32(n as u32),
            (true, _) => Val::S64(n as i64),
            (false, _) => Val::U64(n as u64),
        })
        .boxed()
}

fn bytes(len: impl Into<proptest::collection::SizeRange>) -> BoxedStrategy<Vec<Val>> {
    vec(any::<u8>().prop_map(Val::U8), len).boxed()
}

fn boxed(ty: &Option<Ty>) -> BoxedStrategy<Option<Box<Val>>> {
    match ty {
        None => Just(None).boxed(),
        Some(ty) => values(ty).prop_map(|val| Some(Box::new(val))).boxed(),
    }
}

/// A case and its payload, as (index, name, payload).
fn cases(cases: &Named<Option<Ty>>) -> BoxedStrategy<(usize, String, Option<Box<Val>>)> {
    let strategies = cases.iter().enumerate().map(|(index, (name, ty))| {
        let name = name.to_owned();
        boxed(ty)
            .prop_map(move |val| (index, name.clone(), val))
            .boxed()
    });
    proptest::strategy::Union::new(strategies).boxed()
}

fn entries(key: &Ty, value: &Ty) -> BoxedStrategy<Val> {
    vec((values(key), values(value)), 0..4)
        .prop_map(|entries| {
            let mut unique: Vec<(Val, Val)> = Vec::new();
            for (key, value) in entries {
                if !unique.iter().any(|(other, _)| *other == key) {
                    unique.push((key, value));
                }
            }
            Val::Map(unique)
        })
        .boxed()
}

pub(super) fn values(ty: &Ty) -> BoxedStrategy<Val> {
    match ty {
        Ty::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Ty::Int(int) => int_values(*int),
        Ty::F32 => any::<u32>()
            .prop_map(|bits| Val::Float32(f32::from_bits(bits)))
            .boxed(),
        Ty::F64 => any::<u64>()
            .prop_map(|bits| Val::Float64(f64::from_bits(bits)))
            .boxed(),
        Ty::Char => any::<char>().prop_map(Val::Char).boxed(),
        Ty::String => any::<String>().prop_map(Val::String).boxed(),
        Ty::Bytes => bytes(0..8).prop_map(Val::List).boxed(),
        Ty::FixedBytes(len) => bytes(*len).prop_map(Val::FixedLengthList).boxed(),
        Ty::List(ty) => vec(values(ty), 0..4).prop_map(Val::List).boxed(),
        Ty::FixedList(ty, len) => vec(values(ty), *len).prop_map(Val::FixedLengthList).boxed(),
        Ty::Map(key, value) => entries(key, value),
        Ty::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|(name, _)| name.to_owned()).collect();
            let fields: Vec<_> = fields.iter().map(|(_, ty)| values(ty)).collect();
            fields
                .prop_map(move |vals| Val::Record(names.iter().cloned().zip(vals).collect()))
                .boxed()
        }
        Ty::Tuple(types) => {
            let types: Vec<_> = types.iter().map(values).collect();
            types.prop_map(Val::Tuple).boxed()
        }
        Ty::Variant(all) => cases(all)
            .prop_map(|(_, name, val)| Val::Variant(name, val))
            .boxed(),
        Ty::Result(all) => cases(all)
            .prop_map(|(index, _, val)| Val::Result(if index == 0 { Ok(val) } else { Err(val) }))
            .boxed(),
        Ty::Enum(names) => {
            let names: Vec<String> = names.iter().map(|(name, ())| name.to_owned()).collect();
            prop::sample::select(names).prop_map(Val::Enum).boxed()
        }
        Ty::Flags(names) => {
            let names: Vec<String> = names.iter().map(|(name, ())| name.to_owned()).collect();
            let len = names.len();
            proptest::sample::subsequence(names, 0..=len)
                .prop_map(Val::Flags)
                .boxed()
        }
        Ty::Option(inner) => prop_oneof![
            Just(Val::Option(None)),
            values(inner).prop_map(|val| Val::Option(Some(Box::new(val)))),
        ]
        .boxed(),
    }
}

fn typed_values() -> impl Strategy<Value = (Ty, Val)> {
    types().prop_flat_map(|ty| {
        let vals = values(&ty);
        (Just(ty), vals)
    })
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(400))]

    #[test]
    fn json_and_back((ty, val) in typed_values()) {
        let json = lower(&ty, &val);
        prop_assert_eq!(lift(&ty, &json), Ok(val.clone()), "{}", json);
        let parsed: Value = serde_json::from_str(&json).expect("valid JSON");
        prop_assert!(schema_check::accepts(&schema::of(&ty), &parsed), "{} {}", ty, json);
        let short = lowering::value(&ty, &val, json.len() - 1);
        prop_assert_eq!(short, Err(LowerError::TooLong { max: json.len() - 1 }));
    }

    /// What is read is what the schema allows; the reader may be stricter only
    /// where the schema can't say it.
    #[test]
    fn one_type_s_json_as_another((ty, _) in typed_values(), (other, val) in typed_values()) {
        let json = lower(&other, &val);
        let parsed: Value = serde_json::from_str(&json).expect("valid JSON");
        if let Ok(read) = lift(&ty, &json) {
            prop_assert!(schema_check::accepts(&schema::of(&ty), &parsed), "{} {}", ty, json);
            prop_assert_eq!(lift(&ty, &lower(&ty, &read)), Ok(read));
        }
    }

    #[test]
    fn damaged_json_is_refused_or_read((ty, val) in typed_values(), at in any::<prop::sample::Index>(), with in "[ -~]{0,3}") {
        let json = lower(&ty, &val);
        let chars: Vec<char> = json.chars().collect();
        let at = at.index(chars.len());
        let damaged: String = chars[..at].iter().copied().chain(with.chars()).chain(chars[at + 1..].iter().copied()).collect();
        if let Ok(read) = lift(&ty, &damaged) {
            prop_assert_eq!(lift(&ty, &lower(&ty, &read)), Ok(read));
        }
    }

    /// JSON that fits but for some of its nodes.
    #[test]
    fn nearly_right_json((ty, val) in typed_values(), damage in json_damage()) {
        let json: Value = serde_json::from_str(&lower(&ty, &val)).expect("valid JSON");
        let damaged = damage.to(&json);
        if let Ok(read) = lift(&ty, &damaged.to_string()) {
            prop_assert!(schema_check::accepts(&schema::of(&ty), &damaged), "{} {}", ty, damaged);
            prop_assert_eq!(lift(&ty, &lower(&ty, &read)), Ok(read));
        }
    }

    #[test]
    fn any_text((ty, _) in typed_values(), text in any::<String>()) {
        if let Ok(read) = lift(&ty, &text) {
            prop_assert_eq!(lift(&ty, &lower(&ty, &read)), Ok(read));
        }
    }
}
