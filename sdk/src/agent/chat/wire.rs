//! A request to a model and its answer, as JSON goes between an agent and the host.
//!
//! What must stay true: the same request is always the same bytes (no map without
//! order, no number with a point), since a run that catches up makes it again.

use serde::{Deserialize, Serialize};

/// What `chat` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    pub(crate) role: String,
    /// The new ones only, where the conversation goes on.
    pub(crate) messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Offered>,
    #[serde(default, skip_serializing_if = "ToolChoice::is_auto")]
    pub(crate) tool_choice: ToolChoice,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Output>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) temperature_milli: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Message {
    System {
        text: String,
    },
    User {
        parts: Vec<Part>,
    },
    Assistant {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ModelCall>,
    },
    Tool {
        call: String,
        text: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Part {
    Text { text: String },
    Image { media_type: String, data: String },
}

/// A tool that a model is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Offered {
    /// One that was granted, by its name.
    Granted(String),
    /// One of the agent's own.
    Own(OwnTool),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnTool {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// JSON Schema, a JSON object as text.
    pub(crate) input_schema: String,
}

#[cfg(not(target_family = "wasm"))]
impl Offered {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Granted(name) => name,
            Self::Own(tool) => &tool.name,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Output {
    pub(crate) name: String,
    /// JSON Schema, a JSON object as text.
    pub(crate) schema: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) strict: bool,
}

/// What `embed` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbedBody {
    pub(crate) role: String,
    pub(crate) texts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dimensions: Option<u32>,
}

/// Whether a model has to call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It may call none.
    None,
    /// It has to call one.
    Required,
    /// It has to call this one.
    Tool(String),
}

impl ToolChoice {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// A call that a model asks for. Nobody but the agent makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCall {
    /// Names it in the conversation.
    pub id: String,
    /// The tool: a granted one (`plugin/tool`), or one of the agent's own.
    pub name: String,
    /// JSON as text: an object, unless a fault of the reply says that it is none.
    pub arguments: String,
}
