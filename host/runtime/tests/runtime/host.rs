//! A runtime over a store in memory, and what the tests do with it.

#[path = "gated.rs"]
pub mod gated;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use airlock_journal::memory::Disk;
use airlock_journal::{MemoryStore, Store};
use airlock_runtime::{
    InstallRequest, OpenError, OperationState, Principal, Role, Runtime, RuntimeConfig,
    TokenRequest, ToolCall,
};
use airlock_sandbox::testing::{ECHO, guest};
use bytes::Bytes;
use tempfile::TempDir;

pub struct Host {
    pub runtime: Arc<Runtime>,
    pub store: Arc<MemoryStore>,
    pub who: Arc<Principal>,
}

/// A directory and a disk that outlive the hosts on them.
pub fn place() -> (TempDir, Disk) {
    (tempfile::tempdir().expect("a directory"), Disk::default())
}

pub fn config(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        compiler: PathBuf::new(),
        compiler_args: Vec::new(),
        guest_workers: Some(1),
        calls_max: 8,
        ..RuntimeConfig::new(dir.join("data"), dir.join("keys"))
    }
}

/// Opens a runtime over any store.
pub async fn open(config: RuntimeConfig, store: Arc<dyn Store>) -> Result<Arc<Runtime>, OpenError> {
    Runtime::with_store(config, store).await
}

/// A component with the tool `run`, which gives back its input.
pub fn echo() -> Bytes {
    guest("", ECHO)
}

/// The same with other bytes.
pub fn other() -> Bytes {
    guest(r#"(data (i32.const 2048) "other")"#, ECHO)
}

impl Host {
    pub async fn open(dir: &Path, disk: &Disk) -> Self {
        Self::with(config(dir), disk).await
    }

    pub async fn with(config: RuntimeConfig, disk: &Disk) -> Self {
        let store = MemoryStore::on(disk);
        let runtime = open(config, Arc::clone(&store) as Arc<dyn Store>).await;
        Self {
            runtime: runtime.expect("the runtime opens"),
            store,
            who: Arc::new(Principal::local_admin("test")),
        }
    }

    pub async fn install(&self, name: &str) {
        install(&self.runtime, name, echo()).await;
    }

    /// Who has a new token with a role.
    pub async fn with_token(&self, role: Role) -> Arc<Principal> {
        let request = TokenRequest {
            principal: "ann".to_owned(),
            roles: [role].into(),
            ..TokenRequest::default()
        };
        let made = self.runtime.create_token(&self.who, request).await;
        let token = made.expect("is made").token;
        self.runtime.authenticate(&token).expect("it is good")
    }

    /// Details of the audit's records with this action, oldest first.
    pub async fn audited(&self, action: &str) -> Vec<String> {
        audited(&self.runtime, action).await
    }
}

/// Installs a component and makes it the active version; returns its digest.
pub async fn install(runtime: &Arc<Runtime>, name: &str, component: Bytes) -> String {
    let who = Principal::local_admin("test");
    let request = InstallRequest {
        name: name.to_owned(),
        component,
        digest: None,
        activate: true,
        check: false,
        why: String::new(),
    };
    let begun = runtime.install(&who, request).expect("begins");
    let ended = runtime.wait_operation(&who, &begun.id).await;
    let ended = ended.expect("is known");
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    ended.installed.expect("is told").digest
}

/// A call of the tool of [`echo`].
pub fn run(plugin: &str, key: Option<&str>) -> ToolCall {
    ToolCall {
        log: false,
        plugin: plugin.to_owned(),
        tool: "run".to_owned(),
        input: "1".into(),
        timeout: None,
        idempotency_key: key.map(str::to_owned),
        stage: None,
    }
}

/// Details of the audit's records with this action, oldest first.
pub async fn audited(runtime: &Runtime, action: &str) -> Vec<String> {
    let page = runtime.audit(Default::default()).await.expect("reads");
    let records = page.records.iter().rev();
    let found = records.filter(|entry| entry.record.action == action);
    found
        .map(|entry| serde_json::to_string(&entry.record.detail).expect("JSON"))
        .collect()
}
