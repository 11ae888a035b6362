//! What is wrong with an answer and the agent can repair: calls of tools that are
//! not there, arguments and texts that are not as their schemas say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::answer::{ANSWER_BYTES_MAX, Fault, Finish};
use crate::error::ModelError;
use crate::json::is_light;
use crate::names::Names;
use crate::request::{Request, ToolCall, ToolChoice};
use crate::router::Said;
use crate::schema::{STEPS_MAX, Schema};

/// The schema of a request's answer, ready.
pub(crate) struct Checks {
    output: Option<Schema>,
}

/// One answer being checked.
struct Checking<'a> {
    request: &'a Request,
    names: &'a Names,
    steps: u64,
    /// By tool, of those that are called. A tool whose schema says what is not
    /// understood here checks its input itself.
    tools: BTreeMap<&'a str, Option<Schema>>,
}

impl Checks {
    /// Of a request.
    ///
    /// # Errors
    /// The answer's schema can't be used.
    pub(crate) fn of(request: &Request) -> Result<Self, ModelError> {
        let output = request.output.as_ref();
        let output = output.map(|output| Schema::compile(&output.schema));
        Ok(Self {
            output: output
                .transpose()
                .map_err(|error| ModelError::invalid(format!("output.schema: {error}")))?,
        })
    }

    /// All faults of an answer.
    pub(crate) fn faults(&self, request: &Request, names: &Names, said: &Said) -> Vec<Fault> {
        let mut checking = Checking {
            request,
            names,
            steps: STEPS_MAX,
            tools: BTreeMap::new(),
        };
        let calls = said.calls.iter();
        let mut faults: Vec<Fault> = calls.filter_map(|call| checking.call(call)).collect();
        let ended = matches!(said.finish, Finish::Refusal | Finish::ContentFilter);
        if ended {
            return faults;
        }
        faults.extend(not_called(&request.tool_choice, &said.calls));
        if let Some(schema) = self.output.as_ref().filter(|_| said.calls.is_empty()) {
            faults.extend(checking.output(schema, &said.text));
        }
        faults
    }
}

impl Checking<'_> {
    fn call(&mut self, call: &ToolCall) -> Option<Fault> {
        let id = call.id.clone();
        if !self.names.offers(&call.name) {
            let name = call.name.clone();
            return Some(Fault::UnknownTool { call: id, name });
        }
        if let Some(message) = too_much(&call.arguments) {
            return Some(Fault::ArgumentsNotJson { call: id, message });
        }
        let arguments = match serde_json::from_str::<Value>(&call.arguments) {
            Ok(value @ Value::Object(_)) => value,
            Ok(_) => {
                let message = "it is no JSON object".to_owned();
                return Some(Fault::ArgumentsNotJson { call: id, message });
            }
            Err(error) => {
                let message = error.to_string();
                return Some(Fault::ArgumentsNotJson { call: id, message });
            }
        };
        let tool = self
            .request
            .tools
            .iter()
            .find(|tool| tool.name == call.name)?;
        let schema = self.tools.entry(&tool.name);
        let schema = schema.or_insert_with(|| Schema::compile(&tool.input_schema).ok());
        let violation = schema.as_ref()?.check(&arguments, &mut self.steps).err()?;
        Some(Fault::ArgumentsSchema {
            call: id,
            at: violation.at,
            message: violation.message,
        })
    }

    fn output(&mut self, schema: &Schema, text: &str) -> Option<Fault> {
        if let Some(message) = too_much(text) {
            return Some(Fault::OutputNotJson { message });
        }
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                let message = error.to_string();
                return Some(Fault::OutputNotJson { message });
            }
        };
        let violation = schema.check(&value, &mut self.steps).err()?;
        Some(Fault::OutputSchema {
            at: violation.at,
            message: violation.message,
        })
    }
}

/// Why a text of JSON is not read at all.
fn too_much(text: &str) -> Option<String> {
    if text.len() > ANSWER_BYTES_MAX {
        return Some(format!("it has more than {ANSWER_BYTES_MAX} bytes"));
    }
    (!is_light(text)).then(|| "it has too many values".to_owned())
}

fn not_called(choice: &ToolChoice, calls: &[ToolCall]) -> Option<Fault> {
    let message = match choice {
        ToolChoice::Required if calls.is_empty() => "a tool has to be called".to_owned(),
        ToolChoice::Tool(name) if !calls.iter().any(|call| call.name == *name) => {
            format!("`{name}` has to be called")
        }
        ToolChoice::None if !calls.is_empty() => "no tool may be called".to_owned(),
        _ => return None,
    };
    Some(Fault::NotCalled { message })
}
