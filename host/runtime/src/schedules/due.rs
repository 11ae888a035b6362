//! What a schedule does now, after what it decided before. Pure: the clock is an
//! argument.
//!
//! What must stay true: a due time is decided once, whichever way the clock is
//! set: forward is time in which nothing ran, and what is behind the last
//! decision does not come due again.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::when::When;

/// A due time that is decided at most so much later is on time.
const ON_TIME_MS: u64 = 60_000;
/// Due times that are counted at most.
const COUNT_MAX: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;

/// What becomes of due times that were missed, e.g. while no server ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// Nothing.
    Skip,
    /// One is made up for, the newest.
    #[default]
    Once,
    /// The newest are made up for, as many as `catch_up_max` says.
    All,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Due times to fire for, oldest first.
    pub(crate) fire: Vec<u64>,
    /// Due times that are not made up for; 1,000 may be more.
    pub(crate) passed_over: u64,
    /// All up to this one are decided then.
    pub(crate) decided_ms: u64,
}

/// Decides every due time after `decided_ms` and up to `now_ms`; of those at
/// most `most` are made up for.
pub(crate) fn due(
    when: &When,
    catch_up: CatchUp,
    most: usize,
    decided_ms: u64,
    now_ms: u64,
) -> Due {
    let keep = match catch_up {
        CatchUp::Skip | CatchUp::Once => 1,
        CatchUp::All => most.max(1),
    };
    let (newest, count) = newest(when, decided_ms, now_ms, keep);
    let decided_ms = newest.back().copied().unwrap_or(decided_ms);
    let on_time = |due: &u64| catch_up != CatchUp::Skip || now_ms - due <= ON_TIME_MS;
    let fire: Vec<u64> = newest.into_iter().filter(on_time).collect();
    Due {
        passed_over: count - fire.len() as u64,
        fire,
        decided_ms,
    }
}

/// The newest due times, and how many there are, counted so far as that is
/// cheap.
fn newest(when: &When, after_ms: u64, now_ms: u64, keep: usize) -> (VecDeque<u64>, u64) {
    let (newest, count, last) = walk(when, after_ms, now_ms, keep, COUNT_MAX);
    if count < COUNT_MAX {
        return (newest, count);
    }
    // There are many: only the end is looked at.
    let mut window_ms = HOUR_MS;
    loop {
        let from = last.max(now_ms.saturating_sub(window_ms));
        let (mut end, found, _) = walk(when, from, now_ms, keep, u64::MAX);
        if from == last {
            for due in newest
                .into_iter()
                .rev()
                .take(keep.saturating_sub(end.len()))
            {
                end.push_front(due);
            }
            return (end, count + found);
        }
        if found >= keep as u64 {
            return (end, count);
        }
        window_ms = window_ms.saturating_mul(2);
    }
}

/// Due times one after the other: the newest `keep`, how many there were, the
/// last one.
fn walk(
    when: &When,
    after_ms: u64,
    now_ms: u64,
    keep: usize,
    count_max: u64,
) -> (VecDeque<u64>, u64, u64) {
    let (mut newest, mut count, mut last) = (VecDeque::new(), 0, after_ms);
    while count < count_max {
        let Some(due) = when.next(last).filter(|due| *due <= now_ms) else {
            break;
        };
        if newest.len() == keep {
            newest.pop_front();
        }
        newest.push_back(due);
        (count, last) = (count + 1, due);
    }
    (newest, count, last)
}
