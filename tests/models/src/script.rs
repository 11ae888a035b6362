//! What the server is to do, request after request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A script.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The key that requests have to carry; any, or none, where absent.
    pub key: Option<String>,
    /// Each request takes the first step that is for it and not used up.
    pub steps: Vec<Step>,
}

/// What becomes of one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// The model's id that it is for; any where absent.
    #[serde(default, rename = "for")]
    pub model: Option<String>,
    /// What the request has to say somewhere, as it stands in its JSON; anything where
    /// absent.
    #[serde(default)]
    pub has: Option<String>,
    /// It is not used up.
    #[serde(default)]
    pub again: bool,
    /// What is done.
    #[serde(flatten)]
    pub what: What,
}

/// What is done with a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It is answered in the protocol of its path.
    Answer(Reply),
    /// Something else is sent.
    Raw(Raw),
    /// It is read and never answered.
    Never,
    /// It is read, and the connection closed.
    Close,
}

/// An answer, in no protocol's words.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// Words for declining.
    pub refusal: Option<String>,
    /// Calls of tools.
    pub calls: Vec<Call>,
    /// `stop`, `length`, `tool-calls`, `content-filter`, `refusal`, or a word of the
    /// protocol's; what fits the rest where absent.
    pub finish: Option<String>,
    /// What it took; nothing is said of it where absent.
    pub usage: Option<Counted>,
    /// Length of vectors, for requests that ask for some.
    pub dimensions: usize,
    /// What is wrong with how it is sent.
    pub damage: Damage,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The name, as the request spelled it.
    pub name: String,
    /// Text, JSON or not. A protocol that sends it as JSON sends a text that is none
    /// as a string.
    pub arguments: String,
}

/// Tokens.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counted {
    /// Of the request, those from a cache included.
    pub input: u64,
    /// Of these, from a cache.
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
}

/// How an answer is sent badly. All of it is right by default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Damage {
    /// Waits before the answer begins, milliseconds.
    pub delay_ms: u64,
    /// Waits between two events of a stream, milliseconds.
    pub event_ms: u64,
    /// Waits until the test says so.
    pub held: bool,
    /// Characters of text in one event of a stream; 5 where 0.
    pub piece_chars: usize,
    /// Bytes written at once; all where 0.
    pub write_bytes: usize,
    /// Lines end as on Windows.
    pub crlf: bool,
    /// Comments and pings stand between the events.
    pub pings: bool,
    /// The connection is closed after so many events, or this part of a whole body
    /// in hundredths.
    pub cut_after: Option<usize>,
    /// Nothing more comes after so many events.
    pub stall_after: Option<usize>,
    /// The provider says after so many events that it failed.
    pub error_after: Option<usize>,
    /// It says that it is compressed.
    pub gzip: bool,
    /// The end of a stream has another text than was streamed.
    pub other_text: Option<String>,
    /// The stream ends without its last event.
    pub no_end: bool,
}

/// Bytes as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// 200 where 0.
    pub status: u16,
    /// Headers besides the length.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Script {
    /// A script of some steps.
    #[must_use]
    pub fn of(steps: impl IntoIterator<Item = What>) -> Self {
        Self {
            key: None,
            steps: steps.into_iter().map(Step::from).collect(),
        }
    }

    pub(crate) fn next(&mut self, model: &str, text: &str) -> Option<Step> {
        let fits = |step: &Step| {
            step.model.as_deref().is_none_or(|wanted| wanted == model)
                && step.has.as_deref().is_none_or(|part| text.contains(part))
        };
        let at = self.steps.iter().position(fits)?;
        match self.steps[at].again {
            true => Some(self.steps[at].clone()),
            false => Some(self.steps.remove(at)),
        }
    }
}

impl From<What> for Step {
    fn from(what: What) -> Self {
        Self {
            model: None,
            has: None,
            again: false,
            what,
        }
    }
}

impl What {
    /// A plain answer.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Answer(Reply {
            text: text.to_owned(),
            usage: Some(Counted {
                input: 10,
                cached: 0,
                output: 5,
            }),
            ..Reply::default()
        })
    }

    /// An error in the shape of OpenAI's.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let error =
            serde_json::json!({ "error": { "code": code, "type": code, "message": message } });
        Self::Raw(Raw {
            status,
            headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
            body: error.to_string(),
        })
    }
}
