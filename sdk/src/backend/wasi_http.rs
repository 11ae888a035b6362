//! One request over `wasi:http`. The host follows no redirects and dials nothing
//! that no grant covers; whatever it refuses comes back as the denial it recorded.

use std::time::Duration;

use super::wasi::bindings::wasi::http::outgoing_handler;
use super::wasi::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use super::wasi::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::Error;
use crate::http::{Failure, Method, Request, Response, Target};
use crate::task::ready;

const CHUNK_BYTES: u64 = 64 * 1024;

pub(crate) async fn send(request: &Request, target: &Target) -> Result<Response, Error> {
    let failed = |code: ErrorCode| error(request, &code);
    let outgoing = outgoing(request, target)?;
    let body = outgoing.body().map_err(|()| misuse("taking the body"))?;
    let options = options(request.timeout)?;
    let future = outgoing_handler::handle(outgoing, Some(options)).map_err(failed)?;
    write(body, &request.body, failed).await?;
    let response = loop {
        if let Some(response) = future.get() {
            break response
                .map_err(|()| misuse("taking the response"))?
                .map_err(failed)?;
        }
        ready(future.subscribe()).await;
    };
    read(request, &response).await
}

fn misuse(step: &str) -> Error {
    Error::Permanent(format!("{step}: the host refused"))
}

fn outgoing(request: &Request, target: &Target) -> Result<OutgoingRequest, Error> {
    let mut headers: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    // The length is known, and not every server reads chunks.
    let states_it = |(name, _): &(String, _)| name.eq_ignore_ascii_case("content-length");
    if takes_body(request) && !headers.iter().any(states_it) {
        let length = request.body.len().to_string();
        headers.push(("content-length".to_owned(), length.into_bytes()));
    }
    let headers = Fields::from_list(&headers)
        .map_err(|problem| Error::invalid_input(format!("header: {problem:?}")))?;
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if target.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    outgoing
        .set_method(&method(request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&target.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&target.path_with_query)))
        .map_err(|()| Error::invalid_input(format!("url: {} cannot be requested", request.url)))?;
    Ok(outgoing)
}

fn takes_body(request: &Request) -> bool {
    let by_method = matches!(request.method, Method::Post | Method::Put | Method::Patch);
    by_method || !request.body.is_empty()
}

fn method(method: Method) -> WasiMethod {
    match method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
        Method::Options => WasiMethod::Options,
    }
}

fn options(timeout: Option<Duration>) -> Result<RequestOptions, Error> {
    let options = RequestOptions::new();
    if let Some(timeout) = timeout {
        let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        options
            .set_connect_timeout(nanoseconds)
            .and_then(|()| options.set_first_byte_timeout(nanoseconds))
            .and_then(|()| options.set_between_bytes_timeout(nanoseconds))
            .map_err(|()| misuse("setting the timeout"))?;
    }
    Ok(options)
}

async fn write(
    body: OutgoingBody,
    bytes: &[u8],
    failed: impl Fn(ErrorCode) -> Error,
) -> Result<(), Error> {
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| misuse("writing the body"))?;
        // A stream that the peer or the host closed has its reason in the response.
        if write_all(&stream, bytes).await.is_err() {
            drop(stream);
            drop(body);
            return Ok(());
        }
    }
    OutgoingBody::finish(body, None).map_err(failed)
}

async fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            ready(stream.subscribe()).await;
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()
}

async fn read(request: &Request, incoming: &IncomingResponse) -> Result<Response, Error> {
    let mut response = Response::new(incoming.status());
    for (name, value) in incoming.headers().entries() {
        response
            .headers
            .push((name, String::from_utf8_lossy(&value).into_owned()));
    }
    let body: IncomingBody = incoming
        .consume()
        .map_err(|()| misuse("reading the response"))?;
    let stream = body.stream().map_err(|()| misuse("reading the response"))?;
    loop {
        match stream.read(CHUNK_BYTES) {
            Ok(chunk) if chunk.is_empty() => ready(InputStream::subscribe(&stream)).await,
            Ok(chunk) => {
                if request.take(&mut response, &chunk)? {
                    return Ok(response);
                }
            }
            Err(StreamError::Closed) => return Ok(response),
            Err(StreamError::LastOperationFailed(cause)) => {
                let code = http_error_code(&cause);
                let (failure, words) = match &code {
                    Some(code) => (failure(code), words(code)),
                    None => (Failure::Denied, cause.to_debug_string()),
                };
                return Err(failure.once_answered(request).error(request, &words));
            }
        }
    }
}

/// The standard's name of an error in words, e.g. `connection refused`, and what it
/// says beside.
fn words(code: &ErrorCode) -> String {
    let debug = format!("{code:?}");
    let name = debug.strip_prefix("ErrorCode::").unwrap_or(&debug);
    let (name, beside) = name.split_at(name.find('(').unwrap_or(name.len()));
    let mut text = String::with_capacity(debug.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text + beside
}

fn error(request: &Request, code: &ErrorCode) -> Error {
    failure(code).error(request, &words(code))
}

/// How far a request came that failed so. All are named, so that none is taken for
/// one that did not happen unless that is known.
fn failure(code: &ErrorCode) -> Failure {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Failure::Denied,
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationUnavailable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached => Failure::Unsent,
        ErrorCode::DestinationNotFound
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_)
        | ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestTrailerSectionSize(_)
        | ErrorCode::HttpRequestTrailerSize(_)
        | ErrorCode::LoopDetected
        | ErrorCode::ConfigurationError => Failure::Impossible,
        ErrorCode::HttpRequestBodySize(size) => Failure::TooLong(*size),
        ErrorCode::ConnectionTerminated
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseIncomplete
        | ErrorCode::HttpResponseTimeout => Failure::Unanswered,
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::HttpUpgradeFailed
        | ErrorCode::HttpProtocolError
        | ErrorCode::InternalError(_) => Failure::Unreadable,
        ErrorCode::HttpResponseBodySize(size) => Failure::AnswerTooLong(*size),
    }
}
