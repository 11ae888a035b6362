//! A call that has begun, and what can be seen of it from outside.
//!
//! What must stay true: what a call used, was denied and logged can be told
//! whatever became of it, also when its future was dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::plugin::Terms;
use super::{InFlight, Place, Plugin, Sandbox, micros};
use crate::call::guard::Vitals;
use crate::call::left::Present;
use crate::call::run::{Confines, ToolCall};
use crate::call::{CallError, CallReport, CallRequest, Usage};
use crate::capability::log::{LogBuffer, Progress};
use crate::capability::{CallContext, RoomStates};
use crate::gate::{CallInfo, Gate};

/// A call that was asked for. Nothing of it happens before [`Begun::run`], but
/// its time runs.
pub struct Begun<'s> {
    sandbox: &'s Sandbox,
    plugin: Arc<Plugin>,
    input: String,
    idempotency_key: Option<String>,
    attempt: u32,
    terms: Terms,
    rooms: RoomStates,
    wall: Duration,
    deadline: Instant,
    watch: Watch,
    present: Present,
    place: Place,
}

/// Sees one call from outside. Clones see the same call.
#[derive(Clone)]
pub struct Watch {
    started: Instant,
    gate: Gate,
    vitals: Arc<Vitals>,
    log: LogBuffer,
}

impl<'s> Begun<'s> {
    pub(super) fn new(sandbox: &'s Sandbox, plugin: &Arc<Plugin>, request: CallRequest) -> Self {
        let started = Instant::now();
        let terms = plugin.terms();
        let info = CallInfo {
            call_id: request.call_id,
            plugin: plugin.shared_name(),
            tool: request.tool,
            principal: request.principal,
            caller: request.caller,
            class: request.class,
        };
        let gate = plugin.gate(info, &terms);
        let wall = terms.limits.wall.0;
        let wall = request.timeout.map_or(wall, |timeout| timeout.min(wall));
        let deadline = started + wall;
        let mut rooms = terms.rooms.states(CallContext {
            gate: gate.clone(),
            limits: Arc::clone(&terms.limits),
            services: Arc::clone(plugin.services()),
            started,
            deadline,
        });
        let vitals = Arc::default();
        let present = Present::new(&vitals);
        let log = rooms.log().clone();
        Self {
            sandbox,
            plugin: Arc::clone(plugin),
            input: request.input,
            idempotency_key: request.idempotency_key,
            attempt: request.attempt,
            terms,
            rooms,
            wall,
            deadline,
            watch: Watch {
                started,
                gate,
                vitals,
                log,
            },
            present,
            place: Place::Guests,
        }
    }

    /// For a task that itself runs on [`Sandbox::guest_runtime`]: spares the way to
    /// another thread and back. A call that turns out long still moves away from
    /// it.
    #[must_use]
    pub fn here(mut self) -> Self {
        self.place = Place::Here;
        self
    }

    /// Sees the call from outside.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Runs it in a fresh sandbox. Dropping the future cancels it: the guest ends
    /// at its next epoch tick or host call, see [`Watch::ended`].
    pub async fn run(self) -> CallReport {
        let Self { sandbox, watch, .. } = &self;
        let (sandbox, watch) = (*sandbox, watch.clone());
        let _in_flight = InFlight::new(&sandbox.calls);
        let (plugin, limits) = (&self.plugin, &self.terms.limits);
        let asked = (&*watch.gate.info().tool, &*self.input);
        let admitted = sandbox.admit(plugin, asked, limits, self.deadline).await;
        let admitted = admitted.and_then(|loaded| {
            let places = sandbox.further(plugin.name(), &loaded)?;
            Ok((loaded, places))
        });
        let result = match admitted {
            Ok((loaded, places)) => {
                let confines = Confines {
                    loaded,
                    places,
                    limits: Arc::clone(&self.terms.limits),
                    gate: self.watch.gate.clone(),
                    rooms: self.rooms,
                    vitals: self.watch.vitals,
                    wall: self.wall,
                    deadline: self.deadline,
                    present: self.present,
                };
                let asked = ToolCall {
                    gate: self.watch.gate,
                    input: self.input,
                    idempotency_key: self.idempotency_key,
                    attempt: self.attempt,
                    limits: self.terms.limits,
                    left: self.deadline.saturating_duration_since(Instant::now()),
                };
                sandbox.run(confines, asked, self.place).await
            }
            Err(error) => Err(error),
        };
        watch.report(result)
    }
}

impl Watch {
    /// The guest's reports on its progress as they come: at most 100 per second,
    /// a later one replacing an earlier one that nobody has seen.
    pub fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.log.progress()
    }

    /// Resolves once nothing of the guest is left. File operations that had
    /// started may still run to their end.
    pub async fn ended(&self) {
        self.vitals.left.wait().await;
    }

    /// What the call did up to now, with `result` as its end. Takes its log.
    pub fn report(&self, result: Result<String, CallError>) -> CallReport {
        let usage = Usage {
            wall_us: micros(self.started.elapsed()),
            cpu_us: micros(self.vitals.meter.spent()),
            peak_memory_bytes: self.vitals.peak_memory_bytes.load(Ordering::Relaxed),
            capabilities: self.gate.usage(),
        };
        CallReport {
            lost: result.is_err() && !self.vitals.told.load(Ordering::Relaxed) && usage.acts(),
            result,
            usage,
            denials: self.gate.denials(),
            log: self.log.finish().records,
        }
    }
}
