//! `airlock:memory/memory`: reads what a tool asks, and asks the gate for each
//! namespace.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use super::Memory;
use super::backend::{Backend, Failure};
use super::request::{REQUEST_BYTES_MAX, Request};
use crate::call::CallError;
use crate::contract::types;
use crate::gate::{Gate, Permit};
use crate::state::CallState;
use bindings::airlock::memory::memory;

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/airlock-tool", "../../wit/airlock-memory"],
        world: "airlock:memory/imports",
        imports: { default: async | trappable },
        with: { "airlock:tool/types": crate::contract::types },
        require_store_data_send: true,
    });
}

/// What a request takes on the host while it is read, as a multiple of its bytes.
const READ_FACTOR: u64 = 4;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    memory::add_to_linker::<_, HasMemory>(linker, |state| MemoryView {
        state: state.rooms.memory(),
    })
}

/// The room's part of a call.
pub struct State {
    gate: Gate,
    backend: Arc<Backend>,
}

impl State {
    pub(super) fn new(gate: Gate, backend: Arc<Backend>) -> Self {
        Self { gate, backend }
    }

    pub(super) async fn ask(&self, request: &str) -> Result<String, Failure> {
        let bytes = request.len().min(REQUEST_BYTES_MAX) as u64;
        let _held = self.gate.budget().reserve(READ_FACTOR * bytes)?;
        let request =
            Request::read(request).map_err(|message| CallError::InvalidInput { message })?;
        let permits = request.ops().into_iter().map(|op| self.gate.permit(op));
        let permits = permits.collect::<Result<Vec<Permit<Memory>>, _>>()?;
        if let Some(permit) = permits.first().filter(|_| request.writes()) {
            permit.count_out(bytes);
        }
        self.backend.perform(permits, request).await
    }
}

struct HasMemory;

impl HasData for HasMemory {
    type Data<'a> = MemoryView<'a>;
}

/// What the interface's function sees of a call.
pub struct MemoryView<'a> {
    state: &'a State,
}

impl memory::Host for MemoryView<'_> {
    async fn ask(&mut self, request: String) -> wasmtime::Result<Result<String, types::Error>> {
        match self.state.ask(&request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Failure::Told(error)) => Ok(Err(error.into())),
            Err(Failure::Limit(limit)) => Err(limit.into()),
        }
    }
}
