//! Keys and their replies, without a host.

use super::*;
use airlock_journal::MemoryStore;
use airlock_journal::decorator::Decorator;
use airlock_journal::store::{BoxFuture, Committed};

const KEEP: Duration = Duration::from_secs(10);

fn open(store: &Arc<dyn Store>) -> Idempotency {
    Idempotency::open(Arc::clone(store), KEEP, u64::MAX).expect("counts")
}

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
    let kept = open(&store);
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
    commit(&store, ticket.finished(&reply)).await;
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
    let kept = open(&store);
    let ticket = run(kept.begin("ann", "k", print("1"), 0));
    commit(&store, ticket.intent()).await;
    drop(ticket);
    let restarted = open(&store);
    assert_eq!(
        code(restarted.begin("ann", "k", print("1"), 1)),
        "outcome_unknown"
    );
    assert_eq!(code(restarted.begin("ann", "k", print("1"), 10_001)), "run");
}

#[tokio::test]
async fn what_may_be_repeated_counts_its_attempts() {
    let store: Arc<dyn Store> = MemoryStore::new();
    let kept = open(&store);
    for attempt in 1..=3 {
        let ticket = run(kept.begin("ann", "k", print("1"), attempt));
        assert_eq!(u64::from(ticket.attempt()), attempt);
        commit(&store, ticket.intent()).await;
        commit(&store, [ticket.again()]).await;
    }
    let ticket = run(kept.begin("ann", "k", print("1"), 4));
    commit(&store, ticket.intent()).await;
    let restarted = open(&store);
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
    let other = open(&plain);
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
    let store: Arc<dyn Store> = store;
    let kept = open(&store);
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
    let kept = open(&store);
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
    // Its last moment is its own, also where an old index is looked at then.
    let again = run(kept.begin("ann", "young", print("1"), 19_001));
    commit(&store, again.intent()).await;
    drop(again);
    assert_eq!(kept.prune(29_001).await.expect("prunes"), 2);
    let rows = store.range(SPACE, &[], None, 10).expect("reads");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(kept.prune(30_000).await.expect("prunes"), 1);
    assert!(store.range(SPACE, &[], None, 10).expect("reads").is_empty());
    assert!(
        store
            .range(EXPIRY, &[], None, 10)
            .expect("reads")
            .is_empty()
    );
}

/// A row and its reply, as often as may be; then no new key, until time is over.
#[tokio::test]
async fn what_is_kept_of_one_principal_has_a_bound() {
    let store: Arc<dyn Store> = MemoryStore::new();
    let bytes_max = 3 * (ROW_BYTES + 1_000);
    let open = || Idempotency::open(Arc::clone(&store), KEEP, bytes_max).expect("counts");
    let mut kept = open();
    let reply = StoredReply {
        status: 200,
        body: vec![b'x'; 1_000].into(),
        replayed: false,
        retry_after_s: None,
    };
    for (at, key) in [(0, "a"), (100, "b"), (200, "c")] {
        let ticket = run(kept.begin("ann", key, print("1"), at));
        commit(&store, ticket.intent()).await;
        // An attempt that may be repeated counts once.
        commit(&store, [ticket.again()]).await;
        drop(ticket);
        let ticket = run(kept.begin("ann", key, print("1"), at));
        commit(&store, ticket.intent()).await;
        commit(&store, ticket.finished(&reply)).await;
    }
    for restarted in [false, true] {
        if restarted {
            kept = open();
        }
        let full = kept.begin("ann", "d", print("1"), 300);
        assert_eq!(code(full), "idempotency-full", "restarted: {restarted}");
        // What is kept is still given, and others have room of their own.
        assert_eq!(code(kept.begin("ann", "a", print("1"), 300)), "replay");
        let reused = kept.begin("ann", "a", print("2"), 300);
        assert_eq!(code(reused), "idempotency-key-reused");
        assert_eq!(code(kept.begin("anna", "d", print("1"), 300)), "run");
    }
    let error = kept.begin("ann", "d", print("1"), 300).expect_err("full");
    assert_eq!((error.status(), error.retry_after()), (429, None));
    // One is over: one may come, which was not noted before.
    assert_eq!(kept.prune(10_050).await.expect("prunes"), 1);
    let ticket = run(kept.begin("ann", "d", print("1"), 10_050));
    commit(&store, ticket.intent()).await;
    commit(&store, ticket.finished(&reply)).await;
    drop(ticket);
    assert_eq!(
        code(kept.begin("ann", "e", print("1"), 10_060)),
        "idempotency-full"
    );
    assert_eq!(kept.prune(30_000).await.expect("prunes"), 3);
    assert_eq!(kept.kept.of(b"ann"), 0, "all that was counted is gone");
}

/// Keys that were kept before their bytes were counted go as they came.
#[tokio::test]
async fn keys_without_a_count_are_removed_too() {
    let store: Arc<dyn Store> = MemoryStore::new();
    let ticket = run(open(&store).begin("ann", "k", print("1"), 0));
    let [check, intent, _] = ticket.intent();
    let index = [&10_000_u64.to_be_bytes()[..], b"ann\0k"].concat();
    let uncounted = Op::Put {
        space: EXPIRY,
        key: index.into(),
        value: Bytes::new(),
    };
    commit(&store, [check, intent, uncounted]).await;
    let kept = open(&store);
    assert_eq!(kept.kept.of(b"ann"), 0);
    assert_eq!(kept.prune(20_000).await.expect("prunes"), 1);
    assert_eq!(code(kept.begin("ann", "k", print("1"), 20_000)), "run");
}
