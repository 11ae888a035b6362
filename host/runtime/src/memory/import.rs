//! Files that an administrator imports: whoever reads them cut them into chunks.
//!
//! What must stay true: the chunks of a file change together or not at all; a file
//! that did not change changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use airlock_memory::import::{self, Chunk, Import, Imported, Refusal, Vectors};
use airlock_memory::{MemoryError, Quota};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admin::provenance;
use super::embed::Embedder;
use super::{Asker, MemoryFailure};
use crate::principal::Principal;
use crate::runtime::Runtime;

/// Files, cut into chunks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryImport {
    /// Where their documents go: `shared/NAME`.
    pub namespace: String,
    /// Stands before the path of each file, in ids and sources: nothing, or what ends
    /// with a `/`.
    #[serde(default)]
    pub prefix: String,
    /// Labels of each document.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A role of the host's models that makes vectors of the texts that have none.
    #[serde(default)]
    pub embed: Option<String>,
    /// Takes all vectors away. Without this and a role, a text that was there before
    /// keeps its own.
    #[serde(default)]
    pub no_embed: bool,
    /// The files.
    #[serde(default)]
    pub files: Vec<ImportFile>,
    /// Files that could not be read: the answer says how much of them is there from
    /// an import before.
    #[serde(default)]
    pub refused: Vec<RefusedFile>,
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

/// A file that was not read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RefusedFile {
    /// Its path.
    pub path: String,
    /// Why.
    #[serde(flatten)]
    pub why: Refusal,
}

/// What became of each file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryImported {
    /// In the order of the request, those that were refused behind the others; files
    /// that are gone come last.
    pub files: Vec<Imported>,
}

impl Runtime {
    /// Brings the documents of files to what their chunks say.
    ///
    /// # Errors
    /// The namespace is not shared, the prefix or the role is none, or the store
    /// failed. A file that can't be taken is one that is refused in the answer.
    pub async fn import_memory(
        self: &Arc<Self>,
        who: &Principal,
        request: MemoryImport,
    ) -> Result<MemoryImported, MemoryFailure> {
        let namespace = self.shared(who, &request.namespace)?;
        import::check_prefix(&request.prefix)?;
        if request.no_embed && request.embed.is_some() {
            let why = "`embed` and `no_embed`: give one of them".to_owned();
            return Err(MemoryFailure::Invalid(why));
        }
        let shown = namespace.to_string();
        let role = request.embed.clone();
        let embedder = role.as_deref().map(|role| Embedder::new(self, role, who));
        let embedder = embedder.transpose()?.map(Arc::new);
        if let Some(embedder) = &embedder {
            embedder.check()?;
        }
        let (by, making) = (provenance(who), embedder.clone());
        let (runtime, whose) = (Arc::clone(self), who.clone());
        let (paths, pruning) = (request.files.len(), request.there.is_some());
        let work = move |memory: &airlock_memory::Memory| {
            let target = Import {
                namespace: &namespace,
                prefix: &request.prefix,
                labels: request.labels,
                provenance: &by,
                quota: Quota::default(),
                vectors: match making.as_deref() {
                    Some(making) => Vectors::Make(making),
                    None if request.no_embed => Vectors::Remove,
                    None => Vectors::Keep,
                },
            };
            let files = (request.files, request.refused);
            let holds = || runtime.still_holds(&whose);
            all_files(memory, &target, files, request.there, &holds)
        };
        let detail = json!({ "namespace": shown, "files": paths, "prunes": pruning });
        self.on_record(who, "memory.import", &shown, detail).await?;
        let files = self.with_memory(Asker::Principal(who), work).await;
        if let Some(embedder) = embedder {
            self.embedded(who, &embedder, &shown).await?;
        }
        let files = files?;
        // What was written until then stays, and is on record.
        self.check_holds(who)?;
        Ok(MemoryImported { files })
    }
}

/// File by file, for as long as whoever imports them may.
fn all_files(
    memory: &airlock_memory::Memory,
    target: &Import<'_>,
    (files, refused): (Vec<ImportFile>, Vec<RefusedFile>),
    there: Option<Vec<String>>,
    holds: &dyn Fn() -> bool,
) -> Result<Vec<Imported>, MemoryError> {
    let mut report = Vec::with_capacity(files.len() + refused.len());
    for file in files {
        if !holds() {
            return Ok(report);
        }
        let outcome = import::one_file(memory, target, &file.path, file.chunks)?;
        let path = file.path;
        report.push(Imported { path, outcome });
    }
    for RefusedFile { path, why } in refused {
        let outcome = import::refused_file(memory, target, &path, why)?;
        report.push(Imported { path, outcome });
    }
    if let Some(there) = there.filter(|_| holds()) {
        let named = there.iter().map(|path| format!("{}{path}", target.prefix));
        let there: BTreeSet<String> = named.collect();
        report.extend(import::prune(memory, target, &there)?);
    }
    Ok(report)
}
