//! The sandbox as the runtime uses it; the only file that sets it up.

use std::path::Path;
use std::sync::Arc;

use airlock_journal::Store;
use airlock_memory::MemoryHome;
use airlock_sandbox::capability::files::Reserved;
pub(crate) use airlock_sandbox::capability::http::Network;
use airlock_sandbox::compile::{Compiler, InstallLimits};
use airlock_sandbox::services::AuditSink;
use airlock_sandbox::{SandboxConfig, Services};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub(crate) use airlock_sandbox::capability::secrets::{
    SPREAD_BYTES_MAX, Secret, SecretInfo, Vault, VaultError, masker,
};
pub(crate) use airlock_sandbox::inspect::Effects;
pub(crate) use airlock_sandbox::{
    ComponentSource, InstallError, Manifest, Plugin, Sandbox, ToolInfo, Want,
};

use crate::components::Components;
use crate::config::RuntimeConfig;
use crate::metrics::Gauge;
use crate::runtime::OpenError;

/// Sandboxes of agents that are still being taken down while others begin, and
/// of those that are asked what they are for.
const AGENTS_SPARE: u32 = 16;

/// What can be granted.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Capabilities {
    /// The capabilities.
    pub capabilities: Vec<CapabilityView>,
    /// JSON Schema of `grants`.
    pub grants_schema: Value,
    /// JSON Schema of `limits`.
    pub limits_schema: Value,
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CapabilityView {
    /// Its name in grants.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// WIT interfaces it serves, with the accepted versions.
    pub interfaces: Vec<String>,
}

/// What can be granted, from the sandbox's registry.
#[must_use]
pub fn capabilities() -> Capabilities {
    let view = |listed: &airlock_sandbox::capability::Listed| CapabilityView {
        name: listed.name.to_owned(),
        summary: listed.summary.to_owned(),
        interfaces: listed
            .interfaces
            .iter()
            .map(|(name, versions)| format!("{name}@{}", versions.join(", ")))
            .collect(),
    };
    Capabilities {
        capabilities: airlock_sandbox::capability::LISTED
            .iter()
            .map(view)
            .collect(),
        grants_schema: schemars::schema_for!(airlock_sandbox::Grants).to_value(),
        limits_schema: schemars::schema_for!(airlock_sandbox::Limits).to_value(),
    }
}

pub(crate) fn open_vault(
    config: &RuntimeConfig,
    store: &Arc<dyn Store>,
) -> Result<Arc<Vault>, OpenError> {
    let key_file = config.key_file("vault.key");
    let opened = Vault::open(Arc::clone(store), &key_file, &config.data_dir);
    opened
        .map(Arc::new)
        .map_err(|error| OpenError::Vault(Box::new(error)))
}

pub(crate) fn open_network(ca_file: Option<&Path>) -> Result<Arc<Network>, OpenError> {
    let network = Network::new(ca_file);
    network
        .map(Arc::new)
        .map_err(|error| OpenError::Sandbox(Box::new(error)))
}

pub(crate) fn services(
    store: Arc<dyn Store>,
    audit: Arc<dyn AuditSink>,
    vault: Arc<Vault>,
    network: Arc<Network>,
    memory: Arc<MemoryHome>,
    config: &RuntimeConfig,
) -> Arc<Services> {
    Arc::new(Services {
        store,
        memory,
        audit,
        vault,
        network,
        reserved: Reserved::new([
            ("data directory", config.data_dir.clone()),
            ("keys directory", config.keys_dir.clone()),
        ]),
        io: tokio::runtime::Handle::current(),
    })
}

pub(crate) fn open_sandbox(
    config: &RuntimeConfig,
    services: Arc<Services>,
    components: Arc<Components>,
) -> Result<Arc<Sandbox>, OpenError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = SandboxConfig {
        agents_max: config.agents_max.saturating_add(AGENTS_SPARE),
        cache_dir: config.cache_dir(),
        cache_key_file: config.key_file("cache.key"),
        compiler: Compiler {
            program: config.compiler.clone(),
            args: config.compiler_args.clone(),
        },
        install: InstallLimits::default(),
        guest_workers: config.guest_workers.unwrap_or(cores),
        calls_max: config.calls_max,
        loaded_components_max: config.loaded_components_max,
    };
    let sandbox = Sandbox::new(settings, services, components);
    sandbox.map_err(|error| OpenError::Sandbox(Box::new(error)))
}

pub(crate) fn gauges(sandbox: &Sandbox) -> [Gauge; 6] {
    let stats = sandbox.stats();
    let gauge = |name, help, value| Gauge { name, help, value };
    [
        gauge(
            "sandbox_calls",
            "Calls that have a sandbox",
            stats.calls_in_flight,
        ),
        gauge("components_loaded", "Components in memory", stats.loaded),
        gauge(
            "components_compiled",
            "Components compiled since the start",
            stats.compiled,
        ),
        gauge(
            "code_cache_hits",
            "Compiled code found on disk",
            stats.cache_hits,
        ),
        gauge(
            "code_cache_misses",
            "Compiled code not found on disk",
            stats.cache_misses,
        ),
        gauge(
            "code_cache_refused",
            "Compiled code on disk that was not sound",
            stats.cache_refused,
        ),
    ]
}
