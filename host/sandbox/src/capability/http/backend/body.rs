//! What goes out and what comes in, frame by frame: each frame is checked
//! against the grant in force, bounded, counted and searched.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::pool::Lease;
use super::watch::Search;
use crate::capability::Capability;
use crate::capability::http::Http;
use crate::capability::secrets::{PLACEHOLDER_BYTES, Placeholders};
use crate::gate::{Missing, Permit, Reservation};
use crate::limits::ByteSize;

/// Why a request's body was broken off, for whoever waits for the response.
pub(super) type Failure = Arc<Mutex<Option<Error>>>;

pub(super) fn take(failure: &Failure) -> Option<Error> {
    failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

fn over_limit(permit: &Permit<Http>, key: &str, limit: u64) {
    let needs = format!("a larger `{key}` in the rule; it is {}", ByteSize(limit));
    permit
        .gate()
        .deny(Http::NAME, permit.op(), Missing::new(needs));
}

/// Bytes that headers take, as they are counted against limits.
pub(super) fn headers_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// The body of a request on its way out.
pub(super) struct RequestBody {
    pub(super) inner: WasiBody,
    pub(super) permit: Arc<Permit<Http>>,
    pub(super) limit: u64,
    pub(super) sent: u64,
    pub(super) placeholders: Placeholders,
    /// The end of the last frames, where a placeholder may begin.
    pub(super) tail: BytesMut,
    pub(super) failure: Failure,
    /// The call is over: an end of the body is a breaking off.
    pub(super) over: Arc<AtomicBool>,
}

impl RequestBody {
    fn fail(&mut self, error: Error) -> Error {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = Some(error);
        Error::ConnectionTerminated
    }

    fn data(&mut self, data: &[u8]) -> Result<(), Error> {
        self.sent += data.len() as u64;
        if self.sent > self.limit {
            over_limit(&self.permit, "request_bytes", self.limit);
            return Err(Error::HttpRequestBodySize(Some(self.limit)));
        }
        self.permit.count_out(data.len() as u64);
        if self.placeholders.is_empty() {
            return Ok(());
        }
        self.tail.extend_from_slice(data);
        let names = self.placeholders.names_in(&self.tail);
        let keep = self.tail.len().min(PLACEHOLDER_BYTES - 1);
        self.tail = self.tail.split_off(self.tail.len() - keep);
        if names.is_empty() {
            return Ok(());
        }
        Err(misplaced(&self.permit, "body"))
    }

    fn trailers(&mut self, trailers: &HeaderMap) -> Result<(), Error> {
        let found = |text: &[u8]| !self.placeholders.names_in(text).is_empty();
        if trailers
            .iter()
            .any(|(n, v)| found(n.as_str().as_bytes()) || found(v.as_bytes()))
        {
            return Err(misplaced(&self.permit, "trailers"));
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        if self.permit.recheck().is_err() {
            return Err(Error::HttpRequestDenied);
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.data(data),
            (None, Some(trailers)) => self.trailers(trailers),
            (None, None) => Ok(()),
        }
    }
}

fn misplaced(permit: &Permit<Http>, place: &str) -> Error {
    let needs = format!("no rule can allow a secret's placeholder in a request's {place}");
    permit
        .gate()
        .deny(Http::NAME, permit.op(), Missing::new(needs));
    Error::HttpRequestDenied
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let checked = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            None if this.over.load(Ordering::Acquire) => Err(Error::ConnectionTerminated),
            None => return Poll::Ready(None),
            Some(Err(error)) => Err(error),
            Some(Ok(frame)) => this.frame(&frame).map(|()| frame),
        };
        Poll::Ready(Some(checked.map_err(|error| this.fail(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Clocks of a response: none of them waits longer than the call may take.
pub(super) struct Clocks {
    between: Duration,
    pause: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
}

impl Clocks {
    pub(super) fn new(between: Duration, deadline: Instant) -> Self {
        Self {
            between,
            pause: Box::pin(tokio::time::sleep(between)),
            end: Box::pin(tokio::time::sleep_until(deadline)),
        }
    }

    fn restart(&mut self) {
        self.pause.as_mut().reset(Instant::now() + self.between);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Error::HttpResponseTimeout);
        }
        self.pause
            .as_mut()
            .poll(cx)
            .map(|()| Error::ConnectionReadTimeout)
    }
}

/// The body of a response on its way in.
pub(super) struct ResponseBody {
    pub(super) inner: Option<(Incoming, Lease)>,
    pub(super) permit: Arc<Permit<Http>>,
    pub(super) limit: u64,
    pub(super) received: u64,
    pub(super) headers_bytes_max: usize,
    pub(super) search: Search,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) clocks: Clocks,
    pub(super) _reservation: Reservation,
}

impl ResponseBody {
    fn frame(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Error> {
        self.clocks.restart();
        match frame.into_data() {
            Ok(data) => self
                .data(data)
                .map(|data| Some(data).filter(|d| !d.is_empty())),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return self.end(Some(trailers)),
                Err(_) => Ok(None),
            },
        }
        .map(|data| data.map(Frame::data))
    }

    fn data(&mut self, data: Bytes) -> Result<Bytes, Error> {
        self.received += data.len() as u64;
        if self.received > self.limit {
            over_limit(&self.permit, "response_bytes", self.limit);
            return Err(Error::HttpResponseBodySize(Some(self.limit)));
        }
        self.permit.count_in(data.len() as u64);
        self.search.push(data).map_err(|refused| {
            let (gate, missing) = (self.permit.gate(), Missing::new(refused.needs));
            gate.deny(Http::NAME, self.permit.op(), missing);
            refused.error
        })
    }

    /// The body is over: gives the connection back, and passes on what is held.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Frame<Bytes>>, Error> {
        if let Some(mut trailers) = trailers {
            let bytes = headers_bytes(&trailers);
            if bytes > self.headers_bytes_max {
                return Err(Error::HttpResponseTrailerSectionSize(None));
            }
            self.permit.count_in(bytes as u64);
            self.search.watch.headers(&mut trailers);
            self.trailers = Some(trailers);
        } else if let Some((_, lease)) = self.inner.take() {
            lease.release();
        }
        let held = Some(self.search.finish()).filter(|held| !held.is_empty());
        Ok(held.map(Frame::data))
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let Some((incoming, _)) = &mut self.inner else {
                return Poll::Ready(None);
            };
            if self.permit.recheck().is_err() {
                return Poll::Ready(Some(Err(Error::HttpRequestDenied)));
            }
            let frame = match Pin::new(incoming).poll_frame(cx) {
                Poll::Pending => {
                    let error = ready!(self.clocks.poll(cx));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => self.frame(frame),
                Poll::Ready(Some(Err(error))) => Err(super::hyper_error(&error)),
                Poll::Ready(None) => self.end(None),
            };
            if let Some(frame) = frame.transpose() {
                return Poll::Ready(Some(frame));
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(self.next(cx));
        if matches!(frame, Some(Err(_))) {
            self.inner = None;
        }
        Poll::Ready(frame)
    }
}
