//! Bodies, as their media types are written. The same input makes the same bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::PLAIN;
use super::style::{deep, pairs, scalar, shape};
use crate::plan::{Body, Field, Form, Style};

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// `Content-Type`, and the bytes.
pub(super) fn write(body: &Body, raw: &RawValue) -> Result<(String, Vec<u8>), String> {
    let media = body.media.clone();
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
        let style = field.style.unwrap_or_default();
        let shape = match style {
            Style::Deep => deep(value),
            _ => shape(value),
        };
        let shape = shape.map_err(|why| format!("body.{}: {why}", name.escape_debug()))?;
        let explode = field.explode.unwrap_or(style == Style::Form);
        let written = pairs(name, style, explode, &shape, PLAIN);
        all.extend(written.into_iter().map(|(name, value)| {
            // The one difference of a form to a query.
            format!("{}={}", name.replace("%20", "+"), value.replace("%20", "+"))
        }));
    }
    Ok(all.join("&"))
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
            Value::Array(items) => items.iter().collect(),
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

/// A boundary that none of the parts contains.
fn boundary(parts: &[Part<'_>]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("airlock-part-{number:016x}");
        let contains = |part: &Part<'_>| {
            let mut windows = part.bytes.windows(boundary.len());
            windows.any(|window| window == boundary.as_bytes())
        };
        if !parts.iter().any(contains) {
            return boundary;
        }
        number += 1;
    }
}
