//! Media types of a body: how each is written, which is taken, and which of them a
//! caller may choose.

use crate::limits::MEDIA_MAX;
use crate::plan::{Form, Kind};
use crate::problem::Problem;
use crate::schema::kinds;
use crate::spec::{Node, Spec};

use super::body::parts;

/// One of the media types that a body may have.
#[derive(Clone)]
pub(crate) struct Choice<'a> {
    /// As the document names it.
    pub(crate) named: &'a str,
    /// As `Content-Type` says it.
    pub(crate) media: String,
    pub(crate) form: Form,
    rank: u8,
    pub(crate) node: Node<'a>,
}

impl<'a> Choice<'a> {
    fn new(spec: &Spec<'a>, named: &'a str, node: Node<'a>) -> Result<Self, Problem> {
        let schema = node.get("schema");
        let is_json_of_any = match (is_of_any(named), &schema) {
            (true, Some(schema)) => !is_text(spec, schema)?,
            _ => false,
        };
        let (form, rank) = match is_json_of_any {
            true => (Form::Json, 4),
            false => form(spec, named, schema.as_ref())?,
        };
        let media = match (named.contains('*'), form) {
            (false, _) => named,
            (true, Form::Json) => "application/json",
            (true, Form::Text) => "text/plain",
            (true, _) => "application/octet-stream",
        };
        Ok(Self {
            named,
            media: media.to_owned(),
            form,
            rank,
            node,
        })
    }

    /// What makes one JSON type another: not a charset, since JSON is UTF-8, and not
    /// the old name of it.
    fn kind_of_json(&self) -> String {
        let mut parts = self.media.split(';').map(|part| {
            let part = part.trim().to_ascii_lowercase();
            part.replace("text/json", "application/json")
        });
        let essence = parts.next().unwrap_or_default();
        let others = parts.filter(|part| !part.starts_with("charset="));
        others.fold(essence, |all, part| format!("{all};{part}"))
    }
}

/// The media types of a body: first the one that is taken, behind it the other JSON
/// types that a caller may choose.
pub(crate) fn choices<'a>(spec: &Spec<'a>, content: &Node<'a>) -> Result<Vec<Choice<'a>>, Problem> {
    let mut all = Vec::new();
    for (named, node) in content.members("`content`")? {
        all.push(Choice::new(spec, named, node)?);
    }
    // Of equals the first.
    all.sort_by_key(|choice| choice.rank);
    let mut kinds: Vec<String> = Vec::new();
    let mut all = all.into_iter();
    let mut chosen: Vec<Choice<'a>> = all.next().into_iter().collect();
    let Some(Form::Json) = chosen.first().map(|first| first.form) else {
        return Ok(chosen);
    };
    kinds.extend(chosen.first().map(Choice::kind_of_json));
    for choice in all {
        let kind = choice.kind_of_json();
        let is_other = choice.form == Form::Json && !kinds.contains(&kind);
        if is_other && super::body::is_media(&choice.media) && chosen.len() < MEDIA_MAX {
            kinds.push(kind);
            chosen.push(choice);
        }
    }
    Ok(chosen)
}

/// Whether a name stands for whatever the body is.
fn is_of_any(named: &str) -> bool {
    matches!(essence(named).as_str(), "*/*" | "application/*")
}

fn essence(media: &str) -> String {
    let essence = media.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// How a media type is written, and which is preferred: the lowest.
fn form(spec: &Spec<'_>, named: &str, schema: Option<&Node<'_>>) -> Result<(Form, u8), Problem> {
    Ok(match essence(named).as_str() {
        "application/json" => (Form::Json, 0),
        // The change itself, as anybody would write it.
        "application/merge-patch+json" => (Form::Json, 1),
        // A list of operations. Where the document says nothing of a list, nobody
        // would write one.
        "application/json-patch+json" => match schema {
            Some(schema) if is_list(spec, schema)? => (Form::Json, 1),
            _ => (Form::Json, 3),
        },
        json if json.ends_with("+json") || json.ends_with("/json") => (Form::Json, 2),
        "application/x-www-form-urlencoded" => (Form::Urlencoded, 5),
        "multipart/form-data" => (Form::Multipart, 6),
        "application/xml" | "application/yaml" | "application/graphql" => (Form::Text, 7),
        text if text.starts_with("text/") || text.ends_with("+xml") => (Form::Text, 7),
        _ => (Form::Bytes, 8),
    })
}

fn is_list(spec: &Spec<'_>, schema: &Node<'_>) -> Result<bool, Problem> {
    Ok(kinds(spec, schema)?.contains(&Kind::Array))
}

/// Whether a schema is of a text, or says nothing: what has a media type that says
/// nothing either is bytes then.
fn is_text(spec: &Spec<'_>, schema: &Node<'_>) -> Result<bool, Problem> {
    let says_json = |kinds: &[Kind]| kinds.iter().any(|kind| *kind != Kind::String);
    if says_json(&kinds(spec, schema)?) {
        return Ok(false);
    }
    for part in parts(spec, schema.clone())? {
        let holds = ["properties", "additionalProperties", "items"];
        if says_json(&kinds(spec, &part)?) || holds.iter().any(|key| part.get(key).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a schema says that a value may be null.
pub(crate) fn takes_null(spec: &Spec<'_>, schema: &Node<'_>) -> Result<bool, Problem> {
    let is_null = |part: &Node<'_>| {
        let named = part.value.get("type");
        let all = named.and_then(serde_json::Value::as_array);
        part.flag("nullable") == Some(true)
            || named.is_some_and(|named| named == "null")
            || all.is_some_and(|all| all.iter().any(|one| one == "null"))
    };
    Ok(parts(spec, schema.clone())?.iter().any(is_null))
}
