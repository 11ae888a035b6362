//! Host side of the contract in `wit/airlock-agent`.

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod generated {
    wasmtime::component::bindgen!({
        path: ["../../wit/deps/io.wit", "../../wit/airlock-tool", "../../wit/airlock-agent"],
        world: "airlock:agent/agent-world",
        imports: { default: trappable },
        exports: { default: async },
        require_store_data_send: true,
        with: {
            "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
            "airlock:tool/types": crate::contract::types,
            "airlock:agent/host.handle": crate::agent::Handle,
        },
    });
}

pub use generated::airlock::agent::{host, types};
pub use generated::exports::airlock::agent::agent;
pub use generated::{AgentWorld, AgentWorldPre};
