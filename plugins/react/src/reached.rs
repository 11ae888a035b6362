//! What was reached so far: kept with the run when it ends without its goal, and the
//! notes of last resort when a conversation is begun anew.

use std::collections::VecDeque;

use airlock_sdk::agent::{self, Spent};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::cut_end;
use serde_json::{Value, json};

/// Of the last calls so many are kept.
const CALLS_MAX: usize = 20;
const NAME_BYTES_MAX: usize = 160;
const INPUT_BYTES_MAX: usize = 300;
const RESULT_BYTES_MAX: usize = 600;
/// A value of the state has at most 64 KiB; escapes make texts longer.
const KEPT_BYTES_MAX: usize = 60 << 10;
const NOTE_BYTES_MAX: usize = 2_000;

/// A call that was made.
#[derive(Clone, Serialize)]
struct Made {
    tool: String,
    input: String,
    failed: bool,
    result: String,
}

/// The work so far.
#[derive(Default)]
pub(crate) struct Reached {
    turns: u32,
    calls: u32,
    failed: u32,
    last: VecDeque<Made>,
    /// What the model wrote last.
    note: String,
    spent: Spent,
}

impl Reached {
    pub(crate) fn turn(&mut self, text: &str, spent: Spent) {
        self.turns += 1;
        self.paid(spent);
        if !text.is_empty() {
            self.note = cut_end(text, NOTE_BYTES_MAX);
        }
    }

    pub(crate) fn paid(&mut self, spent: Spent) {
        self.spent += spent;
    }

    pub(crate) fn note(&self) -> &str {
        &self.note
    }

    pub(crate) fn call(&mut self, tool: &str, input: &str, failed: bool, result: &str) {
        self.calls += 1;
        self.failed += u32::from(failed);
        self.last.push_back(Made {
            tool: cut_end(tool, NAME_BYTES_MAX),
            input: cut_end(input, INPUT_BYTES_MAX),
            failed,
            result: cut_end(result, RESULT_BYTES_MAX),
        });
        if self.last.len() > CALLS_MAX {
            self.last.pop_front();
        }
    }

    /// As JSON that fits in the state: with as many of the last calls as do.
    pub(crate) fn told(&self, ended: &str) -> Value {
        let mut last = self.last.clone();
        loop {
            let told = json!({ "ended": ended, "turns": self.turns, "calls": self.calls,
                "failed": self.failed, "spent": self.spent, "note": self.note,
                "last_calls": last });
            let fits = told.to_string().len() <= KEPT_BYTES_MAX;
            if fits || last.pop_front().is_none() {
                return told;
            }
        }
    }

    /// Keeps it with the run.
    pub(crate) async fn keep(&self, error: &Error) {
        let told = self.told(&cut_end(&error.to_string(), NOTE_BYTES_MAX));
        airlock_patterns::keep(&told).await;
    }

    /// What it cost and took, for the state of a run that reached its goal.
    pub(crate) fn done(&self) -> Result<(), Error> {
        agent::set_state(
            "reached",
            &json!({ "ended": "done", "turns": self.turns, "calls": self.calls,
                "failed": self.failed, "spent": self.spent }),
        )
    }
}
