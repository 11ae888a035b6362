//! The wasmtime engine: its settings, its pool of sandboxes and its epoch.
//!
//! What must stay true: the engine that compiles (in a child process) and the
//! one that runs differ only in how they allocate; a call gets the one place of
//! its own however much others need; a tick comes from an OS
//! thread of its own, whatever the guests do.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::inspect::features;
use crate::spare::Spare;

/// Time between two epoch ticks; a guest is interrupted at most this late.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Stack a guest may use, bytes.
pub const WASM_STACK_BYTES: usize = 1 << 20;

/// Stack of a call, bytes: the guest's, and the host functions' above it.
const ASYNC_STACK_BYTES: usize = 2 << 20;

/// The largest linear memory, bytes: all that 32-bit memories can address.
pub const MEMORY_BYTES_MAX: u64 = 1 << 32;

/// The most elements a table can have.
pub const TABLE_ELEMENTS_MAX: u32 = 10_000_000;

/// The most core instances, memories or tables inside one component.
pub const INSTANCES_MAX: u32 = 200;

/// Memories and tables in one place: what almost all components need.
const PLACE_MEMORIES: u32 = 2;
const PLACE_TABLES: u32 = 4;

/// The most places that a component needs beyond its call's own.
const FURTHER_PLACES_MAX: u32 = INSTANCES_MAX / PLACE_MEMORIES - 1;

/// Calls whose reply is out and whose sandbox is still being taken down.
const SLOTS_SPARE: u32 = 64;

/// Slots that stay set up for a component while it has no call.
const WARM_SLOTS_MAX: u32 = 128;

/// What a slot keeps in memory between calls, put back to its first contents
/// page by page where the kernel can tell which pages were written (Linux 6.7).
/// Giving pages back to the kernel instead makes a call of the echo
/// plugin on wasmtime alone three times as long: 27 µs instead of 9.
const MEMORY_KEPT_BYTES: usize = 128 << 10;
const TABLE_KEPT_BYTES: usize = 16 << 10;

/// What an engine is for. Code made for one does not load in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Calls of tools.
    Tools,
    /// Agents: results that machines may differ in are made the same.
    Agents,
}

impl Use {
    /// All uses.
    pub const ALL: [Self; 2] = [Self::Tools, Self::Agents];
}

/// An engine that compiles and never runs anything.
///
/// # Errors
/// Settings that this machine does not support.
pub fn compiler(what_for: Use) -> wasmtime::Result<Engine> {
    Engine::new(&settings(what_for))
}

/// An engine with room for `calls_max` calls at once, and its tick.
///
/// # Errors
/// Too little address space for the pool, or no thread for the tick.
pub fn runner(what_for: Use, calls_max: u32) -> wasmtime::Result<Engine> {
    let mut config = settings(what_for);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(calls_max)));
    let engine = Engine::new(&config)?;
    start_tick(&engine)?;
    Ok(engine)
}

fn settings(what_for: Use) -> Config {
    let mut config = Config::new();
    features::configure(&mut config);
    config
        .concurrency_support(false)
        .wasm_component_model(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(None);
    let same_everywhere = what_for == Use::Agents;
    config
        .cranelift_nan_canonicalization(same_everywhere)
        .relaxed_simd_deterministic(same_everywhere);
    config
}

/// Places for components that need more than one: half as many as there are
/// calls. Address space is what bounds them, 4 GiB for each memory.
fn further_places(calls_max: u32) -> u32 {
    (calls_max / 2).clamp(2 * FURTHER_PLACES_MAX, 1_000)
}

/// The further places of an engine with room for `calls_max` calls.
pub(crate) fn spare(calls_max: u32) -> Arc<Spare> {
    Spare::new(further_places(calls_max), FURTHER_PLACES_MAX)
}

/// The places that `component` takes beyond its call's own.
pub(crate) fn further(component: &Component) -> u32 {
    // Only what imports modules hides what it needs, and that is refused.
    let places = component.resources_required().map_or(u32::MAX, |needs| {
        let memories = needs.num_memories.div_ceil(PLACE_MEMORIES);
        memories.max(needs.num_tables.div_ceil(PLACE_TABLES))
    });
    places.saturating_sub(1).min(FURTHER_PLACES_MAX)
}

fn pool(calls_max: u32) -> PoolingAllocationConfig {
    let slots = calls_max.saturating_add(SLOTS_SPARE);
    let places = slots.saturating_add(further_places(calls_max));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // Only counted: a component's own bound holds for what they take.
        .total_core_instances(slots.saturating_mul(INSTANCES_MAX))
        .total_memories(places.saturating_mul(PLACE_MEMORIES))
        .total_tables(places.saturating_mul(PLACE_TABLES))
        .max_memory_size(MEMORY_BYTES_MAX as usize)
        .max_memories_per_module(INSTANCES_MAX)
        .max_tables_per_module(INSTANCES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(4 << 20)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(MEMORY_KEPT_BYTES)
        .table_keep_resident(TABLE_KEPT_BYTES);
    pool
}

/// Raises the epoch until the engine is gone.
fn start_tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("airlock-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(EPOCH_TICK);
            }
        })?;
    Ok(())
}

/// Raises this process's limit of open files to what it may be: each module in
/// memory holds one.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
