//! Runs: durable executions of agents. A journal of what an agent asked and was
//! given (`event`), its state (`fold`), what a new attempt is compared with
//! (`replay`), what goes on in this process (`session`, `effects`, `step`,
//! `drive`), and what people do with it (`admin`).
//!
//! What must stay true: a run goes on from its journal alone; an effect that may
//! have happened is never repeated in silence.

mod admin;
mod approval;
mod drive;
mod effects;
mod error;
mod event;
mod fold;
mod replay;
mod rows;
mod session;
mod step;
#[cfg(test)]
mod tests;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use admin::RunEvents;
pub use error::RunError;
pub use event::{Autonomy, Block, Budget, End};
pub use types::{
    ApprovalView, Decide, OpenRequest, Outcome, ProgressView, Resume, RunDetail, RunEvent,
    RunStatus, RunView, StartRun,
};

use crate::runtime::Runtime;
use rows::Row;
use session::Session;

/// A new run's id; ids sort by time.
fn new_id() -> String {
    crate::ids::new_id("run_")
}

/// The runs that are looked after in this process.
pub(crate) struct Runs {
    live: Mutex<HashMap<String, Arc<Session>>>,
    /// The runtime that does the host's own work, never a guest's.
    io: tokio::runtime::Handle,
}

impl Runs {
    /// None yet. Must run on the host's own runtime.
    pub(crate) fn new() -> Self {
        Self {
            live: Mutex::default(),
            io: tokio::runtime::Handle::current(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    /// The kill switch for the runs that are looked after.
    pub(crate) fn halt(&self, halted: bool) {
        let sessions: Vec<Arc<Session>> = self.lock().values().cloned().collect();
        for session in sessions {
            session.halt(halted);
            if !halted {
                drive::recover(&session);
            }
        }
    }

    /// Looks after a run from now on.
    fn take_up(&self, runtime: &Runtime, session: Arc<Session>) {
        session.halt(runtime.ready() == Err(crate::NotReady::Halted));
        self.lock().insert(session.id.clone(), Arc::clone(&session));
        runtime.runs.io.spawn(drive::drive(session));
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends the attempts under way; their runs go on at the next start.
    pub(crate) fn stop(&self) {
        for session in self.lock().values() {
            session.stop(session::Stop::Host);
        }
    }

    /// Resolves when what the runs have to say is durable.
    pub(crate) async fn durable(&self) {
        let sessions: Vec<Arc<Session>> = self.lock().values().cloned().collect();
        for session in sessions {
            session.durable().await;
        }
    }

    /// Takes up every run that has not ended. One that can't be read is named in
    /// the log and strands no other.
    pub(crate) fn recover(
        &self,
        runtime: &Arc<Runtime>,
    ) -> Result<(), airlock_journal::StoreError> {
        let rows: Vec<Row> = crate::rows::all(runtime.store(), rows::SPACE)?;
        for row in rows.into_iter().filter(Row::is_open) {
            match rows::all(runtime.store(), &row.id) {
                Ok(records) => {
                    let session = Session::new(row.id, runtime, &records);
                    drive::recover(&session);
                    self.take_up(runtime, session);
                }
                Err(error) => {
                    tracing::error!(run = row.id, %error, "a run's journal can't be read");
                }
            }
        }
        Ok(())
    }
}
