//! What must not leave the host leaves it as a placeholder.
//!
//! What must stay true: a value has one placeholder inside one conversation, which
//! says nothing about it to whoever lacks the conversation's key; what is found is
//! replaced whole, also where patterns overlap; a secret of the host never comes
//! back.

mod builtin;
mod file;
mod restore;

use std::collections::BTreeMap;
use std::ops::Range;

use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

pub use builtin::Builtin;
pub use file::PatternError;
pub(crate) use restore::{Form, Pieces, Restorer};

use crate::answer::EmbedRequest;
use crate::error::ModelError;
use crate::request::{Message, Part, Request, ToolChoice};
use crate::secret::Secret;

/// The word for the host's secrets.
const SECRET: &str = "secret";
/// A shorter secret is not searched for: it would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;
/// Letters of a placeholder that stand for its value: 64 bits.
const TAG_LETTERS: usize = 16;

/// The patterns in force.
#[derive(Debug, Clone)]
pub struct Redactor {
    known: Vec<Builtin>,
    own: Vec<file::Own>,
    reversible: bool,
}

/// Found in a text: where, and which kind; `None` for a secret.
struct Found<'a> {
    range: Range<usize>,
    kind: Option<&'a str>,
}

impl Redactor {
    /// From a configuration and the text of its file of patterns.
    ///
    /// # Errors
    /// What is wrong in the file, and where.
    pub fn new(config: &crate::config::Redaction, file: &str) -> Result<Self, PatternError> {
        Ok(Self {
            known: config.patterns.clone(),
            own: file::read(file)?,
            reversible: config.reversible,
        })
    }

    /// For texts that are logged or told, such as a provider's: nothing comes back,
    /// and keys are found whatever the configuration says.
    pub(crate) fn scrub(&self, secrets: &[Secret], text: &str) -> String {
        let mut found = self.find(secrets, text);
        if !self.known.contains(&Builtin::Key) {
            found.extend(of_builtin(Builtin::Key, text));
        }
        replaced(text, found, |kind, _| {
            format!("[{}]", kind.unwrap_or(SECRET))
        })
    }

    fn find<'a>(&'a self, secrets: &[Secret], text: &str) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        for secret in secrets {
            let secret = secret.reveal();
            if secret.len() >= SECRET_BYTES_MIN {
                let all = text.match_indices(secret);
                found.extend(all.map(|(at, _)| Found {
                    range: at..at + secret.len(),
                    kind: None,
                }));
            }
        }
        for known in &self.known {
            found.extend(of_builtin(*known, text));
        }
        for own in &self.own {
            let all = own.regex.find_iter(text).filter(|found| !found.is_empty());
            found.extend(all.map(|found| Found {
                range: found.range(),
                kind: Some(&own.name),
            }));
        }
        found
    }
}

fn of_builtin<'a>(pattern: Builtin, text: &str) -> Vec<Found<'a>> {
    let found = pattern.find(text).into_iter();
    let found = found.map(|range| Found {
        range,
        kind: Some(pattern.name()),
    });
    found.collect()
}

/// The text with each stretch of found places replaced. Places that overlap are
/// one, a secret if one of them is.
fn replaced(
    text: &str,
    mut found: Vec<Found<'_>>,
    mut placeholder: impl FnMut(Option<&str>, &str) -> String,
) -> String {
    if found.is_empty() {
        return text.to_owned();
    }
    found.sort_by(|a, b| (a.range.start, b.range.end).cmp(&(b.range.start, a.range.end)));
    let mut stretches: Vec<Found<'_>> = Vec::new();
    for next in found {
        match stretches.last_mut() {
            Some(last) if next.range.start < last.range.end => {
                last.range.end = last.range.end.max(next.range.end);
                if next.kind.is_none() {
                    last.kind = None;
                }
            }
            _ => stretches.push(next),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for stretch in stretches {
        out.push_str(&text[from..stretch.range.start]);
        out.push_str(&placeholder(stretch.kind, &text[stretch.range.clone()]));
        from = stretch.range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// What makes placeholders of one conversation the same and those of others
/// different. From it alone they are made, so that a conversation that is replayed
/// sends the same bytes.
#[derive(Clone)]
pub struct ConversationKey([u8; 32]);

impl ConversationKey {
    /// A key; keep it as long as the conversation, and from everybody else.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }
}

impl std::fmt::Debug for ConversationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConversationKey(…)")
    }
}

/// Redacts one request, and remembers what for.
pub(crate) struct Veil<'a> {
    redactor: &'a Redactor,
    key: &'a ConversationKey,
    secrets: &'a [Secret],
    /// Values by placeholder.
    values: BTreeMap<String, String>,
}

impl<'a> Veil<'a> {
    pub(crate) fn new(
        redactor: &'a Redactor,
        key: &'a ConversationKey,
        secrets: &'a [Secret],
    ) -> Self {
        Self {
            redactor,
            key,
            secrets,
            values: BTreeMap::new(),
        }
    }

    /// The request as it may leave.
    ///
    /// # Errors
    /// A name holds what must not leave: with a placeholder it would be another.
    pub(crate) fn request(&mut self, request: &Request) -> Result<Request, ModelError> {
        let mut request = request.clone();
        for tool in &mut request.tools {
            self.name("a tool's name", &tool.name)?;
            tool.description = self.text(&tool.description);
            tool.input_schema = self.json(&tool.input_schema);
        }
        if let ToolChoice::Tool(name) = &request.tool_choice {
            self.name("the chosen tool's name", name)?;
        }
        if let Some(output) = &mut request.output {
            self.name("the output's name", &output.name)?;
            output.schema = self.json(&output.schema);
        }
        for stop in &mut request.stop {
            *stop = self.text(stop);
        }
        for message in &mut request.messages {
            self.message(message)?;
        }
        Ok(request)
    }

    /// The texts as they may leave.
    pub(crate) fn embed(&mut self, request: &EmbedRequest) -> EmbedRequest {
        EmbedRequest {
            texts: request.texts.iter().map(|text| self.text(text)).collect(),
            ..request.clone()
        }
    }

    fn message(&mut self, message: &mut Message) -> Result<(), ModelError> {
        match message {
            Message::System { text } => *text = self.text(text),
            Message::User { parts } => {
                for part in parts {
                    if let Part::Text { text } = part {
                        *text = self.text(text);
                    }
                }
            }
            Message::Assistant { text, calls } => {
                *text = self.text(text);
                for call in calls {
                    self.name("a call's name", &call.name)?;
                    self.name("a call's id", &call.id)?;
                    call.arguments = self.json(&call.arguments);
                }
            }
            Message::Tool { call, text, .. } => {
                self.name("a call's id", call)?;
                *text = self.text(text);
            }
        }
        Ok(())
    }

    fn name(&mut self, what: &str, name: &str) -> Result<(), ModelError> {
        match self.plain(name) == name {
            true => Ok(()),
            false => Err(ModelError::Denied {
                message: format!("{what} holds what must not leave the host"),
            }),
        }
    }

    /// A text that may be JSON: there, escapes could hide what is looked for.
    pub(crate) fn text(&mut self, text: &str) -> String {
        match text.trim_start().starts_with(['{', '[', '"']) {
            true => {
                let text = self.json(text);
                self.plain(&text)
            }
            false => self.plain(text),
        }
    }

    /// JSON, as it was written where nothing was found in it.
    fn json(&mut self, text: &str) -> String {
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return self.plain(text);
        };
        let redacted = self.value(&value);
        match redacted == value {
            true => text.to_owned(),
            false => redacted.to_string(),
        }
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.plain(text)),
            Value::Number(number) => {
                let text = number.to_string();
                match self.plain(&text) {
                    same if same == text => value.clone(),
                    placeholder => Value::String(placeholder),
                }
            }
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| (self.plain(name), self.value(member)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Value::Bool(_) | Value::Null => value.clone(),
        }
    }

    fn plain(&mut self, text: &str) -> String {
        let mut found = self.redactor.find(self.secrets, text);
        let known = self.placeholders(text);
        found.retain(|found| found.kind.is_none() || !splits(&found.range, &known));
        let (key, values) = (self.key, &mut self.values);
        replaced(text, found, |kind, value| match kind {
            None => format!("[{SECRET}]"),
            Some(kind) => {
                let placeholder = placeholder(key, kind, value);
                values.insert(placeholder.clone(), value.to_owned());
                placeholder
            }
        })
    }

    /// Where placeholders stand that were put in before.
    fn placeholders(&self, text: &str) -> Vec<Range<usize>> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let opens = text.match_indices('[');
        let closed = opens.filter_map(|(at, _)| {
            let end = at + text[at..].find(']')? + 1;
            self.values.contains_key(&text[at..end]).then_some(at..end)
        });
        closed.collect()
    }

    /// Puts back what was redacted, where that is allowed.
    pub(crate) fn restorer(&self) -> Restorer {
        match self.redactor.reversible {
            true => Restorer::new(self.values.clone()),
            false => Restorer::new(BTreeMap::new()),
        }
    }
}

/// Whether a place has a part of a placeholder and not all of it.
fn splits(range: &Range<usize>, placeholders: &[Range<usize>]) -> bool {
    placeholders.iter().any(|known| {
        let overlap = range.start < known.end && known.start < range.end;
        overlap && !(range.start <= known.start && known.end <= range.end)
    })
}

/// Letters alone, so that no pattern takes it for a number.
fn placeholder(key: &ConversationKey, kind: &str, value: &str) -> String {
    // Any length of key will do for HMAC.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("a key of 32 bytes");
    mac.update(kind.as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    let digest = mac.finalize().into_bytes();
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let letters = nibbles
        .take(TAG_LETTERS)
        .map(|nibble| char::from(b'a' + nibble));
    format!("[{kind}-{}]", letters.collect::<String>())
}
