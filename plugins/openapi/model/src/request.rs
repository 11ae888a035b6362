//! From a tool's input to a request.
//!
//! What must stay true: the server, the path's own parts and the names of headers
//! are the document's, whatever the input is. What an input could be read as
//! something else by is encoded, or refused.

mod body;
mod style;

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits::URL_BYTES_MAX;
use crate::plan::{Auth, CONTENT_TYPE, Carrier, Kind, Parameter, Part, Place, Plan, Style};
use style::Shape;

/// What may stand unescaped (RFC 3986, "unreserved").
pub(crate) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same, and what a query can hold without being taken apart by it.
const RESERVED: &AsciiSet = &PLAIN
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';');

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// With its query.
    pub url: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Empty where there is none.
    pub body: Vec<u8>,
}

/// Members of an input, as they are written.
type Input = BTreeMap<String, Box<RawValue>>;

/// The request that a plan makes of an input. `secret` is what stands for the
/// secret, where the plan has one; `idempotency_key` goes to a service that takes
/// one as a header and that the input gives none.
///
/// # Errors
/// What is wrong with the input, by the name of its member.
pub fn request(
    plan: &Plan,
    input: &str,
    secret: Option<&str>,
    idempotency_key: Option<&str>,
) -> Result<Request, String> {
    let input: Input = serde_json::from_str(input)
        .map_err(|error| format!("the input is no JSON object: {error}"))?;
    check_names(plan, &input)?;
    let shapes = shapes(plan, &input, idempotency_key)?;
    let mut url = format!("{}{}", plan.base, path(plan, &shapes)?);
    let query = query(plan, &shapes, secret)?;
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query.join("&"));
    }
    if url.len() > URL_BYTES_MAX {
        return Err(format!(
            "the address has {} bytes, more than {URL_BYTES_MAX}: give less in path and query",
            url.len()
        ));
    }
    let mut headers = headers(plan, &shapes, secret, idempotency_key)?;
    let body = match &plan.body {
        Some(body) => body::of_input(body, &input)?,
        None => None,
    };
    let body = body.map(|(media, bytes)| {
        headers.push(("content-type".to_owned(), media));
        bytes
    });
    Ok(Request {
        method: plan.method.clone(),
        url,
        headers,
        body: body.unwrap_or_default(),
    })
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// What is not known would be dropped in silence.
fn check_names(plan: &Plan, input: &Input) -> Result<(), String> {
    let mut known: Vec<&str> = plan.parameters.iter().map(|one| &*one.input).collect();
    if let Some(body) = &plan.body {
        known.push("body");
        if !body.others.is_empty() {
            known.push(CONTENT_TYPE);
        }
    }
    match input.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            let known = match known.is_empty() {
                true => "it takes nothing".to_owned(),
                false => format!("there are {}", known.join(", ")),
            };
            Err(format!("{}: is not known; {known}", other.escape_debug()))
        }
    }
}

/// The values of the parameters, in their order; `None` where one is not given.
fn shapes(
    plan: &Plan,
    input: &Input,
    idempotency_key: Option<&str>,
) -> Result<Vec<Option<Shape>>, String> {
    let of = |parameter: &Parameter| {
        let raw = input.get(&parameter.input).filter(|raw| !is_null(raw));
        match raw {
            Some(raw) => shape(parameter, raw).map(Some),
            // The call's own stands for it.
            None if idempotency_key.is_some() && takes_key(parameter.place, &parameter.name) => {
                Ok(None)
            }
            None if parameter.required => Err(format!("{}: is missing", parameter.input)),
            None => Ok(None),
        }
    };
    plan.parameters.iter().map(of).collect()
}

fn shape(parameter: &Parameter, raw: &RawValue) -> Result<Shape, String> {
    let input = &parameter.input;
    let value: Value =
        serde_json::from_str(raw.get()).map_err(|error| format!("{input}: {error}"))?;
    check_kind(&parameter.kinds, &value).map_err(|why| format!("{input}: {why}"))?;
    if parameter.style == Style::Json {
        return Ok(Shape::One(value.to_string()));
    }
    let shape = match (&value, parameter.style) {
        // As it was written, so that no digit is lost.
        (Value::Number(_), _) => Ok(Shape::One(raw.get().to_owned())),
        (_, Style::Deep) => style::deep(&value),
        (_, Style::Form) if parameter.explode => style::exploded(&value),
        _ => style::shape(&value),
    };
    shape.map_err(|why| format!("{input}: {why}"))
}

fn check_kind(kinds: &[Kind], value: &Value) -> Result<(), String> {
    let is = |kind: &Kind| match (kind, value) {
        (Kind::String, Value::String(_))
        | (Kind::Number, Value::Number(_))
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::Array, Value::Array(_))
        | (Kind::Object, Value::Object(_)) => true,
        (Kind::Integer, Value::Number(number)) => {
            !number.is_f64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
        }
        _ => false,
    };
    if kinds.is_empty() || kinds.iter().any(is) {
        return Ok(());
    }
    let name = |kind: &Kind| match kind {
        Kind::String => "a text",
        Kind::Integer => "a whole number",
        Kind::Number => "a number",
        Kind::Boolean => "true or false",
        Kind::Array => "a list",
        Kind::Object => "an object",
    };
    let names: Vec<&str> = kinds.iter().map(name).collect();
    Err(format!("must be {}", names.join(" or ")))
}

fn path(plan: &Plan, shapes: &[Option<Shape>]) -> Result<String, String> {
    let mut path = String::new();
    for part in &plan.path {
        match part {
            Part::Literal(text) => path.push_str(text),
            Part::Parameter(number) => {
                let parameter = plan.parameters.get(*number);
                let shape = shapes.get(*number).and_then(Option::as_ref);
                let (Some(parameter), Some(shape)) = (parameter, shape) else {
                    return Err("a part of the path is missing".to_owned());
                };
                let written = segment(parameter, shape);
                path.push_str(&written.map_err(|why| format!("{}: {why}", parameter.input))?);
            }
        }
    }
    let mut segments = path.split('/').skip(1);
    match segments.find(|segment| is_ambiguous(segment)) {
        None => Ok(path),
        Some(segment) => Err(format!(
            "the path would have the part `{segment}`, which servers read in several ways"
        )),
    }
}

/// A value in a path: one segment of it, and not none.
fn segment(parameter: &Parameter, shape: &Shape) -> Result<String, String> {
    for text in shape.texts() {
        if text.is_empty() {
            return Err("must not be empty, in a path".to_owned());
        }
        if let Some(c) = text
            .chars()
            .find(|c| matches!(c, '/' | '\\') || c.is_control())
        {
            return Err(format!(
                "must not contain `{}`: it is one part of a path",
                c.escape_debug()
            ));
        }
    }
    let written = style::path(parameter, shape);
    match written.is_empty() {
        true => Err("must not be empty, in a path".to_owned()),
        false => Ok(written),
    }
}

/// Whether some server takes a segment for more than one, or for a step up. The
/// host's rules cover none of these.
pub(crate) fn is_ambiguous(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase().replace("%2e", ".");
    let name = lower.split(';').next().unwrap_or_default();
    let encoded = ["%2f", "%5c", "%252e", "%252f", "%255c", "%3b", "%00"];
    matches!(name, "." | "..") || encoded.iter().any(|escape| lower.contains(escape))
}

fn query(
    plan: &Plan,
    shapes: &[Option<Shape>],
    secret: Option<&str>,
) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for (parameter, shape) in given(plan, shapes, Place::Query) {
        let set = if parameter.reserved { RESERVED } else { PLAIN };
        pairs.extend(style::query(parameter, shape, set));
    }
    if let Some((Carrier::Query(name), secret)) = carried(plan, secret) {
        let name = encode(name, PLAIN);
        // Members of an object have names of the caller's.
        if pairs.iter().any(|(other, _)| is_read_as(other, &name)) {
            return Err(format!("`{name}` is the host's to send"));
        }
        pairs.push((name, secret.to_owned()));
    }
    let pair = |(name, value): (String, String)| format!("{name}={value}");
    Ok(pairs.into_iter().map(pair).collect())
}

/// Whether a server may take an encoded name in a query for another: whatever the
/// case, with brackets behind it, or with `.` and spaces for `_`.
fn is_read_as(name: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let name = name.to_ascii_lowercase().replace("%20", "_");
        name.replace('.', "_")
    };
    let (name, other) = (plain(name), plain(other));
    name == other || name.split("%5b").next() == Some(other.as_str())
}

fn headers(
    plan: &Plan,
    shapes: &[Option<Shape>],
    secret: Option<&str>,
    idempotency_key: Option<&str>,
) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::new();
    for (parameter, shape) in given(plan, shapes, Place::Header) {
        let value = style::header(parameter, shape);
        check_header_value(&value).map_err(|why| format!("{}: {why}", parameter.input))?;
        headers.push((parameter.name.to_ascii_lowercase(), value));
    }
    let mut parameters = plan.parameters.iter();
    let takes_key = parameters.any(|parameter| takes_key(parameter.place, &parameter.name));
    let is_given = headers.iter().any(|(name, _)| name == "idempotency-key");
    if let Some(key) = idempotency_key.filter(|_| takes_key && !is_given) {
        check_header_value(key)?;
        headers.push(("idempotency-key".to_owned(), key.to_owned()));
    }
    let mut cookies = Vec::new();
    for (parameter, shape) in given(plan, shapes, Place::Cookie) {
        let Shape::One(value) = shape else {
            return Err(format!("{}: a cookie is one value", parameter.input));
        };
        cookies.push(format!("{}={}", parameter.name, encode(value, PLAIN)));
    }
    match carried(plan, secret) {
        Some((Carrier::Bearer, secret)) => {
            headers.push(("authorization".to_owned(), format!("Bearer {secret}")));
        }
        Some((Carrier::Basic, secret)) => {
            let encoded = body::base64(secret.as_bytes());
            headers.push(("authorization".to_owned(), format!("Basic {encoded}")));
        }
        Some((Carrier::Header(name), secret)) => {
            headers.push((name.to_ascii_lowercase(), secret.to_owned()));
        }
        Some((Carrier::Cookie(name), secret)) => cookies.push(format!("{name}={secret}")),
        Some((Carrier::Query(_), _)) | None => {}
    }
    if !cookies.is_empty() {
        headers.push(("cookie".to_owned(), cookies.join("; ")));
    }
    let own = [
        ("accept", plan.accept.as_str()),
        ("accept-encoding", "identity"),
        ("user-agent", "airlock-openapi/0.1"),
    ];
    for (name, value) in own {
        if !headers.iter().any(|(other, _)| other == name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(headers)
}

/// Whether a parameter is the header that a call's key goes into.
pub(crate) fn takes_key(place: Place, called: &str) -> bool {
    place == Place::Header && called.eq_ignore_ascii_case("idempotency-key")
}

/// The parameters of a place that are given.
fn given<'p>(
    plan: &'p Plan,
    shapes: &'p [Option<Shape>],
    place: Place,
) -> impl Iterator<Item = (&'p Parameter, &'p Shape)> {
    let all = plan.parameters.iter().zip(shapes);
    all.filter(move |(parameter, _)| parameter.place == place)
        .filter_map(|(parameter, shape)| Some((parameter, shape.as_ref()?)))
}

fn carried<'p>(plan: &'p Plan, secret: Option<&'p str>) -> Option<(&'p Carrier, &'p str)> {
    let Auth { carrier, .. } = plan.auth.as_ref()?;
    Some((carrier, secret?))
}

pub(crate) fn encode(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(text, set).to_string()
}

/// What could end a header, or be read otherwise, is refused.
fn check_header_value(value: &str) -> Result<(), String> {
    match value.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        None => Ok(()),
        Some(c) => Err(format!(
            "`{}` can't be sent in a header: write ASCII in one line",
            c.escape_debug()
        )),
    }
}

/// Whether a text is a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.len() <= 128 && text.chars().all(token)
}

/// Whether a document may have a header of that name sent.
pub(crate) fn check_header_name(name: &str) -> Result<(), String> {
    const HOSTS: [&str; 12] = [
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let shown: String = name.chars().take(80).collect();
    if !is_token(name) {
        return Err(format!("`{}` is no header's name", shown.escape_debug()));
    }
    let lower = name.to_ascii_lowercase();
    if HOSTS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err(format!(
            "the header `{shown}` is the connection's: it can't be a parameter"
        ));
    }
    Ok(())
}
