//! The data of an agent's store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::{DynPollable, Pollable};
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};

use super::{AgentHost, Memory, RequestId};
use crate::call::guard::Guard;
use crate::sockets::{Refuses, SocketsView};

/// What an agent's store holds.
pub(crate) struct AgentState {
    pub(crate) host: Arc<dyn AgentHost>,
    pub(crate) table: ResourceTable,
    /// What stands behind a pollable; one that is not listed is always ready.
    pub(crate) waits: HashMap<u32, RequestId>,
    pub(crate) guard: Guard,
    /// Requests whose handles the agent neither cancelled nor dropped.
    pub(crate) held: BTreeSet<RequestId>,
    /// Those of them whose answers it did not wait for yet.
    pub(crate) unseen: BTreeSet<RequestId>,
    /// The run's state as the agent sees it.
    pub(crate) memory: Memory,
    cli: WasiCliCtx,
    files: WasiFilesystemCtx,
    /// Allows nothing.
    sockets: WasiSocketsCtx,
}

/// A pollable's own entry in the table: readiness is the journal's to tell.
struct Waiting;

#[async_trait::async_trait]
impl Pollable for Waiting {
    async fn ready(&mut self) {}
}

impl AgentState {
    pub(crate) fn new(
        host: Arc<dyn AgentHost>,
        table: ResourceTable,
        guard: Guard,
        memory: Memory,
    ) -> Self {
        Self {
            host,
            table,
            waits: HashMap::new(),
            guard,
            held: BTreeSet::new(),
            unseen: BTreeSet::new(),
            memory,
            cli: WasiCliCtx::default(),
            files: WasiFilesystemCtx::default(),
            sockets: WasiSocketsCtx::default(),
        }
    }

    pub(crate) fn cli(&mut self) -> WasiCliCtxView<'_> {
        WasiCliCtxView {
            ctx: &mut self.cli,
            table: &mut self.table,
        }
    }

    pub(crate) fn files(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: &mut self.files,
            table: &mut self.table,
        }
    }

    pub(crate) fn no_sockets(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView {
            ctx: &mut self.sockets,
            table: &mut self.table,
        }
    }

    pub(crate) fn refused_sockets(&mut self) -> SocketsView<'_> {
        SocketsView {
            refuses: Refuses::Run(&*self.host),
            inner: WasiSocketsCtxView {
                ctx: &mut self.sockets,
                table: &mut self.table,
            },
        }
    }

    /// The agent wants no answer to a request.
    pub(super) fn lets_go(&mut self, id: RequestId) {
        self.held.remove(&id);
        self.unseen.remove(&id);
    }

    /// The agent waited for these: what it computes from here on counts anew, also
    /// where the answers were there at once. One answer is waited for once, and none
    /// while a journal is read, which has all of them.
    pub(super) fn sees(&mut self, answered: &[RequestId]) {
        let mut first = false;
        for id in answered {
            first |= self.unseen.remove(id);
        }
        if first && self.host.is_live() {
            self.guard.waits();
        }
    }

    /// A pollable that is ready when the request has its answer; `None`: at once.
    pub(crate) fn pollable(
        &mut self,
        request: Option<RequestId>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let entry = self.table.push(Waiting)?;
        let pollable = wasmtime_wasi::p2::subscribe(&mut self.table, entry)?;
        if let Some(request) = request {
            self.waits.insert(pollable.rep(), request);
        }
        Ok(pollable)
    }
}
