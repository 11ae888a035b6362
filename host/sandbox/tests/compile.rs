//! The compiler as a child process: what it makes runs, and what would take too
//! much of the host is stopped, with the limit's name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::store::BoxFuture;
use airlock_journal::{MemoryStore, Store, StoreError};
use airlock_memory::MemoryHome;
use airlock_sandbox::capability::files::Reserved;
use airlock_sandbox::capability::http::Network;
use airlock_sandbox::capability::secrets::Vault;
use airlock_sandbox::compile::Compiler;
use airlock_sandbox::limits::{ByteSize, Span};
use airlock_sandbox::services::{AuditEvent, AuditSink};
use airlock_sandbox::{ComponentSource, InstallError, Sandbox, SandboxConfig, Services};
use bytes::Bytes;

struct Nothing;

impl AuditSink for Nothing {
    fn record(&self, _: AuditEvent) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

impl ComponentSource for Nothing {
    fn component(&self, _: &str) -> std::io::Result<Bytes> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn compiler() -> Compiler {
    let program = env!("CARGO_BIN_EXE_airlock-compile").into();
    Compiler {
        program,
        args: Vec::new(),
    }
}

fn sandbox(dir: &Path, change: impl FnOnce(&mut SandboxConfig)) -> Arc<Sandbox> {
    let store: Arc<dyn Store> = MemoryStore::new();
    let services = Services {
        vault: Arc::new(Vault::with_key(Arc::clone(&store), &[7; 32].into()).expect("a vault")),
        memory: MemoryHome::new(Arc::clone(&store), dir.join("memory"), Default::default()),
        store,
        audit: Arc::new(Nothing),
        network: Arc::new(Network::new(None).expect("a network")),
        reserved: Reserved::default(),
        io: tokio::runtime::Handle::current(),
    };
    let mut config = SandboxConfig::new(dir.join("cache"), dir.join("key"), compiler());
    config.calls_max = 4;
    change(&mut config);
    Sandbox::new(config, Arc::new(services), Arc::new(Nothing)).expect("a sandbox")
}

/// A component without imports whose one function is made of `body`.
fn component(body: &str) -> Bytes {
    let text = format!(
        r#"(component
             (core module $m (func (export "f") (param i32) (result i32)
               (local i32 i32 i32 i32 i32 i32 i32 i32) {body} (local.get 0)))
             (core instance $i (instantiate $m))
             (func (export "f") (param "n" u32) (result u32) (canon lift (core func $i "f"))))"#
    );
    wat::parse_str(text).expect("a component").into()
}

/// A function that takes the compiler minutes: every value stays alive.
fn bomb() -> Bytes {
    let step = "(local.set 1 (i32.add (local.get 2) (i32.mul (local.get 3) (local.get 0))))
        (local.set 3 (i32.xor (local.get 1) (i32.rotl (local.get 4) (local.get 2))))
        (local.set 2 (i32.sub (local.get 3) (local.get 1)))
        (if (local.get 2) (then (local.set 4 (i32.add (local.get 4) (local.get 1)))))";
    component(&step.repeat(60_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_compiled_by_the_child() {
    let dir = tempfile::tempdir().expect("a directory");
    let sandbox = sandbox(dir.path(), |_| {});
    let manifest = sandbox.inspect(component("")).await.expect("a manifest");
    assert_eq!(manifest.tools.len(), 1);
    assert!(manifest.compiled_bytes > 0);
    assert_eq!(sandbox.stats().compiled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compilation_that_takes_too_much_is_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    type Change = fn(&mut SandboxConfig);
    let cases: [(&str, &str, Change); 3] = [
        ("cpu", "1s", |c| {
            c.install.cpu = Span(Duration::from_secs(1))
        }),
        ("wall", "1s", |c| {
            c.install.wall = Span(Duration::from_secs(1))
        }),
        ("memory", "300MiB", |c| {
            c.install.memory = ByteSize(300 << 20)
        }),
    ];
    let bomb = bomb();
    for (limit, value, change) in cases {
        let sandbox = sandbox(dir.path(), change);
        let started = Instant::now();
        let error = sandbox.inspect(bomb.clone()).await.expect_err(limit);
        let InstallError::CompileLimit {
            limit: found,
            value: at,
        } = &error
        else {
            panic!("{limit}: {error:?}");
        };
        assert_eq!((*found, at.as_str()), (limit, value));
        assert_eq!(error.code(), "compile-limit");
        println!("{limit}: stopped after {:?}", started.elapsed());
        // The host goes on compiling what fits.
        sandbox.inspect(component("nop")).await.expect("a manifest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_compiler_refuses_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let sandbox = sandbox(dir.path(), |_| {});
    // Function bodies are judged by the compiler alone.
    let mut broken = component("(local.set 1 (i32.const 77777))").to_vec();
    let at = broken
        .windows(2)
        .position(|pair| pair == [0x21, 1])
        .expect("local.set 1");
    broken[at + 1] = 99;
    let error = sandbox
        .inspect(broken.into())
        .await
        .expect_err("an unknown local");
    assert!(
        matches!(error.code(), "compile-failed" | "component-invalid"),
        "{error:?}"
    );
    assert!(error.to_string().contains("local"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_compiler_is_the_hosts_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    for program in ["/bin/true", "/bin/false", "/nonexistent/compiler"] {
        let sandbox = sandbox(dir.path(), |c| c.compiler.program = program.into());
        let error = sandbox.inspect(component("")).await.expect_err(program);
        assert_eq!(error.code(), "internal", "{program}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_installation_ends_its_compiler() {
    let dir = tempfile::tempdir().expect("a directory");
    let sandbox = sandbox(dir.path(), |_| {});
    let install = sandbox.inspect(bomb());
    let ended = tokio::time::timeout(Duration::from_millis(500), install).await;
    assert!(ended.is_err(), "it takes longer");
    let started = Instant::now();
    while children() > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "the compiler goes on"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Compilers that this test process started and that still run.
#[expect(
    clippy::disallowed_methods,
    reason = "the test looks at its own children"
)]
fn children() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
    let children = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.map(|list| list.split_whitespace().count()).sum()
}
