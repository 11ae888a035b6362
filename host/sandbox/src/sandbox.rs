//! The sandbox as a whole: plugins in, calls in, reports out.
//!
//! What must stay true: a call holds what was in force when it began, and sees a
//! changed grant at its next use; dropping a call's future ends the guest.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::{Component, Linker};

use crate::call::guard::Vitals;
use crate::call::run::{Answer, Job};
use crate::call::{CallError, CallReport, CallRequest, Usage};
use crate::capability::{CallContext, PrepareContext, PrepareError, RoomsPrepared};
use crate::compile::{CodeCache, CompileError, Compiler, InstallLimits};
use crate::engine;
use crate::gate::{CallInfo, Gate, LimitReached};
use crate::grants::{Grants, GrantsCell};
use crate::guests::Guests;
use crate::inspect::Manifest;
use crate::limits::Limits;
use crate::link;
use crate::loaded::{Loaded, LoadedSet};
use crate::services::Services;
use crate::state::CallState;

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
    /// Components whose compiled code is kept in memory.
    pub loaded_components_max: usize,
}

/// Where component bytes come from when their compiled code isn't cached.
pub trait ComponentSource: Send + Sync + 'static {
    /// The bytes of the component with this digest.
    ///
    /// # Errors
    /// It is not there or can't be read.
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
    linker: Linker<CallState>,
    guests: Guests,
    loaded: LoadedSet,
    cache: Arc<CodeCache>,
    services: Arc<Services>,
    components: Arc<dyn ComponentSource>,
    calls: Arc<AtomicU64>,
}

/// An installed component with a name, its grants and its limits.
pub struct Plugin {
    name: String,
    manifest: Arc<Manifest>,
    services: Arc<Services>,
    grants: Arc<GrantsCell>,
    terms: RwLock<Terms>,
    loaded: RwLock<Weak<Loaded>>,
}

/// What a call begins with.
#[derive(Clone)]
struct Terms {
    limits: Arc<Limits>,
    rooms: Arc<RoomsPrepared>,
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
        let engine = engine::runner(config.calls_max).map_err(engine_error)?;
        let linker = link::linker(&engine).map_err(engine_error)?;
        let guests = Guests::new(config.guest_workers.max(1)).map_err(SandboxError::Guests)?;
        let cache = CodeCache::open(
            &engine,
            &config.cache_dir,
            &config.cache_key_file,
            config.compiler,
            config.install,
        );
        Ok(Arc::new(Self {
            linker,
            guests,
            loaded: LoadedSet::new(config.loaded_components_max),
            cache: Arc::new(cache.map_err(SandboxError::Cache)?),
            services,
            components,
            calls: Arc::default(),
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
        let terms = Terms::new(name, &self.services, version, &grants, limits)?;
        Ok(Arc::new(Plugin {
            name: name.to_owned(),
            manifest,
            services: Arc::clone(&self.services),
            grants: Arc::new(GrantsCell::new(version, grants)),
            terms: RwLock::new(terms),
            loaded: RwLock::default(),
        }))
    }

    /// Runs one call in a fresh sandbox. Dropping the future cancels it.
    pub async fn call(&self, plugin: &Arc<Plugin>, request: CallRequest) -> CallReport {
        let started = Instant::now();
        let _in_flight = InFlight::new(&self.calls);
        let terms = plugin.terms();
        let vitals = Arc::new(Vitals::default());
        let gate = plugin.gate(&request, &terms.limits);
        let (result, log) = match self.admit(plugin, &request, &terms.limits).await {
            Ok(loaded) => {
                self.run(plugin, request, terms, loaded, &gate, &vitals)
                    .await
            }
            Err(error) => (Err(error), Vec::new()),
        };
        CallReport {
            result,
            usage: Usage {
                wall_us: micros(started.elapsed()),
                cpu_us: micros(vitals.meter.spent()),
                peak_memory_bytes: vitals.peak_memory_bytes.load(Ordering::Relaxed),
                capabilities: gate.usage(),
            },
            denials: gate.denials(),
            log,
        }
    }

    /// Figures since the start.
    pub fn stats(&self) -> SandboxStats {
        let cache = self.cache.stats();
        SandboxStats {
            calls_in_flight: self.calls.load(Ordering::Relaxed),
            loaded: self.loaded.len() as u64,
            ..cache
        }
    }

    async fn admit(
        &self,
        plugin: &Plugin,
        request: &CallRequest,
        limits: &Limits,
    ) -> Result<Arc<Loaded>, CallError> {
        if request.input.len() as u64 > limits.input.0 {
            let value = limits.input.to_string();
            return Err(LimitReached {
                limit: "input",
                value,
            }
            .into());
        }
        if !plugin
            .manifest
            .tools
            .iter()
            .any(|tool| tool.name == request.tool)
        {
            return Err(CallError::NotFound {
                message: format!("`{}` has no tool `{}`", plugin.name, request.tool),
            });
        }
        self.load(plugin).await
    }

    async fn run(
        &self,
        plugin: &Plugin,
        request: CallRequest,
        terms: Terms,
        loaded: Arc<Loaded>,
        gate: &Gate,
        vitals: &Arc<Vitals>,
    ) -> (Answer, Vec<crate::call::LogRecord>) {
        let wall = request
            .timeout
            .map_or(terms.limits.wall.0, |t| t.min(terms.limits.wall.0));
        let deadline = tokio::time::Instant::now() + wall;
        let rooms = terms.rooms.states(&CallContext {
            gate,
            limits: &terms.limits,
            services: &plugin.services,
            deadline,
        });
        let log = rooms.log.clone();
        let job = Job {
            loaded,
            request,
            limits: terms.limits,
            gate: gate.clone(),
            rooms,
            vitals: Arc::clone(vitals),
            wall,
            deadline,
        };
        let answer = self.guests.run(Arc::clone(vitals), job.work()).await;
        (answer.unwrap_or_else(host_failed), log.finish().records)
    }

    async fn load(&self, plugin: &Plugin) -> Result<Arc<Loaded>, CallError> {
        if let Some(loaded) = plugin.loaded() {
            self.loaded.touch(&loaded);
            return Ok(loaded);
        }
        let digest = &plugin.manifest.digest;
        let loaded = self.loaded.get(digest, self.load_component(digest)).await;
        let loaded = loaded.map_err(|error| {
            tracing::error!(
                digest,
                error = format!("{error:?}"),
                "a component does not load"
            );
            CallError::Permanent {
                message: format!("the plugin's component does not load: {error}"),
            }
        })?;
        *plugin
            .loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&loaded);
        Ok(loaded)
    }

    async fn load_component(&self, digest: &str) -> Result<Loaded, CompileError> {
        let (components, name) = (Arc::clone(&self.components), digest.to_owned());
        let component: Component = CodeCache::component(
            Arc::clone(&self.cache),
            &self.services.io,
            digest,
            move || components.component(&name),
        )
        .await?;
        Loaded::new(&self.linker, &component).map_err(CompileError::load)
    }
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of its component.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The limits in force for the next call.
    pub fn limits(&self) -> Arc<Limits> {
        self.terms().limits
    }

    /// The version of the grants in force.
    pub fn grants_version(&self) -> u64 {
        self.grants.version()
    }

    /// Puts other grants and limits in force: the grants for calls in flight
    /// too, the limits for the calls that follow.
    ///
    /// # Errors
    /// The first rule that can't be put in force; then nothing changed.
    pub fn replace(
        &self,
        version: u64,
        grants: Grants,
        limits: Limits,
    ) -> Result<(), PrepareError> {
        let terms = Terms::new(&self.name, &self.services, version, &grants, limits)?;
        let mut current = self.terms.write().unwrap_or_else(PoisonError::into_inner);
        self.grants.replace(version, grants);
        *current = terms;
        Ok(())
    }

    fn terms(&self) -> Terms {
        self.terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    fn gate(&self, request: &CallRequest, limits: &Limits) -> Gate {
        let info = CallInfo {
            call_id: request.call_id.clone(),
            plugin: self.name.clone(),
            tool: request.tool.clone(),
            principal: request.principal.clone(),
            class: request.class,
        };
        Gate::new(info, Arc::clone(&self.grants), limits.host_memory.0)
    }
}

impl Terms {
    fn new(
        plugin: &str,
        services: &Arc<Services>,
        version: u64,
        grants: &Grants,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        let rooms = RoomsPrepared::new(&PrepareContext {
            plugin,
            grants,
            version,
            limits: &limits,
            services,
        })?;
        Ok(Self {
            limits: Arc::new(limits),
            rooms: Arc::new(rooms),
        })
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

fn host_failed() -> Answer {
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
