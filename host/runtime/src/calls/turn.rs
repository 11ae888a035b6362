//! What a step of a run needs before its call is made: its turn, and that what is
//! in force is still what it was judged by.
//!
//! What must stay true: a step waits for its turn before anything of it is on
//! record as begun; what is called is what was judged.

use std::time::Duration;

use airlock_sandbox::EffectClass;

use crate::admission::Permit;
use crate::calls::in_flight::Place;
use crate::plugins::{Active, Registry};
use crate::runtime::Runtime;

/// The wait before the host is asked once more for a place.
const NO_PLACE_WAIT: Duration = Duration::from_millis(20);

/// A step's turn to call a tool of a plugin.
pub(crate) struct Turn {
    pub(super) permit: Permit,
    pub(super) place: Place,
}

/// What a call is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    tool: Option<ToolJudged>,
    /// The version of the agent's grants.
    agent: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ToolJudged {
    digest: String,
    grants_version: u64,
    class: EffectClass,
}

impl Judged {
    /// What is in force now for a call of `tool`, `plugin/tool`, by `agent`.
    pub(crate) fn now(registry: &Registry, agent: &str, tool: &str) -> Self {
        let parts = tool.split_once('/');
        let found = parts.and_then(|(plugin, name)| {
            let (_, active) = registry.get(plugin)?;
            ToolJudged::of(&active, name)
        });
        Self::with(registry, agent, found)
    }

    /// The same for what is about to be called.
    pub(super) fn of(registry: &Registry, agent: &str, active: &Active, name: &str) -> Self {
        Self::with(registry, agent, ToolJudged::of(active, name))
    }

    fn with(registry: &Registry, agent: &str, tool: Option<ToolJudged>) -> Self {
        let agent = registry.get(agent);
        Self {
            tool,
            agent: agent.map(|(_, active)| active.grants.version),
        }
    }

    /// The class in force; `None`: there is no such tool.
    pub(crate) fn class(&self) -> Option<EffectClass> {
        self.tool.as_ref().map(|tool| tool.class)
    }
}

impl ToolJudged {
    fn of(active: &Active, name: &str) -> Option<Self> {
        Some(Self {
            digest: active.manifest.digest.clone(),
            grants_version: active.grants.version,
            class: active.tool(name)?.class,
        })
    }
}

impl Runtime {
    /// The turn of a step at a plugin, if it need not wait for it. There is none
    /// where the plugin is not there: its call says so.
    pub(crate) fn turn_now(&self, plugin: &str) -> Option<Turn> {
        let (slot, _) = self.registry.get(plugin)?;
        let permit = slot.admission.step_now()?;
        let place = self.in_flight.take().ok()?;
        Some(Turn { permit, place })
    }

    /// Waits for the turn of a step of `agent` for `by` at a plugin, however long
    /// that takes; `None`: the plugin is not there.
    pub(crate) async fn turn(&self, plugin: &str, agent: &str, by: &str) -> Option<Turn> {
        let (slot, _) = self.registry.get(plugin)?;
        let permit = slot.admission.step(agent, by).await;
        loop {
            if let Ok(place) = self.in_flight.take() {
                return Some(Turn { permit, place });
            }
            tokio::time::sleep(NO_PLACE_WAIT).await;
        }
    }
}
