//! What is known of a server, in the words of components.

use airlock_mcp_client::{Pinned, Tool};
use airlock_sandbox::inspect::Kind;
use airlock_sandbox::inspect::text::escape;

use crate::engine::{Effects, Manifest, ToolInfo};

/// What a pinned server is as a version of a plugin.
pub(crate) fn manifest(pinned: &Pinned, digest: &str, bytes: usize) -> Manifest {
    let mut tools: Vec<ToolInfo> = pinned.tools.iter().map(tool).collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    Manifest {
        digest: digest.to_owned(),
        kind: Kind::Server,
        contract: None,
        tools,
        agent: None,
        wants: Vec::new(),
        imports: Vec::new(),
        capabilities: Vec::new(),
        component_bytes: bytes as u64,
        compiled_bytes: 0,
    }
}

fn tool(tool: &Tool) -> ToolInfo {
    ToolInfo {
        name: tool.own_name(),
        title: tool
            .title
            .as_deref()
            .map(|title| escape(title).into_owned()),
        description: escape(&tool.description).into_owned(),
        input_schema: tool.input_schema.clone(),
        output_schema: tool.output_schema.clone(),
        effects: effects(tool),
    }
}

/// What a tool claims. What it does not say is no claim: the protocol takes a tool
/// that says nothing for destructive, which here would be most of them, and say
/// nothing any more.
fn effects(tool: &Tool) -> Effects {
    let said = |hint: Option<bool>| hint == Some(true);
    let claim = &tool.annotations;
    let read_only = said(claim.read_only_hint);
    Effects {
        read_only,
        idempotent: said(claim.idempotent_hint) || read_only,
        destructive: said(claim.destructive_hint) && !read_only,
        open_world: claim.open_world_hint != Some(false),
    }
}
