//! Agents: loaded, asked what they are for, run.

use std::sync::Arc;

use bytes::Bytes;

use super::Sandbox;
use crate::agent::{
    AgentAsk, AgentEnd, AgentHost, AgentReport, AgentSays, AgentTask, AgentTool, Answer,
    LoadedAgent, Note, Request, RequestId, Stopped, ask,
};
use crate::call::outcome;
use crate::compile::CodeCache;
use crate::inspect::{self, Bounds, Inspection, InstallError, Manifest};
use crate::limits::Limits;
use airlock_journal::store::BoxFuture;

impl Sandbox {
    /// One attempt at a run, in a fresh sandbox, until the agent ends or `host`
    /// ends it. Dropping the future ends it too.
    ///
    /// # Errors
    /// The component can't be loaded.
    pub async fn run_agent(
        &self,
        digest: &str,
        host: Arc<dyn AgentHost>,
        limits: Arc<Limits>,
        task: AgentTask,
    ) -> Result<AgentReport, InstallError> {
        let loaded = self.agent(digest).await?;
        let Some(places) = self.agents.spare.take(digest, loaded.further) else {
            return Ok(AgentReport {
                end: AgentEnd::NoRoom,
                cpu_us: 0,
            });
        };
        let (agent, task) = ((loaded, places), AgentAsk::Run(task));
        let asked = ask(&self.guests, agent, host, limits, task);
        let (says, cpu_us) = asked.await;
        let end = match says {
            AgentSays::Ran(end) => end,
            AgentSays::About(_) => AgentEnd::Stopped,
        };
        Ok(AgentReport { end, cpu_us })
    }

    async fn agent(&self, digest: &str) -> Result<Arc<LoadedAgent>, InstallError> {
        let load = async {
            let (components, name) = (Arc::clone(&self.loader.components), digest.to_owned());
            let source = move || components.component(&name);
            let cache = Arc::clone(&self.agents.cache);
            let code = CodeCache::get(cache, &self.services.io, digest, source).await?;
            self.agents.link(&code.component)
        };
        self.agents.loaded.get(digest, load).await
    }

    /// The manifest of an agent: compiled, linked, and asked what it is for in a
    /// sandbox that reaches nothing.
    pub(super) async fn inspect_agent(
        &self,
        component: Bytes,
        digest: String,
        inspection: Inspection,
        bounds: &Bounds,
    ) -> Result<Manifest, InstallError> {
        let component_bytes = component.len() as u64;
        let cache = Arc::clone(&self.agents.cache);
        let code = CodeCache::fetch(cache, &self.services.io, &digest, component).await?;
        inspect::compiled(&code.component, bounds)?;
        let loaded = Arc::new(self.agents.link(&code.component)?);
        let places = self.agents.spare.take(&digest, loaded.further);
        let places = places.ok_or_else(|| InstallError::Metadata {
            reason: outcome::no_room().to_string(),
        })?;
        let asked = ask(
            &self.guests,
            (loaded, places),
            Arc::new(Nobody),
            Arc::new(super::install::metadata_limits()),
            AgentAsk::About,
        );
        let reason = match asked.await.0 {
            AgentSays::About(about) => {
                let (agent, wants) = inspect::metadata::about(about)?;
                return Ok(Manifest {
                    digest,
                    kind: inspection.kind,
                    contract: inspection.contract,
                    tools: Vec::new(),
                    agent: Some(agent),
                    wants,
                    imports: inspection.imports,
                    capabilities: inspection.capabilities,
                    component_bytes,
                    compiled_bytes: code.bytes,
                });
            }
            AgentSays::Ran(AgentEnd::Failed(error)) => error.to_string(),
            AgentSays::Ran(_) => "it asked for something before it was given a goal".to_owned(),
        };
        Err(InstallError::Metadata { reason })
    }
}

/// The host of an agent that is only asked what it is for.
struct Nobody;

impl AgentHost for Nobody {
    fn request(&self, _: Request) -> Result<RequestId, Stopped> {
        Err(Stopped)
    }
    fn poll(&self, _: Vec<RequestId>, _: bool) -> BoxFuture<'_, Result<Vec<RequestId>, Stopped>> {
        Box::pin(async { Err(Stopped) })
    }
    fn answer(&self, _: RequestId) -> Option<Answer> {
        None
    }
    fn cancel(&self, _: RequestId) -> Result<(), Stopped> {
        Err(Stopped)
    }
    fn detach(&self, _: RequestId) -> Result<(), Stopped> {
        Ok(())
    }
    fn note(&self, _: Note) -> Result<(), Stopped> {
        Ok(())
    }
    fn tools(&self) -> Result<Vec<AgentTool>, Stopped> {
        Ok(Vec::new())
    }
    fn set_state(&self, _: &str, _: Option<&str>) -> Result<(), Stopped> {
        Ok(())
    }
    fn is_told(&self, _: RequestId) -> bool {
        false
    }
    fn is_live(&self) -> bool {
        true
    }
    fn spent(&self, _: u64) {}
    fn now_ms(&self) -> u64 {
        0
    }
    fn started_ms(&self) -> u64 {
        0
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}
