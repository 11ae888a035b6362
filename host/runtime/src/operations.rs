//! Work that outlasts its request. Kept in memory: what an operation made is in
//! the store; where it stands is of interest for a while only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ids;
use crate::plugins::{Installed, Operation, OperationState};
use crate::problem::Problem;

/// Ended operations are forgotten after this long.
const KEEP_MS: u64 = 3_600_000;
/// And when there are more than this, the oldest of them.
const KEPT_MAX: usize = 1_000;

/// All operations.
#[derive(Default)]
pub(crate) struct Operations {
    all: Mutex<BTreeMap<String, watch::Sender<Operation>>>,
}

/// The writing side of one operation.
pub(crate) struct Progress {
    operations: Arc<Operations>,
    id: String,
}

impl Operations {
    /// Begins an operation; `None` when `queue_max` are waiting already.
    pub(crate) fn begin(
        self: &Arc<Self>,
        kind: &str,
        plugin: &str,
        queue_max: usize,
    ) -> Option<(Operation, Progress)> {
        let now_ms = ids::now_ms();
        let mut all = self.lock();
        forget(&mut all, now_ms);
        let queued = |operation: &&watch::Sender<Operation>| {
            operation.borrow().state == OperationState::Queued
        };
        if all.values().filter(queued).count() >= queue_max {
            return None;
        }
        let operation = Operation {
            id: ids::new_id("op_"),
            kind: kind.to_owned(),
            plugin: plugin.to_owned(),
            state: OperationState::Queued,
            started_ms: now_ms,
            ended_ms: None,
            installed: None,
            problem: None,
        };
        let id = operation.id.clone();
        all.insert(id.clone(), watch::channel(operation.clone()).0);
        let operations = Arc::clone(self);
        Some((operation, Progress { operations, id }))
    }

    /// One operation.
    pub(crate) fn get(&self, id: &str) -> Option<Operation> {
        self.lock()
            .get(id)
            .map(|operation| operation.borrow().clone())
    }

    /// All of them, newest first.
    pub(crate) fn list(&self) -> Vec<Operation> {
        let all = self.lock();
        all.values()
            .rev()
            .map(|operation| operation.borrow().clone())
            .collect()
    }

    /// One operation once it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Option<Operation> {
        let mut watch = self.lock().get(id)?.subscribe();
        let ended = watch
            .wait_for(|operation| operation.ended_ms.is_some())
            .await;
        ended.ok().map(|operation| operation.clone())
    }

    /// Counts by state, for metrics.
    pub(crate) fn unfinished(&self) -> HashMap<&'static str, u64> {
        let mut counts = HashMap::from([("queued", 0), ("running", 0)]);
        for operation in self.lock().values() {
            match operation.borrow().state {
                OperationState::Queued => *counts.entry("queued").or_default() += 1,
                OperationState::Running => *counts.entry("running").or_default() += 1,
                _ => {}
            }
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Operation>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// It is being worked on.
    pub(crate) fn running(&self) {
        self.change(|operation| operation.state = OperationState::Running);
    }

    /// It ended.
    pub(crate) fn end(self, result: Result<Installed, Problem>) {
        self.change(|operation| {
            operation.ended_ms = Some(ids::now_ms());
            match result {
                Ok(installed) => {
                    operation.state = OperationState::Succeeded;
                    operation.installed = Some(installed);
                }
                Err(problem) => {
                    operation.state = OperationState::Failed;
                    operation.problem = Some(problem);
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Operation)) {
        if let Some(operation) = self.operations.lock().get(&self.id) {
            operation.send_modify(change);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.change(|operation| {
            if operation.ended_ms.is_none() {
                operation.ended_ms = Some(ids::now_ms());
                operation.state = OperationState::Failed;
                operation.problem =
                    Some(Problem::new(503, "interrupted", "the work was interrupted"));
            }
        });
    }
}

fn forget(all: &mut BTreeMap<String, watch::Sender<Operation>>, now_ms: u64) {
    let ended = |operation: &watch::Sender<Operation>| operation.borrow().ended_ms;
    all.retain(|_, operation| ended(operation).is_none_or(|at| at + KEEP_MS > now_ms));
    while all.len() >= KEPT_MAX {
        let oldest = all.iter().find(|(_, operation)| ended(operation).is_some());
        let Some(id) = oldest.map(|(id, _)| id.clone()) else {
            break;
        };
        all.remove(&id);
    }
}
