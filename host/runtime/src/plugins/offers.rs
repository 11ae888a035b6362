//! What a token may use: tools it may call, agents it may start, and what callers
//! are told of each.
//!
//! What must stay true: what is outside a token's reach or roles is not there,
//! whoever asks and however.

use airlock_sandbox::EffectClass;
use airlock_sandbox::inspect::Kind;
use tokio::sync::watch;

use super::views::tools;
use crate::plugins::{Active, AgentView, ToolView};
use crate::principal::{Principal, Role};
use crate::runtime::Runtime;

/// A tool or an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Offer {
    /// A tool that may be called.
    Tool(OfferedTool),
    /// An agent of which a run may be started.
    Agent(OfferedAgent),
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTool {
    /// As listings show it.
    pub tool: ToolView,
    /// What a call may do, by the class and the grants in force.
    pub hints: Hints,
}

/// An agent of which a run may be started.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedAgent {
    /// Its plugin.
    pub name: String,
    /// What it says of itself.
    pub agent: AgentView,
}

/// What a call may do, by the effect class and the grants in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// Twice with the same input is the same as once.
    pub idempotent: bool,
    /// It may delete or overwrite what can't be brought back.
    pub destructive: bool,
    /// It may reach other systems: its plugin has rules of `http`.
    pub open_world: bool,
}

/// Who may use tools and agents.
const USERS: &[Role] = &[Role::Caller];

impl Runtime {
    /// All that `who` may use. Tools that are refused until their effects are
    /// granted again are left out.
    #[must_use]
    pub fn offers(&self, who: &Principal) -> Vec<Offer> {
        if !who.has_one_of(USERS) {
            return Vec::new();
        }
        let all = self.registry.all().into_iter();
        all.filter(|(slot, _)| who.may_see(&slot.name))
            .flat_map(|(_, active)| of(&active))
            .collect()
    }

    /// Whether `who` may call this tool, and there is one.
    #[must_use]
    pub fn offers_tool(&self, who: &Principal, plugin: &str, tool: &str) -> bool {
        self.offered(who, plugin, |active| active.tool(tool).is_some())
    }

    /// Whether `who` may start runs of this agent, and there is one.
    #[must_use]
    pub fn offers_agent(&self, who: &Principal, agent: &str) -> bool {
        self.offered(who, agent, |active| active.manifest.kind == Kind::Agent)
    }

    fn offered(&self, who: &Principal, plugin: &str, is_it: impl Fn(&Active) -> bool) -> bool {
        let reached = who.has_one_of(USERS) && who.may_see(plugin);
        let found = reached.then(|| self.registry.get(plugin)).flatten();
        found.is_some_and(|(_, active)| is_it(&active))
    }

    /// Changes when a plugin is installed, replaced, removed, or is granted
    /// anything else.
    #[must_use]
    pub fn offer_changes(&self) -> watch::Receiver<()> {
        self.registry.changes()
    }
}

fn of(active: &Active) -> Vec<Offer> {
    if let Some(agent) = &active.manifest.agent {
        let agent = AgentView {
            description: agent.description.clone(),
            input_schema: agent.input_schema.clone(),
        };
        let name = active.name.clone();
        return vec![Offer::Agent(OfferedAgent { name, agent })];
    }
    let open_world = !active.grants.grants.http.is_empty() || active.remote.is_some();
    let offered = |tool: &ToolView| !tool.claim_changed && !tool.tool_changed;
    let usable = tools(active).into_iter().filter(offered);
    let offer = |tool: ToolView| {
        let hints = hints(tool.class, open_world);
        Offer::Tool(OfferedTool { tool, hints })
    };
    usable.map(offer).collect()
}

fn hints(class: EffectClass, open_world: bool) -> Hints {
    Hints {
        read_only: class == EffectClass::ReadOnly,
        idempotent: matches!(class, EffectClass::ReadOnly | EffectClass::Idempotent),
        destructive: class == EffectClass::Destructive,
        open_world,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_says_what_it_may_do() {
        let table = [
            (EffectClass::ReadOnly, [true, true, false]),
            (EffectClass::Idempotent, [false, true, false]),
            (EffectClass::Destructive, [false, false, true]),
            (EffectClass::Plain, [false, false, false]),
        ];
        for (class, expect) in table {
            for open_world in [false, true] {
                let hints = hints(class, open_world);
                let found = [hints.read_only, hints.idempotent, hints.destructive];
                assert_eq!((found, hints.open_world), (expect, open_world), "{class:?}");
            }
        }
    }
}
