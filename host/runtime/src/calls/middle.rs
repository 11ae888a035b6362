//! Where a call is made: in a sandbox, or at an MCP server. All else of its path is
//! the same.
//!
//! What must stay true: what is called is what is in force when it is; a tool that
//! its server changed is refused before anything of the call is on record.

use std::sync::Arc;
use std::time::Duration;

use crate::Progress;
use airlock_mcp_client::Fault;
use airlock_sandbox::{CallError, CallReport, CallRequest, EffectClass};
use tokio::sync::watch;

use crate::admission::NotAdmitted;
use crate::calls::run::{Ending, Ready, in_force, remaining, told_to};
use crate::calls::{CallRefused, CallStage};
use crate::engine::Plugin;
use crate::plugins::Active;
use crate::principal::Principal;
use crate::remote::{Linked, Remote, Served, ServedWatch, Serving};
use crate::runtime::Runtime;
use crate::stop::Stop;

/// How long a cancelled guest is waited for before its call is put on record; it
/// ends at its next epoch tick or host call.
const CUT_SHORT_WAIT: Duration = Duration::from_secs(5);

/// Where a call is to be made.
pub(super) enum Side {
    Guest(Arc<Plugin>),
    /// The connection, or what kept it from being there.
    Server(Result<Arc<Linked>, Fault>),
}

/// A call that has begun.
pub(super) enum Begun<'a> {
    Guest(airlock_sandbox::Begun<'a>),
    Server(Served),
}

/// Sees a call from outside. Clones see the same call.
#[derive(Clone)]
pub(super) enum Watch {
    Guest(airlock_sandbox::Watch),
    Server(ServedWatch),
}

impl Begun<'_> {
    pub(super) fn watch(&self) -> Watch {
        match self {
            Self::Guest(begun) => Watch::Guest(begun.watch()),
            Self::Server(served) => Watch::Server(served.watch()),
        }
    }

    pub(super) async fn run(self) -> CallReport {
        match self {
            Self::Guest(begun) => begun.run().await,
            Self::Server(served) => served.run().await,
        }
    }
}

impl Watch {
    fn progress(&self) -> watch::Receiver<Option<Progress>> {
        match self {
            Self::Guest(watch) => watch.progress(),
            Self::Server(watch) => watch.progress(),
        }
    }

    /// A host that halts closes its servers too, and a call may learn of that first, by
    /// a connection that is gone.
    pub(super) fn may_have_lost_its_server(&self, report: &CallReport) -> bool {
        let Self::Server(watch) = self else {
            return false;
        };
        match &report.result {
            Err(CallError::Unknown { .. }) => true,
            // One that must not happen twice was not sent.
            Err(CallError::Transient { .. }) => {
                matches!(watch.class, EffectClass::ReadOnly | EffectClass::Idempotent)
            }
            _ => false,
        }
    }

    /// What a call did whose future was dropped, once its guest is gone, so that
    /// nothing it does is left out.
    pub(super) async fn cut_short(&self) -> CallReport {
        match self {
            Self::Guest(watch) => {
                let ended = tokio::time::timeout(CUT_SHORT_WAIT, watch.ended());
                if ended.await.is_err() {
                    tracing::error!("a cancelled guest is still there");
                }
                watch.report(Err(CallError::Cancelled))
            }
            Self::Server(watch) => watch.report(Err(CallError::Cancelled), true),
        }
    }
}

impl Runtime {
    /// Where a call is made by what is in force now. Making that takes a while, and
    /// what is changed meanwhile must hold for this call too.
    pub(super) async fn side(
        &self,
        who: &Principal,
        ready: &mut Ready,
        tool: &str,
        end: &Ending<'_>,
    ) -> Result<Side, CallRefused> {
        loop {
            let side = match &ready.active.remote {
                Some(remote) => Side::Server(self.linked(who, ready, remote, end).await?),
                None => Side::Guest(self.made(&ready.active).await?),
            };
            let (active, class) = in_force(&ready.slot, tool)?;
            if Arc::ptr_eq(&active, &ready.active) {
                return Ok(side);
            }
            (ready.active, ready.class) = (active, class);
        }
    }

    async fn made(&self, active: &Arc<Active>) -> Result<Arc<Plugin>, CallRefused> {
        let failed = |why: String| {
            tracing::error!(plugin = active.name, why, "grants can't be put in force");
            CallRefused::Prepare {
                plugin: active.name.clone(),
                why,
            }
        };
        match active.made() {
            Some(plugin) => Ok(plugin),
            None => {
                let active = self.prepared(Arc::clone(active)).await.map_err(failed)?;
                active
                    .made()
                    .ok_or_else(|| failed("it was changed meanwhile".to_owned()))
            }
        }
    }

    /// A connection to a server, within the time of the call. Nothing of the call is
    /// on record yet, so whoever ends it ends it without a trace.
    async fn linked(
        &self,
        who: &Principal,
        ready: &Ready,
        remote: &Remote,
        end: &Ending<'_>,
    ) -> Result<Result<Arc<Linked>, Fault>, CallRefused> {
        let before = remote.seen();
        let wall = ready.active.limits.wall.0;
        let wall = remaining(ready.waits_until).map_or(wall, |left| left.min(wall));
        let plugin = ready.slot.name.clone();
        let mut stop = self.stop.subscribe();
        let linked = tokio::select! {
            biased;
            linked = tokio::time::timeout(wall, remote.linked(&self.remotes, &who.name)) => Ok(linked.unwrap_or_else(|_| {
                Err(Fault::NotSent("it was not ready in time".to_owned()))
            })),
            () = told_to(end.step.map(|step| step.cancel)) => Err(CallRefused::Cancelled),
            () = self.halts.ends(&plugin, end.step.map(|step| step.run)) => {
                Err(NotAdmitted::PluginHalted { plugin: plugin.clone() }.into())
            }
            _ = stop.wait_for(|stop| matches!(stop, Stop::Halted | Stop::Now)) => {
                Err(NotAdmitted::Halted.into())
            }
        };
        if remote.offers_others_than(before.as_deref()) {
            self.registry.touch();
        }
        linked
    }

    /// Begins a call. `here`: on this very task, see [`airlock_sandbox::Begun::here`].
    pub(super) fn begin(
        &self,
        side: Side,
        request: CallRequest,
        active: &Active,
        here: bool,
    ) -> Begun<'_> {
        match side {
            Side::Guest(plugin) => {
                let begun = self.sandbox.begin(&plugin, request);
                Begun::Guest(match here {
                    true => begun.here(),
                    false => begun,
                })
            }
            Side::Server(linked) => {
                let wall = active.limits.wall.0;
                Begun::Server(Served::new(Serving {
                    linked,
                    tool: request.tool,
                    input: request.input,
                    idempotency_key: request.idempotency_key,
                    class: request.class,
                    wall: request.timeout.map_or(wall, |timeout| timeout.min(wall)),
                    output_bytes_max: active.limits.output.0,
                }))
            }
        }
    }
}

/// Passes on what a guest reports, the last of it too.
pub(super) struct Told {
    progress: watch::Receiver<Option<Progress>>,
    stage: watch::Sender<CallStage>,
}

impl Told {
    pub(super) fn new(watch: &Watch, stage: watch::Sender<CallStage>) -> Self {
        let progress = watch.progress();
        stage.send_replace(CallStage::Running(None));
        Self { progress, stage }
    }

    /// Waits for the next report and passes it on; for ever when nobody asked.
    pub(super) async fn more(told: &mut Option<Self>) {
        let Some(told) = told else {
            return std::future::pending().await;
        };
        match told.progress.changed().await {
            Ok(()) => told.pass_on(),
            Err(_) => std::future::pending().await,
        }
    }

    /// The end of a call publishes its last report once more.
    fn pass_on(&mut self) {
        let next = CallStage::Running(self.progress.borrow_and_update().clone());
        self.stage.send_if_modified(|stage| {
            let changed = *stage != next;
            *stage = next;
            changed
        });
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.progress.has_changed().unwrap_or(false) {
            self.pass_on();
        }
    }
}
