//! The full-text index on disk. It can be made again from the store at any time,
//! and says itself how much of the store's log it has taken.
//!
//! What must stay true: words of one namespace are other terms than those of
//! another, so that no search touches, or scores by, what it was not given. What a
//! commit says it has taken is in the index, or the commit is not there.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock_journal::Store;
use serde::{Deserialize, Serialize};
use tantivy::directory::{Directory, MmapDirectory};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, NumericOptions, STORED, STRING, Schema,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
};

use crate::error::MemoryError;
use crate::rows::{self, DOCS, DocRow, NAMES, NameRow};
use crate::text::tail::Taking;
use crate::text::words::Words;

/// Raised with every change of the fields or of what a word is.
const FORMAT: u32 = 2;
/// Memory of the thread that makes segments, bytes.
const SEGMENT_BYTES: usize = 32 << 20;
/// Documents that are read at once when the index is made again.
const PAGE: usize = 64;

type Result<T> = std::result::Result<T, MemoryError>;

/// Where the files are.
pub(crate) trait Home: fmt::Debug + Send + Sync {
    /// The directory, made if it is not there.
    fn open(&self) -> std::io::Result<Box<dyn Directory>>;
    /// Removes all files.
    fn clear(&self) -> std::io::Result<()>;
}

/// A folder on disk, for its owner only, and this memory's alone while it is there.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: Option<File>,
}

/// How long a memory that is being closed may keep the folder.
const CLOSING: Duration = Duration::from_secs(10);

impl Folder {
    /// Any folder, for tests.
    #[cfg(test)]
    pub(crate) fn unlocked(path: PathBuf) -> Self {
        Self { path, _lock: None }
    }

    /// The index's folder in `dir`, once no other memory has it.
    pub(crate) fn locked(dir: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| MemoryError::Index {
            step: "locking its folder",
            source: Box::new(error),
        };
        make_folder(dir).map_err(failed)?;
        let lock = File::create(dir.join("lock")).map_err(failed)?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < CLOSING => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(MemoryError::busy("another process has its index"));
                }
            }
        }
        let path = dir.join("fulltext");
        Ok(Self {
            path,
            _lock: Some(lock),
        })
    }
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true).mode(0o700).create(path)
}

impl Home for Folder {
    fn open(&self) -> std::io::Result<Box<dyn Directory>> {
        make_folder(&self.path)?;
        let directory = MmapDirectory::open(&self.path).map_err(std::io::Error::other)?;
        Ok(Box::new(directory))
    }

    fn clear(&self) -> std::io::Result<()> {
        use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
        // A thread of an index that failed may still end its file.
        for _ in 0..10 {
            match std::fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == DirectoryNotEmpty => {}
                Err(error) if error.kind() != NotFound => return Err(error),
                _ => return Ok(()),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        std::fs::remove_dir_all(&self.path)
    }
}

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) format: u32,
    /// The last change it has taken.
    pub(crate) seq: u64,
    /// See [`rows::LogRow`]; 0 where `seq` is.
    pub(crate) opened: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    key: Field,
    number: Field,
    pub(crate) text: Field,
    labels: Field,
    updated: Field,
}

/// The index, open for writing.
pub(crate) struct Disk {
    writer: IndexWriter,
    reader: IndexReader,
    pub(crate) fields: Fields,
}

impl Disk {
    /// Opens what is there; `None`: it is missing or not sound, and why.
    pub(crate) fn open(home: &dyn Home) -> std::result::Result<(Self, Payload), String> {
        let directory = home.open().map_err(|error| error.to_string())?;
        // Damaged files may make the library panic instead of telling.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            Self::open_checked(directory)
        }));
        opened.unwrap_or_else(|_| Err("its files made the library panic".to_owned()))
    }

    fn open_checked(directory: Box<dyn Directory>) -> std::result::Result<(Self, Payload), String> {
        let told = |error: TantivyError| error.to_string();
        let there = Index::exists(&*directory).map_err(|error| error.to_string())?;
        if !there {
            return Err("there is none".to_owned());
        }
        let index = Index::open(directory).map_err(told)?;
        let (schema, fields) = schema();
        if index.schema() != schema {
            return Err("it has other fields".to_owned());
        }
        let payload = index
            .load_metas()
            .map_err(told)?
            .payload
            .unwrap_or_default();
        let payload: Payload =
            serde_json::from_str(&payload).map_err(|_| "it was never finished".to_owned())?;
        if payload.format != FORMAT {
            return Err(format!("it has format {}", payload.format));
        }
        let damaged = index.validate_checksum().map_err(told)?;
        if let Some(file) = damaged.iter().next() {
            return Err(format!("{} is damaged", file.display()));
        }
        let disk = Self::start(index, fields).map_err(told)?;
        Ok((disk, payload))
    }

    /// Makes it again from the store, which is at the change `payload` tells.
    pub(crate) fn rebuild(home: &dyn Home, store: &dyn Store, payload: &Payload) -> Result<Self> {
        let failed = |step| {
            move |error: std::io::Error| MemoryError::Index {
                step,
                source: Box::new(error),
            }
        };
        home.clear().map_err(failed("removing its files"))?;
        let directory = home.open().map_err(failed("making its folder"))?;
        let (schema, fields) = schema();
        let create = MemoryError::index("creating it");
        let index = Index::builder()
            .schema(schema)
            .open_or_create(directory)
            .map_err(create)?;
        let mut disk = Self::start(index, fields).map_err(create)?;
        disk.add_all(store)?;
        disk.commit(payload)?;
        Ok(disk)
    }

    fn start(index: Index, fields: Fields) -> tantivy::Result<Self> {
        index.tokenizers().register(SCOPED, Scoped::default());
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(SEGMENT_BYTES)
            .build();
        let writer = index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(6);
        policy.set_del_docs_ratio_before_merge(0.2);
        writer.set_merge_policy(Box::new(policy));
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            writer,
            reader,
            fields,
        })
    }

    /// Takes what the tail has, as it is in the store now.
    pub(crate) fn take(
        &mut self,
        store: &dyn Store,
        taking: &Taking,
        payload: &Payload,
    ) -> Result<()> {
        for number in &taking.dropped {
            self.writer
                .delete_term(Term::from_field_u64(self.fields.number, *number));
        }
        for (key, replaces) in &taking.docs {
            if *replaces {
                self.writer
                    .delete_term(Term::from_field_bytes(self.fields.key, key));
            }
            if let Some(row) = store.get(DOCS, key)? {
                self.add(key, &row)?;
            }
        }
        self.commit(payload)
    }

    fn add_all(&mut self, store: &dyn Store) -> Result<()> {
        each_row(store, NAMES, b"", None, |key, row| {
            let name: NameRow = rows::from_json(NAMES, key, row)?;
            let (from, to) = rows::doc_range(name.number);
            each_row(store, DOCS, &from, Some(&to), |key, row| self.add(key, row))
        })
    }

    fn add(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        let (number, _) = rows::split_doc_key(DOCS, key)?;
        let (row, text) = DocRow::decode(key, row)?;
        let mut document = TantivyDocument::new();
        document.add_bytes(self.fields.key, key);
        document.add_u64(self.fields.number, number);
        document.add_text(self.fields.text, format!("{number:x}:{text}"));
        document.add_u64(self.fields.updated, row.updated_ms);
        for (name, value) in &row.labels {
            document.add_text(self.fields.labels, label(name, value));
        }
        let added = self.writer.add_document(document);
        added
            .map(drop)
            .map_err(MemoryError::index("adding a document"))
    }

    fn commit(&mut self, payload: &Payload) -> Result<()> {
        let failed = MemoryError::index("committing");
        let text = serde_json::to_string(payload)
            .map_err(|error| failed(TantivyError::InternalError(error.to_string())))?;
        let mut commit = self.writer.prepare_commit().map_err(failed)?;
        commit.set_payload(&text);
        commit.commit().map_err(failed)?;
        self.reader
            .reload()
            .map_err(MemoryError::index("reading it again"))
    }

    /// Waits for the threads that may still write files: the folder is nobody's then.
    pub(crate) fn close(self) {
        if let Err(error) = self.writer.wait_merging_threads() {
            tracing::warn!(%error, "closing the full-text index");
        }
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }
}

/// The payload of an index that has taken the log up to `seq`.
pub(crate) fn payload(seq: u64, opened: u64) -> Payload {
    Payload {
        format: FORMAT,
        seq,
        opened,
    }
}

/// Calls `each` with all rows of a range, a bounded number in memory at once.
pub(crate) fn each_row(
    store: &dyn Store,
    space: &str,
    from: &[u8],
    to: Option<&[u8]>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut from = from.to_vec();
    loop {
        let page = store.range(space, &from, to, PAGE)?;
        for (key, row) in &page {
            each(key, row)?;
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => {
                from = key.to_vec();
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

impl Fields {
    pub(crate) fn word(&self, number: u64, word: &str) -> Term {
        Term::from_field_text(self.text, &format!("{number:x}:{word}"))
    }

    pub(crate) fn label(&self, name: &str, value: &str) -> Term {
        Term::from_field_text(self.labels, &label(name, value))
    }

    pub(crate) fn updated(&self, moment_ms: u64) -> Term {
        Term::from_field_u64(self.updated, moment_ms)
    }

    /// The key of a document that was found.
    pub(crate) fn key_of(&self, document: &TantivyDocument) -> Option<Vec<u8>> {
        use tantivy::schema::Value;
        Some(document.get_first(self.key)?.as_bytes()?.to_vec())
    }
}

/// A label as a term; neither part has a control character.
fn label(name: &str, value: &str) -> String {
    format!("{name}\0{value}")
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(SCOPED)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let fields = Fields {
        key: schema.add_bytes_field("key", INDEXED | STORED),
        number: schema.add_u64_field("namespace", NumericOptions::default().set_indexed()),
        text: schema.add_text_field(
            "text",
            TextOptions::default().set_indexing_options(indexing),
        ),
        labels: schema.add_text_field("labels", STRING),
        updated: schema.add_u64_field("updated", FAST),
    };
    (schema.build(), fields)
}

/// The name of [`Scoped`] in the index.
const SCOPED: &str = "airlock-scoped";

/// Words of a text, each behind the number of the namespace with which the text
/// begins, as `{number:x}:`.
#[derive(Debug, Clone, Default)]
struct Scoped {
    token: Token,
    word: String,
}

struct ScopedStream<'a> {
    words: Words<'a>,
    scope: &'a str,
    offset: usize,
    tokenizer: &'a mut Scoped,
}

impl Tokenizer for Scoped {
    type TokenStream<'a> = ScopedStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> ScopedStream<'a> {
        self.token.reset();
        let offset = text.find(':').map_or(0, |at| at + 1);
        ScopedStream {
            words: Words::new(&text[offset..]),
            scope: &text[..offset],
            offset,
            tokenizer: self,
        }
    }
}

impl TokenStream for ScopedStream<'_> {
    fn advance(&mut self) -> bool {
        let Scoped { token, word } = &mut *self.tokenizer;
        let Some((from, to)) = self.words.next_into(word) else {
            return false;
        };
        token.position = token.position.wrapping_add(1);
        (token.offset_from, token.offset_to) = (self.offset + from, self.offset + to);
        token.text.clear();
        token.text.push_str(self.scope);
        token.text.push_str(word);
        true
    }

    fn token(&self) -> &Token {
        &self.tokenizer.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokenizer.token
    }
}

/// What scores are computed from: the namespaces of one search, and nothing else.
pub(crate) struct Statistics {
    pub(crate) documents: u64,
    pub(crate) words: u64,
    /// In how many documents each term is, over all the namespaces.
    pub(crate) frequencies: HashMap<Term, u64>,
}

impl Bm25StatisticsProvider for Statistics {
    fn total_num_tokens(&self, _: Field) -> tantivy::Result<u64> {
        Ok(self.words.max(1))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.documents.max(1))
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let frequency = self.frequencies.get(term).copied().unwrap_or_default();
        Ok(frequency.min(self.documents.max(1)))
    }
}
