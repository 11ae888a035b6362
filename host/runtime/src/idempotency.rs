//! `Idempotency-Key`: the reply to a request that acts is kept under its
//! principal and key, and given again byte for byte.
//!
//! What must stay true: an intent is durable before the act, so that a reply
//! lost in a crash is known to be lost (`outcome_unknown`) and the act is never
//! repeated silently; the reply is durable before it is sent. What is kept of one
//! principal has a bound: beyond it a new key is refused before anything happens,
//! and no reply is given up before its time.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use airlock_journal::{Batch, Op, Store, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names::{self, BadName};
use crate::problem::Failure;
use crate::{ids, rows};
use kept::{Kept, ROW_BYTES};

const SPACE: &str = "idempotency";
const EXPIRY: &str = "idempotency-expiry";
const PRUNE_ROWS: usize = 500;

/// A reply as it was or will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReply {
    /// The HTTP status.
    pub status: u16,
    /// The body: JSON, a problem when the status is 400 or more.
    pub body: Bytes,
    /// Whether it was kept from an earlier request.
    pub replayed: bool,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
}

/// Why a request with a key gets neither a run nor a reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdempotencyError {
    /// The key is not one.
    #[error(transparent)]
    BadKey(#[from] BadName),
    /// The key came with another request before.
    #[error("this idempotency key was used with another request")]
    Reused,
    /// The first request with this key has not ended.
    #[error("a request with this idempotency key is still being worked on")]
    InFlight,
    /// The first request with this key began and its reply was lost.
    #[error(
        "a request with this idempotency key began, and its outcome was lost: it may have happened"
    )]
    OutcomeUnknown,
    /// It was done, and its reply held a secret, which is not kept.
    #[error(
        "a request with this idempotency key was done; its reply held a secret and was not kept"
    )]
    NotKept,
    /// As much is kept for the principal as may be. Nothing happened.
    #[error(
        "the replies that are kept for this principal's idempotency keys have {0} bytes, as many as may be, and each is kept for its time: nothing was done; ask again later, or without a key"
    )]
    Full(u64),
    /// The store failed.
    #[error("keeping the idempotency key")]
    Store(#[from] StoreError),
}

impl Failure for IdempotencyError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadKey(_) => "bad-idempotency-key",
            Self::Reused => "idempotency-key-reused",
            Self::InFlight => "idempotency-in-flight",
            // The spelling is the design's.
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NotKept => "reply-not-kept",
            Self::Full(_) => "idempotency-full",
            Self::Store(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadKey(_) => 400,
            Self::Reused => 422,
            Self::InFlight | Self::OutcomeUnknown | Self::NotKept => 409,
            Self::Full(_) => 429,
            Self::Store(_) => 503,
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::InFlight).then_some(Duration::from_secs(1))
    }
}

/// What a request is, so that another one under the same key is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a method, a path with its query, and a body.
    #[must_use]
    pub fn of(method: &str, target: &str, body: &[u8]) -> Self {
        let mut sha = Sha256::new();
        for part in [method.as_bytes(), target.as_bytes()] {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        sha.update(body);
        Self(sha.finalize().into())
    }
}

/// The first line of a stored row; the reply's body follows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    state: RowState,
    fingerprint: String,
    expires_ms: u64,
    attempts: u32,
    #[serde(default)]
    status: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RowState {
    /// Began; after a restart: its outcome is unknown.
    Intent,
    /// Ended in a way that may be tried again under the same key.
    Again,
    /// Done; the reply follows.
    Done,
    /// Done; the reply held a secret.
    NotKept,
}

type InFlight = Arc<Mutex<HashMap<Bytes, Fingerprint>>>;

/// The kept replies.
pub struct Idempotency {
    store: Arc<dyn Store>,
    keep: Duration,
    bytes_max: u64,
    kept: Kept,
    in_flight: InFlight,
}

/// What to do with a request that has a key.
#[derive(Debug)]
pub enum Begin {
    /// Send this.
    Replay(StoredReply),
    /// Do it.
    Run(Ticket),
}

/// The right to do what a key stands for. Dropping it without
/// [`Ticket::finished`] leaves the intent, if any was made durable: the outcome
/// is then unknown.
#[derive(Debug)]
pub struct Ticket {
    key: Bytes,
    row: Row,
    before: Option<Bytes>,
    /// The row is counted already.
    again: bool,
    kept: Kept,
    _held: Held,
}

#[derive(Debug)]
struct Held {
    key: Bytes,
    in_flight: InFlight,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.in_flight).remove(&self.key);
    }
}

impl Idempotency {
    /// Over `store`, keeping replies for `keep`, and of one principal no more once
    /// they have `bytes_max` bytes.
    ///
    /// # Errors
    /// What is kept could not be counted.
    pub fn open(store: Arc<dyn Store>, keep: Duration, bytes_max: u64) -> Result<Self, StoreError> {
        Ok(Self {
            kept: Kept::counted(&*store)?,
            store,
            keep,
            bytes_max,
            in_flight: InFlight::default(),
        })
    }

    /// Looks a key up and claims it for this process. Nothing is durable yet,
    /// see [`Ticket::intent`].
    ///
    /// # Errors
    /// [`IdempotencyError`].
    pub fn begin(
        &self,
        principal: &str,
        key: &str,
        fingerprint: Fingerprint,
        now_ms: u64,
    ) -> Result<Begin, IdempotencyError> {
        names::idempotency_key(key)?;
        let key = Bytes::from([principal.as_bytes(), b"\0", key.as_bytes()].concat());
        let held = self.claim(&key, fingerprint)?;
        let before = self.store.get(SPACE, &key)?;
        let known = match &before {
            Some(value) => {
                let (row, body) = split(&key, value)?;
                (row.expires_ms > now_ms).then_some((row, body))
            }
            None => None,
        };
        let print = ids::hex(&fingerprint.0);
        let again = known.is_some();
        let row = match known {
            None => Row {
                state: RowState::Intent,
                fingerprint: print,
                expires_ms: now_ms + self.keep.as_millis() as u64,
                attempts: 1,
                status: 0,
            },
            Some((row, _)) if row.fingerprint != print => return Err(IdempotencyError::Reused),
            Some((row, body)) => match row.state {
                RowState::Intent => return Err(IdempotencyError::OutcomeUnknown),
                RowState::NotKept => return Err(IdempotencyError::NotKept),
                RowState::Done => return Ok(Begin::Replay(replay(&row, body))),
                RowState::Again => Row {
                    attempts: row.attempts.saturating_add(1),
                    ..row
                },
            },
        };
        let bytes = self.kept.of(&key);
        if bytes >= self.bytes_max {
            return Err(IdempotencyError::Full(bytes));
        }
        Ok(Begin::Run(Ticket {
            key,
            row,
            before,
            again,
            kept: self.kept.clone(),
            _held: held,
        }))
    }

    fn claim(&self, key: &Bytes, fingerprint: Fingerprint) -> Result<Held, IdempotencyError> {
        let mut in_flight = lock(&self.in_flight);
        match in_flight.get(key) {
            Some(other) if *other != fingerprint => return Err(IdempotencyError::Reused),
            Some(_) => return Err(IdempotencyError::InFlight),
            None => in_flight.insert(key.clone(), fingerprint),
        };
        Ok(Held {
            key: key.clone(),
            in_flight: Arc::clone(&self.in_flight),
        })
    }

    /// Removes replies whose time is over; returns how many.
    ///
    /// # Errors
    /// The store failed.
    pub async fn prune(&self, now_ms: u64) -> Result<usize, StoreError> {
        let mut pruned = 0;
        loop {
            let due = self
                .store
                .range(EXPIRY, &[], Some(&now_ms.to_be_bytes()), PRUNE_ROWS)?;
            let mut batch = Batch::new();
            let (before, mut gone) = (pruned, Vec::new());
            for (index, bytes) in due {
                let key = index.slice(8..);
                if lock(&self.in_flight).contains_key(&key) {
                    continue;
                }
                // A key used again after its time has another row by now.
                if let Some(value) = self.store.get(SPACE, &key)?
                    && split(&key, &value)?.0.expires_ms < now_ms
                {
                    // An intent that was written meanwhile stays.
                    batch = batch.check(SPACE, key.clone(), Some(value));
                    batch = batch.delete(SPACE, key.clone());
                }
                batch = batch.delete(EXPIRY, index);
                gone.push((key, kept::bytes(&bytes)));
                pruned += 1;
            }
            if batch.ops.is_empty() {
                return Ok(pruned);
            }
            match self.store.commit(batch).await {
                Err(StoreError::Conflict { .. }) => pruned = before,
                committed => {
                    drop(committed?);
                    gone.iter()
                        .for_each(|(key, bytes)| self.kept.less(key, *bytes));
                }
            }
        }
    }
}

impl Ticket {
    /// 1, or more when earlier attempts under this key may be repeated.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.row.attempts
    }

    /// Operations that make the intent durable; to commit before the act, once.
    #[must_use]
    pub fn intent(&self) -> [Op; 3] {
        if !self.again {
            self.kept.more(&self.key, ROW_BYTES);
        }
        [
            Op::Check {
                space: SPACE,
                key: self.key.clone(),
                expect: self.before.clone(),
            },
            self.put(RowState::Intent, 0, b""),
            self.put_bytes(ROW_BYTES),
        ]
    }

    /// The operations that keep the reply; to commit before it is sent, once.
    #[must_use]
    pub fn finished(&self, reply: &StoredReply) -> [Op; 2] {
        let bytes = reply.body.len() as u64;
        self.kept.more(&self.key, bytes);
        [
            self.put(RowState::Done, reply.status, &reply.body),
            self.put_bytes(ROW_BYTES + bytes),
        ]
    }

    /// The operation that notes a reply with a secret in it.
    #[must_use]
    pub fn finished_secretly(&self) -> Op {
        self.put(RowState::NotKept, 0, b"")
    }

    /// The operation that lets the key be used again: nothing happened, or what
    /// happened may be repeated.
    #[must_use]
    pub fn again(&self) -> Op {
        self.put(RowState::Again, 0, b"")
    }

    /// Says in the order of time how many bytes are kept.
    fn put_bytes(&self, bytes: u64) -> Op {
        Op::Put {
            space: EXPIRY,
            key: [&self.row.expires_ms.to_be_bytes()[..], &self.key]
                .concat()
                .into(),
            value: kept::value(bytes),
        }
    }

    fn put(&self, state: RowState, status: u16, body: &[u8]) -> Op {
        let row = Row {
            state,
            status,
            ..self.row.clone()
        };
        let mut value = rows::encode(&row).to_vec();
        value.push(b'\n');
        value.extend_from_slice(body);
        Op::Put {
            space: SPACE,
            key: self.key.clone(),
            value: value.into(),
        }
    }
}

fn split(key: &[u8], value: &Bytes) -> Result<(Row, Bytes), StoreError> {
    let end = value.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| rows::damaged(SPACE, key))?;
    Ok((
        rows::decode(SPACE, key, &value[..end])?,
        value.slice(end + 1..),
    ))
}

fn replay(row: &Row, body: Bytes) -> StoredReply {
    StoredReply {
        status: row.status,
        body,
        replayed: true,
        retry_after_s: None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
