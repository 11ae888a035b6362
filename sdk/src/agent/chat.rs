//! Conversations with language models, and vectors of texts.
//!
//! What must stay true: a request holds what is new since the last answer and no
//! more, so that a journal grows with a conversation and not with its square; what
//! is wrong with a request is for the host to say.

use std::fmt;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Request, ToolInfo};
use crate::Error;
use crate::backend::host::{self, Handle};
use crate::input::{ToolInput, answer_schema, input_schema};
use crate::task;

mod reply;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use reply::{Fault, Finish, Reply, Spent, Usage};
pub use wire::{ModelCall, ToolChoice};

use wire::{Body, EmbedBody, Message, Offered, Output, OwnTool, Part};

/// A conversation with a language model of a role that this agent was granted.
///
/// What it is asked and offered is set when it is made; then it goes on turn by
/// turn. Each [`ask`](Self::ask) sends what is new; the host keeps the rest. A clone
/// is another way on from the same point.
///
/// ```
/// use airlock_sdk::agent::{self, Chat, Outcome};
/// use airlock_sdk::prelude::*;
/// use airlock_sdk::serde_json::{Value, json};
/// use airlock_sdk::testing::{self, Says};
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Sum {
///     /// In cents.
///     total: u64,
/// }
///
/// async fn run(_goal: String, _input: Value) -> Result<Outcome, Error> {
///     let mut chat = Chat::new("fast")
///         .system("You add up invoices.")
///         .tools(&agent::tools())
///         .output::<Sum>();
///     chat.user("What is the total of /invoices?");
///     let mut reply = chat.ask_repaired(2).await?;
///     while !reply.calls.is_empty() {
///         for call in &reply.calls {
///             match agent::call::<Value>(&call.name, &call.parse::<Value>()?).await {
///                 Ok(output) => chat.result(call, &output),
///                 Err(error) => chat.failed(call, &error.to_string()),
///             };
///         }
///         reply = chat.ask_repaired(2).await?;
///     }
///     Outcome::done(&reply.parse::<Sum>()?.total)
/// }
///
/// let ran = testing::agent()
///     .tool("files/list", |_| Ok(json!(["a.csv"])))
///     .says("fast", [
///         Says::call("files/list", json!({ "path": "/invoices" })),
///         Says::text("About twelve."),
///         Says::json(json!({ "total": 12 })),
///     ])
///     .run(run, "add up", json!({}));
/// assert_eq!(ran.output(), 12);
/// // What it was asked last: why that was no answer.
/// let asked = ran.asked_models();
/// assert!(asked[2].last_text().contains("JSON"));
/// ```
#[derive(Clone)]
#[must_use = "nothing is asked until `ask`"]
pub struct Chat {
    body: Body,
    /// Results of the calls of the last answer; they go before all else.
    results: Vec<Message>,
    /// The last answer.
    after: Option<Rc<Handle>>,
    spent: Spent,
}

impl Chat {
    /// Begins one with a role of the host's configuration.
    pub fn new(role: &str) -> Self {
        Self {
            body: Body {
                role: role.to_owned(),
                messages: Vec::new(),
                tools: Vec::new(),
                tool_choice: ToolChoice::Auto,
                output: None,
                max_tokens: None,
                temperature_milli: None,
                stop: Vec::new(),
                seed: None,
            },
            results: Vec::new(),
            after: None,
            spent: Spent::default(),
        }
    }

    /// Instructions. They stand before all else: the host refuses them later.
    pub fn system(mut self, text: &str) -> Self {
        let text = text.to_owned();
        self.body.messages.push(Message::System { text });
        self
    }

    /// Offers a granted tool by its name; [`tools`](super::tools) has to have told of
    /// it, and the host adds what it does and takes.
    pub fn tool(mut self, name: &str) -> Self {
        self.body.tools.push(Offered::Granted(name.to_owned()));
        self
    }

    /// Offers granted tools, such as those that [`tools`](super::tools) told of.
    pub fn tools<'a>(mut self, tools: impl IntoIterator<Item = &'a ToolInfo>) -> Self {
        let granted = |tool: &ToolInfo| Offered::Granted(tool.name.clone());
        self.body.tools.extend(tools.into_iter().map(granted));
        self
    }

    /// Offers a tool that the agent answers itself; its name has no `/`.
    pub fn own_tool<A: ToolInput>(mut self, name: &str, description: &str) -> Self {
        self.body.tools.push(Offered::Own(OwnTool {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema: input_schema::<A>(),
        }));
        self
    }

    /// As [`Self::own_tool`], with the JSON Schema of its input, an object's.
    pub fn own_tool_with(mut self, name: &str, description: &str, schema: &Value) -> Self {
        self.body.tools.push(Offered::Own(OwnTool {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema: schema.to_string(),
        }));
        self
    }

    /// Whether it has to call a tool.
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.body.tool_choice = choice;
        self
    }

    /// The form that the answer's text has to have; see [`Reply::parse`].
    pub fn output<T: DeserializeOwned + JsonSchema>(self) -> Self {
        let name = T::schema_name();
        self.output_with(&name, &answer_schema::<T>())
    }

    /// As [`Self::output`], with a JSON Schema and a name for it, of which letters,
    /// digits, `_` and `-` are kept, at most 64.
    pub fn output_with(mut self, name: &str, schema: &Value) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(plain).take(64).collect();
        self.body.output = Some(Output {
            name: match name.is_empty() {
                true => "answer".to_owned(),
                false => name,
            },
            schema: schema.to_string(),
            strict: false,
        });
        self
    }

    /// Has the provider keep to the form while it writes, where it can; such
    /// providers take a part of JSON Schema only.
    pub fn strict(mut self) -> Self {
        if let Some(output) = &mut self.body.output {
            output.strict = true;
        }
        self
    }

    /// Most tokens of an answer.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.body.max_tokens = Some(tokens);
        self
    }

    /// 0 to 2, to the thousandth.
    pub fn temperature(mut self, temperature: f32) -> Self {
        // What is out of range is refused by the host.
        self.body.temperature_milli = Some((temperature * 1_000.0).round() as u32);
        self
    }

    /// A text that ends the answer; at most 4.
    pub fn stop(mut self, text: &str) -> Self {
        self.body.stop.push(text.to_owned());
        self
    }

    /// A seed for sampling, where the provider takes one.
    pub fn seed(mut self, seed: u32) -> Self {
        self.body.seed = Some(seed);
        self
    }

    /// Says something.
    pub fn user(&mut self, text: &str) -> &mut Self {
        let text = text.to_owned();
        let parts = vec![Part::Text { text }];
        self.body.messages.push(Message::User { parts });
        self
    }

    /// Shows an image, with what was said just before it: `image/png`, `image/jpeg`,
    /// `image/gif` or `image/webp`, and its bytes in base64 with padding.
    pub fn image(&mut self, media_type: &str, base64: &str) -> &mut Self {
        let image = Part::Image {
            media_type: media_type.to_owned(),
            data: base64.to_owned(),
        };
        match self.body.messages.last_mut() {
            Some(Message::User { parts }) => parts.push(image),
            _ => self
                .body
                .messages
                .push(Message::User { parts: vec![image] }),
        }
        self
    }

    /// What came of a call of the last answer; each needs a result or
    /// [`Self::failed`]. A text stays as it is, all else becomes JSON.
    pub fn result(&mut self, call: &ModelCall, value: &(impl Serialize + ?Sized)) -> &mut Self {
        match serde_json::to_value(value) {
            Ok(Value::String(text)) => self.answers(call, text, false),
            Ok(value) => self.answers(call, value.to_string(), false),
            Err(error) => self.answers(call, format!("it can't be written: {error}"), true),
        }
    }

    /// That a call of the last answer failed, and what to do about it.
    pub fn failed(&mut self, call: &ModelCall, why: &str) -> &mut Self {
        self.answers(call, why.to_owned(), true)
    }

    fn answers(&mut self, call: &ModelCall, text: String, failed: bool) -> &mut Self {
        let id = &call.id;
        self.results
            .retain(|known| !matches!(known, Message::Tool { call, .. } if call == id));
        let call = id.clone();
        self.results.push(Message::Tool { call, text, failed });
        self
    }

    /// What the conversation cost so far, with what was asked before it was cloned.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Asks, with all that is new since the last answer.
    ///
    /// After an error the conversation is where it was: asked again, it sends the
    /// same. An answer that says nothing ([`Reply::is_empty`]) is no turn either.
    /// Dropping the future ends the request; what it took by then counts.
    ///
    /// # Errors
    /// [`Error::Denied`]: the role is not granted. [`Error::InvalidInput`]: the host
    /// or the provider refuses the request, e.g. a call has no result.
    /// [`Error::Limit`]: it does not fit in what is left of a budget, or is too large.
    /// [`Error::Transient`], [`Error::Permanent`], [`Error::Unknown`]: the providers.
    pub async fn ask(&mut self) -> Result<Reply, Error> {
        let mut body = self.body.clone();
        body.messages.splice(0..0, self.results.iter().cloned());
        let body = serde_json::to_string(&body)
            .map_err(|error| Error::Permanent(format!("the request: {error}")))?;
        let handle = Rc::new(host::chat(&body, self.after.as_deref()));
        task::ready(handle.subscribe()).await;
        let reply: Reply = super::answered(&handle)?;
        self.spent += reply.spent;
        if !reply.is_empty() {
            self.after = Some(handle);
            self.body.messages.clear();
            self.results.clear();
        }
        Ok(reply)
    }

    /// Asks, and at most so many times more when the answer has faults or is empty,
    /// each time with what was wrong. No call of an answer that has one is made.
    ///
    /// # Errors
    /// [`Unusable`], which says why, with the last answer; it becomes an [`Error`]
    /// where one is needed.
    pub async fn ask_repaired(&mut self, times: u32) -> Result<Reply, Unusable> {
        for left in (0..=times).rev() {
            let reply = self.ask().await.map_err(Unusable::Asking)?;
            if reply.declined().is_some() {
                return Err(Unusable::Declined(Box::new(reply)));
            }
            if reply.finish == Finish::Length {
                return Err(Unusable::Cut(Box::new(reply)));
            }
            match reply.faults.is_empty() && !reply.is_empty() {
                true => return Ok(reply),
                false if left == 0 => return Err(Unusable::Faulty(Box::new(reply))),
                false => self.tell_faults(&reply),
            }
        }
        unreachable!("the last time gives the answer or why there is none")
    }

    /// Tells what was wrong with the last answer.
    fn tell_faults(&mut self, reply: &Reply) {
        for call in &reply.calls {
            match reply.fault_of(call) {
                Some(fault) => self.failed(call, &format!("not called: {fault}")),
                None => self.failed(
                    call,
                    "not called, since something else in the same answer was wrong: ask for it \
                     again",
                ),
            };
        }
        let of_answer = reply.faults.iter().filter(|fault| fault.call().is_none());
        let mut wrong: Vec<String> = of_answer.map(ToString::to_string).collect();
        if reply.is_empty() {
            wrong.push("the answer was empty".to_owned());
        }
        if !wrong.is_empty() {
            self.user(&format!(
                "That can't be used: {}. Answer again.",
                wrong.join("; ")
            ));
        }
    }
}

/// Why there is no answer to use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// There is no answer.
    Asking(Error),
    /// The model, or a filter at its provider, declined.
    Declined(Box<Reply>),
    /// The most tokens were reached; the answer is cut.
    Cut(Box<Reply>),
    /// It still has faults, or is empty.
    Faulty(Box<Reply>),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking(error) => error.fmt(f),
            Self::Declined(reply) => {
                let why = reply.declined().unwrap_or_default();
                write!(f, "the model declined: {why}")
            }
            Self::Cut(_) => f.write_str("the model's answer is cut: the most tokens were reached"),
            Self::Faulty(reply) => match reply.faults.first() {
                Some(fault) => write!(f, "the model's answer stays wrong: {fault}"),
                None => f.write_str("the model's answer stays empty"),
            },
        }
    }
}

impl std::error::Error for Unusable {}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Asking(error) => error,
            other => Self::Permanent(other.to_string()),
        }
    }
}

/// Vectors of texts, in the texts' order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Embeddings {
    /// The vectors, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// What they took.
    #[serde(default)]
    pub usage: Usage,
    /// The model that answered, by its name in the host's configuration.
    #[serde(default)]
    pub model: String,
    /// What it cost.
    #[serde(default)]
    pub spent: Spent,
}

/// Asks for vectors of texts, at most 2,048, by a role that this agent was granted.
/// They can be compared with those of the same role.
pub fn embed<T: AsRef<str>>(role: &str, texts: &[T]) -> Request<Embeddings> {
    embeds(role, texts, None)
}

/// As [`embed`], with the length of the vectors, where the model lets one choose.
pub fn embed_with<T: AsRef<str>>(role: &str, texts: &[T], dimensions: u32) -> Request<Embeddings> {
    embeds(role, texts, Some(dimensions))
}

fn embeds<T: AsRef<str>>(role: &str, texts: &[T], dimensions: Option<u32>) -> Request<Embeddings> {
    let body = EmbedBody {
        role: role.to_owned(),
        texts: texts.iter().map(|text| text.as_ref().to_owned()).collect(),
        dimensions,
    };
    // Texts and a number can always be written.
    let body = serde_json::to_string(&body).unwrap_or_else(|_| "null".to_owned());
    Request::new(host::embed(&body))
}
