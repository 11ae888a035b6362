//! What happens before a component can be a plugin: looked at, compiled in a
//! child process, linked, and asked for its tools in a sandbox without grants.
//!
//! What must stay true: nothing of it runs outside a sandbox; the answer is
//! judged as its author's word.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::Store;

use super::{Sandbox, engine_bounds};
use crate::call::CallError;
use crate::call::guard::Vitals;
use crate::call::left::Present;
use crate::call::run::{Ask, Confines};
use crate::capability::CallContext;
use crate::compile::{CodeCache, CompileError, component_digest};
use crate::contract::types::{Tool, Want};
use crate::gate::CallInfo;
use crate::grants::{EffectClass, Grants};
use crate::inspect::{self, Inspection, InstallError, Kind, Manifest, metadata};
use crate::limits::{Limits, Span};
use crate::loaded::{Exports, Loaded};
use crate::state::CallState;

/// CPU time for the metadata call: languages with a runtime of their own start
/// slowly.
const METADATA_CPU: Duration = Duration::from_secs(2);

/// Wall time for it, of which a busy host may need most.
const METADATA_WALL: Duration = Duration::from_secs(60);

/// The metadata call's name in the call's records.
const METADATA: &str = "list";

impl Sandbox {
    /// Judges a component and finds out its tools: size, format, imports, a
    /// compilation within the install limits, and, for the contract's world, a
    /// call of `list` and `wants` in a sandbox without any grant.
    ///
    /// # Errors
    /// The first reason why it can't be installed, with a stable code.
    pub async fn inspect(&self, component: Bytes) -> Result<Manifest, InstallError> {
        let bounds = engine_bounds(self.loader.cache.limits());
        let bytes = component.clone();
        let looked = self.services.io.spawn_blocking(move || {
            let inspection = inspect::component(&bytes, &bounds);
            inspection.map(|inspection| (inspection, component_digest(&bytes)))
        });
        let looked = looked.await.map_err(internal("looking at the component"))?;
        let (inspection, digest) = looked?;
        if inspection.kind == Kind::Agent {
            let agent = self.inspect_agent(component, digest, inspection, &bounds);
            return agent.await;
        }
        let component_bytes = component.len() as u64;
        let cache = Arc::clone(&self.loader.cache);
        let code = CodeCache::fetch(cache, &self.services.io, &digest, component).await?;
        inspect::compiled(&code.component, &bounds)?;
        let loaded = Loaded::new(&self.loader.linker, &code.component, inspection.kind)?;
        let mut manifest = Manifest {
            digest,
            kind: inspection.kind,
            contract: inspection.contract.clone(),
            tools: Vec::new(),
            agent: None,
            wants: Vec::new(),
            imports: inspection.imports.clone(),
            capabilities: inspection.capabilities.clone(),
            component_bytes,
            compiled_bytes: code.bytes,
        };
        self.ask_for_tools(&mut manifest, loaded, &inspection)
            .await?;
        Ok(manifest)
    }

    async fn ask_for_tools(
        &self,
        manifest: &mut Manifest,
        loaded: Loaded,
        inspection: &Inspection,
    ) -> Result<(), InstallError> {
        if let Exports::Typed { tools, .. } = loaded.exports() {
            manifest.tools = tools.infos(&inspection.docs, &inspection.capabilities)?;
            return Ok(());
        }
        let (tools, wants) = self.metadata(Arc::new(manifest.clone()), loaded).await?;
        manifest.tools = metadata::tools(tools)?;
        manifest.wants = metadata::wants(wants)?;
        Ok(())
    }

    async fn metadata(
        &self,
        manifest: Arc<Manifest>,
        loaded: Loaded,
    ) -> Result<(Vec<Tool>, Vec<Want>), InstallError> {
        let failed = |error: CallError| {
            let reason = error.to_string();
            InstallError::Metadata { reason }
        };
        let places = self.further(&manifest.digest, &loaded).map_err(failed)?;
        let limits = metadata_limits();
        let plugin = self
            .plugin(METADATA, manifest, 0, Grants::default(), limits)
            .map_err(internal("preparing a sandbox without grants"))?;
        let terms = plugin.terms();
        let gate = plugin.gate(info(), &terms);
        let wall = terms.limits.wall.0;
        let started = tokio::time::Instant::now();
        let deadline = started + wall;
        let rooms = terms.rooms.states(CallContext {
            gate: gate.clone(),
            limits: Arc::clone(&terms.limits),
            services: Arc::clone(&self.services),
            started,
            deadline,
        });
        let vitals = Arc::new(Vitals::default());
        let confines = Confines {
            loaded: Arc::new(loaded),
            places,
            limits: terms.limits,
            gate,
            rooms,
            vitals: Arc::clone(&vitals),
            wall,
            deadline,
            present: Present::new(&vitals),
        };
        let answer = self.guests.run(vitals, confines.work(Metadata)).await;
        answer.unwrap_or_else(super::host_failed).map_err(failed)
    }
}

/// Limits of a call that asks a component what it is.
pub(super) fn metadata_limits() -> Limits {
    Limits {
        cpu: Span(METADATA_CPU),
        wall: Span(METADATA_WALL),
        ..Limits::default()
    }
}

/// Asks a component of the contract's world for its tools and wants.
struct Metadata;

impl Ask for Metadata {
    type Answer = (Vec<Tool>, Vec<Want>);

    async fn ask(
        &self,
        loaded: &Loaded,
        store: &mut Store<CallState>,
    ) -> wasmtime::Result<Result<Self::Answer, CallError>> {
        let Exports::ToolWorld { world, .. } = loaded.exports() else {
            return Ok(Ok((Vec::new(), Vec::new())));
        };
        let guest = world.instantiate_async(&mut *store).await?;
        let tools = guest.airlock_tool_tools().call_list(&mut *store).await?;
        let wants = guest.airlock_tool_manifest().call_wants(store).await?;
        Ok(Ok((tools, wants)))
    }
}

fn info() -> CallInfo {
    CallInfo {
        call_id: "install".to_owned(),
        plugin: METADATA.into(),
        tool: METADATA.to_owned(),
        principal: String::new(),
        caller: String::new(),
        class: EffectClass::ReadOnly,
    }
}

fn internal<E: std::error::Error + Send + Sync + 'static>(
    step: &'static str,
) -> impl FnOnce(E) -> InstallError {
    move |source| InstallError::Internal {
        step,
        source: Box::new(source),
    }
}

impl From<CompileError> for InstallError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Refused { reason } => Self::Compile { reason },
            CompileError::Limit { limit, value } => Self::CompileLimit { limit, value },
            other => Self::Internal {
                step: "compiling the component",
                source: Box::new(other),
            },
        }
    }
}
