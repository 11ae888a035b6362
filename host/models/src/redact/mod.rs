//! What must not leave the host leaves it as a placeholder.
//!
//! What must stay true: a value has one placeholder inside one conversation, which
//! says nothing about it to whoever lacks the conversation's key; what is found is
//! replaced whole, also where patterns overlap; a secret of the host never comes
//! back.

mod builtin;
mod escapes;
mod file;
mod find;
mod restore;
mod search;

use std::collections::BTreeMap;
use std::ops::Range;

use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

pub use builtin::Builtin;
pub use file::PatternError;
pub(crate) use restore::{Form, Pieces, Restorer};
pub(crate) use search::{Held, Search};

use self::find::{Found, of_secrets, read_through, replaced};

use crate::answer::EmbedRequest;
use crate::error::ModelError;
use crate::json::is_light;
use crate::request::{Message, Part, Request, ToolChoice};
use crate::secret::Secret;

/// The word for the host's secrets.
const SECRET: &str = "secret";
/// In a name a shorter secret is not searched for either: that one is there would be
/// told at once and for nothing, to whoever tries them all.
const NAME_SECRET_BYTES_MIN: usize = 8;
/// Letters of a placeholder that stand for its value: 64 bits.
const TAG_LETTERS: usize = 16;

/// The patterns in force.
#[derive(Debug, Clone)]
pub struct Redactor {
    known: Vec<Builtin>,
    own: Vec<file::Own>,
    reversible: bool,
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
        let found = read_through(text, |text| {
            let mut found = self.find(secrets, text);
            if !self.known.contains(&Builtin::Key) {
                found.extend(of_builtin(Builtin::Key, text));
            }
            found
        });
        replaced(text, found, |kind, _| {
            format!("[{}]", kind.unwrap_or(SECRET))
        })
    }

    /// In a text as it stands.
    fn find<'a>(&'a self, secrets: &[Secret], text: &str) -> Vec<Found<'a>> {
        let mut found = of_secrets(secrets, text);
        for known in &self.known {
            found.extend(of_builtin(*known, text));
        }
        for own in &self.own {
            let all = own.regex.find_iter(text).filter(|found| !found.is_empty());
            found.extend(all.map(|found| Found::new(found.range(), Some(&own.name))));
        }
        found
    }
}

fn of_builtin<'a>(pattern: Builtin, text: &str) -> impl Iterator<Item = Found<'a>> {
    let found = pattern.find(text).into_iter();
    found.map(move |range| Found::new(range, Some(pattern.name())))
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
    /// Bytes of the longest placeholder.
    longest: usize,
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
            longest: 0,
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
            tool.input_schema = self.document("a tool's schema", &tool.input_schema)?;
        }
        if let ToolChoice::Tool(name) = &request.tool_choice {
            self.name("the chosen tool's name", name)?;
        }
        if let Some(output) = &mut request.output {
            self.name("the output's name", &output.name)?;
            output.schema = self.document("the output's schema", &output.schema)?;
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
                    call.id = self.id(&call.id);
                    call.arguments = self.document("a call's arguments", &call.arguments)?;
                }
            }
            Message::Tool { call, text, .. } => {
                *call = self.id(call);
                *text = self.text(text);
            }
        }
        Ok(())
    }

    fn name(&mut self, what: &str, name: &str) -> Result<(), ModelError> {
        let secrets = self.secrets.iter();
        let long = secrets.filter(|secret| secret.reveal().len() >= NAME_SECRET_BYTES_MIN);
        let found = self.redactor.find(&[], name);
        match found.is_empty() && !long.into_iter().any(|long| name.contains(long.reveal())) {
            true => Ok(()),
            false => Err(held_by(what)),
        }
    }

    /// What has to stay JSON.
    ///
    /// # Errors
    /// What was found is more than names and values: with a placeholder it would be no
    /// JSON any more.
    fn document(&mut self, what: &str, text: &str) -> Result<String, ModelError> {
        let redacted = self.json(text);
        match redacted == text || self.plain(&redacted) == redacted {
            true => Ok(redacted),
            false => Err(held_by(what)),
        }
    }

    /// A call's id says nothing to anybody: one that must not leave is another one
    /// there, the same all through the conversation.
    fn id(&mut self, id: &str) -> String {
        match self.plain(id) == id {
            true => id.to_owned(),
            false => format!("call_{}", tag(self.key, "id", id)),
        }
    }

    /// A text that may be JSON: there, a number has to become a text.
    pub(crate) fn text(&mut self, text: &str) -> String {
        if !text.trim_start().starts_with(['{', '[', '"']) {
            return self.plain(text);
        }
        match self.json(text) {
            same if same == text => same,
            redacted => self.plain(&redacted),
        }
    }

    /// JSON, as it was written where nothing was found in it.
    fn json(&mut self, text: &str) -> String {
        let plain = self.plain(text);
        let value = is_light(text).then(|| serde_json::from_str::<Value>(text));
        let Some(Ok(value)) = value else {
            return plain;
        };
        let redacted = self.value(&value);
        // Of two members with one name there is one in the value, and both in the text.
        match redacted == value && plain == text {
            true => plain,
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
        let (redactor, secrets) = (self.redactor, self.secrets);
        let mut found = read_through(text, |text| redactor.find(secrets, text));
        let known = self.placeholders(text);
        found.retain(|found| found.kind.is_none() || !splits(&found.range, &known));
        let (key, values, longest) = (self.key, &mut self.values, &mut self.longest);
        replaced(text, found, |kind, value| match kind {
            None => format!("[{SECRET}]"),
            Some(kind) => {
                let placeholder = placeholder(key, kind, value);
                *longest = placeholder.len().max(*longest);
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
            let ahead = text.as_bytes()[at..].iter().take(self.longest);
            let end = at + 1 + ahead.into_iter().position(|byte| *byte == b']')?;
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

fn held_by(what: &str) -> ModelError {
    ModelError::Denied {
        message: format!("{what} holds what must not leave the host"),
    }
}

/// Whether a place has a part of a placeholder and not all of it. They stand in order
/// and apart, so that only the first and the last that it touches can be parted.
fn splits(range: &Range<usize>, placeholders: &[Range<usize>]) -> bool {
    let first = placeholders.partition_point(|known| known.end <= range.start);
    let after = placeholders.partition_point(|known| known.start < range.end);
    let touched = placeholders.get(first..after).unwrap_or_default();
    let parted = |known: &Range<usize>| known.start < range.start || range.end < known.end;
    touched.first().is_some_and(parted) || touched.last().is_some_and(parted)
}

fn placeholder(key: &ConversationKey, kind: &str, value: &str) -> String {
    format!("[{kind}-{}]", tag(key, kind, value))
}

/// Letters alone, so that no pattern takes it for a number.
fn tag(key: &ConversationKey, kind: &str, value: &str) -> String {
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
    letters.collect()
}
