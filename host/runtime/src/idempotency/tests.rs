use airlock_journal::MemoryStore;
use airlock_journal::decorator::Decorator;
use airlock_journal::store::{BoxFuture, Committed};

use super::*;

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

/// Replies take no more of the store than their bound, for each principal by itself;
/// what is kept is still given, and what is over makes room.
#[tokio::test]
async fn what_is_kept_of_one_principal_is_bounded() {
    let store: Arc<dyn Store> = MemoryStore::new();
    let kept = Idempotency::bounded(Arc::clone(&store), KEEP, 16 << 10);
    let reply = StoredReply {
        status: 200,
        body: vec![b'x'; 1 << 10].into(),
        replayed: false,
        retry_after_s: None,
    };
    let mut done = 0;
    loop {
        let key = format!("k{done}");
        let Ok(Begin::Run(ticket)) = kept.begin("ann", &key, print("1"), done) else {
            break;
        };
        commit(&store, ticket.intent()).await;
        commit(&store, [ticket.finished(&reply)]).await;
        done += 1;
        assert!(done < 1000, "there is no bound");
    }
    assert_eq!(done, (16 << 10) / ((1 << 10) + KEPT_OVERHEAD_BYTES) + 1);
    let full = || kept.begin("ann", "more", print("1"), done);
    assert_eq!(code(full()), "idempotency-full");
    let error = full().expect_err("refused");
    assert_eq!(
        (error.status(), error.retry_after()),
        (429, Some(FULL_RETRY))
    );
    assert_eq!(code(kept.begin("ann", "k0", print("1"), done)), "replay");
    assert_eq!(code(kept.begin("bob", "k0", print("1"), done)), "run");
    // What is from before the host started is not counted, nor taken off.
    let later = Idempotency::bounded(Arc::clone(&store), KEEP, 16 << 10);
    assert_eq!(code(later.begin("ann", "more", print("1"), done)), "run");
    // Room for one more, once one is over; one that takes its key's place is one.
    assert_eq!(kept.prune(10_001).await.expect("prunes"), 1);
    for now_ms in [10_003, 20_004, 30_005] {
        let ticket = run(kept.begin("ann", "k1", print("1"), now_ms));
        commit(&store, ticket.intent()).await;
        commit(&store, [ticket.finished(&reply)]).await;
    }
    assert_eq!(code(kept.begin("ann", "more", print("1"), 30_006)), "run");
}
