//! One call from start to end: a fresh store and instance, the tool, its answer.
//!
//! What must stay true: nothing of a store or instance outlives the call; the
//! deadline covers everything, host functions included.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::time::Instant;
use wasmtime::Store;

use super::guard::{Guard, Vitals, wall_reached};
use super::{CallError, CallRequest, outcome};
use crate::capability::RoomStates;
use crate::contract::types::Context;
use crate::gate::{Gate, LimitReached};
use crate::guests::{Ended, Work};
use crate::inert;
use crate::limits::Limits;
use crate::loaded::{Exports, Loaded};
use crate::state::CallState;

/// All that one call needs.
pub(crate) struct Job {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) request: CallRequest,
    pub(crate) limits: Arc<Limits>,
    pub(crate) gate: Gate,
    pub(crate) rooms: RoomStates,
    pub(crate) vitals: Arc<Vitals>,
    /// How long it may take.
    pub(crate) wall: Duration,
    /// When it must end.
    pub(crate) deadline: Instant,
}

/// What a call ends with.
pub(crate) type Answer = Result<String, CallError>;

impl Job {
    /// The call as a future for the guests' threads.
    pub(crate) fn work(self) -> Work<Answer> {
        let (deadline, wall) = (self.deadline, self.wall);
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, self.run()).await {
                Ok(ended) => ended,
                Err(_) => (
                    Err(wall_reached(wall).into()),
                    Box::new(()) as Box<dyn Send>,
                ),
            }
        })
    }

    async fn run(self) -> Ended<Answer> {
        let call = Call {
            loaded: self.loaded,
            request: self.request,
            limits: Arc::clone(&self.limits),
            deadline: self.deadline,
        };
        let guard = Guard::new(
            Arc::clone(&self.vitals),
            self.limits,
            self.deadline,
            self.wall,
        );
        let mut store = store(
            call.loaded.engine(),
            &call.limits,
            self.gate,
            self.rooms,
            guard,
        );
        let answer = match call.invoke(&mut store).await {
            Ok(answer) => answer,
            Err(error) => Err(outcome::ended(&error, &call.limits, &self.vitals)),
        };
        (answer, Box::new((store, call)))
    }
}

/// A store for one call, with every limit set.
pub(crate) fn store(
    engine: &wasmtime::Engine,
    limits: &Limits,
    gate: Gate,
    rooms: RoomStates,
    guard: Guard,
) -> Store<CallState> {
    let mut table = wasmtime::component::ResourceTable::new();
    table.set_max_capacity(limits.handles as usize);
    let state = CallState {
        table,
        gate,
        rooms,
        inert: inert::State::default(),
        guard,
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.guard);
    store.set_max_component_handles(limits.handles as usize);
    store.set_hostcall_fuel(usize::try_from(limits.host_memory.0).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| store.data().guard.tick());
    store
}

struct Call {
    loaded: Arc<Loaded>,
    request: CallRequest,
    limits: Arc<Limits>,
    deadline: Instant,
}

impl Call {
    async fn invoke(&self, store: &mut Store<CallState>) -> wasmtime::Result<Answer> {
        match self.loaded.exports() {
            Exports::ToolWorld(pre) => {
                let guest = pre.instantiate_async(&mut *store).await?;
                let (tool, input) = (&self.request.tool, &self.request.input);
                let tools = guest.airlock_tool_tools();
                let answered = tools.call_call(store, tool, input, &self.context()).await?;
                Ok(answered
                    .map_err(CallError::from)
                    .and_then(|out| self.output(out)))
            }
        }
    }

    fn context(&self) -> Context {
        let left = self.deadline.saturating_duration_since(Instant::now());
        Context {
            call_id: self.request.call_id.clone(),
            principal: self.request.principal.clone(),
            idempotency_key: self.request.idempotency_key.clone(),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            attempt: self.request.attempt,
        }
    }

    fn output(&self, output: String) -> Answer {
        if output.len() as u64 > self.limits.output.0 {
            let value = self.limits.output.to_string();
            return Err(LimitReached {
                limit: "output",
                value,
            }
            .into());
        }
        match serde_json::from_str::<IgnoredAny>(&output) {
            Ok(_) => Ok(output),
            Err(error) => Err(CallError::Permanent {
                message: format!("the tool's output is not JSON: {error}"),
            }),
        }
    }
}
