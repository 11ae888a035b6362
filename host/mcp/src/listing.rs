//! What is offered to a token, as a page of tools.
//!
//! What must stay true: a listing has what the token may call and nothing else;
//! its pages are in one order, whatever changes between them.

use std::sync::Arc;

use airlock_runtime::{Hints, Offer, OfferedAgent, OfferedTool, Principal, Role, Runtime};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::ErrorData;
use rmcp::model::{CacheScope, JsonObject, ListToolsResult, MetaObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::agents;
use crate::names::{Own, agent_name, tool_name};

/// Tools of one page.
const PAGE: usize = 100;
/// How every cursor begins, before it is encoded.
const CURSOR: &str = "after:";
/// A member of schemas by which clients send arguments as headers, where whoever
/// stands in between can read them. No plugin may ask for that.
const AS_HEADER: &str = "x-mcp-header";

/// What is said of a tool that is not called in a sandbox, and the member of its
/// `_meta` that says so.
const NOT_SANDBOXED: &str = "\n\n(Not sandboxed: a tool of another MCP server.)";
const SANDBOXED: &str = "airlock/sandboxed";

/// Who may look at runs: any role.
const LOOKERS: &[Role] = &[Role::Viewer, Role::Caller, Role::Operator, Role::Approver];
/// Who may end them.
const ENDERS: &[Role] = &[Role::Caller, Role::Operator];

/// Whether a token may use one of Airlock's own tools.
pub(crate) fn may_use(who: &Principal, own: Own) -> bool {
    who.has_one_of(match own {
        Own::Status | Own::Wait => LOOKERS,
        Own::Cancel => ENDERS,
    })
}

/// A page of the tools that the token may call, after the cursor.
pub(crate) fn page(
    runtime: &Runtime,
    who: &Principal,
    cursor: Option<&str>,
) -> Result<ListToolsResult, ErrorData> {
    let after = cursor.map(read_cursor).transpose()?;
    let mut tools = tools(runtime, who);
    if let Some(after) = after {
        tools.retain(|tool| *tool.name > *after);
    }
    let next = (tools.len() > PAGE).then(|| write_cursor(&tools[PAGE - 1].name));
    tools.truncate(PAGE);
    let mut result = ListToolsResult::with_all_items(tools);
    result.next_cursor = next;
    // It is one token's, and changes with its grants.
    result.ttl_ms = Some(0);
    result.cache_scope = Some(CacheScope::Private);
    Ok(result)
}

/// A hash of all that the token may call, to see whether it has changed.
pub(crate) fn fingerprint(runtime: &Runtime, who: &Principal) -> [u8; 32] {
    let tools = tools(runtime, who);
    Sha256::digest(serde_json::to_vec(&tools).unwrap_or_default()).into()
}

fn write_cursor(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CURSOR}{name}"))
}

fn read_cursor(cursor: &str) -> Result<String, ErrorData> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let name = text.as_deref().and_then(|text| text.strip_prefix(CURSOR));
    let bad = || ErrorData::invalid_params("the cursor is not one of this server's", None);
    name.map(str::to_owned).ok_or_else(bad)
}

/// All of them, by name.
fn tools(runtime: &Runtime, who: &Principal) -> Vec<Tool> {
    let offers = runtime.offers(who);
    let agents = offers.iter().any(|offer| matches!(offer, Offer::Agent(_)));
    // Whoever looks after runs does so without starting any.
    let runs = agents || who.has_one_of(&[Role::Viewer, Role::Operator, Role::Approver]);
    let own = Own::ALL
        .into_iter()
        .filter(|own| runs && may_use(who, *own));
    let mut tools: Vec<Tool> = own.map(agents::own_tool).collect();
    tools.extend(offers.into_iter().map(|offer| match offer {
        Offer::Tool(offered) => tool(offered),
        Offer::Agent(offered) => agent(offered),
    }));
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools
}

fn tool(offered: OfferedTool) -> Tool {
    let OfferedTool { tool, hints } = offered;
    let name = tool_name(&tool.plugin, &tool.name);
    let mut description = tool.description;
    if !tool.sandboxed {
        description.push_str(NOT_SANDBOXED);
    }
    let mut listed = Tool::new(name, description, object(tool.input_schema));
    if !tool.sandboxed {
        let said = JsonObject::from_iter([(SANDBOXED.to_owned(), Value::Bool(false))]);
        listed.meta = Some(MetaObject(said));
    }
    listed.title = tool.title;
    listed.output_schema = tool.output_schema.and_then(output);
    listed.annotations = Some(annotations(hints));
    listed
}

/// An agent's effects are those of the tools that it was granted.
fn agent(offered: OfferedAgent) -> Tool {
    let OfferedAgent { name, agent } = offered;
    let description = format!(
        "{}\n\nStarts a run of this agent, which goes on by itself; `{}` follows it.",
        agent.description,
        Own::Wait.name()
    );
    let schema = agents::start_schema(object(agent.input_schema));
    let mut listed = Tool::new(agent_name(&name), description, schema);
    listed.output_schema = Some(agents::run_schema());
    listed.annotations = Some(annotations(Hints {
        read_only: false,
        idempotent: false,
        destructive: true,
        open_world: true,
    }));
    listed
}

pub(crate) fn annotations(hints: Hints) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(hints.read_only)
        .idempotent(hints.idempotent)
        .destructive(hints.destructive)
        .open_world(hints.open_world)
}

/// A schema of an object, which an input's always is.
fn object(schema: Value) -> JsonObject {
    let mut members = match schema {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    };
    members
        .entry("type")
        .or_insert_with(|| Value::from("object"));
    members.values_mut().for_each(without_headers);
    members
}

/// An output's schema, where it is one of an object: others have no structured
/// content in each version of the protocol.
fn output(schema: Value) -> Option<Arc<JsonObject>> {
    let is_object = schema["type"] == json!("object");
    is_object.then(|| Arc::new(object(schema)))
}

fn without_headers(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            // A property of that name has a schema, not a text.
            if members.get(AS_HEADER).is_some_and(Value::is_string) {
                members.remove(AS_HEADER);
            }
            members.values_mut().for_each(without_headers);
        }
        Value::Array(items) => items.iter_mut().for_each(without_headers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_no_other_is() {
        let cursor = write_cursor("files__read");
        assert_eq!(read_cursor(&cursor).expect("reads"), "files__read");
        for bad in ["", "x", "files__read", "YWZ0", &format!("{cursor}=")] {
            let error = read_cursor(bad).expect_err(bad);
            assert_eq!(error.code, rmcp::model::ErrorCode::INVALID_PARAMS, "{bad}");
        }
    }

    #[test]
    fn no_argument_becomes_a_header() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": { "type": "string", "x-mcp-header": "A" },
                "b": { "anyOf": [{ "x-mcp-header": "B" }, { "type": "null" }] },
            },
        });
        let text = Value::Object(object(schema)).to_string();
        assert!(!text.contains(AS_HEADER), "{text}");
        assert!(text.contains("anyOf"), "{text}");
    }
}
