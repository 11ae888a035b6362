//! The floor that Airlock's calls are measured against: the same component in a
//! fresh instance for each call, on wasmtime alone with the fastest settings
//! found. No limits, no gate, no interruption, synchronous calls: what is
//! measured above it is what Airlock adds.

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store,
};

mod contract {
    #![allow(
        missing_docs,
        reason = "generated from the contract, which documents itself"
    )]
    wasmtime::component::bindgen!({ path: "../../../wit/airlock-tool", world: "tool" });
}

use contract::ToolPre;
use contract::exports::airlock::tool::tools::Context;

/// A component ready to be called, each time in a fresh instance.
pub struct Baseline {
    engine: Engine,
    pre: ToolPre<()>,
}

/// The settings: pooling, copy-on-write images, no epochs, no fuel, no async.
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

impl Baseline {
    /// Compiles the component. Imports but the hash seed trap: the calls measured use
    /// none.
    ///
    /// # Errors
    /// When it does not compile or is not a tool.
    #[expect(
        clippy::disallowed_methods,
        reason = "the floor links nothing at all, so that only wasmtime is measured"
    )]
    pub fn new(component: &[u8]) -> Result<Self> {
        let engine = Engine::new(&config())?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::<()>::new(&engine);
        // The one import that the component calls: a seed for its hash maps.
        linker
            .instance("wasi:random/insecure-seed@0.2.6")?
            .func_wrap("insecure-seed", |_, (): ()| Ok(((1u64, 2u64),)))?;
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = ToolPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, pre })
    }

    /// Calls a tool in a fresh instance.
    ///
    /// # Errors
    /// A trap, or the tool's own error as text.
    pub fn call(&self, tool: &str, input: &str) -> Result<String> {
        let mut store = Store::new(&self.engine, ());
        let instance = self.pre.instantiate(&mut store)?;
        let context = Context {
            call_id: "0000000000000000".into(),
            principal: "p".into(),
            idempotency_key: None,
            deadline_ms: 10_000,
            attempt: 1,
        };
        let tools = instance.airlock_tool_tools();
        match tools.call_call(&mut store, tool, input, &context)? {
            Ok(output) => Ok(output),
            Err(error) => wasmtime::bail!("the tool answered {error:?}"),
        }
    }
}
