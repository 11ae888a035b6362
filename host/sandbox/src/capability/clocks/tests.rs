use std::time::Duration;

use tokio::time::Instant;
use wasmtime_wasi::p2::Pollable;

use super::*;
use crate::capability::Cases;
use crate::testing::Door;

pub(crate) const CASES: Cases = Cases {
    grants: "",
    allowed: &["read", "sleep"],
    denied: &[],
};

fn clocks(deadline: Instant) -> CallClocks {
    CallClocks::new(Door::new("").gate(), Instant::now(), deadline)
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn the_monotonic_clock_begins_with_the_call_and_goes_on() {
    let started = Instant::now();
    let mut clocks = clocks(started + DAY);
    let first = clocks.monotonic_ns().unwrap();
    let since = started.elapsed().as_nanos();
    assert!(u128::from(first) <= since, "{first} after {since}");
    tokio::time::sleep(Duration::from_millis(2)).await;
    let second = clocks.monotonic_ns().unwrap();
    assert!(second >= first + 2_000_000);
    assert_eq!(second % 1_000, 0);
}

#[tokio::test]
async fn the_wall_clock_is_the_hosts() {
    let mut clocks = clocks(Instant::now());
    let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let (host, guest) = (host.unwrap(), clocks.wall().unwrap());
    assert!(guest.abs_diff(host) < DAY, "{guest:?} {host:?}");
}

const HOUR_NS: u64 = 3_600_000_000_000;

#[tokio::test]
async fn a_sleep_is_cut_at_the_deadline() {
    let started = Instant::now();
    let mut clocks = clocks(started + 10 * HOUR);
    for (duration_ns, wakes_after) in [
        (0, 0),
        (1, 0),
        (HOUR_NS, 1),
        (9 * HOUR_NS, 9),
        (11 * HOUR_NS, 10),
        (u64::MAX, 10),
    ] {
        for sleep in [
            clocks.sleep_for(duration_ns),
            clocks.sleep_until(duration_ns),
        ] {
            let wakes = sleep.unwrap().until().duration_since(started);
            assert_eq!(wakes.as_secs() / 3_600, wakes_after, "{duration_ns}");
        }
    }
}

#[tokio::test]
async fn sleeping_for_ever_ends_at_the_deadline() {
    let deadline = Instant::now() + Duration::from_millis(20);
    clocks(deadline).sleep_for(u64::MAX).unwrap().ready().await;
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn polling_with_no_timeout_lets_others_run() {
    let other = tokio::spawn(async {});
    let mut clocks = clocks(Instant::now() + DAY);
    clocks.sleep_for(0).unwrap().ready().await;
    assert!(other.is_finished());
}

#[tokio::test]
async fn use_is_counted_once_per_kind_and_call() {
    let gate = Door::new("").gate();
    let mut clocks = CallClocks::new(gate.clone(), Instant::now(), Instant::now());
    for _ in 0..100 {
        clocks.monotonic_ns().unwrap();
        clocks.sleep_for(0).unwrap();
    }
    let usage = gate.usage();
    assert_eq!((usage.len(), usage[0].allowed), (1, 2));
}
