//! What an agent does, as it is compared when it does it again.

use std::fmt;

use super::result::Note;
use crate::agent::Budget;

/// What an agent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Call {
        tool: String,
        input: String,
    },
    /// A timer that has a request of its own.
    Sleep {
        ms: u64,
    },
    /// One of the executor: of `timeout`, `Retry`, `task::sleep`.
    Timer {
        ms: u64,
    },
    Signal {
        name: String,
    },
    Ask(crate::agent::Question),
    Record {
        value: String,
    },
    Start {
        agent: String,
        goal: String,
        input: String,
        budget: Budget,
    },
    /// A model is asked; `after`: the request whose answer the conversation goes on
    /// from.
    Chat {
        request: String,
        after: Option<usize>,
    },
    Embed {
        request: String,
    },
    Memory {
        request: String,
    },
}

/// What an agent does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Asked(Request),
    Noted(Note),
    StateSet { key: String, value: Option<String> },
    ToolsTold,
    Cancelled(usize),
    LetGo(usize),
}

impl Step {
    /// Whether it is what was done before. What an agent says may change, that it
    /// says it not.
    pub(crate) fn is(&self, before: &Self) -> bool {
        matches!((self, before), (Self::Noted(_), Self::Noted(_))) || self == before
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { tool, input } => write!(f, "calls `{tool}` with {}", cut(input)),
            Self::Sleep { ms } | Self::Timer { ms } => write!(f, "waits for {ms} ms"),
            Self::Signal { name } => write!(f, "waits for the signal `{name}`"),
            Self::Ask(question) => {
                let payload = question.payload.as_deref().unwrap_or("nothing");
                let (text, choices) = (cut(&question.text), question.choices.join("`, `"));
                write!(f, "asks \"{text}\", `{choices}`, about {}", cut(payload))?;
                match question.due_ms {
                    Some(ms) => write!(f, ", for {ms} ms"),
                    None => Ok(()),
                }
            }
            Self::Record { value } => write!(f, "keeps {}", cut(value)),
            Self::Start {
                agent, goal, input, ..
            } => write!(
                f,
                "starts `{agent}`, \"{}\", with {}",
                cut(goal),
                cut(input)
            ),
            Self::Chat { request, after } => {
                write!(f, "asks a model {}", cut(request))?;
                match after {
                    Some(after) => write!(f, " after request {after}"),
                    None => Ok(()),
                }
            }
            Self::Embed { request } => write!(f, "asks for vectors {}", cut(request)),
            Self::Memory { request } => write!(f, "asks the memory {}", cut(request)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(request) => request.fmt(f),
            Self::Noted(note) => write!(f, "says {}", cut(&format!("{note:?}"))),
            Self::StateSet { key, value } => {
                let value = value.as_deref().unwrap_or("nothing");
                write!(f, "sets the state `{key}` to {}", cut(value))
            }
            Self::ToolsTold => f.write_str("asks for its tools"),
            Self::Cancelled(id) => write!(f, "cancels request {id}"),
            Self::LetGo(id) => write!(f, "lets go of request {id}"),
        }
    }
}

/// For people.
fn cut(text: &str) -> String {
    const BYTES_MAX: usize = 300;
    let end = text.floor_char_boundary(BYTES_MAX);
    match text.len() > end {
        true => format!("{}…", &text[..end]),
        false => text.to_owned(),
    }
}
