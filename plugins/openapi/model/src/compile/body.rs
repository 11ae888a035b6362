//! The body of an operation: of the media types it may have, the one that a caller
//! writes most easily, and those that a caller may choose instead.

use std::collections::{BTreeMap, VecDeque};
use std::ptr;

use serde_json::{Value, json};

use super::media;
use crate::limits::{FIELDS_MAX, PARTS_MAX};
use crate::plan::{Body, CONTENT_TYPE, Field, Form, Style};
use crate::problem::{Problem, name};
use crate::schema::{From, Member};
use crate::spec::{Node, Spec};

/// A body, and what is told of it.
pub(crate) struct Read<'a> {
    pub(crate) body: Body,
    /// `body`, and `content_type` where there is a choice.
    pub(crate) members: Vec<Member<'a>>,
}

/// The body of an operation, where it has one.
pub(crate) fn read<'a>(spec: &Spec<'a>, operation: &Node<'a>) -> Result<Option<Read<'a>>, Problem> {
    let Some(given) = operation.get("requestBody") else {
        return Ok(None);
    };
    let given = spec.resolve(given)?;
    let Some(content) = given.get("content") else {
        return Err(given.problem("the body has no `content`"));
    };
    let choices = media::choices(spec, &content)?;
    let Some(first) = choices.first() else {
        return Err(given.problem("the body's `content` is empty"));
    };
    let (form, node) = (first.form, &first.node);
    if !is_media(first.named) {
        return Err(node.problem(format!("`{}` is no media type", name(first.named))));
    }
    let required = given.flag("required") == Some(true);
    let schemas: Vec<Node<'a>> = choices
        .iter()
        .filter_map(|choice| choice.node.get("schema"))
        .collect();
    let fields = match form {
        Form::Urlencoded | Form::Multipart => fields(spec, node, schemas.first(), form)?,
        _ => BTreeMap::new(),
    };
    let mut nullable = false;
    if form == Form::Json {
        for schema in &schemas {
            nullable |= media::takes_null(spec, schema)?;
        }
    }
    let description = given.text("description").unwrap_or_default();
    let mut members = vec![Member {
        name: "body".to_owned(),
        required,
        description: format!("{description}{}", beside(form, &fields))
            .trim()
            .to_owned(),
        // One of them without a schema may be anything.
        schema: told(form, (schemas.len() == choices.len()).then_some(schemas)),
    }];
    let media: Vec<String> = choices.iter().map(|choice| choice.media.clone()).collect();
    members.extend(chosen(&media));
    Ok(Some(Read {
        members,
        body: Body {
            required,
            nullable,
            media: first.media.clone(),
            others: media.into_iter().skip(1).collect(),
            form,
            fields,
        },
    }))
}

/// The member that says which media type it is, where there are several.
fn chosen(media: &[String]) -> Option<Member<'static>> {
    let (first, _) = media
        .split_first()
        .filter(|(_, others)| !others.is_empty())?;
    Some(Member {
        name: CONTENT_TYPE.to_owned(),
        required: false,
        description: format!("What `body` is; {first} unless given."),
        schema: From::Made(json!({ "type": "string", "enum": media })),
    })
}

/// Whether it can stand in `Content-Type`.
pub(crate) fn is_media(media: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+*".contains(c);
    let essence = media.split(';').next().unwrap_or_default().trim();
    let parts = essence.split_once('/');
    media.len() <= 200
        && media.chars().all(plain)
        && parts.is_some_and(|(kind, name)| {
            !kind.is_empty() && !name.is_empty() && kind.chars().chain(name.chars()).all(word)
        })
}

fn told(form: Form, schemas: Option<Vec<Node<'_>>>) -> From<'_> {
    let instead = match form {
        Form::Json => json!({}),
        Form::Urlencoded | Form::Multipart => json!({ "type": "object" }),
        Form::Text => return From::Made(json!({ "type": "string" })),
        Form::Bytes => {
            return From::Made(json!({ "type": "string", "contentEncoding": "base64" }));
        }
    };
    match schemas {
        Some(schemas) => From::Document(schemas, instead),
        None => From::Made(instead),
    }
}

/// What the schema does not say.
fn beside(form: Form, fields: &BTreeMap<String, Field>) -> String {
    let binary = fields.iter().filter(|(_, field)| field.binary);
    let binary: Vec<&str> = binary.map(|(name, _)| name.as_str()).collect();
    match form {
        Form::Bytes => "\nBytes, in base64.".to_owned(),
        Form::Multipart if !binary.is_empty() => {
            format!("\nBytes in base64: {}.", binary.join(", "))
        }
        _ => String::new(),
    }
}

/// What is said of the members of a form.
fn fields(
    spec: &Spec<'_>,
    media: &Node<'_>,
    schema: Option<&Node<'_>>,
    form: Form,
) -> Result<BTreeMap<String, Field>, Problem> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let parts = match (schema, form) {
        (Some(schema), Form::Multipart) => parts(spec, schema.clone())?,
        _ => Vec::new(),
    };
    let mut seen = 0;
    for properties in parts.iter().filter_map(|part| part.get("properties")) {
        for (called, node) in properties.members("`properties`")? {
            seen += 1;
            if seen > FIELDS_MAX {
                return Err(properties.problem(format!("more than {FIELDS_MAX} members of a form")));
            }
            if is_binary(spec, node)? {
                let field = fields.entry(called.to_owned()).or_default();
                field.binary = true;
            }
        }
    }
    let Some(encoding) = media.get("encoding") else {
        return Ok(fields);
    };
    for (called, node) in encoding.members("`encoding`")? {
        let field = fields.entry(called.to_owned()).or_default();
        field.explode = node.flag("explode");
        field.style = match node.text("style") {
            None => None,
            Some("form") => Some(Style::Form),
            Some("spaceDelimited") => Some(Style::Space),
            Some("pipeDelimited") => Some(Style::Pipe),
            Some("deepObject") => Some(Style::Deep),
            Some(other) => {
                return Err(node.problem(format!("`{}` is no style of a form", name(other))));
            }
        };
        let first = node
            .text("contentType")
            .and_then(|all| all.split(',').next());
        field.media = match first.map(str::trim) {
            None | Some("") => None,
            Some(media) if is_media(media) && !media.contains('*') => Some(media.to_owned()),
            Some(media) if media.contains('*') => None,
            Some(media) => {
                return Err(node.problem(format!("`{}` is no media type", name(media))));
            }
        };
    }
    Ok(fields)
}

/// A schema and those that it is put together of, each once.
pub(crate) fn parts<'a>(spec: &Spec<'a>, node: Node<'a>) -> Result<Vec<Node<'a>>, Problem> {
    let mut found: Vec<Node<'a>> = Vec::new();
    let mut queue = VecDeque::from([node]);
    while let Some(node) = queue.pop_front() {
        let node = spec.resolve(node)?;
        let is_known = found.iter().any(|known| ptr::eq(known.value, node.value));
        if is_known || found.len() == PARTS_MAX {
            continue;
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            if let Some(list) = node.get(key) {
                queue.extend(list.items(&format!("`{key}`"))?.take(PARTS_MAX));
            }
        }
        found.push(node);
    }
    Ok(found)
}

/// Whether a member of a form may be bytes, or a list of them.
fn is_binary<'a>(spec: &Spec<'a>, node: Node<'a>) -> Result<bool, Problem> {
    let own = parts(spec, node)?;
    for items in own.iter().filter_map(|part| part.get("items")) {
        if parts(spec, items)?.iter().any(is_bytes) {
            return Ok(true);
        }
    }
    Ok(own.iter().any(is_bytes))
}

fn is_bytes(node: &Node<'_>) -> bool {
    let says = |key: &str| node.value.get(key).and_then(Value::as_str);
    let is_text = |media: &str| media.starts_with("text/") || media.contains("json");
    matches!(says("format"), Some("binary"))
        || says("contentMediaType").is_some_and(|media| !is_text(media))
}
