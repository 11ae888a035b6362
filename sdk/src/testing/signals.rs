//! Signals of a run under test.
//!
//! What must stay true: a signal goes to one who still waits for it, or is kept;
//! those of one name reach the agent in the order they came.

use std::collections::VecDeque;

/// A signal: its place in the order, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    number: usize,
    /// When it comes, milliseconds since 1970.
    at_ms: u64,
    pub(crate) name: String,
    pub(crate) payload: String,
}

/// Those that are to come, and those that came and that no request has got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    coming: VecDeque<Signal>,
    kept: VecDeque<Signal>,
    number: usize,
}

impl Signals {
    /// One more, in the order of its time, after those of the same.
    pub(crate) fn add(&mut self, at_ms: u64, name: &str, payload: String) {
        let place = self.coming.partition_point(|other| other.at_ms <= at_ms);
        let signal = Signal {
            number: 0,
            at_ms,
            name: name.to_owned(),
            payload,
        };
        self.coming.insert(place, signal);
    }

    /// When the next one comes.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.coming.front().map(|signal| signal.at_ms)
    }

    /// Those come whose time it is.
    pub(crate) fn come(&mut self, now_ms: u64) {
        while self.next_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let Some(mut signal) = self.coming.pop_front() else {
                return;
            };
            signal.number = self.number;
            self.number += 1;
            self.kept.push_back(signal);
        }
    }

    /// Gives the first of a name to a request.
    pub(crate) fn take(&mut self, name: &str) -> Option<Signal> {
        let place = self.kept.iter().position(|signal| signal.name == name)?;
        self.kept.remove(place)
    }

    /// One that a request was given and that its agent did not read.
    pub(crate) fn put_back(&mut self, signal: Signal) {
        let place = self
            .kept
            .partition_point(|other| other.number < signal.number);
        self.kept.insert(place, signal);
    }

    /// Names and payloads of those that nobody got, in order, with when they come
    /// where that is later.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Signal> {
        self.kept.iter().chain(&self.coming)
    }
}

impl Signal {
    /// Not before `from_ms`.
    pub(crate) fn at_ms(&self, from_ms: u64) -> u64 {
        self.at_ms.max(from_ms)
    }
}
