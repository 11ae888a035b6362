//! Documents in the host's memory: what a tool keeps and looks up, by words, by
//! vectors, or by both. Agents have the same with [`agent::memory`](crate::agent::memory).
//!
//! A namespace is `agent`, the plugin's own, or `shared/NAME`; an agent's run also has
//! `run`, its notes. Each must be granted (`memory`), to be read or to be written.
//!
//! ```
//! use airlock_sdk::memory::{self, Document, Put, Search};
//! use airlock_sdk::testing::{Host, Memory};
//!
//! let memory = Memory::new().write("agent");
//! Host::new().memory(&memory).run(|| {
//!     let rate = Document::new("rate").text("70 francs a day").label("kind", "fact");
//!     let put = memory::put("agent", &rate).unwrap();
//!     assert_eq!(put, Put::Written { version: 1 });
//!     let found = memory::search(&Search::new(["agent"]).text("francs")).unwrap();
//!     assert_eq!(found[0].entry.id, "rate");
//! });
//! assert_eq!(memory.get("agent", "rate").unwrap().text, "70 francs a day");
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, backend};

/// A document to be written, whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

/// Where a text came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// A path or an address.
    pub uri: String,
    /// Bytes of it, from and to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
    /// Lines of it, the first and the last, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u64, u64)>,
    /// Page, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of a table, the first and the last, from 1, without its header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<(u64, u64)>,
    /// The headings above it, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
}

impl Document {
    /// A document with nothing but its id in the namespace.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// What is searched, at most 256 KiB.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { text, ..self }
    }

    /// Whatever else belongs to it, at most 64 KiB as JSON.
    #[must_use]
    pub fn value(self, value: impl Into<Value>) -> Self {
        let value = Some(value.into());
        Self { value, ..self }
    }

    /// What a search can ask for exactly.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Its embedding: all of a namespace have one length.
    #[must_use]
    pub fn vector(self, vector: Vec<f32>) -> Self {
        let vector = Some(vector);
        Self { vector, ..self }
    }

    /// How long it lives at most; the grant may say less.
    #[must_use]
    pub fn ttl(self, time: Duration) -> Self {
        let ttl_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { ttl_ms, ..self }
    }

    /// Where its text came from.
    #[must_use]
    pub fn source(self, source: Source) -> Self {
        let source = Some(source);
        Self { source, ..self }
    }
}

/// What has to be there for a change to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// No document.
    Absent,
    /// The document in this version.
    Version(u64),
}

/// What became of a document that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Changed")]
pub enum Put {
    /// It was.
    Written {
        /// The version that it has now.
        version: u64,
    },
    /// What was expected is not there, and nothing was changed.
    Conflict {
        /// The version that is there; `None`: there is no document.
        found: Option<u64>,
    },
}

/// What became of a document that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Changed")]
pub enum Delete {
    /// It was.
    Deleted,
    /// There was none.
    Absent,
    /// What was expected is not there, and nothing was changed.
    Conflict {
        /// The version that is there; `None`: there is no document.
        found: Option<u64>,
    },
}

/// As the host says it.
#[derive(Deserialize)]
struct Changed {
    version: Option<u64>,
    deleted: Option<bool>,
    conflict: Option<Found>,
}

#[derive(Deserialize)]
struct Found {
    found: Option<u64>,
}

impl From<Changed> for Put {
    fn from(changed: Changed) -> Self {
        match (changed.version, changed.conflict) {
            (Some(version), None) => Self::Written { version },
            (_, conflict) => Self::Conflict {
                found: conflict.and_then(|conflict| conflict.found),
            },
        }
    }
}

impl From<Changed> for Delete {
    fn from(changed: Changed) -> Self {
        match (changed.deleted, changed.conflict) {
            (_, Some(Found { found })) => Self::Conflict { found },
            (Some(true), None) => Self::Deleted,
            _ => Self::Absent,
        }
    }
}

/// Who wrote a document, and in the course of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The request of the run, or the call of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The plugin; none: an administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// What is known of a document besides its contents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Where it is.
    pub namespace: String,
    /// Its id there.
    pub id: String,
    /// Grows with each change of the document.
    pub version: u64,
    /// When it was written first, milliseconds since 1970.
    pub created_ms: u64,
    /// When it was written last.
    pub updated_ms: u64,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who wrote this version.
    pub provenance: Provenance,
    /// Where its text came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A document that is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// What is known of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Its text.
    #[serde(default)]
    pub text: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A document that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// What is known of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Higher is better, within one answer.
    pub score: f32,
    /// A part of the text, where the words are.
    pub snippet: String,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// In the order of their ids.
    pub entries: Vec<Entry>,
    /// Where the next part begins, to be given as `after`; none: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a search answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// The best first.
    pub hits: Vec<Hit>,
}

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

impl Search {
    /// In these namespaces, 1 to 16.
    #[must_use]
    pub fn new<S: Into<String>>(namespaces: impl IntoIterator<Item = S>) -> Self {
        Self {
            namespaces: namespaces.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// For words: the more of them, and the rarer, the better. What stands in double
    /// quotes has to be there as it stands.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        let text = Some(text.into());
        Self { text, ..self }
    }

    /// For what is near to an embedding; with a text, both are fused.
    #[must_use]
    pub fn vector(self, vector: Vec<f32>) -> Self {
        let vector = Some(vector);
        Self { vector, ..self }
    }

    /// That has this label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Written at this moment or later, milliseconds since 1970.
    #[must_use]
    pub fn from_ms(self, from_ms: u64) -> Self {
        let from_ms = Some(from_ms);
        Self { from_ms, ..self }
    }

    /// Written before this moment.
    #[must_use]
    pub fn to_ms(self, to_ms: u64) -> Self {
        let to_ms = Some(to_ms);
        Self { to_ms, ..self }
    }

    /// Answers, at most; 10 unless given, up to 100.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        let limit = Some(limit);
        Self { limit, ..self }
    }
}

/// The requests, as the host takes them.
pub(crate) mod requests {
    use super::{Document, Expect, Search, Value, json};

    pub(crate) fn get(namespace: &str, id: &str) -> Value {
        json!({ "op": "get", "namespace": namespace, "id": id })
    }

    pub(crate) fn put(namespace: &str, document: &Document, expect: Expect) -> Value {
        json!({ "op": "put", "namespace": namespace, "document": document, "expect": expect })
    }

    pub(crate) fn delete(namespace: &str, id: &str, expect: Expect) -> Value {
        json!({ "op": "delete", "namespace": namespace, "id": id, "expect": expect })
    }

    pub(crate) fn list(namespace: &str, prefix: &str, after: Option<&str>) -> Value {
        json!({ "op": "list", "namespace": namespace, "prefix": prefix, "after": after })
    }

    pub(crate) fn search(search: &Search) -> Value {
        let mut request = json!(search);
        request["op"] = "search".into();
        request
    }
}

/// Any request, as docs/memory.md has it.
///
/// # Errors
/// Those of the host, and [`Error::Permanent`] for an answer of another shape.
pub fn ask<T: serde::de::DeserializeOwned>(request: &Value) -> Result<T, Error> {
    let answer = backend::memory(&request.to_string())?;
    serde_json::from_str(&answer)
        .map_err(|error| Error::Permanent(format!("an answer of another shape: {error}")))
}

/// A document, if there is one.
///
/// # Errors
/// [`Error::Denied`] when no grant lets it be read.
pub fn get(namespace: &str, id: &str) -> Result<Option<Stored>, Error> {
    ask(&requests::get(namespace, id))
}

/// Writes a document, whole, over what is there.
///
/// # Errors
/// [`Error::Denied`] when no grant lets it be written, or the quota is full.
pub fn put(namespace: &str, document: &Document) -> Result<Put, Error> {
    put_if(namespace, document, Expect::Any)
}

/// Writes a document if what is there is what is expected.
///
/// # Errors
/// As [`put`].
pub fn put_if(namespace: &str, document: &Document, expect: Expect) -> Result<Put, Error> {
    ask(&requests::put(namespace, document, expect))
}

/// Removes a document.
///
/// # Errors
/// As [`put`].
pub fn delete(namespace: &str, id: &str) -> Result<Delete, Error> {
    delete_if(namespace, id, Expect::Any)
}

/// Removes a document if it is what is expected.
///
/// # Errors
/// As [`put`].
pub fn delete_if(namespace: &str, id: &str, expect: Expect) -> Result<Delete, Error> {
    ask(&requests::delete(namespace, id, expect))
}

/// Documents of which the ids begin so, behind `after`, 100 at most.
///
/// # Errors
/// As [`get`].
pub fn list(namespace: &str, prefix: &str, after: Option<&str>) -> Result<Listed, Error> {
    ask(&requests::list(namespace, prefix, after))
}

/// Looks for documents.
///
/// # Errors
/// As [`get`]; [`Error::InvalidInput`] for a search that makes no sense.
pub fn search(search: &Search) -> Result<Vec<Hit>, Error> {
    ask(&requests::search(search)).map(|found: Hits| found.hits)
}
