//! Requests made up by hand.

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Map, Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

/// What the table of attacks tells the guest.
#[derive(Deserialize, JsonSchema, Clone, Default)]
pub struct Attack {
    /// `http` or `https`; nothing where it is empty.
    #[serde(default)]
    pub scheme: String,
    /// What goes into the request's authority, unchanged.
    #[serde(default)]
    pub authority: String,
    /// What goes into the request's path and query, unchanged.
    #[serde(default)]
    pub path: String,
    /// The method; GET where it is empty.
    #[serde(default)]
    pub method: String,
    /// Header names and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// The name of a secret.
    #[serde(default)]
    pub secret: String,
    /// How much or how often, in the tool's own unit.
    #[serde(default)]
    pub amount: u64,
}

/// How far an attack got.
pub enum Told {
    /// A setter refused it.
    Refused(&'static str),
    /// The request failed.
    Failed(ErrorCode),
    /// An answer, and what its body ended with.
    Answer(u16, Vec<(String, String)>, Vec<u8>, Option<ErrorCode>),
}

impl From<ErrorCode> for Told {
    fn from(code: ErrorCode) -> Self {
        Self::Failed(code)
    }
}

impl Told {
    pub fn json(self) -> Value {
        match self {
            Self::Refused(what) => json!({ "refused": what }),
            Self::Failed(code) => json!({ "error": format!("{code:?}") }),
            Self::Answer(status, headers, body, end) => json!({
                "status": status,
                "headers": headers.into_iter().collect::<Vec<_>>(),
                "body": String::from_utf8_lossy(&body),
                "end": end.map(|code| format!("{code:?}")),
            }),
        }
    }
}

pub fn outgoing(attack: &Attack) -> Result<OutgoingRequest, Told> {
    let fields = Fields::new();
    for (name, value) in &attack.headers {
        fields
            .append(name, value.as_bytes())
            .map_err(|_| Told::Refused("header"))?;
    }
    let request = OutgoingRequest::new(fields);
    let scheme = match attack.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => Some(Scheme::Other(other.to_owned())),
    };
    let method = match attack.method.as_str() {
        "" | "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    let path = Some(attack.path.as_str()).filter(|path| !path.is_empty());
    request
        .set_method(&method)
        .map_err(|()| Told::Refused("method"))?;
    request
        .set_scheme(scheme.as_ref())
        .map_err(|()| Told::Refused("scheme"))?;
    request
        .set_authority(Some(&attack.authority))
        .map_err(|()| Told::Refused("authority"))?;
    request
        .set_path_with_query(path)
        .map_err(|()| Told::Refused("path"))?;
    Ok(request)
}

/// Writes all of `bytes`, as fast as the host takes them.
pub fn write(body: &OutgoingBody, bytes: &[u8]) -> Result<(), StreamError> {
    let stream = body.write().expect("taken once");
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = stream.check_write()?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(rest.len().min(room as usize));
        stream.write(now)?;
        rest = later;
    }
    Ok(())
}

pub fn wait(future: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    loop {
        if let Some(response) = future.get() {
            return response.expect("taken once");
        }
        future.subscribe().block();
    }
}

pub fn read(response: &IncomingResponse, piece: u64) -> (Vec<u8>, Option<ErrorCode>) {
    let body = response.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(piece) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => return (bytes, None),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error);
                return (bytes, Some(code.unwrap_or(ErrorCode::InternalError(None))));
            }
        }
    }
}

pub fn told(response: IncomingResponse, piece: u64) -> Told {
    let headers = response.headers().entries();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect();
    let (body, end) = read(&response, piece);
    Told::Answer(response.status(), headers, body, end)
}

pub fn exchange(attack: &Attack, options: Option<RequestOptions>) -> Result<Told, Told> {
    let request = outgoing(attack)?;
    let body = request.body().expect("taken once");
    let future = handle(request, options)?;
    // What the host refuses of it shows in the response.
    let _ = write(&body, attack.body.as_bytes());
    let _ = OutgoingBody::finish(body, None);
    Ok(told(wait(&future)?, 4096))
}

/// Sends one request.
#[tool]
pub fn ask(input: Attack) -> Result<Value, Error> {
    Ok(exchange(&input, None).unwrap_or_else(|told| told).json())
}

/// A request to each of the authorities in the header list: (authority, path).
#[tool]
pub fn ask_each(input: Attack) -> Result<Value, Error> {
    let mut all = Map::new();
    for (authority, path) in &input.headers {
        let attack = Attack {
            authority: authority.clone(),
            path: path.clone(),
            headers: Vec::new(),
            ..input.clone()
        };
        let told = exchange(&attack, None).unwrap_or_else(|told| told).json();
        all.insert(format!("{authority} {path}"), told);
    }
    Ok(Value::Object(all))
}

/// Sets each header by itself, and says how.
#[tool]
pub fn append_each(input: Attack) -> Result<Value, Error> {
    let mut all = Map::new();
    for (name, value) in &input.headers {
        let told = match Fields::new().append(name, value.as_bytes()) {
            Ok(()) => "ok",
            Err(HeaderError::Forbidden) => "forbidden",
            Err(HeaderError::InvalidSyntax) => "invalid",
            Err(_) => "other",
        };
        all.insert(format!("{name}: {value}"), told.into());
    }
    Ok(Value::Object(all))
}

/// Asks for an hour's patience.
#[tool]
pub fn hour(input: Attack) -> Result<Value, Error> {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let options = RequestOptions::new();
    let set = [
        options.set_connect_timeout(Some(HOUR_NS)),
        options.set_first_byte_timeout(Some(HOUR_NS)),
        options.set_between_bytes_timeout(Some(u64::MAX)),
    ];
    assert!(set.iter().all(Result::is_ok));
    Ok(exchange(&input, Some(options))
        .unwrap_or_else(|told| told)
        .json())
}

/// Reads a response that comes byte by byte.
#[tool]
pub fn drip(input: Attack) -> Result<Value, Error> {
    Ok(exchange(&input, None).unwrap_or_else(|told| told).json())
}

/// Sends half of a body and ends the call by a trap.
#[tool]
pub fn half_a_body(input: Attack) -> Result<Value, Error> {
    let request = outgoing(&input).map_err(|_| Error::permanent("refused"))?;
    let body = request.body().expect("taken once");
    let future = handle(request, None).map_err(|code| Error::permanent(format!("{code:?}")))?;
    let _ = write(&body, input.body.as_bytes());
    // Until the server has it.
    wasip2::clocks::monotonic_clock::subscribe_duration(input.amount * 1_000_000).block();
    let _held = (future, body);
    panic!("half way")
}
