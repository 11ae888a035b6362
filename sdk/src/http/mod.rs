//! HTTP requests, over `wasi:http`. The host allows what a grant covers, follows
//! no redirects, and puts secrets in; sizes and times are bounded here as well.

mod failure;
mod response;
mod target;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

#[cfg_attr(
    not(target_family = "wasm"),
    allow(unused_imports, reason = "for components")
)]
pub(crate) use failure::Failure;
pub use response::Response;
pub(crate) use target::Target;

use crate::{Error, backend, task};

/// How much of a response is kept unless a request says otherwise.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What may stand unescaped in a query value (RFC 3986, "unreserved").
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's (RFC 9110)")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether it asks for no change, so that repeating it does no harm.
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

/// A request that is being made up.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its URL, with the query that was added.
    pub url: String,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_bytes: usize,
    pub(crate) cut: bool,
}

/// A request with any method.
pub fn request(method: Method, url: impl Into<String>) -> Request {
    Request {
        method,
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
        max_bytes: MAX_BYTES,
        cut: false,
    }
}

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    request(Method::Get, url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    request(Method::Post, url)
}

impl Request {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a value to the query, escaped.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let fragment = self.url.find('#').map(|at| self.url.split_off(at));
        self.url
            .push(if self.url.contains('?') { '&' } else { '?' });
        self.url.extend(utf8_percent_encode(name, QUERY));
        self.url.push('=');
        self.url.extend(utf8_percent_encode(value, QUERY));
        self.url.push_str(&fragment.unwrap_or_default());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value's JSON, with its content type.
    ///
    /// # Errors
    /// [`Error::Permanent`] when the value has no JSON form.
    pub fn json<T: Serialize>(self, value: &T) -> Result<Self, Error> {
        let body =
            serde_json::to_vec(value).map_err(|error| Error::Permanent(error.to_string()))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// How long connecting, waiting for the first byte, and each pause after it
    /// may take. The host's own bounds hold as well.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A larger response is [`Error::Limit`], or [`Error::Unknown`] where the request
    /// changes something. 1 MiB unless set.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        (self.max_bytes, self.cut) = (bytes, false);
        self
    }

    /// A larger response is cut there, and says so.
    #[must_use]
    pub fn cut_at(mut self, bytes: usize) -> Self {
        (self.max_bytes, self.cut) = (bytes, true);
        self
    }

    /// Sends it and waits for the whole response. A status such as 404 is a
    /// response; see [`Response::error_for_status`].
    ///
    /// # Errors
    /// [`Error::Denied`] when no grant covers it, [`Error::Transient`] when it may
    /// pass, [`Error::Unknown`] when a request that changes something may have
    /// arrived, whatever is wrong with its response, [`Error::Limit`] for a response
    /// that is too large, [`Error::Permanent`] for one that can't be read,
    /// [`Error::InvalidInput`] for a URL or header that is none.
    pub fn send(self) -> Result<Response, Error> {
        task::block_on(self.send_async())
    }

    /// As [`Request::send`], without holding up what runs beside it.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub async fn send_async(self) -> Result<Response, Error> {
        let target = Target::parse(&self.url)?;
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        backend::send(&self, &target).await
    }

    pub(crate) fn operation(&self) -> String {
        format!("{} {}", self.method.as_str(), self.url)
    }

    /// Keeps a part of the response's body. `true`: that was all that is wanted.
    pub(crate) fn take(&self, response: &mut Response, chunk: &[u8]) -> Result<bool, Error> {
        let room = self.max_bytes.saturating_sub(response.body.len());
        if chunk.len() <= room {
            response.body.extend_from_slice(chunk);
            return Ok(false);
        }
        if !self.cut {
            let bytes = self.max_bytes;
            return Err(match self.method.is_safe() {
                true => Error::limit("response", format!("{bytes} bytes")),
                false => Error::unknown(format!(
                    "{}: its answer has more than {bytes} bytes",
                    self.operation()
                )),
            });
        }
        response.body.extend_from_slice(&chunk[..room]);
        response.cut = true;
        Ok(true)
    }
}

/// A header that could end its line would smuggle in another one.
fn check_header(name: &str, value: &str) -> Result<(), Error> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(Error::invalid_input(format!(
            "header `{}`: not a header name",
            name.escape_debug()
        )));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Error::invalid_input(format!(
            "header `{name}`: control characters in its value"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
