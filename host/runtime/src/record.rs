//! What the runtime writes into the audit, and the audit as its users read it.
//!
//! What must stay true: an administrative change and its record are one batch;
//! refused logins cannot flood the log.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use airlock_journal::audit::{
    self, Audit, AuditError, AuditRecord, Direction, Entry, SignedHead, Signer, TrustedKey,
};
use airlock_journal::sqlite::DATABASE_FILE;
use airlock_journal::store::BoxFuture;
use airlock_journal::{Op, SqliteStore, Store, StoreError};
use airlock_sandbox::services::{AuditEvent, AuditSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit_key;
use crate::config::RuntimeConfig;
use crate::principal::Principal;
use crate::problem::Failure;

/// Most records of one page.
pub const PAGE_MAX: usize = 1_000;
/// Most bytes of one page; a record that has more is a page of its own.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Records that are read at once.
const PIECE: usize = 16;
/// Refused logins and refused requests recorded each second, at most; further
/// ones are counted into the next record.
const REFUSALS_PER_S: f64 = 2.0;
const REFUSALS_BURST: f64 = 50.0;

/// A record of what happened, whoever had it done, or of an act of the host's own; of
/// what is to be changed by somebody, see `authority.rs`.
pub(crate) fn admin(who: &Principal, action: &str, subject: &str, detail: Value) -> AuditRecord {
    let mut detail = detail;
    if let (Value::Object(members), Some(id)) = (&mut detail, &who.token_id) {
        members.insert("token_id".to_owned(), json!(id));
    }
    AuditRecord::now(&who.name, format!("admin.{action}"), subject).detail(detail)
}

/// The operation that appends a record.
pub(crate) fn op(record: &AuditRecord) -> Op {
    Audit::op(record)
}

/// The sandbox's side of the audit.
pub(crate) struct Sink(pub(crate) Audit);

impl AuditSink for Sink {
    fn record(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut detail = event.detail;
        if let Value::Object(members) = &mut detail {
            members.insert("call_id".to_owned(), json!(event.call_id));
        }
        let record = AuditRecord::now(event.principal, event.action, event.plugin).detail(detail);
        Box::pin(async move { self.0.append(&record).await.map(drop) })
    }
}

/// Lets a bounded number of refusals into the audit.
#[derive(Debug)]
pub(crate) struct Refusals {
    state: Mutex<(f64, Instant, u64)>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            state: Mutex::new((REFUSALS_BURST, Instant::now(), 0)),
        }
    }
}

impl Refusals {
    /// Whether this refusal is recorded; then with how many were left out before.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last, left_out) = &mut *state;
        let elapsed: Duration = now.saturating_duration_since(*last);
        *tokens = (*tokens + elapsed.as_secs_f64() * REFUSALS_PER_S).min(REFUSALS_BURST);
        *last = now;
        if *tokens < 1.0 {
            *left_out += 1;
            return None;
        }
        *tokens -= 1.0;
        Some(std::mem::take(left_out))
    }
}

/// Which page of the audit.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Oldest first, from this sequence number on. Excludes `before`.
    #[serde(default)]
    pub from: Option<u64>,
    /// Newest first, from the record before this one; with neither, from the end.
    #[serde(default)]
    pub before: Option<u64>,
    /// Records of a page, at most 1,000; 100 unless given.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AuditPage {
    /// The records: `seq`, `hash`, `at_ms`, `principal`, `action`, `subject`,
    /// `outcome`, `detail`. As many as were asked for, or those of 1 MiB.
    #[schemars(with = "Vec<Value>")]
    pub records: Vec<Entry>,
    /// Pass as `from` or `before`, whichever this page had; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Asks for a verification.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// A head that was emitted earlier and kept elsewhere
    /// (`airlock-head:v1:…`); only it shows a log cut back with its checkpoints.
    #[serde(default)]
    pub head: Option<String>,
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerified {
    /// Nothing was found wrong.
    pub ok: bool,
    /// Records in the log.
    pub len: u64,
    /// The chain hash over them; absent when something is wrong.
    pub hash: Option<String>,
    /// The newest signed head (`airlock-head:v1:…`): kept elsewhere, it later
    /// shows a log that was cut back.
    pub head: Option<String>,
    /// Signed checkpoints verified.
    pub checkpoints: usize,
    /// Records since the last checkpoint.
    pub unsigned: u64,
    /// What is wrong: `code`, `seq`, `text`.
    pub findings: Vec<Value>,
}

/// Why the audit could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFailure {
    /// The query or the given head makes no sense.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The store failed; damage is told by `verify`.
    #[error("reading the audit")]
    Store(#[from] StoreError),
    /// There is nothing in the data directory.
    #[error("there is no data in {0}")]
    NoData(PathBuf),
    /// The key that verifies the audit.
    #[error("reading the audit's key")]
    Key(#[from] AuditError),
    /// The task that read it died.
    #[error("reading the audit was interrupted")]
    Interrupted,
}

impl Failure for AuditFailure {
    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::NoData(_) => "no-data",
            Self::Key(_) => "audit-key",
            Self::Store(StoreError::Corrupt { .. }) => "audit-damaged",
            Self::Store(_) | Self::Interrupted => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NoData(_) => 404,
            Self::Key(_) => 500,
            Self::Store(StoreError::Corrupt { .. }) => 500,
            Self::Store(_) | Self::Interrupted => 503,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Store(StoreError::Corrupt { place }) => {
                format!("the audit is damaged at {place}; run a verification")
            }
            other => other.to_string(),
        }
    }
}

/// One page.
pub(crate) fn page(audit: &Audit, query: AuditQuery) -> Result<AuditPage, AuditFailure> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(AuditFailure::BadRequest("`limit` is 1 to 1000"));
    }
    let direction = match (query.from, query.before) {
        (Some(_), Some(_)) => return Err(AuditFailure::BadRequest("give `from` or `before`")),
        (Some(from), None) => Direction::Forward(from),
        (None, before) => Direction::Backward(before.unwrap_or(u64::MAX)),
    };
    let (records, more) = read(&**audit.store(), direction, limit)?;
    let next = records
        .last()
        .filter(|_| more)
        .map(|entry| match direction {
            Direction::Forward(_) => entry.seq + 1,
            Direction::Backward(_) => entry.seq,
        });
    let next = next.filter(|next| *next > 0);
    Ok(AuditPage { records, next })
}

/// At most `limit` records, and of more than one those that have
/// [`PAGE_BYTES_MAX`] together. Gives whether there may be more.
fn read(
    store: &dyn Store,
    direction: Direction,
    limit: usize,
) -> Result<(Vec<Entry>, bool), StoreError> {
    let (mut records, mut bytes, mut at) = (Vec::new(), 0, direction);
    while records.len() < limit {
        let wanted = PIECE.min(limit - records.len());
        let piece = audit::page(store, at, wanted)?;
        let last = piece.len() < wanted;
        for entry in piece {
            // A record came from JSON.
            bytes += serde_json::to_vec(&entry).map_or(0, |entry| entry.len());
            if bytes > PAGE_BYTES_MAX && !records.is_empty() {
                return Ok((records, true));
            }
            at = match direction {
                Direction::Forward(_) => Direction::Forward(entry.seq + 1),
                Direction::Backward(_) => Direction::Backward(entry.seq),
            };
            records.push(entry);
        }
        if last {
            return Ok((records, false));
        }
    }
    Ok((records, true))
}

/// Verifies everything.
pub(crate) fn verify(
    config: &RuntimeConfig,
    audit: &Audit,
    head: Option<&str>,
) -> Result<AuditVerified, AuditFailure> {
    let newest = audit.heads().borrow().clone();
    let keys = audit_key::trusted(config, audit.public_key())?;
    verify_store(&**audit.store(), &keys, newest, head)
}

/// Verifies the audit of a data directory that no process owns. Nothing is
/// written but the lock, and a store that is too damaged to be opened for use is
/// read as far as that goes.
///
/// # Errors
/// There is no data, a process owns it, it can't be read at all, the key of the
/// audit is not there, or the given head is not one.
pub fn verify_offline(
    config: &RuntimeConfig,
    head: Option<&str>,
) -> Result<AuditVerified, AuditFailure> {
    let dir = config.journal_dir();
    if !dir.join(DATABASE_FILE).is_file() {
        return Err(AuditFailure::NoData(dir));
    }
    let key = Signer::open(config.key_file("audit.key"))?.public_key();
    let store = SqliteStore::inspect(dir)?;
    let newest = audit::newest_head(&*store).unwrap_or_default();
    let keys = audit_key::trusted(config, key)?;
    verify_store(&*store, &keys, newest, head)
}

fn verify_store(
    store: &dyn Store,
    keys: &[TrustedKey],
    newest: Option<SignedHead>,
    head: Option<&str>,
) -> Result<AuditVerified, AuditFailure> {
    let head = head
        .map(str::parse::<SignedHead>)
        .transpose()
        .map_err(|_| AuditFailure::BadRequest("`head` is not a signed head (airlock-head:v1:…)"))?;
    let len = store
        .head(audit::STREAM.as_bytes())
        .map_or(0, |head| head.len);
    Ok(match audit::verify(store, keys, head.as_ref()) {
        Ok(report) => AuditVerified {
            ok: true,
            len: report.len,
            hash: Some(report.hash),
            head: newest.as_ref().map(ToString::to_string),
            checkpoints: report.checkpoints,
            unsigned: report.unsigned,
            findings: Vec::new(),
        },
        Err(findings) => AuditVerified {
            ok: false,
            len,
            hash: None,
            head: None,
            checkpoints: 0,
            unsigned: 0,
            findings: findings.iter().map(|finding| json!(finding)).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recorded_up_to_a_rate_and_the_rest_is_counted() {
        let refusals = Refusals::default();
        let start = refusals.state.lock().expect("lock").1;
        let admitted = (0..1_000)
            .filter(|_| refusals.admit(start).is_some())
            .count();
        assert_eq!(admitted as f64, REFUSALS_BURST);
        let later = start + Duration::from_secs(1);
        assert_eq!(refusals.admit(later), Some(950));
        assert_eq!(refusals.admit(later), Some(0));
        assert_eq!(refusals.admit(later), None);
    }
}
