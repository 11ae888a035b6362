//! The sandbox as a whole: plugins in, calls in, reports out.
//!
//! What must stay true: a call holds what was in force when it began, and sees a
//! changed grant at its next use; dropping a call's future ends the guest.

mod agents;
mod begun;
mod install;
mod loader;
mod plugin;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use crate::agent::Agents;
use crate::call::run::{Confines, ToolCall};
use crate::call::{CallError, CallReport, CallRequest, outcome};
use crate::capability::{PrepareError, files};
use crate::compile::{CodeCache, Compiler, InstallLimits};
use crate::engine;
use crate::gate::LimitReached;
use crate::grants::Grants;
use crate::guests::Guests;
use crate::inspect::{Bounds, Manifest};
use crate::limits::Limits;
use crate::link;
use crate::loaded::{Loaded, LoadedSet};
use crate::services::Services;
use crate::spare::{Places, Spare};

pub use begun::{Begun, Watch};
use loader::Loader;
pub use plugin::Plugin;

/// How the sandbox is set up. Given once, at start.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Directory of the compiled code; created when absent.
    pub cache_dir: PathBuf,
    /// The key that authenticates compiled code, outside `cache_dir`; created
    /// with mode 0600 when absent.
    pub cache_key_file: PathBuf,
    /// The program that compiles.
    pub compiler: Compiler,
    /// Bounds on what is installed.
    pub install: InstallLimits,
    /// Threads for short calls, and as many for long ones.
    pub guest_workers: usize,
    /// Calls at once, over all plugins.
    pub calls_max: u32,
    /// Agents in a sandbox at once; runs that wait longer hold none.
    pub agents_max: u32,
    /// Components whose compiled code is kept in memory, tools and agents each.
    pub loaded_components_max: usize,
}

impl SandboxConfig {
    /// The defaults, for a cache in `cache_dir` with its key in
    /// `cache_key_file`: a thread of each kind per core, 1,000 calls at once, 64
    /// components in memory.
    pub fn new(cache_dir: PathBuf, cache_key_file: PathBuf, compiler: Compiler) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache_dir,
            cache_key_file,
            compiler,
            install: InstallLimits::default(),
            guest_workers: cores,
            calls_max: 1_000,
            agents_max: 200,
            loaded_components_max: 64,
        }
    }
}

/// Where component bytes come from when their compiled code isn't cached.
pub trait ComponentSource: Send + Sync + 'static {
    /// The bytes of the component with this digest.
    ///
    /// # Errors
    /// `NotFound` when it is not there, `InvalidData` when what is there has
    /// another digest, any other when it can't be read.
    fn component(&self, digest: &str) -> std::io::Result<Bytes>;
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine's settings or its pool.
    #[error("starting the engine")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The guests' threads.
    #[error("starting the guests' threads")]
    Guests(#[source] std::io::Error),
    /// The cache of compiled code or its key.
    #[error("opening the cache of compiled code")]
    Cache(#[source] crate::compile::CacheError),
}

/// Figures for `/metrics` and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SandboxStats {
    /// Calls that have not ended.
    pub calls_in_flight: u64,
    /// Sandboxes that exist, including those being taken down.
    pub sandboxes: u64,
    /// Components compiled since the start.
    pub compiled: u64,
    /// Compiled code found on disk, and sound.
    pub cache_hits: u64,
    /// Compiled code that was not there.
    pub cache_misses: u64,
    /// Files in the cache that were refused: altered, cut short or of another
    /// build.
    pub cache_refused: u64,
    /// Components in memory.
    pub loaded: u64,
}

/// The engine, its cache and its threads.
pub struct Sandbox {
    guests: Guests,
    loader: Arc<Loader>,
    services: Arc<Services>,
    calls: Arc<AtomicU64>,
    spare: Arc<Spare>,
    agents: Agents,
}

impl Sandbox {
    /// Starts the engine and the guests' threads.
    ///
    /// # Errors
    /// [`SandboxError`] names what could not be started.
    pub fn new(
        config: SandboxConfig,
        services: Arc<Services>,
        components: Arc<dyn ComponentSource>,
    ) -> Result<Arc<Self>, SandboxError> {
        engine::raise_open_files();
        let engine = engine::runner(engine::Use::Tools, config.calls_max).map_err(engine_error)?;
        let linker = link::linker(&engine).map_err(engine_error)?;
        let guests = Guests::new(config.guest_workers.max(1)).map_err(SandboxError::Guests)?;
        let agents = Agents::new(&config)?;
        let spare = engine::spare(config.calls_max);
        let cache = CodeCache::open(
            &engine,
            &config.cache_dir,
            &config.cache_key_file,
            config.compiler,
            config.install,
        );
        Ok(Arc::new(Self {
            agents,
            guests,
            loader: Arc::new(Loader {
                linker,
                loaded: LoadedSet::new(config.loaded_components_max),
                cache: Arc::new(cache.map_err(SandboxError::Cache)?),
                components,
                io: services.io.clone(),
            }),
            services,
            calls: Arc::default(),
            spare,
        }))
    }

    /// A plugin over an installed component. Its code is loaded at its first
    /// call.
    ///
    /// # Errors
    /// The first rule that can't be put in force.
    pub fn plugin(
        &self,
        name: &str,
        manifest: Arc<Manifest>,
        version: u64,
        grants: Grants,
        limits: Limits,
    ) -> Result<Arc<Plugin>, PrepareError> {
        let services = Arc::clone(&self.services);
        let plugin = Plugin::new(name, manifest, services, version, grants, limits)?;
        Ok(Arc::new(plugin))
    }

    /// Refuses grants of what belongs to the host itself, see
    /// [`Services::reserved`]. Preparing a plugin refuses the same. Blocks.
    ///
    /// # Errors
    /// The first rule that names such a place.
    pub fn check_reserved(&self, grants: &Grants) -> Result<(), PrepareError> {
        files::check_reserved(&grants.files, &self.services.reserved)
    }

    /// Refuses a path that is, holds or lies in what belongs to the host itself.
    /// Blocks.
    ///
    /// # Errors
    /// Which place that is.
    pub fn check_path(&self, path: &std::path::Path) -> Result<(), String> {
        let checked = self.services.reserved.check(path);
        checked.map_err(|overlap| overlap.to_string())
    }

    /// Runs one call in a fresh sandbox. Dropping the future cancels it.
    pub async fn call(&self, plugin: &Arc<Plugin>, request: CallRequest) -> CallReport {
        self.begin(plugin, request).run().await
    }

    /// Begins a call that can be seen from outside while it runs, and after it
    /// was cut short.
    pub fn begin(&self, plugin: &Arc<Plugin>, request: CallRequest) -> Begun<'_> {
        Begun::new(self, plugin, request)
    }

    /// Like [`Sandbox::call`], see [`Begun::here`].
    pub async fn call_here(&self, plugin: &Arc<Plugin>, request: CallRequest) -> CallReport {
        self.begin(plugin, request).here().run().await
    }

    /// The runtime on which calls begin, for tasks that make many calls and have
    /// nothing else to do. `None` while the sandbox is going down.
    pub fn guest_runtime(&self) -> Option<&tokio::runtime::Handle> {
        self.guests.short()
    }

    /// Figures since the start.
    pub fn stats(&self) -> SandboxStats {
        let cache = self.loader.cache.stats();
        SandboxStats {
            calls_in_flight: self.calls.load(Ordering::Relaxed),
            sandboxes: self.guests.alive(),
            loaded: self.loader.loaded.len() as u64,
            ..cache
        }
    }

    /// What can be said of a call before there is a sandbox for it.
    async fn admit(
        &self,
        plugin: &Plugin,
        (tool, input): (&str, &str),
        limits: &Limits,
        deadline: Instant,
    ) -> Result<Arc<Loaded>, CallError> {
        if input.len() as u64 > limits.input.0 {
            let value = limits.input.to_string();
            return Err(LimitReached {
                limit: "input",
                value,
            }
            .into());
        }
        let mut tools = plugin.manifest().tools.iter();
        if !tools.any(|known| known.name == tool) {
            return Err(CallError::NotFound {
                message: format!("`{}` has no tool `{tool}`", plugin.name()),
            });
        }
        self.loader.load(plugin, deadline).await
    }

    /// What a call of `whose` takes beyond the place that each call has.
    fn further(&self, whose: &str, loaded: &Loaded) -> Result<Places, CallError> {
        let places = self.spare.take(whose, loaded.further());
        places.ok_or_else(outcome::no_room)
    }

    async fn run(
        &self,
        confines: Confines,
        asked: ToolCall,
        place: Place,
    ) -> Result<String, CallError> {
        let vitals = Arc::clone(&confines.vitals);
        let work = confines.work(asked);
        let answer = match place {
            Place::Guests => self.guests.run(vitals, work).await,
            Place::Here => self.guests.run_here(vitals, work).await,
        };
        answer.unwrap_or_else(host_failed)
    }
}

/// Where a call begins.
#[derive(Clone, Copy)]
enum Place {
    /// On the guests' threads, as a task of its own.
    Guests,
    /// On the task that makes it.
    Here,
}

/// What a component may need to be installed at all.
fn engine_bounds(install: &InstallLimits) -> Bounds {
    Bounds {
        component_bytes: install.component_bytes.0,
        instances: u64::from(engine::INSTANCES_MAX),
        memory_bytes: engine::MEMORY_BYTES_MAX,
        table_elements: u64::from(engine::TABLE_ELEMENTS_MAX),
    }
}

/// Counts a call while it lasts, however it ends.
struct InFlight(Arc<AtomicU64>);

impl InFlight {
    fn new(calls: &Arc<AtomicU64>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(calls))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The guest's task panicked: a bug of the host.
fn host_failed<T>() -> Result<T, CallError> {
    Err(CallError::Unknown {
        message: "the host failed during the call".to_owned(),
    })
}

fn engine_error(error: wasmtime::Error) -> SandboxError {
    SandboxError::Engine(error.into_boxed_dyn_error())
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
