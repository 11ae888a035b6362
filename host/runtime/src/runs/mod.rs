//! Runs: durable executions of agents. A journal of what an agent asked and was
//! given (`event`), its state (`fold`), what a new attempt is compared with
//! (`replay`), what goes on in this process (`session`, `effects`, `step`,
//! `drive`), and what people do with it (`admin`).
//!
//! What must stay true: a run goes on from its journal alone; an effect that may
//! have happened is never repeated in silence.

mod admin;
mod approval;
mod children;
mod compare;
mod continued;
mod deltas;
mod drive;
mod effect;
mod effects;
mod error;
mod event;
mod exchange;
mod export;
mod fold;
mod fork;
#[cfg(test)]
mod golden;
mod health;
mod host;
mod inbox;
mod list;
mod listing;
mod looks;
mod loops;
mod memory;
mod model;
mod news;
mod once;
mod park;
mod people;
mod permit;
mod places;
mod policy;
mod prune;
mod reads;
mod replay;
pub(crate) mod restored;
mod resume;
mod rows;
mod session;
mod signals;
mod slots;
mod spending;
mod start;
mod step;
mod talks;
#[cfg(test)]
mod tests;
mod trigger;
mod types;
mod under_way;
mod weight;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub use admin::RunEvents;
pub use compare::{
    Difference, DifferenceKind, ReplayEnd, ReplayRun, ReplayStep, ReplayVerdict, RunReplay,
};
pub use deltas::{Delta, DeltaFollower, RunDelta};
pub use error::RunError;
pub use event::{Autonomy, Block, End};
pub(crate) use exchange::ATTEMPTS_RESERVED;
pub use export::RunExport;
pub use fork::{ForkRun, ForkedFrom};
pub use inbox::{ApprovalsPage, ApprovalsQuery};
pub use list::{AgentStatsView, RunsPage, RunsQuery, Took};
pub use news::Follower;
pub use people::Approval;
pub use prune::{PruneRequest, PrunedRuns};
pub use spending::{Budget, BudgetChange, Spent};
pub(crate) use trigger::Maker;
pub use trigger::SignalTarget;
pub(crate) use trigger::check_signal;
pub use types::{
    ApprovalView, AtDue, Decide, OpenRequest, Outcome, ProgressView, Resume, RunDetail, RunEvent,
    RunStatus, RunView, StartRun,
};

use airlock_journal::{Op, StoreError};
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::runtime::Runtime;
use park::Wakes;
use places::{Kind, Place, Places};
use session::Session;
use slots::Slots;

/// The lease of whoever looks after the runs.
const LEASE: &[u8] = b"runs";

/// How long the lease holds, and how often it is renewed.
const LEASE_MS: u64 = 60_000;
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// Where the owner of the lease wrote itself down.
const OWNER_SPACE: &str = "runs-owner";

/// A new run's id; ids sort by time.
fn new_id() -> String {
    crate::ids::new_id("run_")
}

/// A run in memory, and its place.
struct Live {
    session: Arc<Session>,
    _place: Place,
}

/// The runs that are looked after in this process.
pub(crate) struct Runs {
    live: Mutex<HashMap<String, Live>>,
    places: Arc<Places>,
    wakes: Arc<Wakes>,
    slots: Slots,
    /// Held by whoever tells a run whether it stands still.
    halting: Mutex<()>,
    /// One removes ended runs at a time.
    prune_turn: tokio::sync::Mutex<()>,
    /// What each write of a run is fenced with.
    fence: OnceCell<u64>,
    /// Who follows which run.
    news: news::News,
    /// What models are answering.
    deltas: deltas::Deltas,
    /// The runtime that does the host's own work, never a guest's.
    io: tokio::runtime::Handle,
    /// Whether somebody else has it since.
    lost: health::Lost,
    /// Held by each replay without effects.
    replays: tokio::sync::Semaphore,
    /// Held by each who looks at a journal.
    looks: Arc<tokio::sync::Semaphore>,
}

impl Runs {
    /// None yet, with `agents_max` sandboxes, and places for `runs_max` that
    /// somebody starts. Must run on the host's own runtime.
    pub(crate) fn new(agents_max: u32, runs_max: usize) -> Self {
        Self {
            live: Mutex::default(),
            places: Places::new(runs_max),
            wakes: Arc::default(),
            halting: Mutex::default(),
            prune_turn: Default::default(),
            slots: Slots::new(agents_max),
            fence: OnceCell::new(),
            lost: health::Lost::default(),
            news: news::News::default(),
            deltas: deltas::Deltas::default(),
            io: tokio::runtime::Handle::current(),
            replays: tokio::sync::Semaphore::new(compare::AT_ONCE),
            looks: Arc::new(tokio::sync::Semaphore::new(looks::AT_ONCE)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the host's own work runs.
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    fn get(&self, id: &str) -> Option<Arc<Session>> {
        let live = self.lock();
        live.get(id).map(|live| Arc::clone(&live.session))
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        let live = self.lock();
        let sessions = live.values().map(|live| Arc::clone(&live.session));
        sessions.collect()
    }

    /// Becomes the one that looks after the runs of this store. Whoever did before
    /// is gone, or its late writes are refused from now on.
    async fn own(&self, runtime: &Arc<Runtime>) -> Result<(), StoreError> {
        let mut is_new = false;
        let take = async {
            let (store, now) = (runtime.store(), crate::ids::now_ms());
            // The store is this process's own: its last owner is no more.
            if let Some(before) = store.get(OWNER_SPACE, LEASE)? {
                let before = String::from_utf8_lossy(&before).into_owned();
                match store.lease(LEASE, &before, now, 0).await {
                    Ok(_) | Err(StoreError::Fenced { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let owner = crate::ids::new_id("owner_");
            let key = Bytes::from_static(LEASE);
            let (space, value) = (OWNER_SPACE, Bytes::from(owner.clone()));
            runtime.commit(vec![Op::Put { space, key, value }]).await?;
            let token = store.lease(LEASE, &owner, now, LEASE_MS).await?;
            self.io.spawn(renew(Arc::downgrade(runtime), owner));
            is_new = true;
            Ok(token)
        };
        self.fence.get_or_try_init(|| take).await?;
        if is_new {
            // Those that were told something before.
            for session in self.sessions() {
                self.look_after(session);
            }
        }
        Ok(())
    }

    /// Whether this process looks after the runs.
    pub(crate) fn is_owner(&self) -> bool {
        self.fence.initialized()
    }

    /// What each write of a run begins with.
    fn fence(&self) -> Option<Op> {
        let token = *self.fence.get()?;
        let lease = Bytes::from_static(LEASE);
        Some(Op::Fence { lease, token })
    }

    /// Runs in memory.
    pub(crate) fn live(&self) -> u64 {
        self.lock().len() as u64
    }

    /// The kill switch was used: the runs that are looked after stand still, or
    /// go on, as it says now.
    pub(crate) fn halt(&self, runtime: &Runtime, halted: bool) {
        for session in self.sessions() {
            if !self.look_at_halt(runtime, &session) {
                session.take_up_calls();
            }
        }
        if !halted {
            self.wakes.look_at_halted();
        }
    }

    /// Lets a run stand still or go on, as the kill switch says now: one looks at
    /// a time, so that what was seen last holds. Gives whether it stands still.
    fn look_at_halt(&self, runtime: &Runtime, session: &Session) -> bool {
        let _turn = self.halting.lock().unwrap_or_else(PoisonError::into_inner);
        let halted = stands_still(runtime, session);
        session.halt(halted);
        halted
    }

    /// Looks after a run from now on.
    fn take_up(&self, runtime: &Runtime, session: Arc<Session>) {
        // Who uses the kill switch finds it, or it sees that it was used.
        let live = Live {
            _place: self.places.take(Kind::of(&session.lock().state)),
            session: Arc::clone(&session),
        };
        self.lock().insert(session.id.clone(), live);
        self.look_at_halt(runtime, &session);
        // Not before it is found: what it waits for may have come meanwhile.
        self.look_after(session);
    }

    /// Has what a run asks for done, and its agent work. In a process that does not look
    /// after runs it is told what people say, no more: it ends when that is kept, and
    /// would cut off what it began.
    fn look_after(&self, session: Arc<Session>) {
        if !self.is_owner() || std::mem::replace(&mut session.lock().looked_after, true) {
            return;
        }
        drive::recover(&session);
        self.io.spawn(drive::drive(session));
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends the attempts under way; their runs go on at the next start.
    pub(crate) fn stop(&self) {
        for session in self.sessions() {
            session.stop(session::Stop::Host);
        }
    }

    /// Ends what waits for a time, a person or a turn: it holds the host.
    pub(crate) fn let_go(&self) {
        for session in self.sessions() {
            session.abort_effects();
        }
    }

    /// Resolves when what the runs have to say is durable.
    pub(crate) async fn durable(&self) {
        for session in self.sessions() {
            session.at_rest().await;
        }
    }
}

/// Whether the kill switch keeps a run from going on.
fn stands_still(runtime: &Runtime, session: &Session) -> bool {
    let inner = session.lock();
    let agent = inner.state.start.as_ref().map(|start| start.agent.as_str());
    let run = crate::halt::OfRun {
        id: &session.id,
        first: &session.first,
        agent: agent.unwrap_or_default(),
    };
    runtime.ready() == Err(crate::NotReady::Halted) || runtime.halts.run(run)
}

/// Keeps the lease while the runtime lives. One that is lost ends what goes on
/// here: somebody else looks after the runs, or nothing of them can be kept.
async fn renew(runtime: Weak<Runtime>, owner: String) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let Some(runtime) = runtime.upgrade() else {
            return;
        };
        let now = crate::ids::now_ms();
        let renewed = runtime.store().lease(LEASE, &owner, now, LEASE_MS).await;
        if let Err(error) = renewed {
            tracing::error!(%error, "{}", health::not_renewed(&error));
            runtime.runs.lost.note(&error);
            for session in runtime.runs.sessions() {
                session.die();
            }
            return;
        }
    }
}
