//! The well-behaved plugin that must keep working while others attack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::ground::Ground;
use crate::client::Request;

/// What became of the neighbour's calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) last_failure: String,
}

/// Calls the neighbour again and again until told to finish.
pub(super) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Calls>,
}

impl Neighbour {
    pub(super) fn start(ground: &Ground) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let api = ground.server.api();
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut calls = Calls::default();
            // At least one call, also where the attack is over at once.
            while calls.succeeded + calls.failed == 0 || !seen.load(Ordering::Relaxed) {
                let request = Request::json(
                    "POST",
                    "/v1/tools/neighbour/echo",
                    &json!({ "n": calls.succeeded }),
                );
                match api.value::<Value>(&request) {
                    Ok(reply) if reply["output"]["n"] == calls.succeeded => calls.succeeded += 1,
                    Ok(reply) => calls.fail(format!("wrong answer {reply}")),
                    Err(error) => calls.fail(format!("{error:#}")),
                }
            }
            calls
        });
        Self { stop, thread }
    }

    pub(super) fn finish(self) -> Calls {
        self.stop.store(true, Ordering::Relaxed);
        let crashed = |_| Calls {
            failed: 1,
            last_failure: "the neighbour's thread panicked".into(),
            ..Calls::default()
        };
        self.thread.join().unwrap_or_else(crashed)
    }
}

impl Calls {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.last_failure = why;
    }
}
