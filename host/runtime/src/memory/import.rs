//! Files that an administrator imports: whoever reads them cut them into chunks.
//!
//! What must stay true: the chunks of a file change together or not at all; a file
//! that did not change changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use airlock_memory::import::{self, Chunk, Embed, Import, Imported};
use airlock_memory::{MemoryError, Quota};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::MemoryFailure;
use super::admin::provenance;
use super::embed::Embedder;
use crate::principal::Principal;
use crate::runtime::Runtime;

/// Files, cut into chunks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryImport {
    /// Where their documents go: `shared/NAME`.
    pub namespace: String,
    /// Stands before the path of each file, in ids and sources.
    #[serde(default)]
    pub prefix: String,
    /// Labels of each document.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A role of the host's models that makes vectors of their texts.
    #[serde(default)]
    pub embed: Option<String>,
    /// The files.
    #[serde(default)]
    pub files: Vec<ImportFile>,
    /// The paths of all files there are: what was imported of others, under the
    /// prefix, is removed.
    #[serde(default)]
    pub there: Option<Vec<String>>,
}

/// A file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportFile {
    /// Its path.
    pub path: String,
    /// What it was cut into, in order.
    pub chunks: Vec<Chunk>,
}

/// What became of each file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryImported {
    /// In the order of the request; files that are gone come last.
    pub files: Vec<Imported>,
}

impl Runtime {
    /// Brings the documents of files to what their chunks say.
    ///
    /// # Errors
    /// The namespace is not shared, or the store failed. A file that can't be taken is
    /// one that is refused in the answer.
    pub async fn import_memory(
        self: &Arc<Self>,
        who: &Principal,
        request: MemoryImport,
    ) -> Result<MemoryImported, MemoryFailure> {
        let namespace = self.shared(who, &request.namespace)?;
        let shown = namespace.to_string();
        let role = request.embed.clone();
        let embedder = role.as_deref();
        let embedder = embedder.map(|role| Arc::new(Embedder::new(self, role, &who.name)));
        let (by, making) = (provenance(who), embedder.clone());
        let (paths, pruning) = (request.files.len(), request.there.is_some());
        let work = move |memory: &airlock_memory::Memory| {
            let target = Import {
                namespace: &namespace,
                prefix: &request.prefix,
                labels: request.labels,
                provenance: &by,
                quota: Quota::default(),
                embed: making.as_deref().map(|making| making as &dyn Embed),
            };
            all_files(memory, &target, request.files, request.there)
        };
        let detail = json!({ "namespace": shown, "files": paths, "prunes": pruning });
        self.on_record(who, "memory.import", &shown, detail).await?;
        let files = self.with_memory(work).await;
        if let Some((tokens, micros)) = embedder.map(|embedder| embedder.used()) {
            let detail = json!({ "role": role, "tokens": tokens, "cost_micros": micros });
            self.on_record(who, "memory.embed", &shown, detail).await?;
        }
        Ok(MemoryImported { files: files? })
    }
}

fn all_files(
    memory: &airlock_memory::Memory,
    target: &Import<'_>,
    files: Vec<ImportFile>,
    there: Option<Vec<String>>,
) -> Result<Vec<Imported>, MemoryError> {
    let mut report = Vec::with_capacity(files.len());
    for file in files {
        let outcome = import::one_file(memory, target, &file.path, file.chunks)?;
        let path = file.path;
        report.push(Imported { path, outcome });
    }
    if let Some(there) = there {
        let named = there.iter().map(|path| format!("{}{path}", target.prefix));
        let there: BTreeSet<String> = named.collect();
        report.extend(import::prune(memory, target, &there)?);
    }
    Ok(report)
}
