//! One use of a guest from start to end: a fresh store and instance, what is
//! asked of it, its answer.
//!
//! What must stay true: nothing of a store or instance outlives the use; the
//! deadline covers everything, host functions included.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};
use wasmtime::Store;

use super::guard::{Guard, Vitals, wall_reached};
use super::{CallError, CallRequest, outcome};
use crate::capability::RoomStates;
use crate::contract::types::{self, Context};
use crate::gate::Gate;
use crate::guests::{Ended, Work};
use crate::inert::{self, GuestExit};
use crate::limits::Limits;
use crate::loaded::{Exports, Loaded};
use crate::state::CallState;
use crate::typed::{TypedTools, json};

/// Host-side entries per guest handle: a pollable of a stream of a file has
/// several behind it.
const ENTRIES_PER_HANDLE: usize = 4;

/// What a guest runs in.
pub(crate) struct Confines {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) gate: Gate,
    pub(crate) rooms: RoomStates,
    pub(crate) vitals: Arc<Vitals>,
    /// How long it may take.
    pub(crate) wall: Duration,
    /// When it must end.
    pub(crate) deadline: Instant,
    /// Dropped once nothing of the guest is left.
    pub(crate) alive: watch::Sender<()>,
}

/// What is asked of a guest.
pub(crate) trait Ask: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// Asks it, in a fresh store.
    fn ask(
        &self,
        loaded: &Loaded,
        store: &mut Store<CallState>,
    ) -> impl Future<Output = wasmtime::Result<Result<Self::Answer, CallError>>> + Send;
}

impl Confines {
    /// The use of a guest as a future for the guests' threads.
    pub(crate) fn work<A: Ask>(mut self, asked: A) -> Work<Result<A::Answer, CallError>> {
        let (deadline, wall) = (self.deadline, self.wall);
        let alive = std::mem::take(&mut self.alive);
        Box::pin(async move {
            // Goes after the store when the future is dropped in the middle.
            let _alive = alive;
            if let Some(ended) = before(deadline, self.run(asked)).await {
                return ended;
            }
            let nothing: Box<dyn Send> = Box::new(());
            (Err(wall_reached(wall).into()), nothing)
        })
    }

    async fn run<A: Ask>(self, asked: A) -> Ended<Result<A::Answer, CallError>> {
        let (loaded, limits) = (Arc::clone(&self.loaded), Arc::clone(&self.limits));
        let (vitals, class) = (Arc::clone(&self.vitals), self.gate.info().class);
        let mut store = self.store();
        let answer = match asked.ask(&loaded, &mut store).await {
            Ok(answer) => answer,
            Err(error) => Err(outcome::ended(&error, &limits, &vitals, class)),
        };
        (answer, Box::new((store, loaded)))
    }

    /// A store with every limit set.
    fn store(self) -> Store<CallState> {
        let limits = self.limits;
        let mut table = wasmtime::component::ResourceTable::new();
        let handles = limits.handles as usize;
        table.set_max_capacity(handles.saturating_mul(ENTRIES_PER_HANDLE));
        let host_memory = usize::try_from(limits.host_memory.0).unwrap_or(usize::MAX);
        let state = CallState {
            table,
            gate: self.gate,
            rooms: self.rooms,
            inert: inert::State::default(),
            guard: Guard::new(self.vitals, limits, self.deadline, self.wall),
        };
        let mut store = Store::new(self.loaded.engine(), state);
        store.limiter(|state| &mut state.guard);
        store.set_max_component_handles(handles);
        store.set_hostcall_fuel(host_memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| store.data().guard.tick());
        store
    }
}

/// What `run` ends with, if before `deadline`. A timer is set up only when `run`
/// has to wait: most calls never do.
async fn before<T>(deadline: Instant, run: impl Future<Output = T>) -> Option<T> {
    let mut run = pin!(run);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = run.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        // A guest that uses up its task's turn must not keep the timer from it.
        let timer = timer.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(deadline))));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Parameters of the contract's `call`.
type CallParams<'a> = (&'a str, &'a str, &'a Context);

/// Its result.
type CallResult = (Result<String, types::Error>,);

/// A call of one tool.
pub(crate) struct ToolCall {
    pub(crate) request: CallRequest,
    pub(crate) limits: Arc<Limits>,
    /// How long it may take from now on.
    pub(crate) left: Duration,
}

impl Ask for ToolCall {
    type Answer = String;

    async fn ask(
        &self,
        loaded: &Loaded,
        store: &mut Store<CallState>,
    ) -> wasmtime::Result<Result<String, CallError>> {
        match loaded.exports() {
            Exports::ToolWorld { pre, call, .. } => {
                let (tool, input) = (&self.request.tool, &self.request.input);
                if let Err(error) = json::check_input(input, self.limits.input) {
                    return Ok(Err(error));
                }
                let instance = pre.instantiate_async(&mut *store).await?;
                let call =
                    instance.get_typed_func::<CallParams<'_>, CallResult>(&mut *store, call)?;
                let (answered,) = call
                    .call_async(store, (tool, input, &self.context()))
                    .await?;
                Ok(answered
                    .map_err(CallError::from)
                    .and_then(|output| self.output(output)))
            }
            Exports::Typed { pre, tools } => self.typed(pre, tools, store).await,
        }
    }
}

/// A program says by its exit status what it says by returning from `main`.
fn by_status(error: wasmtime::Error) -> wasmtime::Result<Result<String, CallError>> {
    match error.downcast_ref::<GuestExit>() {
        Some(GuestExit { status: 0 }) => Ok(Ok("null".to_owned())),
        Some(GuestExit { status }) => Ok(Err(CallError::Permanent {
            message: format!("the program exited with status {status}"),
        })),
        None => Err(error),
    }
}

impl ToolCall {
    async fn typed(
        &self,
        pre: &wasmtime::component::InstancePre<CallState>,
        tools: &TypedTools,
        store: &mut Store<CallState>,
    ) -> wasmtime::Result<Result<String, CallError>> {
        let Some(tool) = tools.find(&self.request.tool) else {
            return Ok(Err(CallError::NotFound {
                message: format!("no tool `{}`", self.request.tool),
            }));
        };
        let input = &self.request.input;
        let params = match tool.read_input(input, self.limits.host_memory) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        let instance = pre.instantiate_async(&mut *store).await?;
        let result = match tool.run(store, &instance, &params).await {
            Err(error) if tool.is_program() => return by_status(error),
            result => result?,
        };
        Ok(tool.write_output(result.as_ref(), self.limits.output))
    }

    fn context(&self) -> Context {
        Context {
            call_id: self.request.call_id.clone(),
            principal: self.request.principal.clone(),
            idempotency_key: self.request.idempotency_key.clone(),
            deadline_ms: u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX),
            attempt: self.request.attempt,
        }
    }

    fn output(&self, output: String) -> Result<String, CallError> {
        json::check_output(&output, self.limits.output)?;
        Ok(output)
    }
}
