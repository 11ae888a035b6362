//! What the rooms get from outside the sandbox: storage, the audit, the host's
//! I/O runtime. Given once, at start.

use std::sync::Arc;

use airlock_journal::Store;
use airlock_journal::store::BoxFuture;
use airlock_memory::MemoryHome;

use crate::capability::files::Reserved;
use crate::capability::http::Network;
use crate::capability::secrets::Vault;

/// A decision that must be on record before the effect it allows happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Stable dotted code, e.g. `secret.use`.
    pub action: &'static str,
    /// The call it belongs to.
    pub call_id: String,
    /// The plugin.
    pub plugin: String,
    /// The caller's name.
    pub principal: String,
    /// What was decided, without secrets.
    pub detail: serde_json::Value,
}

/// Where such decisions are recorded.
pub trait AuditSink: Send + Sync + 'static {
    /// Resolves when the record is durable.
    fn record(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), airlock_journal::StoreError>>;
}

/// Outside things the rooms use.
pub struct Services {
    /// Durable storage (kv, secrets, quotas).
    pub store: Arc<dyn Store>,
    /// Documents, for `memory`.
    pub memory: Arc<MemoryHome>,
    /// The audit.
    pub audit: Arc<dyn AuditSink>,
    /// Secrets, sealed.
    pub vault: Arc<Vault>,
    /// Resolver, trusted certificates and the host's own addresses, for `http`.
    pub network: Arc<Network>,
    /// What `files` never grants: the host's own data and keys.
    pub reserved: Reserved,
    /// The host's own runtime, on which network and file I/O runs; never the
    /// guests' runtime.
    pub io: tokio::runtime::Handle,
}
