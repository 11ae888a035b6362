//! What a call through the sandbox costs beside a call on wasmtime alone: the
//! same component, a fresh instance each, rounds in turn. Give the component's
//! path as the argument; its tool `echo` is called.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_sandbox::contract::types::{Context, Error};
use airlock_sandbox::testing::{self, request};
use airlock_sandbox::{CallRequest, Limits, Plugin, Sandbox};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};

const ROUNDS: usize = 15;
const CALLS: usize = 400;
const LONG_RUN: usize = 20_000;
const INPUT: &str = r#"{"a":[1,2,3],"b":"some text"}"#;

/// wasmtime alone: no limits, no gate, nothing linked.
struct Floor {
    engine: Engine,
    pre: InstancePre<()>,
    interruptible: bool,
}

impl Floor {
    #[expect(clippy::disallowed_methods, reason = "the floor links nothing")]
    fn new(bytes: &[u8], interruptible: bool) -> Self {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(64)
            .total_core_instances(256)
            .total_memories(256)
            .total_tables(512)
            .max_memory_size(128 << 20)
            .pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(128 << 10)
            .table_keep_resident(16 << 10);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config.concurrency_support(false);
        config.epoch_interruption(interruptible);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        linker
            .define_unknown_imports_as_traps(&component)
            .expect("traps");
        let pre = linker.instantiate_pre(&component).expect("linked");
        Self {
            engine,
            pre,
            interruptible,
        }
    }

    async fn call(&self) {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1_000_000);
        let instance = match self.interruptible {
            true => self.pre.instantiate_async(&mut store).await,
            false => self.pre.instantiate(&mut store),
        };
        let instance = instance.expect("an instance");
        let tools = instance.get_export_index(&mut store, None, "airlock:tool/tools@1.0.0");
        let call = instance.get_export_index(&mut store, tools.as_ref(), "call");
        let call = instance
            .get_typed_func::<(&str, &str, Context), (Result<String, Error>,)>(
                &mut store,
                call.expect("call"),
            )
            .expect("its type");
        let context = Context {
            call_id: "call-1".into(),
            principal: "tester".into(),
            idempotency_key: None,
            deadline_ms: 10_000,
            attempt: 1,
        };
        let params = ("echo", INPUT, context);
        let answer = match self.interruptible {
            true => call.call_async(&mut store, params).await,
            false => call.call(&mut store, params),
        };
        answer.expect("no trap").0.expect("an answer");
    }
}

fn echo() -> CallRequest {
    request("echo", INPUT)
}

/// The median time of a call in one round.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn through(sandbox: &Arc<Sandbox>, plugin: &Arc<Plugin>, here: bool) -> Duration {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        let report = match here {
            true => sandbox.call_here(plugin, echo()).await,
            false => sandbox.call(plugin, echo()).await,
        };
        times.push(started.elapsed());
        report.result.expect("an answer");
    }
    median(times)
}

async fn floor(floor: &Floor) -> Duration {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        floor.call().await;
        times.push(started.elapsed());
    }
    median(times)
}

/// Resident memory after a long run and after another one, KiB.
async fn growth(sandbox: &Arc<Sandbox>, plugin: &Arc<Plugin>) -> (u64, u64) {
    let mut resident = [0; 2];
    for kib in &mut resident {
        for _ in 0..LONG_RUN {
            sandbox
                .call(plugin, echo())
                .await
                .result
                .expect("an answer");
        }
        *kib = resident_kib();
    }
    (resident[0], resident[1])
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.expect("VmRSS")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the component's path is the argument"
)]
#[tokio::main(worker_threads = 2)]
async fn main() {
    let path = std::env::args().find(|argument| argument.ends_with(".wasm"));
    let Some(path) = path else {
        eprintln!("give the path of the echo plugin");
        return;
    };
    let bytes = std::fs::read(Path::new(&path)).expect("the component");
    let (bare, epochs) = (Floor::new(&bytes, false), Floor::new(&bytes, true));
    let test = testing::sandbox();
    let plugin = test.plugin("echo", bytes, "", Limits::default(), &["echo"]);
    let runtime = test.sandbox.guest_runtime().expect("a runtime").clone();
    let mut rounds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        rounds[0].push(floor(&bare).await);
        rounds[3].push(floor(&epochs).await);
        let (sandbox, plugin2) = (Arc::clone(&test.sandbox), Arc::clone(&plugin));
        let here = runtime.spawn(async move { through(&sandbox, &plugin2, true).await });
        rounds[1].push(here.await.expect("no panic"));
        rounds[2].push(through(&test.sandbox, &plugin, false).await);
    }
    let [bare, here, away, epochs] = rounds.map(median);
    let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
    let (before, after) = growth(&test.sandbox, &plugin).await;
    println!("resident after {LONG_RUN} calls: {before} KiB, after as many more: {after} KiB");
    println!("wasmtime alone        {bare:>10.2?}");
    println!(
        "  async, with epochs  {epochs:>10.2?}  {:.2}x",
        ratio(epochs)
    );
    println!("call_here             {here:>10.2?}  {:.2}x", ratio(here));
    println!("call, other runtime   {away:>10.2?}  {:.2}x", ratio(away));
}
