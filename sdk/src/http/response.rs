//! What came back.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::Error;

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, in order. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body was cut at [`Request::cut_at`](super::Request::cut_at).
    pub cut: bool,
}

impl Response {
    /// An empty response, for tests to fill.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: false,
        }
    }

    /// Adds a header, for tests.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, for tests.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The first header of that name, in any case of letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`Error::Permanent`] when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body)
            .map_err(|error| Error::Permanent(format!("response body: {error}")))
    }

    /// The body, read from JSON.
    ///
    /// # Errors
    /// [`Error::Permanent`] when it is not such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Permanent(format!("response body: {error}")))
    }

    /// The response itself, unless its status says that the request failed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for 404 and 410; [`Error::Transient`] for 408, 425, 429
    /// and the 5xx, with `Retry-After` where it is a number of seconds;
    /// [`Error::Permanent`] for the other 4xx.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let message = format!("the server answered {}", self.status);
        match self.status {
            404 | 410 => Err(Error::NotFound(message)),
            408 | 425 | 429 | 500..=599 => {
                let seconds = self
                    .header("retry-after")
                    .and_then(|value| value.trim().parse().ok());
                Err(Error::transient(message, seconds.map(Duration::from_secs)))
            }
            400..=499 => Err(Error::Permanent(message)),
            _ => Ok(self),
        }
    }
}
