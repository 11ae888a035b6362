//! What is said of documents, as JSON. Pure.

use std::collections::BTreeMap;

use airlock_memory::{Document, Entry, Hit, Json, Provenance, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who wrote a document, and in the course of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvenanceView {
    /// The principal; plugins and agents are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The request of the run, or the call of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// What is known of a document besides its contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// Where it is, as whoever asks names it.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What it counts for in the quota.
    pub bytes: u64,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Length of its vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// Who wrote this version.
    pub provenance: ProvenanceView,
    /// Where its text came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentView {
    /// What is known of it.
    #[serde(flatten)]
    pub entry: EntryView,
    /// Its text.
    pub text: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HitView {
    /// What is known of it.
    #[serde(flatten)]
    pub entry: EntryView,
    /// Higher is better, within one answer.
    pub score: f32,
    /// A part of the text.
    pub snippet: String,
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of `get`.
    Document(Option<Box<DocumentView>>),
    /// Of `put`: the version that it has now.
    Put {
        /// The version.
        version: u64,
    },
    /// Of `delete`: whether there was one.
    Deleted {
        /// Whether.
        deleted: bool,
    },
    /// Of `put` and `delete`: what was expected is not there, and nothing was changed.
    Conflict {
        /// What is.
        conflict: Found,
    },
    /// Of `list`.
    Listed {
        /// The documents.
        entries: Vec<EntryView>,
        /// Where the next part begins.
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    },
    /// Of `search`.
    Found {
        /// The best first.
        hits: Vec<HitView>,
    },
}

/// The version that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Found {
    /// `None`: there is no document.
    pub found: Option<u64>,
}

/// An entry under the name by which its namespace was asked for. `tells_who`: the
/// principal's name too.
#[must_use]
pub fn entry_view(entry: Entry, namespace: &str, tells_who: bool) -> EntryView {
    let Provenance {
        by,
        run,
        request,
        plugin,
    } = entry.provenance;
    EntryView {
        namespace: namespace.to_owned(),
        id: entry.id,
        version: entry.version,
        created_ms: entry.created_ms,
        updated_ms: entry.updated_ms,
        expires_ms: entry.expires_ms,
        bytes: entry.bytes,
        labels: entry.labels,
        dimension: entry.dimension.map(|length| length as u64),
        provenance: ProvenanceView {
            by: Some(by).filter(|_| tells_who),
            run,
            request,
            plugin,
        },
        source: entry.source,
    }
}

/// A document in the same way.
#[must_use]
pub fn document_view(document: Document, namespace: &str, tells_who: bool) -> DocumentView {
    DocumentView {
        entry: entry_view(document.entry, namespace, tells_who),
        text: document.text,
        value: document.value,
    }
}

/// A hit in the same way.
#[must_use]
pub fn hit_view(hit: Hit, namespace: &str, tells_who: bool) -> HitView {
    HitView {
        entry: entry_view(hit.entry, namespace, tells_who),
        score: hit.score,
        snippet: hit.snippet,
    }
}
