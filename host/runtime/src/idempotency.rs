//! `Idempotency-Key`: the reply to a request that acts is kept under its
//! principal and key, and given again byte for byte.
//!
//! What must stay true: an intent is durable before the act, so that a reply
//! lost in a crash is known to be lost (`outcome_unknown`) and the act is never
//! repeated silently; the reply is durable before it is sent.

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
            Self::Store(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadKey(_) => 400,
            Self::Reused => 422,
            Self::InFlight | Self::OutcomeUnknown | Self::NotKept => 409,
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
    /// Over `store`, keeping replies for `keep`.
    pub fn new(store: Arc<dyn Store>, keep: Duration) -> Self {
        Self {
            store,
            keep,
            in_flight: InFlight::default(),
        }
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
                    state: RowState::Intent,
                    attempts: row.attempts.saturating_add(1),
                    ..row
                },
            },
        };
        let _held = held;
        Ok(Begin::Run(Ticket {
            key,
            row,
            before,
            _held,
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
            let before = pruned;
            for (index, _) in due {
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
                    batch = batch.delete(SPACE, key);
                }
                batch = batch.delete(EXPIRY, index);
                pruned += 1;
            }
            if batch.ops.is_empty() {
                return Ok(pruned);
            }
            match self.store.commit(batch).await {
                Err(StoreError::Conflict { .. }) => pruned = before,
                committed => drop(committed?),
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

    /// Operations that make the intent durable; to commit before the act.
    #[must_use]
    pub fn intent(&self) -> [Op; 3] {
        let index = [&self.row.expires_ms.to_be_bytes()[..], &self.key].concat();
        [
            Op::Check {
                space: SPACE,
                key: self.key.clone(),
                expect: self.before.clone(),
            },
            self.put(RowState::Intent, 0, b""),
            Op::Put {
                space: EXPIRY,
                key: index.into(),
                value: Bytes::new(),
            },
        ]
    }

    /// The operation that keeps the reply; to commit before it is sent.
    #[must_use]
    pub fn finished(&self, reply: &StoredReply) -> Op {
        self.put(RowState::Done, reply.status, &reply.body)
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

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_journal::MemoryStore;
    use airlock_journal::decorator::Decorator;
    use airlock_journal::store::{BoxFuture, Committed};

    const KEEP: Duration = Duration::from_secs(10);

    fn print(body: &str) -> Fingerprint {
        Fingerprint::of("POST", "/v1/tools/p/t", body.as_bytes())
    }

    fn run(begun: Result<Begin, IdempotencyError>) -> Ticket {
        match begun.expect("begins") {
            Begin::Run(ticket) => ticket,
            Begin::Replay(reply) => panic!("a replay: {reply:?}"),
        }
    }

    fn code(begun: Result<Begin, IdempotencyError>) -> &'static str {
        match begun {
            Ok(Begin::Run(_)) => "run",
            Ok(Begin::Replay(_)) => "replay",
            Err(error) => error.code(),
        }
    }

    async fn commit(store: &Arc<dyn Store>, ops: impl IntoIterator<Item = Op>) {
        let ops = ops.into_iter().collect();
        store.commit(Batch { ops }).await.expect("commits");
    }

    #[tokio::test]
    async fn a_key_runs_once_and_replays_byte_for_byte() {
        let store: Arc<dyn Store> = MemoryStore::new();
        let kept = Idempotency::new(Arc::clone(&store), KEEP);
        let ticket = run(kept.begin("ann", "k", print("1"), 0));
        assert_eq!(
            code(kept.begin("ann", "k", print("1"), 0)),
            "idempotency-in-flight"
        );
        assert_eq!(
            code(kept.begin("ann", "k", print("2"), 0)),
            "idempotency-key-reused"
        );
        assert_eq!(
            code(kept.begin("bob", "k", print("2"), 0)),
            "run",
            "keys are per principal"
        );
        commit(&store, ticket.intent()).await;
        let body = Bytes::from_static(b"{\"a\": \"\n\xc3\xa4\"}");
        let reply = StoredReply {
            status: 201,
            body,
            replayed: false,
            retry_after_s: None,
        };
        commit(&store, [ticket.finished(&reply)]).await;
        drop(ticket);
        assert_eq!(
            code(kept.begin("ann", "k", print("2"), 1)),
            "idempotency-key-reused"
        );
        let Ok(Begin::Replay(again)) = kept.begin("ann", "k", print("1"), 1) else {
            panic!("no replay");
        };
        assert_eq!(
            again,
            StoredReply {
                replayed: true,
                ..reply
            }
        );
        for (now_ms, found) in [(9_999, "replay"), (10_000, "run"), (10_001, "run")] {
            let begun = kept.begin("ann", "k", print("1"), now_ms);
            assert_eq!(code(begun), found, "at {now_ms}");
        }
    }

    #[test]
    fn only_what_is_under_way_is_worth_asking_again() {
        let wait = Some(Duration::from_secs(1));
        assert_eq!(IdempotencyError::InFlight.retry_after(), wait);
        for error in [
            IdempotencyError::Reused,
            IdempotencyError::OutcomeUnknown,
            IdempotencyError::NotKept,
        ] {
            assert_eq!(error.retry_after(), None, "{error}");
        }
    }

    #[tokio::test]
    async fn an_intent_without_an_outcome_is_unknown_until_its_time_is_over() {
        let store: Arc<dyn Store> = MemoryStore::new();
        let kept = Idempotency::new(Arc::clone(&store), KEEP);
        let ticket = run(kept.begin("ann", "k", print("1"), 0));
        commit(&store, ticket.intent()).await;
        drop(ticket);
        let restarted = Idempotency::new(Arc::clone(&store), KEEP);
        assert_eq!(
            code(restarted.begin("ann", "k", print("1"), 1)),
            "outcome_unknown"
        );
        assert_eq!(code(restarted.begin("ann", "k", print("1"), 10_001)), "run");
    }

    #[tokio::test]
    async fn what_may_be_repeated_counts_its_attempts() {
        let store: Arc<dyn Store> = MemoryStore::new();
        let kept = Idempotency::new(Arc::clone(&store), KEEP);
        for attempt in 1..=3 {
            let ticket = run(kept.begin("ann", "k", print("1"), attempt));
            assert_eq!(u64::from(ticket.attempt()), attempt);
            commit(&store, ticket.intent()).await;
            commit(&store, [ticket.again()]).await;
        }
        let ticket = run(kept.begin("ann", "k", print("1"), 4));
        commit(&store, ticket.intent()).await;
        let restarted = Idempotency::new(Arc::clone(&store), KEEP);
        assert_eq!(
            code(restarted.begin("ann", "k", print("1"), 4)),
            "outcome_unknown",
            "an attempt after others is one that may have happened"
        );
        commit(&store, [ticket.finished_secretly()]).await;
        drop(ticket);
        assert_eq!(
            code(kept.begin("ann", "k", print("1"), 5)),
            "reply-not-kept"
        );
    }

    /// Does another write before the next one.
    struct Between {
        inner: Arc<MemoryStore>,
        write: Mutex<Vec<Op>>,
    }

    impl Decorator for Between {
        fn inner(&self) -> &dyn Store {
            &*self.inner
        }

        fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
            Box::pin(async move {
                let ops = std::mem::take(&mut *lock(&self.write));
                self.inner.commit(Batch { ops }).await?;
                self.inner.commit(batch).await
            })
        }
    }

    #[tokio::test]
    async fn pruning_leaves_an_intent_that_is_written_meanwhile() {
        let inner = MemoryStore::new();
        let plain = Arc::clone(&inner) as Arc<dyn Store>;
        let other = Idempotency::new(Arc::clone(&plain), KEEP);
        for key in ["k", "over"] {
            let ticket = run(other.begin("ann", key, print("1"), 0));
            commit(&plain, ticket.intent()).await;
        }
        // Pruning looked already when this is written.
        let again = run(other.begin("ann", "k", print("2"), 20_000));
        let store = Arc::new(Between {
            inner,
            write: Mutex::new(again.intent().to_vec()),
        });
        let kept = Idempotency::new(store, KEEP);
        assert_eq!(kept.prune(20_000).await.expect("prunes"), 2);
        assert_eq!(
            code(kept.begin("ann", "k", print("2"), 20_001)),
            "outcome_unknown"
        );
        let left = |space| plain.range(space, &[], None, 10).expect("reads").len();
        assert_eq!((left(SPACE), left(EXPIRY)), (1, 1));
    }

    #[tokio::test]
    async fn pruning_removes_what_is_over_and_nothing_else() {
        let store: Arc<dyn Store> = MemoryStore::new();
        let kept = Idempotency::new(Arc::clone(&store), KEEP);
        for (key, at) in [("old", 0), ("young", 9_000)] {
            let ticket = run(kept.begin("ann", key, print("1"), at));
            commit(&store, ticket.intent()).await;
        }
        // Used again after its time: the new row must survive the old index.
        let again = run(kept.begin("ann", "old", print("1"), 10_500));
        commit(&store, again.intent()).await;
        drop(again);
        assert_eq!(kept.prune(11_000).await.expect("prunes"), 1);
        assert_eq!(
            code(kept.begin("ann", "old", print("1"), 11_000)),
            "outcome_unknown"
        );
        assert_eq!(kept.prune(30_000).await.expect("prunes"), 2);
        assert!(store.range(SPACE, &[], None, 10).expect("reads").is_empty());
        assert!(
            store
                .range(EXPIRY, &[], None, 10)
                .expect("reads")
                .is_empty()
        );
    }
}
