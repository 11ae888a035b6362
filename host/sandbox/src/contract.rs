//! Host side of the contract in `wit/airlock-tool`, generated once for the
//! whole crate: the engine calls the exports, the rooms serve the imports.

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/airlock-tool",
        world: "tool",
        imports: { default: trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub use generated::airlock::tool::{host, secrets, types};
pub use generated::exports::airlock::tool::{manifest, tools};
pub use generated::{Tool, ToolPre};
