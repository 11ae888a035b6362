//! The floor that Airlock's calls are measured against: the same component in a
//! fresh instance for each call, on wasmtime alone with the fastest settings
//! found. No limits, no gate, no interruption, synchronous calls: what is
//! measured above it is what Airlock adds. [`Interruptible`] shows what of that
//! any host pays that can end a guest's loop and let a guest wait.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store,
    UpdateDeadline, format_err,
};

mod contract {
    #![allow(
        missing_docs,
        reason = "generated from the contract, which documents itself"
    )]
    wasmtime::component::bindgen!({ path: "../../../wit/airlock-tool", world: "tool" });
}

use contract::exports::airlock::tool::tools::{Context, Error};

/// A component ready to be called, each time in a fresh instance.
pub struct Baseline(Callee);

/// The same on an engine that interrupts guests: epochs in the compiled code, a
/// stack of its own for each call.
pub struct Interruptible(Callee);

/// What is called.
struct Callee {
    engine: Engine,
    pre: InstancePre<()>,
    call: ComponentExportIndex,
}

type Params<'a> = (&'a str, &'a str, &'a Context);
type Results = (std::result::Result<String, Error>,);

/// The settings: pooling, copy-on-write images, no fuel.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(64);
    pool.total_core_instances(256);
    pool.total_memories(256);
    pool.total_tables(512);
    pool.max_memory_size(128 << 20);
    pool.max_unused_warm_slots(64);
    pool.linear_memory_keep_resident(128 << 10);
    pool.table_keep_resident(16 << 10);
    pool.pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.memory_init_cow(true);
    config.concurrency_support(false);
    config
}

impl Callee {
    /// Compiles the component. Imports but the hash seed trap: the calls measured use
    /// none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the floor links nothing at all, so that only wasmtime is measured"
    )]
    fn new(config: &Config, component: &[u8]) -> Result<Self> {
        let engine = Engine::new(config)?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::<()>::new(&engine);
        // The one import that the component calls: a seed for its hash maps.
        linker
            .instance("wasi:random/insecure-seed@0.2.6")?
            .func_wrap("insecure-seed", |_, (): ()| Ok(((1u64, 2u64),)))?;
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = linker.instantiate_pre(&component)?;
        let missing = || format_err!("the component is no tool");
        let tools = component.get_export_index(None, "airlock:tool/tools@1.0.0");
        let call = component.get_export_index(Some(&tools.ok_or_else(missing)?), "call");
        let call = call.ok_or_else(missing)?;
        Ok(Self { engine, pre, call })
    }
}

fn context() -> Context {
    Context {
        call_id: "0000000000000000".into(),
        principal: "p".into(),
        idempotency_key: None,
        deadline_ms: 10_000,
        attempt: 1,
    }
}

fn output(results: Results) -> Result<String> {
    results
        .0
        .map_err(|error| format_err!("the tool answered {error:?}"))
}

impl Baseline {
    /// Compiles the component.
    ///
    /// # Errors
    /// When it does not compile or is not a tool.
    pub fn new(component: &[u8]) -> Result<Self> {
        Callee::new(&config(), component).map(Self)
    }

    /// Calls a tool in a fresh instance.
    ///
    /// # Errors
    /// A trap, or the tool's own error as text.
    pub fn call(&self, tool: &str, input: &str) -> Result<String> {
        let mut store = Store::new(&self.0.engine, ());
        let instance = self.0.pre.instantiate(&mut store)?;
        let call = instance.get_typed_func::<Params<'_>, Results>(&mut store, &self.0.call)?;
        output(call.call(&mut store, (tool, input, &context()))?)
    }
}

impl Interruptible {
    /// Compiles the component.
    ///
    /// # Errors
    /// When it does not compile or is not a tool.
    pub fn new(component: &[u8]) -> Result<Self> {
        Callee::new(config().epoch_interruption(true), component).map(Self)
    }

    /// Calls a tool in a fresh instance.
    ///
    /// # Errors
    /// A trap, or the tool's own error as text.
    pub async fn call(&self, tool: &str, input: &str) -> Result<String> {
        let mut store = Store::new(&self.0.engine, ());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let instance = self.0.pre.instantiate_async(&mut store).await?;
        let call = instance.get_typed_func::<Params<'_>, Results>(&mut store, &self.0.call)?;
        output(
            call.call_async(&mut store, (tool, input, &context()))
                .await?,
        )
    }
}
