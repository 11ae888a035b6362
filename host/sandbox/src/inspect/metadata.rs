//! Judges what a component of the tool world says of itself: the answers of
//! `tools.list` and `manifest.wants`, which its author wrote and a host must not
//! trust. What passes is what the contract allows, bounded and printable.

use std::collections::HashSet;

use super::error::InstallError;
use super::manifest::{AgentInfo, Effects, ToolInfo, Want};
use super::{TOOLS_MAX, schema, text};
use crate::agent::contract::agent;
use crate::contract::types;

/// Most wants of one component.
pub const WANTS_MAX: usize = 64;
/// Longest tool name, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest title, bytes.
pub const TITLE_BYTES_MAX: usize = 128;
/// Longest description, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
/// Longest scope of a want, bytes.
pub const SCOPE_BYTES_MAX: usize = 4 << 10;
/// Longest reason of a want, bytes.
pub const REASON_BYTES_MAX: usize = 1 << 10;

/// Checks the answer of `tools.list`.
///
/// # Errors
/// The first tool that breaks the contract, and how.
pub fn tools(listed: Vec<types::Tool>) -> Result<Vec<ToolInfo>, InstallError> {
    if listed.is_empty() {
        return Err(broken("it lists no tools"));
    }
    if listed.len() > TOOLS_MAX {
        return Err(broken(&format!(
            "it lists {} tools, more than {TOOLS_MAX}",
            listed.len()
        )));
    }
    let mut names = HashSet::new();
    let mut tools = Vec::with_capacity(listed.len());
    for (index, listed) in listed.into_iter().enumerate() {
        let shown = text::line(&listed.name);
        let tool = tool(listed)
            .map_err(|reason| broken(&format!("tool {index} (`{shown}`): {reason}")))?;
        if !names.insert(tool.name.clone()) {
            return Err(broken(&format!("two tools are named `{shown}`")));
        }
        tools.push(tool);
    }
    Ok(tools)
}

/// Checks the answer of `manifest.wants`.
///
/// # Errors
/// The first want that breaks the contract, and how.
pub fn wants(listed: Vec<types::Want>) -> Result<Vec<Want>, InstallError> {
    if listed.len() > WANTS_MAX {
        return Err(broken(&format!(
            "it has {} wants, more than {WANTS_MAX}",
            listed.len()
        )));
    }
    let checked = listed.into_iter().enumerate().map(|(index, listed)| {
        want(listed).map_err(|reason| broken(&format!("want {index}: {reason}")))
    });
    checked.collect()
}

/// Checks the answer of an agent's `about`.
///
/// # Errors
/// How it breaks the contract.
pub fn about(about: agent::Purpose) -> Result<(AgentInfo, Vec<Want>), InstallError> {
    let told = || {
        let schema = schema::input(&about.input_schema);
        Ok(AgentInfo {
            description: bounded("description", about.description, DESCRIPTION_BYTES_MAX)?,
            input_schema: schema.map_err(|reason| format!("the input schema {reason}"))?,
        })
    };
    let info = told().map_err(|reason: String| broken(&reason))?;
    Ok((info, wants(about.wants)?))
}

/// Whether `name` may be a tool's name: 1 to 64 of `[a-z0-9_-]`, a letter first.
pub fn is_tool_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    name.len() <= NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(allowed)
}

fn broken(reason: &str) -> InstallError {
    InstallError::MetadataInvalid(reason.to_owned())
}

fn tool(listed: types::Tool) -> Result<ToolInfo, String> {
    if !is_tool_name(&listed.name) {
        return Err("a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter".to_owned());
    }
    let title = listed.title;
    let title = title.map(|title| bounded("title", title, TITLE_BYTES_MAX));
    let input = schema::input(&listed.input_schema);
    let output = listed.output_schema.as_deref().map(schema::output);
    Ok(ToolInfo {
        name: listed.name,
        title: title.transpose()?,
        description: bounded("description", listed.description, DESCRIPTION_BYTES_MAX)?,
        input_schema: input.map_err(|reason| format!("the input schema {reason}"))?,
        output_schema: output
            .transpose()
            .map_err(|reason| format!("the output schema {reason}"))?,
        effects: effects(listed.effects),
    })
}

/// Read-only implies idempotent, and excludes destructive.
fn effects(claim: types::Effects) -> Effects {
    Effects {
        read_only: claim.read_only,
        idempotent: claim.idempotent || claim.read_only,
        destructive: claim.destructive && !claim.read_only,
        open_world: claim.open_world,
    }
}

fn want(listed: types::Want) -> Result<Want, String> {
    if !is_tool_name(&listed.capability) {
        let name = text::line(&listed.capability);
        return Err(format!("`{name}` can't be the name of a capability"));
    }
    if listed.scope.len() > SCOPE_BYTES_MAX {
        return Err(format!("its scope has more than {SCOPE_BYTES_MAX} bytes"));
    }
    if listed.scope.contains('\n') {
        // It stands in a line of what an administrator reads.
        return Err("its scope has more than one line".to_owned());
    }
    if let Err(error) = listed.scope.parse::<toml::Value>() {
        let error = text::line(error.message());
        return Err(format!("its scope is not a TOML value: {error}"));
    }
    Ok(Want {
        scope: bounded("scope", listed.scope, SCOPE_BYTES_MAX)?,
        reason: bounded("reason", listed.reason, REASON_BYTES_MAX)?,
        capability: listed.capability,
        optional: listed.optional,
    })
}

fn bounded(what: &str, value: String, bytes_max: usize) -> Result<String, String> {
    if value.len() > bytes_max {
        let len = value.len();
        return Err(format!("its {what} has {len} bytes, more than {bytes_max}"));
    }
    Ok(text::escape(&value).into_owned())
}
