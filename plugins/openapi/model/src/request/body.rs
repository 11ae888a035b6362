//! Bodies, as their media types are written. The same input makes the same bytes.

use std::collections::BTreeSet;
use std::iter;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::style::{deep, pairs, scalar, shape};
use super::{Input, PLAIN, encode, is_null};
use crate::plan::{Body, CONTENT_TYPE, Field, Form, Style};

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// `Content-Type`, and the bytes; none where no body is given.
pub(super) fn of_input(body: &Body, input: &Input) -> Result<Option<(String, Vec<u8>)>, String> {
    let media = media(body, input)?;
    let given = input.get("body");
    match given.filter(|raw| body.nullable || !is_null(raw)) {
        Some(raw) => write(body, media, raw).map(Some),
        None if body.required => Err("body: is missing".to_owned()),
        None => Ok(None),
    }
}

/// The media type: the caller's choice, where there is one.
fn media(body: &Body, input: &Input) -> Result<String, String> {
    let Some(raw) = input.get(CONTENT_TYPE).filter(|raw| !is_null(raw)) else {
        return Ok(body.media.clone());
    };
    // A parameter of that name is not asked here.
    if body.others.is_empty() {
        return Ok(body.media.clone());
    }
    let mut all = iter::once(&body.media).chain(&body.others);
    let given: Option<String> = serde_json::from_str(raw.get()).ok();
    let found = all.find(|media| given.as_ref() == Some(*media));
    found.cloned().ok_or_else(|| {
        let others = body.others.join(", ");
        format!("{CONTENT_TYPE}: must be one of {}, {others}", body.media)
    })
}

fn write(body: &Body, media: String, raw: &RawValue) -> Result<(String, Vec<u8>), String> {
    match body.form {
        // As the caller wrote it, so that nothing is lost.
        Form::Json => Ok((media, raw.get().as_bytes().to_vec())),
        Form::Text => Ok((media, text(raw)?.into_bytes())),
        Form::Bytes => Ok((media, bytes("body", &text(raw)?)?)),
        Form::Urlencoded => Ok((media, urlencoded(body, &members(raw)?)?.into_bytes())),
        Form::Multipart => multipart(body, &members(raw)?),
    }
}

fn text(raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|_| "body: must be a text".to_owned())
}

fn members(raw: &RawValue) -> Result<Map<String, Value>, String> {
    serde_json::from_str(raw.get()).map_err(|_| "body: must be an object".to_owned())
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD
        .decode(text.trim())
        .map_err(|error| format!("{name}: must be base64: {error}"))
}

fn urlencoded(body: &Body, members: &Map<String, Value>) -> Result<String, String> {
    let mut all = Vec::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let field = body.fields.get(name).cloned().unwrap_or_default();
        if let Some(texts) = as_json(value, &field) {
            let name = form_text(&encode(name, PLAIN));
            all.extend(texts.iter().map(|text| {
                let text = form_text(&encode(text, PLAIN));
                format!("{name}={text}")
            }));
            continue;
        }
        let style = field.style.unwrap_or_default();
        let shape = match style {
            Style::Deep => deep(value),
            _ => shape(value),
        };
        let shape = shape.map_err(|why| format!("body.{}: {why}", name.escape_debug()))?;
        let explode = field.explode.unwrap_or(style == Style::Form);
        let written = pairs(name, style, explode, &shape, PLAIN);
        all.extend(
            written
                .into_iter()
                .map(|(name, value)| format!("{}={}", form_text(&name), form_text(&value))),
        );
    }
    Ok(all.join("&"))
}

/// The one difference of a form to a query.
fn form_text(encoded: &str) -> String {
    encoded.replace("%20", "+")
}

/// Values that are written as JSON: lists and objects of which the document says no
/// style (OpenAPI 3.1, "Encoding Object"). A list is sent item by item.
fn as_json(value: &Value, field: &Field) -> Option<Vec<String>> {
    let is_nested = |value: &Value| value.is_array() || value.is_object();
    match value {
        _ if field.style.is_some() || field.explode.is_some() => None,
        Value::Object(_) => Some(vec![value.to_string()]),
        Value::Array(items) if items.iter().any(is_nested) => {
            let items = items.iter().filter(|item| !item.is_null());
            Some(items.map(Value::to_string).collect())
        }
        _ => None,
    }
}

struct Part<'a> {
    name: &'a str,
    media: Option<String>,
    is_file: bool,
    bytes: Vec<u8>,
}

fn multipart(body: &Body, members: &Map<String, Value>) -> Result<(String, Vec<u8>), String> {
    let mut parts = Vec::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        if name.chars().any(|c| c.is_control() || c == '"') {
            let name = name.escape_debug();
            return Err(format!("body.{name}: no part can have this name"));
        }
        let field = body.fields.get(name).cloned().unwrap_or_default();
        let values = match value {
            Value::Array(items) => items.iter().filter(|item| !item.is_null()).collect(),
            one => vec![one],
        };
        for value in values {
            parts.push(part(name, value, &field)?);
        }
    }
    let boundary = boundary(&parts);
    let mut made = Vec::new();
    for part in &parts {
        let file = match part.is_file {
            true => format!("; filename=\"{}\"", part.name),
            false => String::new(),
        };
        made.extend(format!("--{boundary}\r\n").into_bytes());
        made.extend(
            format!(
                "content-disposition: form-data; name=\"{}\"{file}\r\n",
                part.name
            )
            .into_bytes(),
        );
        if let Some(media) = &part.media {
            made.extend(format!("content-type: {media}\r\n").into_bytes());
        }
        made.extend(b"\r\n");
        made.extend(&part.bytes);
        made.extend(b"\r\n");
    }
    made.extend(format!("--{boundary}--\r\n").into_bytes());
    Ok((format!("{}; boundary={boundary}", essence(body)), made))
}

/// Without the boundary that a document has no say in.
fn essence(body: &Body) -> &str {
    body.media.split(';').next().unwrap_or_default().trim()
}

fn part<'a>(name: &'a str, value: &Value, field: &Field) -> Result<Part<'a>, String> {
    let media = |usual: &str| field.media.clone().unwrap_or_else(|| usual.to_owned());
    Ok(match value {
        Value::String(text) if field.binary => Part {
            name,
            media: Some(media("application/octet-stream")),
            is_file: true,
            bytes: bytes(&format!("body.{name}"), text)?,
        },
        _ if field.binary => {
            return Err(format!("body.{name}: must be a text of base64"));
        }
        Value::Object(_) | Value::Array(_) => Part {
            name,
            media: Some(media("application/json")),
            is_file: false,
            bytes: value.to_string().into_bytes(),
        },
        one => Part {
            name,
            media: field.media.clone(),
            is_file: false,
            bytes: scalar(one)?.into_bytes(),
        },
    })
}

/// A boundary that none of the parts contains. They are read once, however many
/// boundaries stand in them.
fn boundary(parts: &[Part<'_>]) -> String {
    const START: &str = "airlock-part-";
    let mut taken: BTreeSet<u64> = BTreeSet::new();
    for part in parts {
        let windows = part.bytes.windows(START.len() + 16);
        let found = windows.filter_map(|window| {
            let digits = window.strip_prefix(START.as_bytes())?;
            u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        });
        taken.extend(found);
    }
    let number = (0..).find(|number| !taken.contains(number));
    format!("{START}{:016x}", number.unwrap_or_default())
}
