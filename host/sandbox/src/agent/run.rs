//! One attempt at a run: a fresh store, the agent, its end.
//!
//! What must stay true: nothing of a store outlives the attempt; an agent is
//! compiled and run by an engine of its own, whose results are the same on every
//! machine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::contract::types::Outcome;
use super::contract::{AgentWorldPre, agent};
use super::state::AgentState;
use super::{AgentHost, Memory, RequestId, Stopped};
use crate::call::guard::{Guard, Vitals};
use crate::call::{CallError, outcome};
use crate::compile::CodeCache;
use crate::engine;
use crate::grants::EffectClass;
use crate::guests::{Guests, Work};
use crate::inspect::InstallError;
use crate::limits::Limits;
use crate::loaded::{LoadedSet, Used};
use crate::sandbox::{SandboxConfig, SandboxError};
use crate::spare::{Places, Spare};

/// Agents have no wall limit: a run waits for as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How much longer than the run took at first catching up may take, on a machine
/// that is slower or busier.
const CATCH_UP: u32 = 10;

/// Entries in the table of resources behind each handle.
const ENTRIES_PER_HANDLE: usize = 4;

/// What an agent is asked to do.
#[derive(Debug, Clone)]
pub struct AgentTask {
    /// What is to be reached, in words.
    pub goal: String,
    /// A JSON value.
    pub input: String,
    /// The run's state when it began.
    pub state: Memory,
    /// CPU time that the run took before: catching up may take ten times as much
    /// before the attempt's own `cpu` is touched.
    pub before: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEnd {
    /// The agent reached its goal: a JSON value.
    Done(String),
    /// It goes on as a new run with this input.
    ContinueAsNew(String),
    /// It failed, crashed, or reached a limit.
    Failed(CallError),
    /// There was no free sandbox: nothing of it ran.
    NoRoom,
    /// It ended with handles that it neither awaited, cancelled nor dropped.
    OpenHandles(Vec<RequestId>),
    /// Its host ended the attempt.
    Stopped,
}

impl From<Result<Outcome, crate::contract::types::Error>> for AgentEnd {
    fn from(end: Result<Outcome, crate::contract::types::Error>) -> Self {
        match end {
            Ok(Outcome::Done(output)) => Self::Done(output),
            Ok(Outcome::ContinueAsNew(input)) => Self::ContinueAsNew(input),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// The agent ended its run from inside a host call.
#[derive(Debug, thiserror::Error)]
#[error("the agent finished")]
pub(super) struct Finished(pub(super) AgentEnd);

/// An attempt's end and cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// How it ended.
    pub end: AgentEnd,
    /// CPU time of the attempt, replay included, microseconds.
    pub cpu_us: u64,
}

/// An agent's component, ready to be instantiated.
pub(crate) struct LoadedAgent {
    world: AgentWorldPre<AgentState>,
    /// Places that each of its sandboxes takes beyond its own.
    pub(crate) further: u32,
    last_used: AtomicU64,
}

impl Used for LoadedAgent {
    fn last_used(&self) -> &AtomicU64 {
        &self.last_used
    }
}

/// The agents' engine and what is loaded into it.
pub(crate) struct Agents {
    linker: Linker<AgentState>,
    pub(crate) cache: Arc<CodeCache>,
    pub(crate) loaded: LoadedSet<LoadedAgent>,
    pub(crate) spare: Arc<Spare>,
}

impl Agents {
    /// The engine of agents. Its code is cached beside that of tools: the cache
    /// knows code of the other engine and does not load it.
    pub(crate) fn new(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let engine_error =
            |error: wasmtime::Error| SandboxError::Engine(error.into_boxed_dyn_error());
        let runner = engine::runner(engine::Use::Agents, config.agents_max);
        let engine = runner.map_err(engine_error)?;
        let linker = super::link::linker(&engine).map_err(engine_error)?;
        let cache = CodeCache::open(
            &engine,
            &config.cache_dir,
            &config.cache_key_file,
            config.compiler.clone(),
            config.install.clone(),
        );
        Ok(Self {
            linker,
            cache: Arc::new(cache.map_err(SandboxError::Cache)?),
            loaded: LoadedSet::new(config.loaded_components_max),
            spare: engine::spare(config.agents_max),
        })
    }

    /// Links a compiled component.
    pub(crate) fn link(&self, component: &Component) -> Result<LoadedAgent, InstallError> {
        let pre = self.linker.instantiate_pre(component);
        let pre = pre.map_err(|error| InstallError::ImportMismatch {
            reason: format!("{error:#}"),
        })?;
        let world = AgentWorldPre::new(pre).map_err(|error| InstallError::Contract {
            reason: format!("{error:#}"),
        })?;
        Ok(LoadedAgent {
            world,
            further: engine::further(component),
            last_used: AtomicU64::new(0),
        })
    }
}

/// What is asked of an agent's component.
pub(crate) enum AgentAsk {
    /// To work on a task.
    Run(AgentTask),
    /// To say what it is for.
    About,
}

/// What it answers.
pub(crate) enum AgentSays {
    Ran(AgentEnd),
    About(agent::Purpose),
}

/// Asks an agent in a fresh store. Dropping the future ends it.
pub(crate) async fn ask(
    guests: &Guests,
    (loaded, places): (Arc<LoadedAgent>, Places),
    host: Arc<dyn AgentHost>,
    limits: Arc<Limits>,
    asked: AgentAsk,
) -> (AgentSays, u64) {
    let vitals = Arc::new(Vitals::default());
    let (own, told) = (Arc::clone(&vitals), Arc::clone(&host));
    if let AgentAsk::Run(task) = &asked {
        vitals.meter.grant(task.before.saturating_mul(CATCH_UP));
    }
    let work: Work<AgentSays> = Box::pin(async move {
        let memory = match &asked {
            AgentAsk::Run(task) => task.state.clone(),
            AgentAsk::About => Memory::default(),
        };
        let mut store = store(&loaded, host, &limits, &own, memory);
        let says = match answer(&loaded, &mut store, asked).await {
            Ok(says) => says,
            Err(error) => AgentSays::Ran(ended(&error, &limits, &own)),
        };
        let rest: Box<dyn Send> = Box::new((store, loaded, places));
        (says, rest)
    });
    let says = guests.run(Arc::clone(&vitals), work).await;
    let says = says.unwrap_or_else(|| {
        AgentSays::Ran(AgentEnd::Failed(CallError::Permanent {
            message: "the host failed while the agent ran".to_owned(),
        }))
    });
    let cpu_us = u64::try_from(vitals.meter.spent().as_micros()).unwrap_or(u64::MAX);
    told.spent(cpu_us);
    (says, cpu_us)
}

fn ended(error: &wasmtime::Error, limits: &Limits, vitals: &Vitals) -> AgentEnd {
    if error.downcast_ref::<Stopped>().is_some() {
        return AgentEnd::Stopped;
    }
    if let Some(Finished(end)) = error.downcast_ref() {
        return end.clone();
    }
    match outcome::ended(error, limits, vitals, EffectClass::ReadOnly) {
        CallError::Transient { .. } => AgentEnd::NoRoom,
        error => AgentEnd::Failed(error),
    }
}

async fn answer(
    loaded: &LoadedAgent,
    store: &mut Store<AgentState>,
    asked: AgentAsk,
) -> wasmtime::Result<AgentSays> {
    let instance = loaded.world.instantiate_async(&mut *store).await?;
    let guest = instance.airlock_agent_agent();
    Ok(match asked {
        AgentAsk::About => AgentSays::About(guest.call_about(store).await?),
        AgentAsk::Run(task) => {
            let ran = guest.call_run(&mut *store, &task.goal, &task.input).await?;
            let state = store.data_mut();
            AgentSays::Ran(match open_handles(state) {
                open if open.is_empty() => {
                    // What it was told of and did not read is not lost with it.
                    for id in std::mem::take(&mut state.held) {
                        state.host.detach(id)?;
                    }
                    ran.into()
                }
                open => AgentEnd::OpenHandles(open),
            })
        }
    })
}

/// Handles that the agent left without a word and of whose answers it was not told.
fn open_handles(state: &AgentState) -> Vec<RequestId> {
    let held = state.held.iter().copied();
    held.filter(|id| !state.host.is_told(*id)).collect()
}

fn store(
    loaded: &LoadedAgent,
    host: Arc<dyn AgentHost>,
    limits: &Arc<Limits>,
    vitals: &Arc<Vitals>,
    memory: Memory,
) -> Store<AgentState> {
    let mut table = wasmtime::component::ResourceTable::new();
    let handles = limits.handles as usize;
    table.set_max_capacity(handles.saturating_mul(ENTRIES_PER_HANDLE));
    let host_memory = usize::try_from(limits.host_memory.0).unwrap_or(usize::MAX);
    let deadline = Instant::now() + FOR_EVER;
    let guard = Guard::new(Arc::clone(vitals), Arc::clone(limits), deadline, FOR_EVER);
    let state = AgentState::new(host, table, guard, memory);
    let mut store = Store::new(loaded.world.engine(), state);
    store.limiter(|state| &mut state.guard);
    store.set_max_component_handles(handles);
    store.set_hostcall_fuel(host_memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.guard.is_granted() && state.host.is_live() {
            state.guard.ends_grant();
        }
        state.guard.tick()
    });
    store
}
