//! A bucket against a plain map: whatever is done in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Call, memory, usage};
use crate::testing::Door;

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8),
    Delete(u8),
    Increment(u8, i8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..5u8, 0..12u8).prop_map(|(key, len)| Step::Set(key, len)),
        (0..5u8).prop_map(Step::Delete),
        (0..5u8, any::<i8>()).prop_map(|(key, by)| Step::Increment(key, by)),
    ];
    proptest::collection::vec(step, 1..60)
}

const MODEL_BYTES: usize = 30;
const MODEL_KEYS: usize = 4;

/// What a step makes of a plain map, or `None` when it must be refused.
fn model(map: &BTreeMap<String, String>, step: &Step) -> Option<BTreeMap<String, String>> {
    let mut next = map.clone();
    match step {
        Step::Set(key, len) => next.insert(format!("k{key}"), "9".repeat(usize::from(*len))),
        Step::Delete(key) => next.remove(&format!("k{key}")),
        Step::Increment(key, by) => {
            let old = map.get(&format!("k{key}")).map_or("0", String::as_str);
            let sum = old.parse::<i64>().ok()?.checked_add(i64::from(*by))?;
            next.insert(format!("k{key}"), sum.to_string())
        }
    };
    let size = |map: &BTreeMap<String, String>| map.iter().map(|(k, v)| k.len() + v.len()).sum();
    let (held, wanted): (usize, usize) = (size(map), size(&next));
    let fits = (wanted <= MODEL_BYTES || wanted <= held)
        && (next.len() <= MODEL_KEYS || next.len() <= map.len());
    fits.then_some(next)
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    /// Whatever is done in whatever order: the bucket equals a plain map, its
    /// counters equal the map's size, and the quota is never exceeded.
    #[test]
    fn fuzz_a_bucket_is_a_map_with_a_quota(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let rule = format!(r#"kv = [{{ bucket = "b", bytes = "{MODEL_BYTES}B", keys = {MODEL_KEYS} }}]"#);
            let store = memory();
            let mut call = Call::on(&store, "p", &Door::new(&rule));
            let b = call.open("b").await;
            let mut map = BTreeMap::new();
            for step in &steps {
                let done = match step {
                    Step::Set(key, len) => {
                        call.set(&b, &format!("k{key}"), "9".repeat(usize::from(*len))).await
                    }
                    Step::Delete(key) => call.delete(&b, &format!("k{key}")).await,
                    Step::Increment(key, by) => {
                        call.increment(&b, &format!("k{key}"), i64::from(*by)).await.map(|_| ())
                    }
                };
                let next = model(&map, step);
                assert_eq!(done.is_ok(), next.is_some(), "{step:?} on {map:?}: {done:?}");
                map = next.unwrap_or(map);
                for key in 0..5 {
                    let key = format!("k{key}");
                    let expected = map.get(&key).map_or("(none)", String::as_str);
                    assert_eq!(call.get(&b, &key).await.unwrap(), expected);
                }
                let bytes: usize = map.iter().map(|(k, v)| k.len() + v.len()).sum();
                let counted = usage(&store).first().copied().unwrap_or_default();
                assert_eq!(counted, (bytes as u64, map.len() as u64));
            }
        });
    }
}
