//! One use of a guest from start to end: a fresh store and instance, what is
//! asked of it, its answer.
//!
//! What must stay true: nothing of a store or instance outlives the use; the
//! deadline covers everything, host functions included.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::Unconstrained;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime::Store;

use super::guard::{Guard, Vitals, wall_reached};
use super::left::Present;
use super::{CallError, outcome};
use crate::capability::RoomStates;
use crate::contract::types;
use crate::gate::Gate;
use crate::guests::{Ended, Work};
use crate::inert::{self, GuestExit};
use crate::limits::Limits;
use crate::loaded::{Exports, Loaded};
use crate::spare::Places;
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
    /// What it takes beyond the place that each call has.
    pub(crate) places: Places,
    /// Dropped once nothing of the guest is left.
    pub(crate) present: Present,
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
    pub(crate) fn work<A: Ask>(self, asked: A) -> Work<Result<A::Answer, CallError>> {
        let (deadline, wall) = (self.deadline, self.wall);
        Box::pin(Bounded {
            // Some 2 KiB, that are moved once.
            run: Some(Box::pin(self.run(asked))),
            deadline,
            wall,
            timer: None,
        })
    }

    async fn run<A: Ask>(self, asked: A) -> Ended<Result<A::Answer, CallError>> {
        let (loaded, limits) = (Arc::clone(&self.loaded), Arc::clone(&self.limits));
        let (vitals, class) = (Arc::clone(&self.vitals), self.gate.info().class);
        // Whenever this is dropped, the store goes first.
        let (rest, mut store) = self.open();
        let answer = match asked.ask(&loaded, &mut store).await {
            Ok(answer) => answer,
            Err(error) => Err(outcome::ended(&error, &limits, &vitals, class)),
        };
        (answer, Box::new((store, loaded, rest)))
    }

    /// A store with every limit set, and what is given back after it.
    fn open(self) -> ((Places, Present), Store<CallState>) {
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
        ((self.places, self.present), store)
    }
}

/// What `run` ends with, if before `deadline`.
struct Bounded<T> {
    /// `None` once it was ended: nothing of the guest is left when that is told.
    run: Option<Work<Result<T, CallError>>>,
    deadline: Instant,
    wall: Duration,
    /// Set up only when `run` has to wait: most calls never do. A guest that uses
    /// up its task's turn must not keep it from it.
    timer: Option<Pin<Box<Unconstrained<Sleep>>>>,
}

impl<T> Future for Bounded<T> {
    type Output = Ended<Result<T, CallError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(run) = &mut this.run
            && let Poll::Ready(ended) = run.as_mut().poll(cx)
        {
            return Poll::Ready(ended);
        }
        let timer = || Box::pin(unconstrained(sleep_until(this.deadline)));
        ready!(this.timer.get_or_insert_with(timer).as_mut().poll(cx));
        this.run = None;
        Poll::Ready((Err(wall_reached(this.wall).into()), Box::new(())))
    }
}

/// Parameters of the contract's `call`.
type CallParams<'a> = (&'a str, &'a str, &'a types::Context);

/// Its result.
type CallResult = (Result<String, types::Error>,);

/// A call of one tool.
pub(crate) struct ToolCall {
    /// Names the tool, the caller and the call.
    pub(crate) gate: Gate,
    pub(crate) input: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) attempt: u32,
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
                let (tool, input) = (&self.gate.info().tool, &self.input);
                if let Err(error) = json::check_input(input, self.limits.input) {
                    return Ok(Err(error));
                }
                let instance = pre.instantiate_async(&mut *store).await?;
                let call =
                    instance.get_typed_func::<CallParams<'_>, CallResult>(&mut *store, call)?;
                let (answered,) = call
                    .call_async(&mut *store, (tool, input, &self.context()))
                    .await?;
                let failed = answered.is_err();
                let answer = answered
                    .map_err(CallError::from)
                    .and_then(|output| self.output(output));
                if failed || answer.is_ok() {
                    store.data().guard.told();
                }
                Ok(answer)
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
        let name = &self.gate.info().tool;
        let Some(tool) = tools.find(name) else {
            return Ok(Err(CallError::NotFound {
                message: format!("no tool `{name}`"),
            }));
        };
        let params = match tool.read_input(&self.input, self.limits.host_memory) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        let instance = pre.instantiate_async(&mut *store).await?;
        let answer = match tool.run(&mut *store, &instance, &params).await {
            Err(error) if tool.is_program() => {
                let answer = by_status(error)?;
                store.data().guard.told();
                return Ok(answer);
            }
            result => tool.write_output(result?.as_ref(), self.limits.output),
        };
        // The tool's own word, or an output that can't be told: a limit.
        if !matches!(answer, Err(CallError::Limit { .. })) {
            store.data().guard.told();
        }
        Ok(answer)
    }

    fn context(&self) -> types::Context {
        let info = self.gate.info();
        types::Context {
            call_id: info.call_id.clone(),
            principal: info.principal.clone(),
            idempotency_key: self.idempotency_key.clone(),
            deadline_ms: u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX),
            attempt: self.attempt,
        }
    }

    fn output(&self, output: String) -> Result<String, CallError> {
        json::check_output(&output, self.limits.output)?;
        Ok(output)
    }
}
