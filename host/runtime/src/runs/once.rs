//! Runs that are started once under a key, for as long as the host knows of them.
//!
//! What must stay true: one principal has one run of an agent for a goal, an input
//! and a key, whenever and by however many it is asked for again.

use std::sync::Arc;

use airlock_journal::{Batch, StoreError};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::admin::view;
use super::start::checked_input;
use super::types::{RunView, StartRun};
use super::{RunError, new_id};
use crate::names;
use crate::principal::Principal;
use crate::runtime::Runtime;

/// By key, the run. Kept when the run is removed, as its note is.
const ONCE: &str = "runs-once";

impl Runtime {
    /// Starts a run, unless the same was started under this key before: gives the
    /// run, and whether it is a new one.
    ///
    /// # Errors
    /// As [`Runtime::start_run`]; the run that was started was removed since.
    pub async fn start_run_once(
        self: &Arc<Self>,
        who: &Principal,
        once: &str,
        request: StartRun,
    ) -> Result<(RunView, bool), RunError> {
        let bad = |error: names::BadName| RunError::Invalid(format!("once: {error}"));
        names::idempotency_key(once).map_err(bad)?;
        let key = key(
            who,
            once,
            &request.agent,
            &request.goal,
            &checked_input(&request)?,
        );
        if let Some(run) = self.started_once(who, &key)? {
            return Ok((run, false));
        }
        let id = new_id();
        let beside = Batch::new()
            .check(ONCE, key.clone(), None)
            .put(ONCE, key.clone(), id.clone());
        let started = self.start_run_as(who, id, request, json!({}), beside);
        match started.await {
            Err(RunError::Store(StoreError::Conflict { .. })) => {
                // Somebody else was first.
                let run = self.started_once(who, &key)?;
                run.map(|run| (run, false)).ok_or(RunError::NotKept)
            }
            started => started.map(|run| (run, true)),
        }
    }

    fn started_once(&self, who: &Principal, key: &str) -> Result<Option<RunView>, RunError> {
        let Some(id) = self.store().get(ONCE, key.as_bytes())? else {
            return Ok(None);
        };
        let row = self.row(who, &String::from_utf8_lossy(&id), &[])?;
        let live = self.live_status(&row)?;
        Ok(Some(view(&row, live)))
    }
}

fn key(who: &Principal, once: &str, agent: &str, goal: &str, input: &str) -> String {
    let mut hash = Sha256::new();
    for part in [&*who.name, once, agent, goal, input] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    crate::ids::hex(&hash.finalize())
}
