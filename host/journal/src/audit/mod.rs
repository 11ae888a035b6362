//! The audit log: who did what, and every decision, in one hash-chained stream.
//!
//! A record is written in the same batch as the change it describes, so neither
//! is there without the other. Whoever can write the database can also rewrite
//! every hash; that is what the signed checkpoints are for, and the heads that
//! are emitted to places the attacker cannot reach.

mod export;
mod keys;
mod sign;
mod verify;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::store::{Batch, Committed, Head, Op, Store, StoreError};

pub use export::{Direction, Entry, entries, export_lines, page};
pub use keys::{KnownKeys, TrustedKey};
pub use sign::{PublicKey, SignedHead, Signer};
pub use verify::{Finding, Report, verify};

/// The stream that holds the records.
pub const STREAM: &str = "audit";
/// The space that holds the signed checkpoints, by length (64-bit big endian).
pub const CHECKPOINTS: &str = "audit-checkpoints";
/// Records between two checkpoints, unless configured otherwise.
pub const CHECKPOINT_EVERY: u64 = 256;
/// More records than this without a checkpoint are a finding: they could be
/// replaced by whoever can write the database.
pub const UNSIGNED_MAX: u64 = 8_192;
/// A record's size limit in bytes; a longer `detail` is replaced by its size.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, in milliseconds since 1970 by the host's clock.
    pub at_ms: u64,
    /// Who: a token's name, or `system`.
    pub principal: String,
    /// What: a stable dotted code such as `call.done`, `grant.change`, `denied`,
    /// `secret.use`, `admin.plugin.add` or `checkpoint`.
    pub action: String,
    /// To what: a plugin, a tool, a token.
    pub subject: String,
    /// How it ended: `ok`, or a code of the error taxonomy.
    pub outcome: String,
    /// More, by action.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// A record on its way into the log, whose detail is of any type: written as the
/// same bytes as an [`AuditRecord`], with nothing copied before.
#[derive(Debug, Serialize)]
pub struct Draft<'a, D> {
    /// As [`AuditRecord::at_ms`].
    pub at_ms: u64,
    /// As [`AuditRecord::principal`].
    pub principal: &'a str,
    /// As [`AuditRecord::action`].
    pub action: &'a str,
    /// As [`AuditRecord::subject`].
    pub subject: &'a str,
    /// As [`AuditRecord::outcome`].
    pub outcome: &'a str,
    /// As [`AuditRecord::detail`]; a JSON object, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<D>,
}

/// A record as readers of many take it: the detail is parsed only if it matters.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    pub at_ms: u64,
    #[serde(borrow)]
    pub principal: Cow<'a, str>,
    #[serde(borrow)]
    pub action: Cow<'a, str>,
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    /// Nothing when the payload is not an audit record.
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The detail as `T`, or `T`'s default where it is of another shape.
    pub(crate) fn detail<T: Deserialize<'a> + Default>(&self) -> T {
        let text = self.detail.map(RawValue::get);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }
}

/// Why the audit log could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The store failed.
    #[error("the audit log's store failed")]
    Store(#[from] StoreError),
    /// The key file could not be read, written or understood.
    #[error("the audit key {path}: {step}")]
    Key {
        /// Where it is.
        path: PathBuf,
        /// What was being done.
        step: String,
        /// Why it failed, when there is more to say.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A head or key that somebody gave is not one.
    #[error("not a valid {what}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
    },
}

/// A signed statement about the log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// When it was made; the chained `checkpoint` record says the same.
    pub at_ms: u64,
    /// Length, hash, signature and key id.
    pub head: SignedHead,
}

/// The writing side; cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    signer: Signer,
    every: u64,
    /// Length that the newest checkpoint covers, its own record included.
    covered: AtomicU64,
    checkpointing: AtomicBool,
    /// One checkpoint at a time: two of the same length would differ in time.
    turn: tokio::sync::Mutex<()>,
    heads: watch::Sender<Option<SignedHead>>,
}

impl Audit {
    /// The log in `store`, with a checkpoint each [`CHECKPOINT_EVERY`] records.
    /// An empty log gets its first checkpoint before its first record.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    pub async fn new(store: Arc<dyn Store>, signer: Signer) -> Result<Self, AuditError> {
        Self::with_spacing(store, signer, CHECKPOINT_EVERY).await
    }

    /// As [`Audit::new`] with a checkpoint each `every` records (at least 1, at
    /// most 4096).
    ///
    /// # Errors
    /// [`AuditError::Store`].
    pub async fn with_spacing(
        store: Arc<dyn Store>,
        signer: Signer,
        every: u64,
    ) -> Result<Self, AuditError> {
        let newest = newest_checkpoint(&*store)?;
        let covered = newest.as_ref().map_or(0, |newest| newest.head.len + 1);
        let (heads, _) = watch::channel(newest.as_ref().map(|newest| newest.head.clone()));
        let audit = Self(Arc::new(Inner {
            store,
            signer,
            every: every.clamp(1, UNSIGNED_MAX / 2),
            covered: AtomicU64::new(covered),
            checkpointing: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            heads,
        }));
        if newest.is_none() {
            audit.checkpoint().await?;
        }
        Ok(audit)
    }

    /// The operation that appends `record`, for the batch that does what it
    /// describes.
    #[must_use]
    pub fn op(record: &AuditRecord) -> Op {
        Self::draft_op(&record.draft())
    }

    /// The operation that appends what `draft` says.
    #[must_use]
    pub fn draft_op<D: Serialize>(draft: &Draft<'_, D>) -> Op {
        Op::Append {
            stream: Bytes::from_static(STREAM.as_bytes()),
            expect: None,
            records: vec![encode(draft)],
        }
    }

    /// Commits `batch` and `record` together. The record's head is the last of
    /// the heads returned.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(
        &self,
        batch: Batch,
        record: &AuditRecord,
    ) -> Result<Committed, StoreError> {
        self.commit_drafted(batch.op(Self::op(record))).await
    }

    /// Commits a batch whose last operation is one of [`Audit::draft_op`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit_drafted(&self, batch: Batch) -> Result<Committed, StoreError> {
        let committed = self.0.store.commit(batch).await?;
        if let Some(head) = committed.heads.last() {
            self.checkpoint_if_due(head.len);
        }
        Ok(committed)
    }

    /// Appends one record; resolves when it is durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn append(&self, record: &AuditRecord) -> Result<Head, StoreError> {
        let committed = self.commit(Batch::new(), record).await?;
        Ok(committed.heads.last().copied().unwrap_or_default())
    }

    /// Signs the log as it is and emits the head. Call it at shutdown too; it
    /// does nothing when the newest checkpoint already covers everything.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    pub async fn checkpoint(&self) -> Result<Option<SignedHead>, AuditError> {
        let inner = &self.0;
        let _turn = inner.turn.lock().await;
        let head = inner.store.head(STREAM.as_bytes())?;
        if head.len > 0 && head.len <= inner.covered.load(Ordering::Acquire) {
            return Ok(None);
        }
        let at_ms = now_ms();
        let signed = inner.signer.sign(head);
        let checkpoint = Checkpoint {
            at_ms,
            head: signed.clone(),
        };
        let record = checkpoint_record(&checkpoint);
        let value = serde_json::to_vec(&checkpoint).unwrap_or_default();
        let key = Bytes::copy_from_slice(&head.len.to_be_bytes());
        let batch = Batch::new()
            .check(CHECKPOINTS, key.clone(), None)
            .put(CHECKPOINTS, key, value)
            .op(Self::op(&record));
        inner.store.commit(batch).await?;
        inner.covered.fetch_max(head.len + 1, Ordering::AcqRel);
        tracing::debug!(head = %signed, "audit checkpoint");
        inner.heads.send_replace(Some(signed.clone()));
        Ok(Some(signed))
    }

    /// The newest signed head, for whoever emits it outside; changes with every
    /// checkpoint.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Option<SignedHead>> {
        self.0.heads.subscribe()
    }

    /// The key that verifies this log's checkpoints.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.signer.public_key()
    }

    /// The store it writes to.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Starts a checkpoint in the background, so that no caller waits for it.
    fn checkpoint_if_due(&self, len: u64) {
        let covered = self.0.covered.load(Ordering::Acquire);
        if len < covered.saturating_add(self.0.every)
            || self.0.checkpointing.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let audit = self.clone();
        let work = async move {
            if let Err(error) = audit.checkpoint().await {
                tracing::error!(%error, "no audit checkpoint was made");
            }
            audit.0.checkpointing.store(false, Ordering::Release);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(work)),
            Err(_) => self.0.checkpointing.store(false, Ordering::Release),
        }
    }
}

/// The newest signed head that is stored with the log.
///
/// # Errors
/// As the store's reads.
pub fn newest_head(store: &dyn Store) -> Result<Option<SignedHead>, StoreError> {
    Ok(newest_checkpoint(store)?.map(|newest| newest.head))
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit")
            .field("every", &self.every)
            .field("covered", &self.covered)
            .finish_non_exhaustive()
    }
}

impl<'a, D> Draft<'a, D> {
    /// What is to be recorded as of now, with outcome `ok`.
    pub fn now(principal: &'a str, action: &'a str, subject: &'a str, detail: D) -> Self {
        Self {
            at_ms: now_ms(),
            principal,
            action,
            subject,
            outcome: "ok",
            detail: Some(detail),
        }
    }
}

impl AuditRecord {
    /// A record of now, with outcome `ok` and no detail.
    pub fn now(
        principal: impl Into<String>,
        action: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            at_ms: now_ms(),
            principal: principal.into(),
            action: action.into(),
            subject: subject.into(),
            outcome: "ok".to_owned(),
            detail: Value::Null,
        }
    }

    fn draft(&self) -> Draft<'_, &Value> {
        Draft {
            at_ms: self.at_ms,
            principal: &self.principal,
            action: &self.action,
            subject: &self.subject,
            outcome: &self.outcome,
            detail: Some(&self.detail).filter(|detail| !detail.is_null()),
        }
    }

    /// Sets the outcome.
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = outcome.into();
        self
    }

    /// Sets the detail.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

/// The record that stands in the chain for a checkpoint, so that removing the
/// checkpoint leaves a trace.
fn checkpoint_record(checkpoint: &Checkpoint) -> AuditRecord {
    let head = &checkpoint.head;
    let mut record = AuditRecord::now("system", "checkpoint", STREAM);
    record.at_ms = checkpoint.at_ms;
    record.detail(json!({ "len": head.len, "key_id": head.key_id }))
}

fn newest_checkpoint(store: &dyn Store) -> Result<Option<Checkpoint>, StoreError> {
    let len = store.head(STREAM.as_bytes())?.len;
    // A checkpoint is never far behind the head; if it is, look at them all.
    for from in [len.saturating_sub(2 * CHECKPOINT_EVERY), 0] {
        let found = store.range(CHECKPOINTS, &from.to_be_bytes(), None, usize::MAX)?;
        if let Some((_, value)) = found.last() {
            return Ok(serde_json::from_slice(value).ok());
        }
    }
    Ok(None)
}

fn encode<D: Serialize>(record: &Draft<'_, D>) -> Bytes {
    let mut encoded = Vec::with_capacity(1024);
    if let Err(error) = serde_json::to_writer(&mut encoded, record) {
        // Only a key that is no text does this, and no detail has one.
        tracing::error!(action = record.action, %error, "an audit record is no JSON");
        encoded.clear();
    }
    if encoded.len() <= RECORD_BYTES_MAX {
        return encoded.into();
    }
    tracing::warn!(
        action = record.action,
        bytes = encoded.len(),
        "audit detail left out"
    );
    let short = |text: &str| text.chars().take(1024).collect::<String>();
    let cut = AuditRecord {
        at_ms: record.at_ms,
        principal: short(record.principal),
        action: short(record.action),
        subject: short(record.subject),
        outcome: short(record.outcome),
        detail: json!({ "left_out_bytes": encoded.len() }),
    };
    serde_json::to_vec(&cut).unwrap_or_default().into()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
