//! Before and after the router: is the request meant for this server, which
//! headers does every reply have, what is counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use hyper::body::Incoming;
use tower_service::Service;

use crate::app::App;
use crate::reply::Refusal;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service of one connection.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Self { app, router } = self.clone();
        Box::pin(async move { Ok(answer(&app, router, request.map(Body::new)).await) })
    }
}

/// Answers one request.
pub(crate) async fn answer(app: &App, mut router: Router, request: Request<Body>) -> Response {
    let id = airlock_runtime::new_id("req_");
    let mut response = match meant_for_us(app, &request) {
        Err(refusal) => refusal.into_reply().into_response(),
        Ok(()) => match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
    };
    app.runtime.metrics().request(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// A name that some other site resolves to this server's address is not this
/// server's (DNS rebinding), and no page of another origin asks it anything.
fn meant_for_us(app: &App, request: &Request<Body>) -> Result<(), Refusal> {
    // Probes name pods and addresses; these two tell nothing.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return Ok(());
    }
    let host = named_host(request.headers(), request.uri())?;
    if !allowed(app, &host) {
        let detail = "this server does not answer to that `Host`; configure it if it should";
        return Err(Refusal::new(421, "host-not-allowed", detail));
    }
    match request.headers().get(ORIGIN) {
        None => Ok(()),
        Some(origin) if same_origin(origin, &host) => Ok(()),
        Some(_) => {
            let detail = "pages of other origins may not use this server";
            Err(Refusal::new(403, "origin-not-allowed", detail))
        }
    }
}

fn named_host(headers: &HeaderMap, uri: &Uri) -> Result<String, Refusal> {
    let bad = |detail: &str| Refusal::new(400, "bad-host", detail);
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| bad("`Host` is not a name"))?,
        (None, _) => return Err(bad("the request has no `Host`")),
        (Some(_), Some(_)) => return Err(bad("the request has several `Host` headers")),
    };
    let host = host.to_ascii_lowercase();
    match uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(&host) => {
            Err(bad("`Host` and the request's target differ"))
        }
        _ => Ok(host),
    }
}

fn allowed(app: &App, host: &str) -> bool {
    let (name, port) = split_port(host);
    let well_formed = port.is_none_or(|port| port.parse::<u16>().is_ok());
    well_formed
        && app
            .hosts
            .iter()
            .any(|allowed| allowed == name || allowed == host)
}

/// The name, with brackets if it has some, and the port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let name_end = host.find(']').map_or(0, |bracket| bracket + 1);
    match host[name_end..].find(':') {
        Some(colon) => (
            &host[..name_end + colon],
            Some(&host[name_end + colon + 1..]),
        ),
        None => (host, None),
    }
}

fn same_origin(origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    rest == Some(host)
}
