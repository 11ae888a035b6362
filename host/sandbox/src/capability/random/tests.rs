use super::*;
use crate::capability::Cases;
use crate::testing::Door;

pub(crate) const CASES: Cases = Cases {
    grants: "",
    allowed: &["read"],
    denied: &[],
};

#[test]
fn bytes_are_random() {
    let mut random = CallRandom::new(Door::new("").gate(), 1_000);
    let (first, second) = (random.bytes(32).unwrap(), random.bytes(32).unwrap());
    assert_eq!((first.len(), second.len()), (32, 32));
    assert_ne!(first, second);
    assert_ne!(random.number().unwrap(), random.number().unwrap());
    assert!(random.bytes(0).unwrap().is_empty());
}

#[test]
fn no_two_seeds_are_equal() {
    let draw = || {
        let mut random = CallRandom::new(Door::new("").gate(), 1 << 20);
        let seeds = (0..1_000).flat_map(|_| <[u64; 2]>::from(random.seed().unwrap()));
        seeds.collect::<Vec<u64>>()
    };
    let threads = [(); 4].map(|()| std::thread::spawn(draw));
    let mut all: Vec<u64> = threads
        .into_iter()
        .flat_map(|draw| draw.join().unwrap())
        .collect();
    all.extend(draw());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10_000);
}

#[test]
fn a_seed_counts_against_the_limit() {
    let gate = Door::new("").gate();
    let mut random = CallRandom::new(gate.clone(), 20);
    random.seed().unwrap();
    random.seed().unwrap_err();
    assert_eq!(gate.usage()[0].bytes_in, 16);
}

#[test]
fn the_limit_is_a_total_and_reached_exactly() {
    let gate = Door::new("").gate();
    let mut random = CallRandom::new(gate.clone(), 100);
    random.bytes(90).unwrap();
    random.number().unwrap();
    for request in [3, 8, u64::MAX] {
        let error = random.bytes(request).unwrap_err();
        let limit = error.downcast_ref::<crate::gate::LimitReached>();
        assert_eq!(
            limit.expect("a limit").to_string(),
            "limit random reached (100B)"
        );
    }
    random.number().unwrap_err();
    random.bytes(2).unwrap();
    assert_eq!(gate.usage()[0].bytes_in, 100);
}

#[test]
fn a_request_counts_against_the_calls_budget_while_it_is_made() {
    let door = Door {
        budget_bytes: 1_000,
        ..Door::new("")
    };
    let gate = door.gate();
    let mut random = CallRandom::new(gate.clone(), 1 << 40);
    random.bytes(1_000).unwrap();
    let error = random.bytes(1 << 30).unwrap_err();
    assert_eq!(error.to_string(), "limit host_memory reached (1000B)");
    assert_eq!(gate.budget().held(), 0);
}
