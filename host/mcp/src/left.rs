//! Answers of a session whose connection broke off before they came, kept for the
//! client that comes back for them.
//!
//! What must stay true: what is kept is bounded, of each session and of all; an
//! answer goes to the session that asked, and to nobody else; no two requests under
//! way have one id.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use rmcp::model::{RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::runtime::Handle;

/// Requests of a session that are under way, or whose answers nobody waited for.
const ASKED_MAX: usize = 10_000;
/// Answers that are kept of a session, the latest.
const ANSWERS_MAX: usize = 16;
/// Events that are kept with an answer, the latest.
const EVENTS_MAX: usize = 16;
/// Bytes of the answers of a session, and of all.
const SESSION_BYTES_MAX: usize = 4 << 20;
const BYTES_MAX: usize = 64 << 20;

/// What is kept of a session.
#[derive(Debug)]
pub(crate) struct Left {
    answers: Mutex<VecDeque<Answer>>,
    /// Bytes of all sessions.
    held: Arc<AtomicUsize>,
    /// The session's requests that are not answered yet.
    asked: Mutex<HashSet<RequestId>>,
}

/// An answer that nobody took, with what came before it.
#[derive(Debug)]
struct Answer {
    request: u64,
    events: Vec<ServerSseMessage>,
    bytes: Bytes,
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
struct Bytes {
    count: usize,
    held: Arc<AtomicUsize>,
}

impl Bytes {
    fn of(count: usize, held: &Arc<AtomicUsize>) -> Option<Self> {
        let before = held.fetch_add(count, Ordering::AcqRel);
        let bytes = Self {
            count,
            held: Arc::clone(held),
        };
        (before.saturating_add(count) <= BYTES_MAX).then_some(bytes)
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.held.fetch_sub(self.count, Ordering::AcqRel);
    }
}

impl Left {
    /// Of a session; `held` is shared by all.
    pub(crate) fn new(held: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            held: Arc::clone(held),
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request until it is answered; whether its id was free, and there was
    /// room. Of one whose stream is left before, the id stays taken.
    pub(crate) fn ask(&self, id: &RequestId) -> bool {
        let mut asked = self.asked();
        asked.len() < ASKED_MAX && asked.insert(id.clone())
    }

    /// The request is over: another may have its id.
    fn over(&self, id: &RequestId) {
        self.asked().remove(id);
    }

    fn answers(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came after this event; `None` where nothing is kept of its request.
    pub(crate) fn after(&self, last: &str) -> Option<Vec<ServerSseMessage>> {
        let (index, request) = place(last)?;
        let answers = self.answers();
        let answer = answers.iter().find(|answer| answer.request == request)?;
        let later = |event: &&ServerSseMessage| {
            let at = event.event_id.as_deref().and_then(place);
            at.is_some_and(|(at, _)| at > index)
        };
        Some(answer.events.iter().filter(later).cloned().collect())
    }

    /// Keeps an answer: one that nobody took, or, where there is room for it, one that
    /// may have been lost on its way.
    fn keep(&self, events: Vec<ServerSseMessage>, taken: bool) {
        if taken && self.held.load(Ordering::Acquire) > BYTES_MAX / 2 {
            return;
        }
        let last = events.last().and_then(|event| event.event_id.as_deref());
        let Some((_, request)) = last.and_then(place) else {
            return;
        };
        let messages = events.iter().filter_map(|event| event.message.as_deref());
        let sizes =
            messages.map(|message| serde_json::to_vec(message).map_or(0, |json| json.len()));
        let size: usize = sizes.sum();
        if size > SESSION_BYTES_MAX {
            if !taken {
                tracing::warn!("an answer is not kept for its client: it is too large");
            }
            return;
        }
        let mut answers = self.answers();
        let of_session = |answers: &VecDeque<Answer>| -> usize {
            answers.iter().map(|answer| answer.bytes.count).sum()
        };
        while answers.len() == ANSWERS_MAX
            || (!answers.is_empty() && of_session(&answers) + size > SESSION_BYTES_MAX)
        {
            answers.pop_front();
        }
        let Some(bytes) = Bytes::of(size, &self.held) else {
            tracing::warn!("an answer is not kept for its client: there are too many");
            return;
        };
        answers.push_back(Answer {
            request,
            events,
            bytes,
        });
    }
}

/// An event's place in its stream, and the stream's request: `3/7`.
fn place(id: &str) -> Option<(u64, u64)> {
    let (index, request) = id.split_once('/')?;
    Some((index.parse().ok()?, request.parse().ok()?))
}

fn is_answer(event: &ServerSseMessage) -> bool {
    matches!(
        event.message.as_deref(),
        Some(ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))
    )
}

/// The request that is answered.
fn answered(event: &ServerSseMessage) -> Option<&RequestId> {
    match event.message.as_deref()? {
        ServerJsonRpcMessage::Response(answer) => Some(&answer.id),
        ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
        _ => None,
    }
}

/// A request's events. One that is dropped before its end, as when its connection
/// breaks off, is read to its end all the same.
pub(crate) struct Watched<S: Stream<Item = ServerSseMessage> + Send + 'static> {
    events: Option<Pin<Box<S>>>,
    /// The latest of them.
    last: VecDeque<ServerSseMessage>,
    left: Arc<Left>,
    /// Whose events these are, until it is answered; afterwards its id is another's.
    request: Option<RequestId>,
}

impl<S: Stream<Item = ServerSseMessage> + Send + 'static> Watched<S> {
    pub(crate) fn new(events: S, left: Arc<Left>, request: Option<RequestId>) -> Self {
        Self {
            events: Some(Box::pin(events)),
            last: VecDeque::new(),
            left,
            request,
        }
    }
}

impl<S: Stream<Item = ServerSseMessage> + Send + 'static> Stream for Watched<S> {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        let polled = events.as_mut().poll_next(cx);
        if let Poll::Ready(Some(event)) = &polled {
            if let Some(id) = answered(event) {
                self.left.over(id);
                self.request = None;
            }
            push(&mut self.last, event.clone());
        }
        if let Poll::Ready(None) = polled {
            self.events = None;
            let last = std::mem::take(&mut self.last);
            if last.back().is_some_and(is_answer) {
                self.left.keep(last.into(), true);
            }
            if let Some(id) = self.request.take() {
                self.left.over(&id);
            }
        }
        polled
    }
}

impl<S: Stream<Item = ServerSseMessage> + Send + 'static> Drop for Watched<S> {
    fn drop(&mut self) {
        let (Some(events), Ok(runtime)) = (self.events.take(), Handle::try_current()) else {
            return;
        };
        let last = std::mem::take(&mut self.last);
        runtime.spawn(read(events, last, Arc::clone(&self.left)));
    }
}

fn push(last: &mut VecDeque<ServerSseMessage>, event: ServerSseMessage) {
    if last.len() == EVENTS_MAX {
        last.pop_front();
    }
    last.push_back(event);
}

/// Reads what nobody takes, and keeps the answer. Where the client comes back before
/// that, these events end and the rest goes to it.
async fn read(
    mut events: Pin<Box<impl Stream<Item = ServerSseMessage>>>,
    mut last: VecDeque<ServerSseMessage>,
    left: Arc<Left>,
) {
    while let Some(event) = events.next().await {
        if let Some(id) = answered(&event) {
            left.over(id);
        }
        push(&mut last, event);
    }
    if last.back().is_some_and(is_answer) {
        left.keep(last.into(), false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::json;

    use super::*;

    fn event(id: &str, message: serde_json::Value) -> ServerSseMessage {
        let message = serde_json::from_value(message).expect("a message");
        ServerSseMessage::new(id, message)
    }

    fn answer(id: &str, bytes: usize) -> ServerSseMessage {
        let text = "x".repeat(bytes);
        event(
            id,
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "text": text } }),
        )
    }

    fn progress(id: &str) -> ServerSseMessage {
        let params = json!({ "progressToken": 1, "progress": 1 });
        let method = "notifications/progress";
        event(
            id,
            json!({ "jsonrpc": "2.0", "method": method, "params": params }),
        )
    }

    fn ids(events: Option<Vec<ServerSseMessage>>) -> Option<Vec<String>> {
        Some(
            events?
                .into_iter()
                .filter_map(|event| event.event_id)
                .collect(),
        )
    }

    #[tokio::test]
    async fn what_nobody_took_is_there_for_whoever_comes_back() {
        let left = Left::new(&Arc::default());
        let events = [progress("0/7"), progress("1/7"), answer("2/7", 10)];
        let mut watched = Watched::new(stream::iter(events), Arc::clone(&left), None);
        assert!(watched.next().await.is_some());
        drop(watched);
        while left.answers().is_empty() {
            tokio::task::yield_now().await;
        }
        let table = [
            ("0/7", Some(vec!["1/7", "2/7"])),
            ("1/7", Some(vec!["2/7"])),
            ("2/7", Some(vec![])),
            ("0/8", None),
            ("0", None),
            ("", None),
            ("x/7", None),
        ];
        for (last, expect) in table {
            let found = ids(left.after(last));
            let expect = expect.map(|ids| ids.into_iter().map(str::to_owned).collect());
            assert_eq!(found, expect, "{last}");
        }
        // One that was taken whole may have been lost on its way; one that breaks off
        // has no answer.
        for (id, event, kept) in [("0/9", answer("1/9", 1), 1), ("0/8", progress("1/8"), 0)] {
            let watched = Watched::new(stream::iter([event]), Arc::clone(&left), None);
            let whole: Vec<_> = watched.collect().await;
            assert_eq!(whole.len(), 1);
            assert_eq!(
                left.after(id).map_or(0, |events| events.len()),
                kept,
                "{id}"
            );
        }
    }

    /// An id is free once its answer has passed, also where the stream has not ended;
    /// the end of that stream does not free it for a third.
    #[tokio::test]
    async fn no_two_requests_under_way_have_one_id() {
        let left = Left::new(&Arc::default());
        let id = RequestId::Number(1);
        let begin = |events: Vec<ServerSseMessage>| {
            Watched::new(stream::iter(events), Arc::clone(&left), Some(id.clone()))
        };
        assert!(left.ask(&id));
        let mut first = begin(vec![progress("0/7"), answer("1/7", 1)]);
        assert!(first.next().await.is_some());
        assert!(!left.ask(&id), "it is under way");
        assert!(first.next().await.is_some());
        assert!(left.ask(&id), "it was answered");
        assert!(first.next().await.is_none());
        assert!(!left.ask(&id), "the second is under way");
        // One that ends without an answer, as a cancelled one does.
        let second: Vec<_> = begin(vec![progress("0/8")]).collect().await;
        assert_eq!(second.len(), 1);
        assert!(left.ask(&id));
        // One that is left before its answer.
        drop(begin(vec![answer("0/9", 1)]));
        while left.after("0/9").is_none() {
            tokio::task::yield_now().await;
        }
        assert!(left.ask(&id));
        let others = (2..).map(RequestId::Number);
        let taken = others.take(ASKED_MAX).filter(|id| left.ask(id)).count();
        assert_eq!(taken, ASKED_MAX - 1, "so many at most");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let held = Arc::default();
        let of = || Left::new(&held);
        let (one, other) = (of(), of());
        for request in 0..=ANSWERS_MAX {
            one.keep(vec![answer(&format!("0/{request}"), 10)], false);
        }
        assert!(one.after("0/0").is_none(), "the oldest is gone");
        assert!(one.after("0/1").is_some());
        let small = held.load(Ordering::Acquire);
        assert!(
            (ANSWERS_MAX * 10..ANSWERS_MAX * 100).contains(&small),
            "{small}"
        );
        for request in 0..3 {
            other.keep(
                vec![answer(&format!("0/{request}"), SESSION_BYTES_MAX / 2 - 100)],
                false,
            );
        }
        assert!(other.after("0/0").is_none(), "a session has its share");
        assert!(other.after("0/1").is_some() && other.after("0/2").is_some());
        other.keep(vec![answer("0/3", SESSION_BYTES_MAX)], false);
        assert!(other.after("0/3").is_none(), "it is too large");
        assert!(other.after("0/1").is_some(), "and takes no other's place");
        let more: Vec<_> = (0..20).map(|_| of()).collect();
        for left in &more {
            left.keep(vec![answer("0/0", SESSION_BYTES_MAX - 100)], false);
        }
        let kept = more.iter().filter(|left| left.after("0/0").is_some());
        assert_eq!(kept.count(), 15, "all have a bound");
        let taken = of();
        taken.keep(vec![answer("0/0", 1)], true);
        assert!(
            taken.after("0/0").is_none(),
            "there is no room for what was taken"
        );
        drop((other, more));
        assert_eq!(held.load(Ordering::Acquire), small);
    }
}
