//! Keeps secrets out of one answer: those that were in play as its request went
//! out, and those that the plugin's requests put in play while it comes.
//!
//! What must stay true: whatever the guest gets of an answer was searched for all
//! that was in play by then; the search is part of the guest's own time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};
use wasmtime_wasi_http::Error;

use super::secret::Redaction;
use super::{Prepared, only};
use crate::capability::secrets::{Placeholders, Redactor};

/// What is in play for one answer.
#[derive(Clone)]
pub(super) struct Watch {
    prepared: Arc<Prepared>,
    placeholders: Placeholders,
    /// Whether a rule binds a secret to the host.
    bound: bool,
    known: Vec<Redaction>,
    /// What the matchers' count of changes was.
    seen: u64,
}

impl Watch {
    /// Of an answer whose request found `redaction`, and the matchers' count of
    /// changes at `seen` before that. Without, all is news once it is in play.
    pub(super) fn new(
        prepared: &Arc<Prepared>,
        placeholders: &Placeholders,
        bound: bool,
        redaction: Option<Redaction>,
        seen: u64,
    ) -> Self {
        Self {
            prepared: Arc::clone(prepared),
            placeholders: placeholders.clone(),
            bound,
            seen: if redaction.is_some() { seen } else { 0 },
            known: redaction.into_iter().collect(),
        }
    }

    /// Whether anything was in play as the request went out.
    pub(super) fn is_on(&self) -> bool {
        !self.known.is_empty()
    }

    /// What was put in play since.
    fn news(&mut self) -> Vec<Redaction> {
        let matchers = &self.prepared.matchers;
        if self.seen == matchers.changes() || (!self.bound && self.placeholders.is_empty()) {
            return Vec::new();
        }
        let (seen, mut found) = matchers.since(self.seen);
        self.seen = seen;
        found.retain(|one| !self.known.iter().any(|known| known.is(one)));
        self.known.extend_from_slice(&found);
        found
    }

    pub(super) fn headers(&mut self, headers: &mut HeaderMap) {
        self.news();
        self.known.iter().for_each(|known| known.headers(headers));
    }
}

/// The head of an answer that the guest has not asked for yet.
#[derive(Clone)]
struct Head {
    headers: HeaderMap,
    watch: Watch,
}

/// Puts the headers away, so that no other thread than the guest's searches them.
pub(super) fn conceal<B>(response: &mut Response<B>, watch: Watch) {
    let headers = std::mem::take(response.headers_mut());
    response.extensions_mut().clear();
    response.extensions_mut().insert(Head { headers, watch });
}

/// Puts the headers back, masked, as the guest takes the answer.
pub(in crate::capability::http) fn reveal<B>(response: &mut Response<B>) {
    if let Some(Head {
        mut headers,
        mut watch,
    }) = response.extensions_mut().remove()
    {
        watch.headers(&mut headers);
        *response.headers_mut() = headers;
    }
}

/// Searches a body as it comes.
pub(super) struct Search {
    pub(super) watch: Watch,
    redactors: Vec<Redactor>,
    unsearchable: Option<Unsearchable>,
}

impl Search {
    pub(super) fn new(watch: Watch, unsearchable: Option<Unsearchable>) -> Self {
        Self {
            redactors: watch.known.iter().map(Redaction::stream).collect(),
            watch,
            unsearchable,
        }
    }

    /// Takes the next bytes, and returns what may be passed on.
    pub(super) fn push(&mut self, data: Bytes) -> Result<Bytes, Unsearchable> {
        let news = self.watch.news();
        self.redactors.extend(news.iter().map(Redaction::stream));
        if let Some(unsearchable) = self.unsearchable.take_if(|_| !self.redactors.is_empty()) {
            return Err(unsearchable);
        }
        let redactors = self.redactors.iter_mut();
        Ok(redactors.fold(data, |data, redactor| redactor.push(&data)))
    }

    /// The rest, at the end of the body.
    pub(super) fn finish(&mut self) -> Bytes {
        let rest = |held: Bytes, mut redactor: Redactor| {
            let mut passed = BytesMut::from(redactor.push(&held));
            passed.extend_from_slice(&redactor.finish());
            passed.freeze()
        };
        self.redactors.drain(..).fold(Bytes::new(), rest)
    }
}

/// Why an answer can't be searched for a secret: what it would have to be, and
/// what the guest is told.
#[derive(Debug)]
pub(super) struct Unsearchable {
    pub(super) needs: &'static str,
    pub(super) error: Error,
}

/// What keeps an answer from being searched. `is_over` is for one without a body.
pub(super) fn unsearchable(
    status: StatusCode,
    headers: &HeaderMap,
    is_over: bool,
) -> Option<Unsearchable> {
    let refuse = |needs, error| Some(Unsearchable { needs, error });
    if !only(headers.get_all(CONTENT_ENCODING), "identity") {
        let error = Error::HttpResponseContentCoding(None);
        return refuse(
            "an answer without content coding, which could hide the secret",
            error,
        );
    }
    if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE) {
        let needs = "a whole answer: a part could hide the secret";
        return refuse(needs, Error::HttpProtocolError);
    }
    let ends = [CONTENT_LENGTH, TRANSFER_ENCODING];
    if !is_over && !ends.iter().any(|name| headers.contains_key(name)) {
        let needs = "an answer that says where it ends: one that ends with its connection may be \
                     cut off within the secret";
        return refuse(needs, Error::HttpProtocolError);
    }
    None
}
