//! The same routes without a network, for the command line on a data directory
//! that no server owns.
//!
//! What must stay true: only an [`App`] made here has an owner; one that is
//! served over a socket asks for a token.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use airlock_runtime::{Principal, Runtime};
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http_body_util::BodyExt;

use crate::app::App;
use crate::config::ServerConfig;
use crate::dispatch::router;
use crate::front::answer;
use crate::reply::{BACKUP, EVENTS};

/// The API in this process; every request is made by one principal.
pub struct InProcess {
    app: Arc<App>,
    router: Router,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u64>,
}

/// Why there was no response.
#[derive(Debug, thiserror::Error)]
pub enum InProcessError {
    /// The request is not one of HTTP.
    #[error("building the request")]
    Request(#[from] http::Error),
    /// The response's body broke off.
    #[error("reading the response")]
    Body(#[source] axum::Error),
}

impl InProcess {
    /// The routes over `runtime`, as `owner`.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>, config: ServerConfig, owner: Principal) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let app = App::owned(runtime, config, nowhere, owner);
        let router = router(&app);
        Self { app, router }
    }

    /// Answers one request. If the reply is a stream of events or a backup, its
    /// parts go to `on_part` as they come, until that wants no more, and the
    /// answer's body is empty.
    ///
    /// # Errors
    /// A method, path or header that HTTP does not know.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        mut on_part: impl FnMut(&[u8]) -> bool,
    ) -> Result<Answer, InProcessError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body))?;
        let response = answer(&self.app, self.router.clone(), request).await;
        let (parts, mut body) = response.into_parts();
        let header = |name| parts.headers.get(name)?.to_str().ok();
        let streamed = header(CONTENT_TYPE).is_some_and(|media| [EVENTS, BACKUP].contains(&media));
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(InProcessError::Body)?.into_data() else {
                continue;
            };
            match streamed {
                true if on_part(&data) => {}
                true => break,
                false => bytes.extend_from_slice(&data),
            }
        }
        Ok(Answer {
            status: parts.status.as_u16(),
            body: bytes.freeze(),
            retry_after_s: header(RETRY_AFTER).and_then(|text| text.parse().ok()),
        })
    }
}
