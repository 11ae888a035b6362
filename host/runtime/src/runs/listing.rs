//! Which tools an agent is told of.

use airlock_sandbox::agent::AgentTool;
use airlock_sandbox::capability::tools::{self, Tools};

use super::event::Start;
use crate::plugins::Active;
use crate::runtime::Runtime;

/// As many as an agent is told of.
const TOOLS_MAX: usize = 1_000;

/// The tools that are granted to a run's agent, installed, not refused, and in
/// the scope of whoever started it; by name.
pub(super) fn tools(runtime: &Runtime, start: &Start) -> Vec<AgentTool> {
    let Some((_, agent)) = runtime.registry.get(&start.agent) else {
        return Vec::new();
    };
    let in_scope = |plugin: &str| {
        let scope = start.scope.as_ref();
        scope.is_none_or(|scope| scope.contains(plugin))
    };
    let plugins = runtime.registry.all().into_iter();
    let mut all: Vec<AgentTool> = plugins
        .filter(|(slot, _)| in_scope(&slot.name))
        .flat_map(|(_, active)| of_plugin(&active))
        .filter(|tool| {
            let op = tools::Op {
                tool: tool.name.clone(),
            };
            agent.grants.grants.permit_run::<Tools>(op).is_ok()
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.truncate(TOOLS_MAX);
    all
}

fn of_plugin(active: &Active) -> Vec<AgentTool> {
    let tool = |tool: &crate::engine::ToolInfo| {
        let terms = active
            .tool(&tool.name)
            .filter(|terms| !terms.claim_changed && terms.withheld.is_none())?;
        let written = active.grants.descriptions.get(&tool.name);
        Some(AgentTool {
            name: format!("{}/{}", active.name, tool.name),
            description: written.unwrap_or(&tool.description).clone(),
            input_schema: tool.input_schema.to_string(),
            output_schema: tool.output_schema.as_ref().map(ToString::to_string),
            class: terms.class,
        })
    };
    active.manifest.tools.iter().filter_map(tool).collect()
}
