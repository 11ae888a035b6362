//! From JSON to a tool's input and from its result to JSON, and the schemas of
//! both. An input that does not fit is the caller's fault and names the field.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What a tool takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the input of a tool",
    label = "not readable from JSON, or without a schema",
    note = "put `#[derive(Deserialize, JsonSchema)]` above it and its fields' types"
)]
pub trait ToolInput: DeserializeOwned + JsonSchema {}
#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> ToolInput for T {}

/// What a tool gives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a tool",
    label = "not writable as JSON, or without a schema",
    note = "put `#[derive(Serialize, JsonSchema)]` above it and its fields' types"
)]
pub trait ToolOutput: Serialize + JsonSchema {}
#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema> ToolOutput for T {}

/// How a tool fails.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a tool",
    label = "says nothing of what the caller should do next",
    note = "return `Result<_, Error>` with the `Error` of `airlock_sdk::prelude`; make one of another error by `.map_err(|error| Error::permanent(error.to_string()))?`"
)]
pub trait ToolError: Into<Error> {}
#[diagnostic::do_not_recommend]
impl<E: Into<Error>> ToolError for E {}

/// What a tool's function returns.
#[diagnostic::on_unimplemented(
    message = "a tool returns `Result<Output, Error>`",
    label = "not a `Result`"
)]
pub trait ToolResult {
    /// The type of the `Ok` side.
    type Output;
}

impl<T, E> ToolResult for Result<T, E> {
    type Output = T;
}

/// The input of a tool that takes none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

fn schema<T: JsonSchema>(contract: Contract) -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.contract = contract;
    settings.into_generator().into_root_schema_for::<T>()
}

/// The JSON Schema of an input.
#[must_use]
pub fn input_schema<T: ToolInput>() -> String {
    let mut schema = schema::<T>(Contract::Deserialize);
    // A map or a raw value says nothing of its type; an input is an object.
    schema
        .ensure_object()
        .entry("type")
        .or_insert_with(|| "object".into());
    serde_json::Value::from(schema).to_string()
}

/// The JSON Schema of an output, where it says anything.
#[must_use]
pub fn output_schema<T: ToolOutput>() -> Option<String> {
    let schema = schema::<T>(Contract::Serialize);
    let says_something = schema.as_object().is_some_and(|object| {
        object
            .keys()
            .any(|key| !matches!(key.as_str(), "$schema" | "title" | "description"))
    });
    says_something.then(|| serde_json::Value::from(schema).to_string())
}

/// The JSON Schema of what a model is to answer with.
pub(crate) fn answer_schema<T: JsonSchema>() -> serde_json::Value {
    let mut schema = schema::<T>(Contract::Deserialize);
    schema.ensure_object();
    schema.into()
}

/// Reads an input.
///
/// # Errors
/// [`Error::InvalidInput`] with the path of the field that does not fit.
pub fn read_input<T: ToolInput>(json: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // `.` is the whole value, `?` what ended before it had a name.
        let path = path.trim_end_matches(['.', '?']);
        let place = if path.is_empty() {
            "input".to_owned()
        } else {
            format!("input.{path}")
        };
        Error::InvalidInput(format!("{place}: {}", error.into_inner()))
    })?;
    reader
        .end()
        .map_err(|error| Error::InvalidInput(format!("input: {error}")))?;
    Ok(value)
}

/// What the tool gave, or its error as one of the contract's.
///
/// # Errors
/// Those of the tool.
pub fn or_fail<T, E: ToolError>(result: Result<T, E>) -> Result<T, Error> {
    result.map_err(Into::into)
}

/// Writes an output.
///
/// # Errors
/// [`Error::Permanent`] when it has no JSON form.
pub fn write_output<T: ToolOutput>(output: &T) -> Result<String, Error> {
    serde_json::to_string(output)
        .map_err(|error| Error::Permanent(format!("writing the output: {error}")))
}
