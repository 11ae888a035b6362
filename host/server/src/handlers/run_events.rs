//! A run's journal, told as it grows (server-sent events): one `record` for each
//! record, with its number as the event's id, until the run has ended. Where it is
//! asked for, a `delta` for each piece of what a language model answers, without an
//! id.
//!
//! What must stay true: of records, only what is durable is told, each once and in
//! order; a client that reads slowly holds nothing up, and one whose token is
//! revoked or that the server leaves is told no more.

use std::convert::Infallible;

use airlock_runtime::{AuthError, DeltaFollower, Failure, Follower, RunDelta, RunEvents};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::HeaderName;
use tokio::sync::watch;

use super::events::event;
use super::runs::EventsQuery;
use crate::dispatch::Call;
use crate::reply::{EVENTS, Refusal, Reply, ReplyBody};

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Records that are read and sent at once; the largest has a few MiB.
const PAGE: usize = 16;

/// How long a client should wait before it connects again.
const RETRY: &[u8] = b"retry: 1000\n\n";
const KEEP_ALIVE: &[u8] = b": the run goes on\n\n";

/// Tells the journal of the run `id` from where the client left off. One that
/// has ended and has nothing left to tell is answered with 204, after which no
/// client connects again.
pub(crate) fn answer(call: Call) -> Result<Reply, Refusal> {
    let query: EventsQuery = call.query()?;
    let from = from(&call, &query)?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    let follower = runtime.follow_run(&call.who, id, from)?;
    let page = runtime.run_events(&call.who, id, from, 1)?;
    if page.events.is_empty() && page.next.is_none() {
        return Ok(Reply::nothing());
    }
    let deltas = match query.deltas {
        true => Some(runtime.follow_run_deltas(&call.who, id)?),
        false => None,
    };
    let telling = Telling {
        deltas,
        tokens: runtime.token_changes(),
        follower,
        from,
        call,
    };
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(RETRY))]);
    let rest = stream::unfold(Some(telling), |telling| async {
        let (event, telling) = telling?.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let events = first.chain(rest);
    Ok(Reply {
        body: ReplyBody::Stream(Body::from_stream(events)),
        ..Reply::bytes(200, EVENTS, Bytes::new())
    })
}

/// The first record to tell.
fn from(call: &Call, query: &EventsQuery) -> Result<u64, Refusal> {
    let Some(last) = call.header(&LAST_EVENT_ID)? else {
        return Ok(query.from);
    };
    let next = last.parse().ok().and_then(|last: u64| last.checked_add(1));
    next.ok_or_else(|| {
        let detail = "`last-event-id` is the number of a record";
        Refusal::new(400, "bad-header", detail)
    })
}

struct Telling {
    follower: Follower,
    deltas: Option<DeltaFollower>,
    /// The record to tell next.
    from: u64,
    tokens: watch::Receiver<()>,
    call: Call,
}

impl Telling {
    /// What models said since this was asked last, if it is something.
    fn next_deltas(&mut self) -> Option<Bytes> {
        let deltas = self.deltas.as_mut()?.read();
        (!deltas.is_empty()).then(|| told(&deltas))
    }

    /// The next piece, and what follows it; `None`: that was all.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            if !self.call.runtime().still_holds(&self.call.who) {
                return Some((problem(AuthError::Unknown), None));
            }
            let (who, runtime) = (&self.call.who, self.call.runtime());
            let page = match self.follower.read(runtime, who, self.from, PAGE) {
                Ok(page) => page,
                Err(error) => return Some((problem(error), None)),
            };
            let piece = records(&page);
            match page.next {
                Some(next) => self.from = next,
                None => return (!piece.is_empty()).then_some((piece, None)),
            }
            if !piece.is_empty() {
                return Some((piece, Some(self)));
            }
            if let Some(piece) = self.next_deltas() {
                return Some((piece, Some(self)));
            }
            tokio::select! {
                () = self.call.runtime().stopping() => return None,
                () = self.follower.grown() => {}
                () = grown(&mut self.deltas) => {}
                _ = self.tokens.changed() => {}
                () = tokio::time::sleep(self.call.app.config.events_keep_alive) => {
                    return Some((Bytes::from_static(KEEP_ALIVE), Some(self)));
                }
            }
        }
    }
}

/// Resolves when a model said more, if anybody wants to know.
async fn grown(deltas: &mut Option<DeltaFollower>) {
    match deltas {
        Some(deltas) => deltas.grown().await,
        None => std::future::pending().await,
    }
}

fn told(deltas: &[RunDelta]) -> Bytes {
    let mut piece = BytesMut::new();
    for delta in deltas {
        // Numbers and texts.
        let data = serde_json::to_vec(delta).unwrap_or_default();
        piece.extend_from_slice(&event(None, "delta", &data));
    }
    piece.freeze()
}

fn records(page: &RunEvents) -> Bytes {
    let mut piece = BytesMut::new();
    for record in &page.events {
        // A record came from JSON.
        let data = serde_json::to_vec(record).unwrap_or_default();
        piece.extend_from_slice(&event(Some(record.seq), "record", &data));
    }
    piece.freeze()
}

fn problem(failure: impl Failure) -> Bytes {
    event(None, "problem", &Refusal::from(failure).0.to_json())
}
