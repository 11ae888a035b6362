//! What administrators ask of the memory, and what they are told.

use std::collections::BTreeMap;

use airlock_memory::{Expect, Json, Source, Usage};
use airlock_sandbox::capability::memory::{EntryView, HitView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which namespaces.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryQuery {
    /// Of this kind: `run`, `agent` or `shared`; all unless given.
    #[serde(default)]
    pub kind: Option<String>,
    /// Behind this namespace: the `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Most namespaces of a page, 1 to 1,000.
    #[serde(default = "page")]
    pub limit: usize,
}

fn page() -> usize {
    100
}

/// A page of namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryPage {
    /// In order.
    pub namespaces: Vec<NamespaceView>,
    /// Where the next page begins; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceView {
    /// Its kind and name, `shared/handbook`.
    pub namespace: String,
    /// How much it holds.
    #[serde(flatten)]
    pub usage: Usage,
}

/// Which documents of a namespace.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentsQuery {
    /// Of which the ids begin so.
    #[serde(default)]
    pub prefix: String,
    /// Behind this id: the `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Most documents of a page, 1 to 1,000.
    #[serde(default = "page")]
    pub limit: usize,
}

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentsPage {
    /// In the order of their ids.
    pub documents: Vec<EntryView>,
    /// Where the next page begins; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A document as it is written; its id is in the path.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentPut {
    /// What is searched and shown, at most 256 KiB.
    #[serde(default)]
    pub text: String,
    /// Whatever else belongs to it, at most 64 KiB as JSON.
    #[serde(default)]
    pub value: Option<Json>,
    /// What a search can ask for exactly.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its embedding.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// A role of the host's models that makes its embedding of the text.
    #[serde(default)]
    pub embed: Option<String>,
    /// How long it lives, milliseconds.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// Where the text came from.
    #[serde(default)]
    pub source: Option<Source>,
    /// What has to be there before.
    #[serde(default)]
    pub expect: Expect,
}

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySearch {
    /// Where, 1 to 16.
    pub namespaces: Vec<String>,
    /// Words; what stands in double quotes has to be there as it stands.
    #[serde(default)]
    pub text: Option<String>,
    /// An embedding.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// A role of the host's models that makes an embedding of the text; both are
    /// fused.
    #[serde(default)]
    pub embed: Option<String>,
    /// All of these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Written at this moment or later, milliseconds since 1970.
    #[serde(default)]
    pub from_ms: Option<u64>,
    /// Written before this moment.
    #[serde(default)]
    pub to_ms: Option<u64>,
    /// Most answers, 1 to 100.
    #[serde(default = "hits")]
    pub limit: usize,
}

fn hits() -> usize {
    10
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryFound {
    /// The best first.
    pub hits: Vec<HitView>,
}

/// A namespace that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceDeleted {
    /// Its kind and name.
    pub namespace: String,
    /// What it held.
    #[serde(flatten)]
    pub usage: Usage,
}
