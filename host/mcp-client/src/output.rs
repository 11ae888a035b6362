//! The result of a call of a tool: bounded, of kinds that are known, and told as
//! one JSON value.

use airlock_models::{SCHEMA_STEPS_MAX, Schema, at_length};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::Fault;
use crate::text;

/// Most parts of one result.
const PARTS_MAX: usize = 1_000;
/// Longest text of a tool's own error, bytes.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Longest name of a kind of content, bytes.
const MIME_BYTES_MAX: usize = 255;

/// What a tool gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Its structured result as it wrote it, where the tool says that it has one.
    Structured(String),
    /// `{"content": […]}`, and `structuredContent` where there is one nobody
    /// expected.
    Content(String),
    /// It failed, in its own words, bounded.
    Failed(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given<'a> {
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: bool,
    result_type: Option<String>,
}

/// Reads the result of `tools/call`; `schema`: the tool's, of its structured result.
///
/// # Errors
/// [`Fault::Broken`].
pub(crate) fn read(
    result: &RawValue,
    schema: Option<&Value>,
    bytes_max: u64,
) -> Result<Output, Fault> {
    if result.get().len() as u64 > bytes_max.saturating_mul(2).saturating_add(4 << 10) {
        return Err(too_large(bytes_max));
    }
    if !result.get().starts_with('{') {
        return Err(Fault::Broken("its result is none".to_owned()));
    }
    let given: Given<'_> = serde_json::from_str(result.get())
        .map_err(|error| Fault::Broken(format!("its result is none ({error})")))?;
    if given.result_type.is_some_and(|kind| kind != "complete") {
        return Err(Fault::Broken(
            "it asks for more input, which nobody gives".to_owned(),
        ));
    }
    let content = given.content.unwrap_or_default();
    if content.len() > PARTS_MAX {
        return Err(Fault::Broken(format!(
            "its result has more than {PARTS_MAX} parts"
        )));
    }
    let parts: Result<Vec<Value>, String> = content.iter().map(|part| read_part(part)).collect();
    let parts = parts.map_err(|error| Fault::Broken(format!("its result {error}")))?;
    if given.is_error {
        return Ok(Output::Failed(words(&parts)));
    }
    let output = match (schema, given.structured_content) {
        (Some(schema), Some(value)) => {
            check(schema, value)?;
            Output::Structured(value.get().to_owned())
        }
        (Some(_), None) => {
            return Err(Fault::Broken(
                "its result has no `structuredContent`, which the tool's output schema says"
                    .to_owned(),
            ));
        }
        (None, None) => Output::Content(json!({ "content": parts }).to_string()),
        (None, Some(value)) => {
            let content = Value::from(parts);
            Output::Content(format!(
                r#"{{"content":{content},"structuredContent":{value}}}"#
            ))
        }
    };
    let (Output::Structured(text) | Output::Content(text) | Output::Failed(text)) = &output;
    match text.len() as u64 > bytes_max {
        true => Err(too_large(bytes_max)),
        false => Ok(output),
    }
}

/// Whether a structured result is as the tool's schema says.
fn check(schema: &Value, value: &RawValue) -> Result<(), Fault> {
    let broken = |error: String| {
        Fault::Broken(format!(
            "its result is not as its output schema says: {error}"
        ))
    };
    let schema = schema.to_string();
    at_length(schema.len() + value.get().len(), || {
        let schema = Schema::compile(&schema).map_err(broken)?;
        let value: Value =
            serde_json::from_str(value.get()).map_err(|error| broken(error.to_string()))?;
        let checked = schema.check(&value, &mut { SCHEMA_STEPS_MAX });
        checked.map_err(|violation| {
            broken(text::line(&format!(
                "{}: {}",
                violation.at, violation.message
            )))
        })
    })
}

fn too_large(bytes_max: u64) -> Fault {
    Fault::Broken(format!("its result has more than {bytes_max} bytes"))
}

/// A part with the members that its kind has, and no others.
fn read_part(part: &RawValue) -> Result<Value, String> {
    let part: Value = serde_json::from_str(part.get())
        .map_err(|error| format!("has a part that is none ({error})"))?;
    let member = |name: &str| {
        let text = part[name].as_str();
        text.ok_or_else(|| format!("has a part without `{name}`"))
    };
    Ok(match member("type")? {
        "text" => json!({ "type": "text", "text": member("text")? }),
        kind @ ("image" | "audio") => {
            let data = member("data")?;
            check_base64(data)?;
            json!({ "type": kind, "mimeType": mime(member("mimeType")?)?, "data": data })
        }
        "resource_link" => {
            let link =
                json!({ "type": "resource_link", "uri": member("uri")?, "name": member("name")? });
            let link = with(link, "description", part["description"].as_str());
            with(link, "mimeType", part["mimeType"].as_str())
        }
        "resource" => json!({ "type": "resource", "resource": resource(&part["resource"])? }),
        other => return Err(format!("has a part of the kind `{}`", text::line(other))),
    })
}

/// With one more member, where there is one: `null` is none to those who read it.
fn with(mut part: Value, name: &str, text: Option<&str>) -> Value {
    if let Some(text) = text {
        part[name] = json!(text);
    }
    part
}

fn resource(resource: &Value) -> Result<Value, String> {
    let uri = resource["uri"]
        .as_str()
        .ok_or("has a resource without `uri`")?;
    let kind = resource["mimeType"].as_str().map(mime).transpose()?;
    match (resource["text"].as_str(), resource["blob"].as_str()) {
        (Some(text), None) => Ok(with(json!({ "uri": uri, "text": text }), "mimeType", kind)),
        (None, Some(blob)) => {
            check_base64(blob)?;
            Ok(with(json!({ "uri": uri, "blob": blob }), "mimeType", kind))
        }
        _ => Err("has a resource that is neither text nor bytes".to_owned()),
    }
}

fn check_base64(data: &str) -> Result<(), String> {
    let read = STANDARD.decode(data);
    read.map(drop)
        .map_err(|_| "has bytes that are no base64".to_owned())
}

fn mime(kind: &str) -> Result<&str, String> {
    let fits =
        kind.len() <= MIME_BYTES_MAX && kind.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
    match fits {
        true => Ok(kind),
        false => Err("has a part whose `mimeType` is none".to_owned()),
    }
}

/// What a tool says of its failure.
fn words(parts: &[Value]) -> String {
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    let all: Vec<&str> = texts.collect();
    match all.is_empty() {
        true => "the tool failed, and says nothing of it".to_owned(),
        false => {
            let all = all.join("\n");
            let end = all.floor_char_boundary(ERROR_BYTES_MAX);
            all[..end].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(result: &str, structured: bool) -> String {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        let schema = structured.then_some(&schema);
        let result: Box<RawValue> = serde_json::from_str(result).expect("JSON");
        match read(&result, schema, 200) {
            Ok(Output::Structured(text)) => format!("structured {text}"),
            Ok(Output::Content(text)) => format!("content {text}"),
            Ok(Output::Failed(text)) => format!("failed {text}"),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn results_are_told_or_refused() {
        let large = format!(
            r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#,
            "x".repeat(200)
        );
        let huge = format!(
            r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#,
            "x".repeat(6_000)
        );
        let many = format!(r#"{{"content":[{}1]}}"#, "1,".repeat(1_200));
        let table = [
            (
                r#"{"content":[{"type":"text","text":"a","_meta":{"x":1}}]}"#,
                false,
                r#"content {"content":[{"type":"text","text":"a"}]}"#,
            ),
            (r#"{"content":[]}"#, false, r#"content {"content":[]}"#),
            (
                r#"{"content":[],"structuredContent":{"n":12345678901234567890123}}"#,
                true,
                r#"structured {"n":12345678901234567890123}"#,
            ),
            (
                r#"{"content":[],"structuredContent":{"n":"x"}}"#,
                true,
                "not as its output schema says: /n",
            ),
            (
                r#"{"content":[],"structuredContent":[]}"#,
                true,
                "not as its output schema says",
            ),
            (
                r#"{"content":[],"structuredContent":{"n":1}}"#,
                false,
                r#"content {"content":[],"structuredContent":{"n":1}}"#,
            ),
            (
                r#"{"content":[{"type":"text","text":"a"}]}"#,
                true,
                "no `structuredContent`",
            ),
            (
                r#"{"content":[{"type":"text","text":"why"}],"isError":true}"#,
                true,
                "failed why",
            ),
            (r#"{"isError":true}"#, true, "says nothing of it"),
            (
                r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png"}]}"#,
                false,
                "image/png",
            ),
            (
                r#"{"content":[{"type":"image","data":"!","mimeType":"image/png"}]}"#,
                false,
                "no base64",
            ),
            (
                r#"{"content":[{"type":"audio","data":"AA==","mimeType":"a\nb"}]}"#,
                false,
                "`mimeType` is none",
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"x"}}]}"#,
                false,
                r#"content {"content":[{"type":"resource","resource":{"uri":"a:b","text":"x"}}]}"#,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AA=="}}]}"#,
                false,
                r#"content {"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AA=="}}]}"#,
            ),
            (
                r#"{"content":[{"type":"resource_link","uri":"a:b","name":"n"}]}"#,
                false,
                r#"content {"content":[{"type":"resource_link","uri":"a:b","name":"n"}]}"#,
            ),
            (
                r#"{"content":[{"type":"resource_link","uri":"a:b","name":"n","description":"d","mimeType":"a/b","size":1}]}"#,
                false,
                r#"{"type":"resource_link","uri":"a:b","name":"n","description":"d","mimeType":"a/b"}"#,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b"}}]}"#,
                false,
                "neither text nor bytes",
            ),
            (
                r#"{"content":[{"type":"video"}]}"#,
                false,
                "of the kind `video`",
            ),
            (r#"{"content":[{"text":"x"}]}"#, false, "without `type`"),
            (r#"{"content":"x"}"#, false, "is none"),
            (
                r#"{"content":[],"resultType":"input_required"}"#,
                false,
                "asks for more input",
            ),
            (r#"[]"#, false, "is none"),
            (large.as_str(), false, "more than 200 bytes"),
            (huge.as_str(), false, "more than 200 bytes"),
            (many.as_str(), false, "more than 1000 parts"),
        ];
        for (result, structured, expect) in table {
            let found = told(result, structured);
            assert!(found.contains(expect), "{}: {found}", text::line(result));
        }
    }
}
