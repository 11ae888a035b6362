//! What an operation answers when it succeeds: what is asked for in `Accept`, the
//! headers that are given back, and the output's schema.

use serde_json::{Value, json};

use super::body::is_media;
use crate::problem::Problem;
use crate::schema::{From, Member};
use crate::spec::{Node, Spec};

/// Headers that are given back whatever the document says.
const ALWAYS: [&str; 4] = ["etag", "link", "location", "x-request-id"];

/// What an operation answers.
pub(crate) struct Read<'a> {
    pub(crate) accept: String,
    pub(crate) headers: Vec<String>,
    pub(crate) members: Vec<Member<'a>>,
}

/// What is read of the responses of an operation.
pub(crate) fn read<'a>(spec: &Spec<'a>, operation: &Node<'a>) -> Result<Read<'a>, Problem> {
    let mut schemas: Vec<Option<Node<'a>>> = Vec::new();
    let mut medias: Vec<String> = Vec::new();
    let mut headers: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
    for response in succeeding(spec, operation)? {
        if let Some(declared) = response.get("headers") {
            let declared = declared.map("`headers`")?.keys().take(50);
            headers.extend(declared.map(|name| name.to_ascii_lowercase()));
        }
        let Some(content) = response.get("content") else {
            continue;
        };
        for (media, node) in content.members("`content`")? {
            let essence = media.split(';').next().unwrap_or_default().trim();
            let essence = essence.to_ascii_lowercase();
            let is_json = essence == "application/json" || essence.ends_with("+json");
            schemas.push(node.get("schema").filter(|_| is_json));
            if is_media(&essence) && !medias.contains(&essence) {
                medias.push(essence);
            }
        }
    }
    headers.sort();
    headers.dedup();
    headers.retain(|name| !matches!(name.as_str(), "content-type" | "set-cookie"));
    Ok(Read {
        accept: accept(&medias),
        headers,
        members: members(schemas),
    })
}

/// The responses with 2xx; where there are none, the default.
fn succeeding<'a>(spec: &Spec<'a>, operation: &Node<'a>) -> Result<Vec<Node<'a>>, Problem> {
    let Some(responses) = operation.get("responses") else {
        return Ok(Vec::new());
    };
    let all: Vec<(&str, Node<'a>)> = responses.members("`responses`")?.collect();
    let of = |wanted: &dyn Fn(&str) -> bool| -> Result<Vec<Node<'a>>, Problem> {
        let found = all.iter().filter(|(status, _)| wanted(status));
        found.map(|(_, node)| spec.resolve(node.clone())).collect()
    };
    let found = of(&|status| status.starts_with('2'))?;
    match found.is_empty() {
        true => of(&|status| status == "default"),
        false => Ok(found),
    }
}

/// JSON first, whatever the document's order.
fn accept(medias: &[String]) -> String {
    if medias.is_empty() {
        return "application/json, */*;q=0.5".to_owned();
    }
    let json = |media: &&String| media.ends_with("json");
    let mut sorted: Vec<&str> = medias.iter().filter(json).map(String::as_str).collect();
    let others = medias.iter().filter(|media| !json(media));
    sorted.extend(others.map(String::as_str));
    sorted.truncate(10);
    sorted.join(", ")
}

fn members(schemas: Vec<Option<Node<'_>>>) -> Vec<Member<'_>> {
    let member = |name: &str, required, schema| Member {
        name: name.to_owned(),
        required,
        description: String::new(),
        schema,
    };
    let headers = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let mut made = vec![
        member("status", true, From::Made(json!({ "type": "integer" }))),
        member("headers", false, From::Made(headers)),
    ];
    let distinct = |one: &Option<Node<'_>>| schemas.first().is_some_and(|first| same(first, one));
    let body = match schemas.first() {
        Some(Some(first)) if schemas.iter().all(distinct) => {
            From::Document(vec![first.clone()], json!({}))
        }
        _ => From::Made(Value::Bool(true)),
    };
    made.push(member("body", false, body));
    made
}

fn same(left: &Option<Node<'_>>, right: &Option<Node<'_>>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => left.value == right.value,
        (None, None) => true,
        _ => false,
    }
}
