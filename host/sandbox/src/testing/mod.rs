//! A sandbox for tests: storage in memory, an audit that can be read, and
//! components straight from bytes.

#[cfg(test)]
mod door;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use airlock_journal::store::BoxFuture;
use airlock_journal::{MemoryStore, Store, StoreError};
use airlock_memory::MemoryHome;
use bytes::Bytes;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::capability::files::Reserved;
use crate::capability::http::Network;
use crate::capability::secrets::Vault;
use crate::compile::{Compiler, InstallLimits, component_digest};
use crate::inspect::{Effects, Kind, Manifest, ToolInfo};
use crate::limits::Limits;
use crate::sandbox::{ComponentSource, Plugin, Sandbox, SandboxConfig};
use crate::services::{AuditEvent, AuditSink, Services};
use crate::{CallReport, CallRequest, EffectClass, Grants};
#[cfg(test)]
pub(crate) use door::{Door, grants};

/// An audit that keeps its events in memory.
#[derive(Default)]
pub struct MemoryAudit(Mutex<Vec<AuditEvent>>);

impl MemoryAudit {
    /// The events so far.
    pub fn events(&self) -> Vec<AuditEvent> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl AuditSink for MemoryAudit {
    fn record(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        Box::pin(async { Ok(()) })
    }
}

/// Components in memory, by digest.
#[derive(Default)]
pub struct MemoryComponents(Mutex<HashMap<String, Bytes>>);

impl MemoryComponents {
    /// Adds a component and tells its digest.
    pub fn add(&self, component: Bytes) -> String {
        let digest = component_digest(&component);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(digest.clone(), component);
        digest
    }
}

impl ComponentSource for MemoryComponents {
    fn component(&self, digest: &str) -> std::io::Result<Bytes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(digest).cloned();
        found.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "no such component"))
    }
}

/// A sandbox and what it was made of.
pub struct TestSandbox {
    /// The sandbox.
    pub sandbox: Arc<Sandbox>,
    /// What its rooms use.
    pub services: Arc<Services>,
    /// What was audited.
    pub audit: Arc<MemoryAudit>,
    /// Where its components come from.
    pub components: Arc<MemoryComponents>,
    /// Its cache and key; removed with it.
    pub dir: TempDir,
}

/// Services over memory; I/O runs on the current tokio runtime.
///
/// # Panics
/// Outside a tokio runtime.
pub fn services() -> (Arc<Services>, Arc<MemoryAudit>) {
    let audit = Arc::new(MemoryAudit::default());
    let store: Arc<dyn Store> = MemoryStore::new();
    let vault = Vault::with_key(Arc::clone(&store), &Zeroizing::new([7; 32])).expect("a vault");
    let services = Services {
        memory: memory_of(&store),
        store,
        audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
        vault: Arc::new(vault),
        network: Arc::new(Network::new(None).expect("a network")),
        reserved: Reserved::default(),
        io: tokio::runtime::Handle::current(),
    };
    (Arc::new(services), audit)
}

/// The memory over a store; its folder is made when it is first used.
pub fn memory_of(store: &Arc<dyn Store>) -> Arc<MemoryHome> {
    let number = MEMORIES.fetch_add(1, Ordering::Relaxed);
    let name = format!("airlock-test-memory-{}-{number}", std::process::id());
    let dir = tempfile::env::temp_dir().join(name);
    MemoryHome::new(Arc::clone(store), dir, airlock_memory::Options::default())
}

static MEMORIES: AtomicU64 = AtomicU64::new(0);

/// Settings for a small sandbox in `dir` that compiles in this process.
pub fn config(dir: &std::path::Path) -> SandboxConfig {
    SandboxConfig {
        cache_dir: dir.join("cache"),
        cache_key_file: dir.join("cache.key"),
        compiler: Compiler {
            program: std::path::PathBuf::new(),
            args: Vec::new(),
        },
        install: InstallLimits::default(),
        guest_workers: 2,
        calls_max: 100,
        agents_max: 20,
        loaded_components_max: 8,
    }
}

/// A sandbox over memory.
///
/// # Panics
/// When it can't be started.
pub fn sandbox() -> TestSandbox {
    sandbox_with(|_| {})
}

/// A sandbox over memory with other settings.
///
/// # Panics
/// When it can't be started.
pub fn sandbox_with(change: impl FnOnce(&mut SandboxConfig)) -> TestSandbox {
    start(tempfile::tempdir().expect("a temporary directory"), change)
}

fn start(dir: TempDir, change: impl FnOnce(&mut SandboxConfig)) -> TestSandbox {
    let mut config = config(dir.path());
    change(&mut config);
    let (services, audit) = services();
    let components = Arc::new(MemoryComponents::default());
    let source = Arc::clone(&components) as Arc<dyn ComponentSource>;
    let sandbox = Sandbox::new(config, Arc::clone(&services), source).expect("a sandbox");
    TestSandbox {
        sandbox,
        services,
        audit,
        components,
        dir,
    }
}

impl TestSandbox {
    /// Ends the sandbox and starts another one over the same cache.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn restart(self) -> Self {
        let Self { sandbox, dir, .. } = self;
        drop(sandbox);
        start(dir, |_| {})
    }

    /// A plugin named `name` over `component`, with grants as TOML, that offers
    /// `tools` of the contract's world.
    ///
    /// # Panics
    /// When the grants are wrong.
    pub fn plugin(
        &self,
        name: &str,
        component: impl Into<Bytes>,
        grants: &str,
        limits: Limits,
        tools: &[&str],
    ) -> Arc<Plugin> {
        let manifest = manifest(self.components.add(component.into()), tools);
        let grants: Grants = toml::from_str(grants).expect("grants");
        grants.validate().expect("grants");
        let plugin = self
            .sandbox
            .plugin(name, Arc::new(manifest), 1, grants, limits);
        plugin.expect("a plugin")
    }
}

fn manifest(digest: String, tools: &[&str]) -> Manifest {
    let tool = |name: &&str| ToolInfo {
        name: (*name).to_owned(),
        title: None,
        description: String::new(),
        input_schema: serde_json::json!({ "type": "object" }),
        output_schema: None,
        effects: Effects::default(),
    };
    Manifest {
        digest,
        kind: Kind::ToolWorld,
        contract: Some("airlock:tool@1.0.0".to_owned()),
        tools: tools.iter().map(tool).collect(),
        agent: None,
        wants: Vec::new(),
        imports: Vec::new(),
        capabilities: Vec::new(),
        component_bytes: 0,
        compiled_bytes: 0,
    }
}

/// A request for one tool, class `plain`, by the principal `tester`.
pub fn request(tool: &str, input: &str) -> CallRequest {
    CallRequest {
        call_id: "call-1".to_owned(),
        tool: tool.to_owned(),
        input: input.to_owned(),
        principal: "tester".to_owned(),
        caller: "tester".to_owned(),
        idempotency_key: None,
        attempt: 1,
        class: EffectClass::Plain,
        timeout: None,
    }
}

/// Calls one tool of `component` in a sandbox of its own, with default limits.
///
/// # Panics
/// When the grants are wrong or the sandbox can't be started.
pub async fn call(
    component: impl Into<Bytes>,
    grants: &str,
    tool: &str,
    input: &str,
) -> CallReport {
    let test = sandbox();
    let plugin = test.plugin("test", component, grants, Limits::default(), &[tool]);
    test.sandbox.call(&plugin, request(tool, input)).await
}

/// A component of the contract's world, as WebAssembly text to fill in. Its one
/// memory begins with one page; addresses from 1024 to 32768 are free.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guest<'a> {
    /// Instances the component imports, and the core functions lowered from them.
    pub imports: &'a str,
    /// The core module's imports.
    pub core_imports: &'a str,
    /// `(with …)` clauses that connect the two.
    pub core_with: &'a str,
    /// Functions, data, globals of the core module.
    pub fields: &'a str,
    /// What runs in `list` before it answers.
    pub list: &'a str,
    /// The tool `run`: `$input` and `$input_len` are its input, `$answer` with an
    /// address and a length ends the call with that JSON.
    pub body: &'a str,
}

impl Guest<'_> {
    /// The component.
    ///
    /// # Panics
    /// When what was filled in is not WebAssembly.
    pub fn component(&self) -> Bytes {
        let text = include_str!("guest.wat")
            .replace("CORE_IMPORTS", self.core_imports)
            .replace("CORE_WITH", self.core_with)
            .replace("IMPORTS", self.imports)
            .replace("FIELDS", self.fields)
            .replace("LIST", self.list)
            .replace("BODY", self.body);
        wat::parse_str(text).expect("a guest").into()
    }
}

/// A [`Guest`] without imports.
///
/// # Panics
/// When the text is not WebAssembly.
pub fn guest(fields: &str, body: &str) -> Bytes {
    let guest = Guest {
        fields,
        body,
        ..Guest::default()
    };
    guest.component()
}

/// Imports of a [`Guest`] that waits: in the core module, `$subscribe` takes
/// nanoseconds and gives a pollable, which `$block` waits for and `$drop` drops.
pub const CLOCK: Guest<'static> = Guest {
    imports: r#"
        (import "wasi:io/poll@0.2.0" (instance $poll
          (export "pollable" (type $p (sub resource)))
          (export "[method]pollable.block" (func (param "self" (borrow $p))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (alias outer 1 $pollable (type $p))
          (export "pollable" (type $q (eq $p)))
          (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
        (core func $drop (canon resource.drop $pollable))
        (core instance $clocks
          (export "subscribe" (func $subscribe))
          (export "block" (func $block))
          (export "drop" (func $drop)))"#,
    core_imports: r#"
        (import "clocks" "subscribe" (func $subscribe (param i64) (result i32)))
        (import "clocks" "block" (func $block (param i32)))
        (import "clocks" "drop" (func $drop (param i32)))"#,
    core_with: r#"(with "clocks" (instance $clocks))"#,
    fields: "",
    list: "",
    body: "",
};

/// A component built from the workspace, by its file's name without `.wasm`, out
/// of the target folder that this test's own program is in.
///
/// # Panics
/// When it has not been built.
#[expect(
    clippy::disallowed_methods,
    reason = "a test reads what was built for it"
)]
pub fn built(name: &str) -> Bytes {
    let own = std::env::current_exe().expect("this program");
    let mut folders = own.ancestors().map(|dir| dir.join("wasm32-wasip2/guest"));
    let folder = folders.find(|dir| dir.is_dir());
    let file = folder.unwrap_or_default().join(format!("{name}.wasm"));
    let bytes = std::fs::read(&file);
    bytes
        .unwrap_or_else(|error| panic!("{name}.wasm: {error}; run `cargo xtask plugins`"))
        .into()
}

/// The body of a [`guest`] that spins.
pub const SPIN: &str = "(loop $again (br $again)) (unreachable)";

/// The body of a [`guest`] that answers its input.
pub const ECHO: &str = "(call $answer (local.get $input) (local.get $input_len))";
