//! The tools that the conformance suite of the Model Context Protocol asks for, as
//! far as a tool of Airlock can be one: they answer texts and JSON.

use std::borrow::Cow;
use std::thread::sleep;
use std::time::Duration;

use airlock_sdk::log;
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::json;
use schemars::{Schema, SchemaGenerator};

/// Between two reports.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// Answers a text.
#[tool(read_only)]
fn test_simple_text(_: Nothing) -> Result<String, Error> {
    Ok("This is a simple text response for testing.".to_owned())
}

/// Fails.
#[tool(read_only)]
fn test_error_handling(_: Nothing) -> Result<String, Error> {
    let message = "This tool intentionally returns an error for testing";
    Err(Error::Permanent(message.to_owned()))
}

/// Reports its progress.
#[tool(read_only)]
fn test_tool_with_progress(_: Nothing) -> Result<String, Error> {
    for done in [0.0, 50.0, 100.0] {
        log::progress(done, Some(100.0), "");
        sleep(PAUSE);
    }
    Ok("done".to_owned())
}

/// Logs what it does.
#[tool(read_only)]
fn test_tool_with_logging(_: Nothing) -> Result<String, Error> {
    for message in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        log::info(message, &[]);
        sleep(PAUSE);
    }
    Ok("done".to_owned())
}

/// Logs, for whoever asks for the log of this call alone.
#[tool(read_only)]
fn test_logging_tool(_: Nothing) -> Result<String, Error> {
    log::info("a record", &[]);
    Ok("done".to_owned())
}

/// An input whose schema has what JSON Schema 2020-12 brought.
#[derive(Deserialize)]
struct Wide {}

impl JsonSchema for Wide {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Wide".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": { "address": {
                "$anchor": "addressDef", "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            } },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": {
                "properties": { "contactMethod": { "const": "phone" } },
                "required": ["contactMethod"],
            },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        });
        schema.try_into().unwrap_or_default()
    }
}

/// Takes an input of many shapes.
#[tool(read_only)]
fn json_schema_2020_12_tool(_: Wide) -> Result<String, Error> {
    Ok("taken".to_owned())
}

plugin! {
    tools: [
        test_simple_text,
        test_error_handling,
        test_tool_with_progress,
        test_tool_with_logging,
        test_logging_tool,
        json_schema_2020_12_tool,
    ],
    wants: [],
}
