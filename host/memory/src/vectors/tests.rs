use super::flat::{FlatSet, VectorFilter, dot};
use crate::prepare::unit;
use crate::rows::{VectorRow, label_hash};
use airlock_fuzz::cases;
use proptest::collection::vec;
use proptest::prelude::*;

fn row(vector: Vec<f32>, updated_ms: u64, labels: &[&str]) -> VectorRow {
    let mut labels: Vec<u64> = labels.iter().map(|name| label_hash(name, "1")).collect();
    labels.sort_unstable();
    VectorRow {
        updated_ms,
        expires_ms: u64::MAX,
        labels,
        vector,
    }
}

/// What computing all of them gives.
fn plain(all: &[(String, VectorRow)], query: &[f32], limit: usize) -> Vec<f32> {
    let mut scores: Vec<f32> = all.iter().map(|(_, row)| dot(query, &row.vector)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.truncate(limit);
    scores
}

proptest! {
    #![proptest_config(cases(60))]

    /// Numbers from a small range too, so that many vectors are alike.
    #[test]
    fn fuzz_the_nearest_are_those_that_computing_all_gives(
        dimension in 1..40_usize,
        seeds in vec(vec(prop_oneof![-1.0..1.0_f32, Just(0.5_f32), Just(-1e-3_f32)], 40), 1..120),
        removed in vec(any::<proptest::sample::Index>(), 0..20),
        query in vec(-1.0..1.0_f32, 40),
        limit in 1..12_usize,
    ) {
        let mut set = FlatSet::new(dimension);
        let mut all = Vec::new();
        for (n, seed) in seeds.iter().enumerate() {
            if let Ok(vector) = unit("vector", seed[..dimension].to_vec()) {
                let (id, row) = (n.to_string(), row(vector, 0, &[]));
                set.put(&id, &row);
                all.push((id, row));
            }
        }
        for index in removed {
            if !all.is_empty() {
                let (id, _) = all.swap_remove(index.index(all.len()));
                set.remove(&id);
            }
        }
        let Ok(query) = unit("query", query[..dimension].to_vec()) else { return Ok(()) };
        let found = set.top(&query, &VectorFilter::default(), limit);
        for (score, id) in &found {
            let (_, row) = all.iter().find(|(known, _)| known == id).expect("it is there");
            prop_assert_eq!(*score, dot(&query, &row.vector));
        }
        let scores: Vec<f32> = found.into_iter().map(|(score, _)| score).collect();
        prop_assert_eq!(scores, plain(&all, &query, limit));
    }
}

#[test]
fn filters_leave_out_what_they_say() {
    let mut set = FlatSet::new(1);
    for (id, updated_ms, expires_ms, labels) in [
        ("old", 10, u64::MAX, &["a"][..]),
        ("new", 20, u64::MAX, &["a", "b"]),
        ("short", 20, 100, &["b"]),
    ] {
        let row = VectorRow {
            expires_ms,
            ..row(vec![1.0], updated_ms, labels)
        };
        set.put(id, &row);
    }
    let label = |name: &str| label_hash(name, "1");
    let any = VectorFilter::default();
    let cases: [(VectorFilter, &[&str]); 7] = [
        (any.clone(), &["new", "old", "short"]),
        (
            VectorFilter {
                from_ms: Some(20),
                ..any.clone()
            },
            &["new", "short"],
        ),
        (
            VectorFilter {
                to_ms: Some(20),
                ..any.clone()
            },
            &["old"],
        ),
        (
            VectorFilter {
                now_ms: 99,
                ..any.clone()
            },
            &["new", "old", "short"],
        ),
        (
            VectorFilter {
                now_ms: 100,
                ..any.clone()
            },
            &["new", "old"],
        ),
        (
            VectorFilter {
                labels: vec![label("b")],
                ..any.clone()
            },
            &["new", "short"],
        ),
        (
            VectorFilter {
                labels: vec![label("b"), label("a")],
                ..any
            },
            &["new"],
        ),
    ];
    for (filter, ids) in cases {
        let mut found: Vec<&str> = set
            .top(&[1.0], &filter, 9)
            .into_iter()
            .map(|hit| hit.1)
            .collect();
        found.sort_unstable();
        assert_eq!(found, ids, "{filter:?}");
    }
}
