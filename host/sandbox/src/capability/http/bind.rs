//! `wasi:http` as the guest sees it: thin functions over wasmtime-wasi-http's
//! resources. A request goes to the gate, and with its permit to the backend.
//!
//! What must stay true: each handle holds a bounded share of the call's host
//! memory; an exhausted budget ends the call with `limit`; a guest sets no header
//! that belongs to the connection.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::header::{EXPECT, HeaderName, TE, TRAILER};
use ::http::request::Parts;
use ::http::{Request, Response};
use tokio::time::Instant;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, Headers, Method, RequestOptions as Options, Scheme, StatusCode, Trailers,
};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest,
    HostOutgoingResponse, HostResponseOutparam,
};
use wasmtime_wasi_http::p2::{HeaderError, HeaderResult, HttpError, HttpResult};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, FieldMap, FieldMapError, ForbiddenHeaderFilter,
    RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

use super::backend::{EXCHANGE_BYTES, Exchange, secret, watch};
use super::url::Target;
use super::{Http, Op, Prepared};
use crate::capability::secrets::Placeholders;
use crate::capability::{CallContext, Capability};
use crate::gate::{Gate, LimitReached, Missing, Permit, Reservation};
use crate::limits::{ByteSize, Limits};
use crate::services::Services;
use crate::state::CallState;

/// Bounds of what one handle may hold, bytes.
const HANDLE_BYTES: std::ops::RangeInclusive<u64> = 8 << 10..=64 << 10;

/// Of one call.
pub struct State {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

pub(super) struct Hooks {
    gate: Gate,
    services: Arc<Services>,
    prepared: Arc<Prepared>,
    placeholders: Placeholders,
    deadline: Instant,
    handle_bytes: usize,
    over: Arc<AtomicBool>,
    reservation: Option<Reservation>,
}

/// Field maps and bodies written ahead are bounded each, so that all handles
/// together stay within the call's host memory.
fn handle_bytes(limits: &Limits) -> usize {
    let share = limits.host_memory.0 / u64::from(limits.handles.max(1));
    usize::try_from(share.clamp(*HANDLE_BYTES.start(), *HANDLE_BYTES.end())).unwrap_or(8 << 10)
}

impl State {
    pub(super) fn new(cx: &CallContext, prepared: &Arc<Prepared>) -> Self {
        let handle_bytes = handle_bytes(&cx.limits);
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(handle_bytes);
        let hooks = Hooks {
            gate: cx.gate.clone(),
            services: Arc::clone(&cx.services),
            prepared: Arc::clone(prepared),
            placeholders: Placeholders::default(),
            deadline: cx.deadline,
            handle_bytes,
            over: Arc::new(AtomicBool::new(false)),
            reservation: None,
        };
        Self { ctx, hooks }
    }
}

#[cfg(test)]
impl State {
    pub(super) fn hooks_mut(&mut self) -> &mut Hooks {
        &mut self.hooks
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.hooks.over.store(true, Ordering::Release);
    }
}

struct HasHttp;

impl HasData for HasHttp {
    type Data<'a> = HttpView<'a>;
}

/// What the interfaces' functions see of a call.
pub(super) struct HttpView<'a> {
    hooks: &'a mut Hooks,
    table: &'a mut ResourceTable,
    ctx: &'a mut WasiHttpCtx,
}

impl HttpView<'_> {
    fn inner(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: self.hooks,
            table: self.table,
            ctx: self.ctx,
        }
    }
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, HasHttp>(linker, &options, view)?;
    outgoing_handler::add_to_linker::<_, HasHttp>(linker, view)
}

fn view(state: &mut CallState) -> HttpView<'_> {
    let placeholders = state.rooms.secrets().placeholders().clone();
    let http = state.rooms.http();
    http.hooks.set_placeholders(placeholders);
    HttpView {
        hooks: &mut http.hooks,
        table: &mut state.table,
        ctx: &mut http.ctx,
    }
}

type Sent = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (parts, body) = request.into_parts();
        let exchange = self.exchange(&parts, options.unwrap_or_default());
        let io = self.prepared.io().clone();
        Box::new(async move {
            let task = io.spawn(exchange?.run(parts, body));
            let mut task = AbortOnDropJoinHandle::from(task);
            let response = (&mut *task)
                .await
                .map_err(|_| Error::ConnectionTerminated)??;
            let nothing: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, nothing))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.handle_bytes
    }
}

/// Headers by which some servers take a request for one with another method or
/// path than its own.
const OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
];

/// What belongs to the connection, not to the request, or says that the request
/// is another one than was judged. Some servers take `_` for `-`.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || [TE, TRAILER, EXPECT].contains(name)
        || name.as_str().starts_with("proxy-")
        || OVERRIDES.contains(&name.as_str().replace('_', "-").as_str())
}

impl Hooks {
    /// Takes the host memory of the next request.
    pub(super) fn reserve(&mut self) -> Result<(), LimitReached> {
        self.reservation = Some(self.gate.budget().reserve(EXCHANGE_BYTES)?);
        Ok(())
    }

    fn headers_too_large(&self) -> LimitReached {
        let share = ByteSize(self.handle_bytes as u64);
        LimitReached {
            limit: "host_memory",
            value: format!("{share} for one list of headers"),
        }
    }

    pub(super) fn set_placeholders(&mut self, placeholders: Placeholders) {
        self.placeholders = placeholders;
    }

    fn exchange(&mut self, parts: &Parts, options: RequestOptions) -> Result<Exchange, Error> {
        let reservation = self.reservation.take().ok_or(Error::ConfigurationError)?;
        let permit = self.permit(parts)?;
        let rule = permit.rule().ok_or(Error::HttpRequestDenied)?;
        let bound = self.is_bound(&permit.op().target);
        Ok(Exchange {
            services: Arc::clone(&self.services),
            prepared: Arc::clone(&self.prepared),
            secrets: self.in_play(bound),
            bound,
            permit: Arc::new(permit),
            rule,
            placeholders: self.placeholders.clone(),
            options,
            deadline: self.deadline,
            headers_bytes_max: self.handle_bytes,
            over: Arc::clone(&self.over),
            reservation,
        })
    }

    /// Whether a rule binds a secret to the host, by whatever scheme, port and path:
    /// what a server was given at one of them it may tell at another.
    fn is_bound(&self, target: &Target) -> bool {
        let grants = self.gate.grants();
        let mut bound = grants.http.iter().filter(|rule| rule.secret.is_some());
        bound.any(|rule| rule.url.covers_name(target))
    }

    /// None, or all that the plugin's rules bind: servers may know each other, and
    /// what is searched for is made once, not for each choice a guest makes.
    fn in_play(&self, bound: bool) -> Vec<String> {
        let issued = self.placeholders.names();
        if issued.is_empty() && !bound {
            return Vec::new();
        }
        let grants = self.gate.grants();
        let bound = grants.http.iter().filter_map(|rule| rule.secret.clone());
        let names: BTreeSet<String> = issued.into_iter().chain(bound).collect();
        names.into_iter().collect()
    }

    fn permit(&self, parts: &Parts) -> Result<Permit<Http>, Error> {
        let refuse = |op: &dyn std::fmt::Display, why: &dyn std::fmt::Display| {
            let needs = format!("no rule can allow it: {why}");
            self.gate.deny(Http::NAME, op, Missing::new(needs));
            Error::HttpRequestDenied
        };
        let secret = match secret::carried(&self.placeholders, parts) {
            Ok(secret) => secret,
            Err(misuse) => return Err(refuse(&format_args!("{} request", parts.method), &misuse)),
        };
        let target: Target = match parts.uri.to_string().parse() {
            Ok(target) => target,
            Err(why) => return Err(refuse(&written(parts), &why)),
        };
        let op = Op {
            method: parts.method.clone(),
            target,
            secret,
        };
        self.gate
            .permit::<Http>(op)
            .map_err(|_| Error::HttpRequestDenied)
    }
}

/// A refused request as it was written, without its user-info and query.
fn written(parts: &Parts) -> String {
    let authority = parts
        .uri
        .authority()
        .map_or("", |authority| authority.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let scheme = parts.uri.scheme_str().unwrap_or("https");
    format!("{} {scheme}://{host}{}", parts.method, parts.uri.path())
}

impl outgoing_handler::Host for HttpView<'_> {
    fn handle(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<Options>>,
    ) -> HttpResult<Resource<HostFutureIncomingResponse>> {
        self.hooks.reserve().map_err(HttpError::trap)?;
        outgoing_handler::Host::handle(&mut self.inner(), request, options)
    }
}

impl types::Host for HttpView<'_> {
    fn convert_error_code(&mut self, err: HttpError) -> wasmtime::Result<ErrorCode> {
        err.downcast()
    }

    fn convert_header_error(&mut self, err: HeaderError) -> wasmtime::Result<types::HeaderError> {
        err.downcast()
            .map_err(|trap| match trap.downcast_ref::<FieldMapError>() {
                Some(_) => self.hooks.headers_too_large().into(),
                None => trap,
            })
    }

    fn http_error_code(
        &mut self,
        err: Resource<types::IoError>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&err)?;
        if let Some(code) = error.downcast_ref::<ErrorCode>() {
            return Ok(Some(code.clone()));
        }
        Ok(error.downcast_ref::<Error>().map(stream_error_code))
    }
}

/// The code of an error that a body's stream ended with.
fn stream_error_code(error: &Error) -> ErrorCode {
    match error {
        Error::HttpRequestDenied => ErrorCode::HttpRequestDenied,
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::HttpResponseTrailerSectionSize(size) => {
            ErrorCode::HttpResponseTrailerSectionSize(*size)
        }
        _ => ErrorCode::HttpProtocolError,
    }
}

impl types::HostFutureIncomingResponse for HttpView<'_> {
    fn subscribe(
        &mut self,
        it: Resource<HostFutureIncomingResponse>,
    ) -> Trap<Resource<DynPollable>> {
        types::HostFutureIncomingResponse::subscribe(&mut self.inner(), it)
    }

    /// The head is searched for secrets here, on the guest's own time.
    fn get(
        &mut self,
        it: Resource<HostFutureIncomingResponse>,
    ) -> Trap<Got<Resource<HostIncomingResponse>>> {
        if let HostFutureIncomingResponse::Ready(Ok((response, _))) = self.table.get_mut(&it)? {
            watch::reveal(response);
        }
        types::HostFutureIncomingResponse::get(&mut self.inner(), it)
    }

    fn drop(&mut self, it: Resource<HostFutureIncomingResponse>) -> Trap<()> {
        types::HostFutureIncomingResponse::drop(&mut self.inner(), it)
    }
}

macro_rules! forward {
    ($($trait:ident { $(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)* })*) => { $(
        impl types::$trait for HttpView<'_> { $(
            fn $name(&mut self, $($arg: $type),*) -> $result {
                types::$trait::$name(&mut self.inner(), $($arg),*)
            }
        )* }
    )* };
}

type Trap<T> = wasmtime::Result<T>;
type Got<T> = Option<Result<Result<T, ErrorCode>, ()>>;

forward! {
    HostFields {
        fn new() -> Trap<Resource<FieldMap>>;
        fn from_list(entries: Vec<(String, Vec<u8>)>) -> HeaderResult<Resource<FieldMap>>;
        fn get(it: Resource<FieldMap>, name: String) -> Trap<Vec<Vec<u8>>>;
        fn has(it: Resource<FieldMap>, name: String) -> Trap<bool>;
        fn set(it: Resource<FieldMap>, name: String, value: Vec<Vec<u8>>) -> HeaderResult<()>;
        fn delete(it: Resource<FieldMap>, name: String) -> HeaderResult<()>;
        fn append(it: Resource<FieldMap>, name: String, value: Vec<u8>) -> HeaderResult<()>;
        fn entries(it: Resource<FieldMap>) -> Trap<Vec<(String, Vec<u8>)>>;
        fn clone(it: Resource<FieldMap>) -> Trap<Resource<FieldMap>>;
        fn drop(it: Resource<FieldMap>) -> Trap<()>;
    }
    HostIncomingRequest {
        fn method(it: Resource<HostIncomingRequest>) -> Trap<Method>;
        fn path_with_query(it: Resource<HostIncomingRequest>) -> Trap<Option<String>>;
        fn scheme(it: Resource<HostIncomingRequest>) -> Trap<Option<Scheme>>;
        fn authority(it: Resource<HostIncomingRequest>) -> Trap<Option<String>>;
        fn headers(it: Resource<HostIncomingRequest>) -> Trap<Resource<Headers>>;
        fn consume(it: Resource<HostIncomingRequest>) -> Trap<Result<Resource<HostIncomingBody>, ()>>;
        fn drop(it: Resource<HostIncomingRequest>) -> Trap<()>;
    }
    HostOutgoingRequest {
        fn new(headers: Resource<Headers>) -> Trap<Resource<HostOutgoingRequest>>;
        fn body(it: Resource<HostOutgoingRequest>) -> Trap<Result<Resource<HostOutgoingBody>, ()>>;
        fn method(it: Resource<HostOutgoingRequest>) -> Trap<Method>;
        fn set_method(it: Resource<HostOutgoingRequest>, method: Method) -> Trap<Result<(), ()>>;
        fn path_with_query(it: Resource<HostOutgoingRequest>) -> Trap<Option<String>>;
        fn set_path_with_query(it: Resource<HostOutgoingRequest>, path: Option<String>) -> Trap<Result<(), ()>>;
        fn scheme(it: Resource<HostOutgoingRequest>) -> Trap<Option<Scheme>>;
        fn set_scheme(it: Resource<HostOutgoingRequest>, scheme: Option<Scheme>) -> Trap<Result<(), ()>>;
        fn authority(it: Resource<HostOutgoingRequest>) -> Trap<Option<String>>;
        fn set_authority(it: Resource<HostOutgoingRequest>, authority: Option<String>) -> Trap<Result<(), ()>>;
        fn headers(it: Resource<HostOutgoingRequest>) -> Trap<Resource<Headers>>;
        fn drop(it: Resource<HostOutgoingRequest>) -> Trap<()>;
    }
    HostRequestOptions {
        fn new() -> Trap<Resource<Options>>;
        fn connect_timeout(it: Resource<Options>) -> Trap<Option<u64>>;
        fn set_connect_timeout(it: Resource<Options>, time: Option<u64>) -> Trap<Result<(), ()>>;
        fn first_byte_timeout(it: Resource<Options>) -> Trap<Option<u64>>;
        fn set_first_byte_timeout(it: Resource<Options>, time: Option<u64>) -> Trap<Result<(), ()>>;
        fn between_bytes_timeout(it: Resource<Options>) -> Trap<Option<u64>>;
        fn set_between_bytes_timeout(it: Resource<Options>, time: Option<u64>) -> Trap<Result<(), ()>>;
        fn drop(it: Resource<Options>) -> Trap<()>;
    }
    HostResponseOutparam {
        fn set(it: Resource<HostResponseOutparam>, response: Result<Resource<HostOutgoingResponse>, ErrorCode>) -> Trap<()>;
        fn send_informational(it: Resource<HostResponseOutparam>, status: u16, headers: Resource<Headers>) -> HttpResult<()>;
        fn drop(it: Resource<HostResponseOutparam>) -> Trap<()>;
    }
    HostIncomingResponse {
        fn status(it: Resource<HostIncomingResponse>) -> Trap<StatusCode>;
        fn headers(it: Resource<HostIncomingResponse>) -> Trap<Resource<Headers>>;
        fn consume(it: Resource<HostIncomingResponse>) -> Trap<Result<Resource<HostIncomingBody>, ()>>;
        fn drop(it: Resource<HostIncomingResponse>) -> Trap<()>;
    }
    HostIncomingBody {
        fn stream(it: Resource<HostIncomingBody>) -> Trap<Result<Resource<DynInputStream>, ()>>;
        fn finish(it: Resource<HostIncomingBody>) -> Trap<Resource<HostFutureTrailers>>;
        fn drop(it: Resource<HostIncomingBody>) -> Trap<()>;
    }
    HostFutureTrailers {
        fn subscribe(it: Resource<HostFutureTrailers>) -> Trap<Resource<DynPollable>>;
        fn get(it: Resource<HostFutureTrailers>) -> Trap<Got<Option<Resource<Trailers>>>>;
        fn drop(it: Resource<HostFutureTrailers>) -> Trap<()>;
    }
    HostOutgoingResponse {
        fn new(headers: Resource<Headers>) -> Trap<Resource<HostOutgoingResponse>>;
        fn status_code(it: Resource<HostOutgoingResponse>) -> Trap<StatusCode>;
        fn set_status_code(it: Resource<HostOutgoingResponse>, status: StatusCode) -> Trap<Result<(), ()>>;
        fn headers(it: Resource<HostOutgoingResponse>) -> Trap<Resource<Headers>>;
        fn body(it: Resource<HostOutgoingResponse>) -> Trap<Result<Resource<HostOutgoingBody>, ()>>;
        fn drop(it: Resource<HostOutgoingResponse>) -> Trap<()>;
    }
    HostOutgoingBody {
        fn write(it: Resource<HostOutgoingBody>) -> Trap<Result<Resource<DynOutputStream>, ()>>;
        fn finish(it: Resource<HostOutgoingBody>, trailers: Option<Resource<Trailers>>) -> HttpResult<()>;
        fn drop(it: Resource<HostOutgoingBody>) -> Trap<()>;
    }
}
