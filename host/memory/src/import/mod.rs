//! From files to documents: a folder is read, each file is cut into chunks, and each
//! chunk is a document that says where it came from.
//!
//! What must stay true: the chunks of a file change together or not at all; a file
//! that did not change changes nothing; what is refused is listed with its reason.
//! No file is followed out of the folder, and none takes more than its bound.

mod chunk;
mod elements;
mod html;
#[cfg(test)]
mod html_tests;
mod markdown;
mod pdf;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{MemoryError, bounded};
use crate::limits::{CHANGES_MAX, PAGE_MAX, Quota, WRITE_BYTES_MAX};
use crate::memory::Memory;
use crate::model::{Change, Entry, Expect, Namespace, NewDocument, Provenance, Source, check_id};
use crate::wait::wait;
use chunk::Chunks;

pub use chunk::Chunk;
pub use pdf::{PdfReader, child_main as pdf_child_main};

/// A file, bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files in one import, those that are refused among them.
pub const FILES_MAX: usize = 100_000;
/// Folders inside each other.
pub const DEPTH_MAX: usize = 32;
/// A chunk, bytes; it ends earlier where a paragraph, a line or a sentence does.
pub const CHUNK_BYTES: usize = 1_800;
/// What a chunk repeats of the one before it, bytes, at most.
pub const OVERLAP_BYTES: usize = 180;
/// Texts that are given to the embedder at once.
pub const EMBED_MAX: usize = 64;

/// Makes vectors of texts, as the administrator's embedding role does.
pub trait Embed {
    /// One vector for each text, all of one length.
    ///
    /// # Errors
    /// Why there are none; the file is refused with it.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String>;
}

/// What an import does about vectors.
#[derive(Clone, Copy)]
pub enum Vectors<'i> {
    /// A text that was there before keeps its own; it makes none.
    Keep,
    /// Makes them of the texts that have none.
    Make(&'i dyn Embed),
    /// Takes them away.
    Remove,
}

/// Where chunks go, and how.
pub struct Import<'i> {
    /// Where the documents go.
    pub namespace: &'i Namespace,
    /// Stands before the path of each file in ids and sources; see [`check_prefix`].
    pub prefix: &'i str,
    /// Labels of each document.
    pub labels: BTreeMap<String, String>,
    /// Who imports.
    pub provenance: &'i Provenance,
    /// How much the namespace may hold.
    pub quota: Quota,
    /// What becomes of vectors.
    pub vectors: Vectors<'i>,
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// It is for its name, its kind, or since it is no file but a link or the like:
    /// such files are not meant to be imported.
    #[serde(default)]
    pub passed_over: bool,
}

impl Refusal {
    fn passed_over(reason: impl Into<String>) -> Self {
        let (reason, passed_over) = (reason.into(), true);
        Self {
            reason,
            passed_over,
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        let passed_over = false;
        Self {
            reason,
            passed_over,
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// Its path in the folder, as far as it can be shown.
    pub path: String,
    /// What it was cut into, or why it was not read.
    pub chunks: Result<Vec<Chunk>, Refusal>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Its chunks are there.
    Imported {
        /// Chunks it has.
        chunks: usize,
        /// Those that were written; the others were there as they are.
        written: usize,
        /// Those that were there before and are not any more.
        removed: usize,
        /// Those that have a vector.
        #[serde(default)]
        vectors: usize,
        /// How many more had one before.
        #[serde(default)]
        vectors_removed: usize,
    },
    /// Nothing changed.
    Unchanged {
        /// Chunks it has; 0: there is no text in it.
        chunks: usize,
        /// Those that have a vector.
        #[serde(default)]
        vectors: usize,
    },
    /// It was not read, and what was there of it stays.
    Refused {
        /// Why.
        #[serde(flatten)]
        why: Refusal,
        /// Chunks of it that are there from an import before, and are still found.
        #[serde(default)]
        kept: usize,
    },
    /// It is not there any more, and its chunks were removed.
    Gone {
        /// How many.
        removed: usize,
    },
}

/// A file and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Its path in the folder, as far as it can be shown.
    pub path: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The files of a folder and the folders in it, in the order of their paths, each read
/// and cut when it is asked for. Blocks. Without a reader, PDF files are refused.
///
/// # Errors
/// [`MemoryError::Invalid`] when the folder can't be read. Everything else is a file
/// that is refused.
pub fn files<'p>(
    dir: &Path,
    pdf: Option<&'p PdfReader>,
) -> Result<impl Iterator<Item = File> + use<'p>, MemoryError> {
    let found = walk::walk(dir)?.into_iter();
    Ok(found.map(move |found| {
        let bytes = found.bytes.and_then(|open| open.read());
        let chunks = bytes.and_then(|bytes| chunks_of(&found.path, &bytes, pdf));
        let path = found.path;
        File { path, chunks }
    }))
}

/// Imports a folder; blocks until all is durable. With `prune_gone`, chunks of files
/// that are no longer there are removed: of all ids that begin with the prefix.
///
/// # Errors
/// [`MemoryError::Invalid`] when the folder can't be read or the request is not
/// valid, [`MemoryError::Store`] when the store fails; files before it are imported.
/// Everything else is a file that is refused.
pub fn import(
    memory: &Memory,
    dir: &Path,
    import: &Import<'_>,
    pdf: Option<&PdfReader>,
    prune_gone: bool,
) -> Result<Vec<Imported>, MemoryError> {
    check_prefix(import.prefix)?;
    let (mut report, mut there) = (Vec::new(), BTreeSet::new());
    for file in files(dir, pdf)? {
        there.insert(format!("{}{}", import.prefix, file.path));
        let outcome = match file.chunks {
            Err(why) => refused_file(memory, import, &file.path, why)?,
            Ok(chunks) => one_file(memory, import, &file.path, chunks)?,
        };
        let path = file.path;
        report.push(Imported { path, outcome });
    }
    if prune_gone {
        report.extend(prune(memory, import, &there)?);
    }
    Ok(report)
}

/// Checks what stands before paths: nothing, or what ends with a `/` and names no
/// folder above. So what is under one prefix is not under another that only begins
/// with the same letters.
///
/// # Errors
/// [`MemoryError::Invalid`].
pub fn check_prefix(prefix: &str) -> Result<(), MemoryError> {
    let wrong = |why: String| Err(MemoryError::invalid("prefix", why));
    if prefix.is_empty() {
        return Ok(());
    }
    if !prefix.ends_with('/') {
        return wrong(format!("it has to end with `/`: write `{prefix}/`"));
    }
    match prefix.split('/').find(|part| [".", ".."].contains(part)) {
        Some(part) => wrong(format!("`{part}` names no folder in it")),
        None => Ok(()),
    }
}

/// What is told of a file that was not read: its chunks of before stay.
///
/// # Errors
/// [`MemoryError::Store`] and [`MemoryError::Corrupt`].
pub fn refused_file(
    memory: &Memory,
    import: &Import<'_>,
    path: &str,
    why: Refusal,
) -> Result<Outcome, MemoryError> {
    let uri = format!("{}{path}", import.prefix);
    let kept = existing(memory, import.namespace, &uri)?.len();
    Ok(Outcome::Refused { why, kept })
}

/// Brings the documents of one file to what its chunks say, in one write; blocks
/// until that is durable.
///
/// # Errors
/// [`MemoryError::Store`] and [`MemoryError::Corrupt`]. Everything else is a file that
/// is refused.
pub fn one_file(
    memory: &Memory,
    import: &Import<'_>,
    path: &str,
    chunks: Vec<Chunk>,
) -> Result<Outcome, MemoryError> {
    let uri = format!("{}{path}", import.prefix);
    if let Err(error) = check_id(&chunk_id(&uri, 0)) {
        let why = Refusal::passed_over(error.to_string());
        return Ok(Outcome::Refused { why, kept: 0 });
    }
    let done = import
        .provenance
        .check()
        .and_then(|()| replace(memory, import, &uri, chunks));
    match done {
        Err(error @ (MemoryError::Store(_) | MemoryError::Corrupt { .. })) => Err(error),
        // It is the file's, not the store's.
        Err(error) => refused_file(memory, import, path, error.to_string().into()),
        Ok(outcome) => Ok(outcome),
    }
}

fn chunk_id(uri: &str, at: usize) -> String {
    format!("{uri}#{:05}", at + 1)
}

/// Cuts a file by what its name says it is.
fn chunks_of(path: &str, bytes: &[u8], pdf: Option<&PdfReader>) -> Result<Vec<Chunk>, Refusal> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let kind = name
        .rsplit_once('.')
        .map(|(_, kind)| kind.to_ascii_lowercase());
    let kind = kind.as_deref().unwrap_or("txt");
    if kind == "pdf" {
        let none =
            || Refusal::from("PDF files are not read here: no reader is configured".to_owned());
        let reader = pdf.ok_or_else(none)?;
        return Ok(pdf::chunks(&reader.pages(bytes)?)?);
    }
    let known = [
        "md", "markdown", "txt", "text", "html", "htm", "xhtml", "csv", "tsv",
    ];
    if !known.contains(&kind) {
        let known = known.join(", ");
        let why = format!(".{kind} files are not read: {known} and pdf are");
        return Err(Refusal::passed_over(why));
    }
    let text = text(bytes)?;
    let mut chunks = Chunks::default();
    match kind {
        "md" | "markdown" => markdown::add(text, &mut chunks)?,
        "html" | "htm" | "xhtml" => html::add(text, kind == "xhtml", &mut chunks)?,
        "csv" => table::add(text, table::delimiter(text), &mut chunks)?,
        "tsv" => table::add(text, b'\t', &mut chunks)?,
        _ => chunk::add_plain(text, &mut chunks)?,
    }
    // Places are those of the file, with the mark that its text is read without.
    let mark = (bytes.len() - text.len()) as u64;
    let mut chunks = chunks.done();
    for chunk in &mut chunks {
        if let Some((from, to)) = &mut chunk.source.bytes {
            *from += mark;
            *to += mark;
        }
    }
    Ok(chunks)
}

/// The text of a file, without the mark that some programs put before it.
fn text(bytes: &[u8]) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("it is not text: byte {at} is 0"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        format!(
            "it is not UTF-8 (byte {}): convert it first",
            error.valid_up_to()
        )
    })
}

/// Brings the documents of one file to what its chunks say.
fn replace(
    memory: &Memory,
    import: &Import<'_>,
    uri: &str,
    chunks: Vec<Chunk>,
) -> Result<Outcome, MemoryError> {
    let mut old = existing(memory, import.namespace, uri)?;
    let had = old.values().filter(|entry| entry.dimension.is_some());
    let had: BTreeMap<String, String> = had
        .filter_map(|entry| Some((entry.id.clone(), entry.source.as_ref()?.digest.clone())))
        .collect();
    let (count, mut changed, mut vectors) = (chunks.len(), Vec::new(), 0);
    for (at, chunk) in chunks.into_iter().enumerate() {
        let id = chunk_id(uri, at);
        let source = Source {
            uri: uri.to_owned(),
            digest: hex(&Sha256::digest(chunk.text.as_bytes())),
            ..chunk.source
        };
        let before = old.remove(&id);
        let same = before.is_some_and(|entry| {
            entry.source.as_ref() == Some(&source)
                && entry.labels == import.labels
                && match import.vectors {
                    Vectors::Keep => true,
                    Vectors::Make(_) => entry.dimension.is_some(),
                    Vectors::Remove => entry.dimension.is_none(),
                }
        });
        match same {
            true => vectors += usize::from(had.contains_key(&id)),
            false => changed.push(NewDocument {
                id,
                text: chunk.text,
                labels: import.labels.clone(),
                source: Some(source),
                ..NewDocument::default()
            }),
        }
    }
    let (written, removed) = (changed.len(), old.len());
    if written + removed == 0 {
        let chunks = count;
        return Ok(Outcome::Unchanged { chunks, vectors });
    }
    match import.vectors {
        Vectors::Make(embed) => add_vectors(embed, &mut changed)?,
        Vectors::Keep => keep_vectors(memory, import.namespace, &had, &mut changed)?,
        Vectors::Remove => {}
    }
    let made = changed.iter().filter(|document| document.vector.is_some());
    vectors += made.count();
    let deletes = old.into_keys().map(|id| Change::delete(id, Expect::Any));
    let puts = changed
        .into_iter()
        .map(|document| Change::put(document, Expect::Any));
    let changes: Vec<Change> = deletes.chain(puts).collect();
    bounded("file", changes.len(), CHANGES_MAX, "chunks")?;
    write(memory, import, changes)?;
    Ok(Outcome::Imported {
        chunks: count,
        written,
        removed,
        vectors,
        vectors_removed: had.len().saturating_sub(vectors),
    })
}

/// Gives documents the vectors of those that had the same text. `had`: ids and digests
/// of those with a vector.
fn keep_vectors(
    memory: &Memory,
    namespace: &Namespace,
    had: &BTreeMap<String, String>,
    documents: &mut [NewDocument],
) -> Result<(), MemoryError> {
    let ids: HashMap<&str, &str> = { had.iter() }
        .map(|(id, digest)| (digest.as_str(), id.as_str()))
        .collect();
    for document in documents {
        let digest = document
            .source
            .as_ref()
            .map(|source| source.digest.as_str());
        if let Some(id) = digest.and_then(|digest| ids.get(digest)) {
            document.vector = memory.vector(namespace, id)?;
        }
    }
    Ok(())
}

fn write(memory: &Memory, import: &Import<'_>, changes: Vec<Change>) -> Result<(), MemoryError> {
    let write = memory.write(import.namespace, changes, import.provenance, import.quota);
    wait(write).map(drop)
}

fn add_vectors(embed: &dyn Embed, documents: &mut [NewDocument]) -> Result<(), MemoryError> {
    let failed = |why: String| MemoryError::invalid("embedding", why);
    for some in documents.chunks_mut(EMBED_MAX) {
        let texts: Vec<&str> = some.iter().map(|document| document.text.as_str()).collect();
        let vectors = embed.embed(&texts).map_err(failed)?;
        if vectors.len() != some.len() {
            let why = format!("{} vectors for {} texts", vectors.len(), some.len());
            return Err(failed(why));
        }
        for (document, vector) in some.iter_mut().zip(vectors) {
            document.vector = Some(vector);
        }
    }
    Ok(())
}

/// The documents that were imported from a file, by id.
fn existing(
    memory: &Memory,
    namespace: &Namespace,
    uri: &str,
) -> Result<HashMap<String, Entry>, MemoryError> {
    let mut found = HashMap::new();
    each_imported(memory, namespace, &format!("{uri}#"), |from, entry| {
        if from == uri {
            found.insert(entry.id.clone(), entry);
        }
    })?;
    Ok(found)
}

/// Calls `each` with the source of each document that an import made.
fn each_imported(
    memory: &Memory,
    namespace: &Namespace,
    prefix: &str,
    mut each: impl FnMut(&str, Entry),
) -> Result<(), MemoryError> {
    let mut after = None;
    loop {
        let page = memory.list(namespace, prefix, after.as_deref(), PAGE_MAX)?;
        for entry in page.entries {
            let Some(source) = entry.source.clone() else {
                continue;
            };
            let number = entry
                .id
                .strip_prefix(&source.uri)
                .and_then(|rest| rest.strip_prefix('#'));
            let ours =
                number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            if ours && !source.digest.is_empty() {
                each(&source.uri, entry);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Removes the chunks of files that are not `there`, of all ids that begin with the
/// import's prefix; the names have it too. Blocks.
/// What is in a folder that could not be read stays.
///
/// # Errors
/// [`MemoryError::Store`]; [`MemoryError::Corrupt`].
pub fn prune(
    memory: &Memory,
    import: &Import<'_>,
    there: &BTreeSet<String>,
) -> Result<Vec<Imported>, MemoryError> {
    let mut report = Vec::new();
    let mut gone: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    each_imported(memory, import.namespace, import.prefix, |uri, entry| {
        if !is_there(there, uri) {
            let change = Change::delete(entry.id, Expect::Any);
            gone.entry(uri.to_owned()).or_default().push(change);
        }
    })?;
    for (uri, changes) in gone {
        let path = uri.strip_prefix(import.prefix).unwrap_or(&uri).to_owned();
        let removed = changes.len();
        write(memory, import, changes)?;
        let outcome = Outcome::Gone { removed };
        report.push(Imported { path, outcome });
    }
    Ok(report)
}

/// Whether a file, or a folder around it, was found; of a folder that stands there
/// itself nobody knows what is in it.
fn is_there(there: &BTreeSet<String>, uri: &str) -> bool {
    let around = |at: usize| there.contains(&uri[..at]) || there.contains(&uri[..=at]);
    there.contains(uri) || there.contains("") || uri.match_indices('/').any(|(at, _)| around(at))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the chunks of one file may be together, bytes.
const CHUNKS_BYTES_MAX: usize = WRITE_BYTES_MAX as usize * 3 / 4;
