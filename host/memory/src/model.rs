//! What is kept: documents in namespaces, and what is known of each.
//!
//! What must stay true: a name or an id that exists is valid, so that it can be
//! shown, logged and used in a key without a further look.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use airlock_text::is_hidden;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{MemoryError, bounded};
use crate::limits::{
    HEADING_BYTES_MAX, HEADINGS_MAX, ID_BYTES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX,
    LABELS_MAX, NAME_BYTES_MAX, PROVENANCE_BYTES_MAX, URI_BYTES_MAX,
};

/// Whose documents they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One run's notes.
    Run,
    /// What an agent keeps over its runs.
    Agent,
    /// What several may read.
    Shared,
}

impl Kind {
    /// All there are, in the order of their keys.
    pub const ALL: [Self; 3] = [Self::Run, Self::Agent, Self::Shared];

    /// Its name in a namespace's text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Agent => "agent",
            Self::Shared => "shared",
        }
    }
}

/// Where documents are: a kind and a name, `shared/handbook` as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    kind: Kind,
    name: String,
}

impl Namespace {
    /// A namespace by its kind and name: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first
    /// a letter or a digit.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for any other name.
    pub fn new(kind: Kind, name: &str) -> Result<Self, MemoryError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
            return Err(MemoryError::invalid(
                "namespace",
                format!(
                    "a name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - and begins with a \
                     letter or a digit"
                ),
            ));
        }
        let name = name.to_owned();
        Ok(Self { kind, name })
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] when it is none.
    pub fn parse(text: &str) -> Result<Self, MemoryError> {
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
        let kind = kind.ok_or_else(|| {
            MemoryError::invalid("namespace", "it begins with run/, agent/ or shared/")
        })?;
        Self::new(kind, name)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name, without the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// Who wrote a document, and in the course of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The principal.
    pub by: String,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The request or step of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// Where a text came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A path or an address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Bytes of it, from and to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
    /// Lines of it, the first and the last, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u64, u64)>,
    /// Page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Rows of a table, the first and the last, from 1, without its header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<(u64, u64)>,
    /// The headings above it, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
    /// SHA-256 over what was imported, hexadecimal; empty when it was not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A JSON value as it was written, its numbers too; two are the same where their texts
/// are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        // A value is always JSON.
        Self(to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "AnyValue".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        serde_json::Value::json_schema(generator)
    }
}

/// A document to be written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDocument {
    /// Its id in the namespace.
    pub id: String,
    /// What is searched and shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Whatever else belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// What a search can ask for exactly.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its embedding, of any length but zero; kept with length 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// How long it lives from now, milliseconds; `None`: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Where the text came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// What a document has to be like for its change to happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// It does not exist.
    Absent,
    /// It is in this version.
    Version(u64),
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes a document, whole.
    Put {
        /// The document.
        document: Box<NewDocument>,
        /// What has to be there before.
        expect: Expect,
    },
    /// Removes a document.
    Delete {
        /// Its id.
        id: String,
        /// What has to be there before.
        expect: Expect,
    },
}

impl Change {
    /// Writes a document, whole.
    #[must_use]
    pub fn put(document: NewDocument, expect: Expect) -> Self {
        let document = Box::new(document);
        Self::Put { document, expect }
    }

    /// Removes a document.
    pub fn delete(id: impl Into<String>, expect: Expect) -> Self {
        let id = id.into();
        Self::Delete { id, expect }
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The document's id.
    pub id: String,
    /// The version that it has now, or had when it was removed; `None`: there was
    /// nothing to remove.
    pub version: Option<u64>,
}

/// What is known of a document besides its contents.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub namespace: Namespace,
    /// Its id there.
    pub id: String,
    /// Versions of one id only grow until its namespace is deleted, also over the
    /// document's removal. The first of a namespace is 1, unless one of its name, or
    /// rarely of another, went with its last document.
    pub version: u64,
    /// When it was written first, milliseconds since 1970.
    pub created_ms: u64,
    /// When it was written last.
    pub updated_ms: u64,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// What it counts for in [`Usage::bytes`].
    pub bytes: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Length of its vector.
    pub dimension: Option<usize>,
    /// Who wrote this version.
    pub provenance: Provenance,
    /// Where its text came from.
    pub source: Option<Source>,
}

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What is known of it.
    pub entry: Entry,
    /// Its text.
    pub text: String,
    /// Its value.
    pub value: Option<Json>,
}

/// How much a namespace holds. Documents that have expired count until they are
/// swept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Documents.
    pub documents: u64,
    /// Bytes of ids, texts, values, labels, sources and vectors, and
    /// [`crate::limits::DOCUMENT_OVERHEAD_BYTES`] for each document.
    pub bytes: u64,
    /// Documents with a vector.
    pub vectors: u64,
    /// The length of those vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
}

/// Checks an id: 1 to 512 bytes, nothing that is not shown or that turns what is
/// shown around, and no `.` or `..`, which addresses can't name.
pub(crate) fn check_id(id: &str) -> Result<(), MemoryError> {
    bounded("id", id.len(), ID_BYTES_MAX, "bytes")?;
    if id.is_empty() {
        return Err(MemoryError::invalid("id", "it is empty"));
    }
    if [".", ".."].contains(&id) {
        let why = format!("`{id}` can't stand in an address");
        return Err(MemoryError::invalid("id", why));
    }
    printable("id", id)
}

/// Refuses what [`is_hidden`].
fn printable(what: &str, text: &str) -> Result<(), MemoryError> {
    match text.char_indices().find(|(_, c)| is_hidden(*c)) {
        None => Ok(()),
        Some((at, c)) => Err(MemoryError::invalid(
            what,
            format!("U+{:04X} at byte {at} is not allowed", u32::from(c)),
        )),
    }
}

/// Checks the names of a document's labels, or of those a search asks for.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), MemoryError> {
    bounded("labels", labels.len(), LABELS_MAX, "labels")?;
    for (name, value) in labels {
        bounded("label's name", name.len(), LABEL_NAME_BYTES_MAX, "bytes")?;
        bounded("label's value", value.len(), LABEL_VALUE_BYTES_MAX, "bytes")?;
        if name.is_empty() {
            return Err(MemoryError::invalid("label's name", "it is empty"));
        }
        printable("label's name", name)?;
        printable("label's value", value)?;
    }
    Ok(())
}

impl Provenance {
    pub(crate) fn check(&self) -> Result<(), MemoryError> {
        if self.by.is_empty() {
            return Err(MemoryError::invalid("provenance", "nobody wrote it"));
        }
        let others = [&self.run, &self.request, &self.plugin];
        for name in others.into_iter().flatten().chain([&self.by]) {
            bounded("provenance", name.len(), PROVENANCE_BYTES_MAX, "bytes")?;
            printable("provenance", name)?;
        }
        Ok(())
    }
}

impl Source {
    pub(crate) fn check(&self) -> Result<(), MemoryError> {
        bounded("source", self.uri.len(), URI_BYTES_MAX, "bytes")?;
        bounded("source's digest", self.digest.len(), 64, "bytes")?;
        bounded("headings", self.headings.len(), HEADINGS_MAX, "headings")?;
        printable("source", &self.uri)?;
        printable("source's digest", &self.digest)?;
        for heading in &self.headings {
            bounded("heading", heading.len(), HEADING_BYTES_MAX, "bytes")?;
            printable("heading", heading)?;
        }
        Ok(())
    }

    /// What it counts for, bytes.
    pub(crate) fn weight(&self) -> usize {
        let headings: usize = self.headings.iter().map(String::len).sum();
        self.uri.len() + self.digest.len() + headings
    }
}
