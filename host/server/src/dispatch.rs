//! From a request to its handler, the same way for every route: who, may they,
//! is the body what it should be, has it been done before.

use std::sync::Arc;

use airlock_runtime::idempotency::{Begin, Fingerprint, Ticket};
use airlock_runtime::{AuthError, IdempotencyError, Principal, Runtime};
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Request};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::bodies::{self, CHUNKS_BYTES_MAX, COMPONENT_BYTES_MAX, Room, Terms};
use crate::reply::{Refusal, Reply, ReplyBody, method_not_allowed};
use crate::routes::{Access, ROUTES, Route, Takes};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Bodies of JSON routes, bytes.
const JSON_BYTES_MAX: usize = 4 << 20;
/// Secrets, bytes; the vault refuses less.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// Inputs of plugins that there are not: enough to say so.
const INPUT_BYTES_DEFAULT: usize = 1 << 20;
/// Larger bodies are hashed off the async threads.
const HASH_HERE_BYTES_MAX: usize = 256 << 10;

/// A request that may be handled.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) who: Arc<Principal>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    query: Option<String>,
    params: Vec<(String, String)>,
    /// Held until the reply is made.
    _room: Option<Room>,
}

impl Call {
    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.app.runtime
    }

    /// A parameter of the path, decoded.
    pub(crate) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The query.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let query = self.query.as_deref().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let read = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        read.map_err(|error| {
            let what = match error.path().to_string().as_str() {
                "." => "the query".to_owned(),
                name => format!("the query's `{name}`"),
            };
            Refusal::new(400, "bad-query", format!("{what}: {}", error.inner()))
        })
    }

    /// The body as JSON; an empty one that may be left out is `{}`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        airlock_runtime::problem::from_json(body).map_err(|error| {
            let code = if error.syntax {
                "invalid-json"
            } else {
                "invalid-body"
            };
            let refusal = Refusal::new(400, code, format!("the body: {}", error.message));
            refusal
                .with("line", error.line)
                .with("column", error.column)
        })
    }

    /// A body in parts, for as long as the token holds: then it breaks off, and can't be
    /// taken for a whole one.
    pub(crate) fn parts<E: Into<BoxError>>(
        &self,
        parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> ReplyBody {
        let (runtime, who) = (Arc::clone(self.runtime()), Arc::clone(&self.who));
        let parts = parts.map(move |part| {
            runtime.check_holds(&who)?;
            part.map_err(Into::into)
        });
        ReplyBody::Stream(Body::from_stream(parts))
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Refusal> {
        text_header(&self.headers, name)
    }
}

fn text_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let bad = || {
        Refusal::new(
            400,
            "bad-header",
            format!("`{name}` is one line of ASCII, once"),
        )
    };
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad()),
        (Some(_), Some(_)) => Err(bad()),
    }
}

/// The router of the table.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let handler = move |State(app): State<Arc<App>>,
                            params: Result<RawPathParams, RawPathParamsRejection>,
                            request: Request<Body>| async move {
            dispatch(app, route, params, request).await
        };
        router = router.route(route.path, on(filter(route.method), handler));
    }
    router
        .fallback(|| async {
            Refusal::new(404, "route-not-found", "there is no such path")
                .into_reply()
                .into_response()
        })
        .method_not_allowed_fallback(|request: Request<Body>| async move {
            method_not_allowed(&methods(request.uri().path()))
        })
        .with_state(Arc::clone(app))
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// The methods that a path takes.
fn methods(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |route: &&Route| {
        let pattern: Vec<&str> = route.path.split('/').collect();
        let same = |(pattern, part): (&&str, &&str)| pattern.starts_with('{') || pattern == part;
        pattern.len() == parts.len() && pattern.iter().zip(&parts).all(same)
    };
    let mut methods: Vec<&str> = ROUTES
        .iter()
        .filter(fits)
        .map(|route| route.method)
        .collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

async fn dispatch(
    app: Arc<App>,
    route: &'static Route,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request<Body>,
) -> Response {
    let handled = handle(app, route, params, request).await;
    handled.unwrap_or_else(Refusal::into_reply).into_response()
}

async fn handle(
    app: Arc<App>,
    route: &'static Route,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request<Body>,
) -> Result<Reply, Refusal> {
    let params = params.map_err(|_| Refusal::new(400, "bad-path", "the path is not UTF-8"))?;
    let params: Vec<(String, String)> = params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let who = authorize(&app, route, &params, request.headers())?;
    let (parts, body) = request.into_parts();
    check_media(route, &parts.headers)?;
    let (bytes_max, input_of) = bound(&app, route, &params);
    let terms = Terms {
        who: &who.name,
        bytes_max,
        input_of,
        patience: app.config.body_read_timeout,
    };
    let (body, _room) = bodies::read(&app.bodies, &parts.headers, body, terms).await?;
    // A body may take its time, and a token is revoked at once.
    app.runtime.check_holds(&who)?;
    if body.is_empty()
        && matches!(
            route.takes,
            Takes::Json | Takes::Chunks | Takes::Message | Takes::Policy | Takes::Component
        )
    {
        return Err(Refusal::new(
            400,
            "body-missing",
            "the request needs a body",
        ));
    }
    let call = Call {
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        app,
        who,
        body,
        params,
        _room,
    };
    match (route.once, route.changes()) {
        (true, _) => once(route, parts.uri.to_string(), call).await,
        (false, true) => to_its_end((route.handler)(call)).await,
        (false, false) => (route.handler)(call).await,
    }
}

/// Goes on when the client leaves: a change that is in the store and not in
/// force would be the worst of both.
async fn to_its_end(
    work: impl Future<Output = Result<Reply, Refusal>> + Send + 'static,
) -> Result<Reply, Refusal> {
    let lost = |_| Refusal::new(500, "unknown", "the host failed: it may have happened");
    tokio::spawn(work).await.map_err(lost)?
}

/// The principal, when it may use the route.
fn authorize(
    app: &App,
    route: &Route,
    params: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Arc<Principal>, Refusal> {
    if matches!(route.access, Access::Public | Access::Signed) {
        return Ok(Arc::clone(&app.anonymous));
    }
    let subject = || format!("{} {}", route.method, route.path);
    let who = match &app.owner {
        Some(owner) => Ok(Arc::clone(owner)),
        None => bearer(headers).and_then(|token| app.runtime.authenticate(token)),
    };
    let who = who.map_err(|error| {
        app.runtime
            .note_refusal("unknown", "unauthenticated", &subject());
        tracing::info!(%error, route = route.path, "a token was refused");
        Refusal::from(error)
    })?;
    let plugin = params
        .iter()
        .find(|(name, _)| name == "plugin")
        .map(|(_, value)| value);
    let refused = |code, detail: String| {
        app.runtime.note_refusal(&who.name, code, &subject());
        Err(Refusal::new(403, code, detail))
    };
    if !who.has_one_of(route.access.roles()) {
        return refused(
            "forbidden",
            format!("this takes a token with the role {}", route.access.named()),
        );
    }
    match (route.access, plugin) {
        (Access::Host(_), _) if who.is_scoped() => refused(
            "outside-scope",
            "this takes a token that is not limited to some plugins".to_owned(),
        ),
        (Access::Plugin(_), Some(plugin)) if !who.may_see(plugin) => refused(
            "outside-scope",
            "the token does not reach this plugin".to_owned(),
        ),
        _ => Ok(who),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(AuthError::Missing);
    };
    let text = value.to_str().map_err(|_| AuthError::Missing)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthError::Missing)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(token.trim()),
        false => Err(AuthError::Missing),
    }
}

fn check_media(route: &Route, headers: &HeaderMap) -> Result<(), Refusal> {
    let takes: &[&str] = match route.takes {
        Takes::Nothing | Takes::Value => return Ok(()),
        Takes::Json
        | Takes::Chunks
        | Takes::OptionalJson
        | Takes::Delivery
        | Takes::Input
        | Takes::Message => &["application/json"],
        Takes::Component => &["application/wasm", "application/octet-stream"],
        Takes::Policy => &["application/json", "application/toml"],
    };
    let Some(media) = text_header(headers, &CONTENT_TYPE)? else {
        return Ok(());
    };
    let essence = media.split(';').next().unwrap_or_default().trim();
    if takes
        .iter()
        .any(|takes| takes.eq_ignore_ascii_case(essence))
    {
        return Ok(());
    }
    let detail = format!("the body must be {}", takes.join(" or "));
    Err(Refusal::new(415, "unsupported-media-type", detail))
}

/// How long a body may be, and the plugin whose limit that is.
fn bound<'p>(app: &App, route: &Route, params: &'p [(String, String)]) -> (usize, Option<&'p str>) {
    let bytes = match route.takes {
        Takes::Nothing => 0,
        Takes::Json | Takes::OptionalJson | Takes::Policy | Takes::Message => JSON_BYTES_MAX,
        Takes::Component => COMPONENT_BYTES_MAX,
        Takes::Chunks => CHUNKS_BYTES_MAX,
        Takes::Delivery => airlock_runtime::HOOK_BODY_BYTES_MAX,
        Takes::Value => VALUE_BYTES_MAX,
        Takes::Input => {
            let plugin = params.iter().find(|(name, _)| name == "plugin");
            let limit = plugin.and_then(|(_, plugin)| {
                let limit = app.runtime.input_bytes_max(plugin)?;
                Some((
                    usize::try_from(limit).unwrap_or(usize::MAX),
                    plugin.as_str(),
                ))
            });
            return match limit {
                Some((limit, plugin)) => (limit, Some(plugin)),
                None => (INPUT_BYTES_DEFAULT, None),
            };
        }
    };
    (bytes, None)
}

/// Runs a handler under its idempotency key, if it has one; it then goes on when
/// the client leaves.
async fn once(route: &'static Route, target: String, call: Call) -> Result<Reply, Refusal> {
    let Some(key) = call.header(&IDEMPOTENCY_KEY)? else {
        return to_its_end((route.handler)(call)).await;
    };
    let key = key.to_owned();
    let target = call.who.within(target);
    let print = fingerprint(route.method, target, call.body.clone()).await;
    let runtime = Arc::clone(call.runtime());
    let now_ms = airlock_runtime::now_ms();
    match runtime
        .idempotency()
        .begin(&call.who.name, &key, print, now_ms)?
    {
        Begin::Replay(stored) => Ok(stored.into()),
        Begin::Run(ticket) => {
            // The intent too: a client that left between it and the rest would leave a
            // key under which nothing happened and nothing may happen.
            let work = async move {
                runtime
                    .commit(ticket.intent().to_vec())
                    .await
                    .map_err(IdempotencyError::from)?;
                let reply = (route.handler)(call)
                    .await
                    .unwrap_or_else(Refusal::into_reply);
                keep(&runtime, &ticket, reply).await
            };
            to_its_end(work).await
        }
    }
}

async fn fingerprint(method: &'static str, target: String, body: Bytes) -> Fingerprint {
    if body.len() <= HASH_HERE_BYTES_MAX {
        return Fingerprint::of(method, &target, &body);
    }
    let (copy, again) = (body.clone(), target.clone());
    let hashed = tokio::task::spawn_blocking(move || Fingerprint::of(method, &again, &copy)).await;
    hashed.unwrap_or_else(|_| Fingerprint::of(method, &target, &body))
}

/// Makes the reply durable before it is sent.
async fn keep(runtime: &Runtime, ticket: &Ticket, reply: Reply) -> Result<Reply, Refusal> {
    let refused_for_now = matches!(reply.status, 429 | 503);
    let ops = match reply.stored() {
        _ if refused_for_now => vec![ticket.again()],
        Some(stored) => ticket.finished(&stored).into(),
        None => vec![ticket.finished_secretly()],
    };
    runtime.commit(ops).await.map_err(IdempotencyError::from)?;
    Ok(reply)
}
