//! Compiled code in memory: loaded at the first call of a component, kept while
//! it is among the most recently used.
//!
//! What must stay true: at most the configured number is kept; a component is
//! loaded once at a time, however many calls wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::contract::ToolPre;
use crate::engine;
use crate::inspect::{InstallError, Kind};
use crate::state::CallState;
use crate::typed::TypedTools;

/// The contract's interface of tools, as the bindings name it.
const TOOLS: &str = "airlock:tool/tools@1.0.0";

/// A component, ready to be instantiated.
pub(crate) struct Loaded {
    engine: Engine,
    exports: Exports,
    further: u32,
    last_used: AtomicU64,
}

/// How its tools are called.
pub(crate) enum Exports {
    /// The contract's world.
    ToolWorld {
        /// What is instantiated.
        pre: InstancePre<CallState>,
        /// `call`, found once: looking it up costs a call more than the gate does.
        call: ComponentExportIndex,
        /// For the metadata call.
        world: ToolPre<CallState>,
    },
    /// Functions of its own.
    Typed {
        /// What is instantiated.
        pre: InstancePre<CallState>,
        /// The functions and their types.
        tools: TypedTools,
    },
}

impl Loaded {
    /// Links a compiled component.
    ///
    /// # Errors
    /// It does not fit what it imports, or what it should export.
    pub(crate) fn new(
        linker: &Linker<CallState>,
        component: &Component,
        kind: Kind,
    ) -> Result<Self, InstallError> {
        let mismatch = |error: wasmtime::Error| InstallError::ImportMismatch {
            reason: format!("{error:#}"),
        };
        let engine = component.engine().clone();
        let pre = linker.instantiate_pre(component).map_err(mismatch)?;
        let exports = match kind {
            Kind::ToolWorld => {
                let world = ToolPre::new(pre.clone()).map_err(|error| contract(&error))?;
                let call = call_index(component).ok_or_else(|| InstallError::Contract {
                    reason: "`call` is not exported".to_owned(),
                })?;
                Exports::ToolWorld { pre, call, world }
            }
            Kind::Typed => {
                let tools = TypedTools::new(&engine, component)?;
                Exports::Typed { pre, tools }
            }
            Kind::Agent => {
                let reason = "an agent has no tools".to_owned();
                return Err(InstallError::Contract { reason });
            }
            Kind::Server => {
                let reason = "an MCP server is no component".to_owned();
                return Err(InstallError::Contract { reason });
            }
        };
        Ok(Self {
            engine,
            exports,
            further: engine::further(component),
            last_used: AtomicU64::new(0),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Places that each of its calls takes beyond its own.
    pub(crate) fn further(&self) -> u32 {
        self.further
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.exports
    }
}

fn contract(error: &wasmtime::Error) -> InstallError {
    let reason = format!("{error:#}");
    InstallError::Contract { reason }
}

fn call_index(component: &Component) -> Option<ComponentExportIndex> {
    let tools = component.get_export_index(None, TOOLS)?;
    component.get_export_index(Some(&tools), "call")
}

/// What a [`LoadedSet`] keeps.
pub(crate) trait Used {
    /// The number of its last use.
    fn last_used(&self) -> &AtomicU64;
}

impl Used for Loaded {
    fn last_used(&self) -> &AtomicU64 {
        &self.last_used
    }
}

type Slot<T> = Arc<OnceCell<Arc<T>>>;

/// Loaded components by digest.
pub(crate) struct LoadedSet<T = Loaded> {
    slots: Mutex<HashMap<String, Slot<T>>>,
    uses: AtomicU64,
    max: usize,
}

impl<T: Used> LoadedSet<T> {
    /// An empty set that keeps `max` components, at least one.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: Mutex::default(),
            uses: AtomicU64::new(1),
            max: max.max(1),
        }
    }

    /// Notes a use, so that the least recently used goes first.
    pub(crate) fn touch(&self, loaded: &T) {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        loaded.last_used().store(now, Ordering::Relaxed);
    }

    /// The component, loaded by `load` when it is not there.
    pub(crate) async fn get<E>(
        &self,
        digest: &str,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let slot = Arc::clone(self.lock().entry(digest.to_owned()).or_default());
        let got = slot
            .get_or_try_init(|| async { load.await.map(Arc::new) })
            .await
            .cloned();
        match &got {
            Ok(loaded) => {
                self.touch(loaded);
                self.evict();
            }
            Err(_) => self.forget_empty(digest),
        }
        got
    }

    /// How many are in memory.
    pub(crate) fn len(&self) -> usize {
        let slots = self.lock();
        slots.values().filter(|slot| slot.initialized()).count()
    }

    fn forget_empty(&self, digest: &str) {
        let mut slots = self.lock();
        if slots.get(digest).is_some_and(|slot| !slot.initialized()) {
            slots.remove(digest);
        }
    }

    fn evict(&self) {
        let mut slots = self.lock();
        while slots.len() > self.max {
            let used = |slot: &Slot<T>| slot.get().map(|l| l.last_used().load(Ordering::Relaxed));
            let oldest = slots
                .iter()
                .filter_map(|(digest, slot)| used(slot).map(|used| (used, digest.clone())))
                .min();
            let Some((_, digest)) = oldest else { return };
            slots.remove(&digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot<T>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
