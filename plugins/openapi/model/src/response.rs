//! From a response to what a call gives back: an output, or an error that tells the
//! caller what to do next.

mod readable;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::limits::{EXCERPT_BYTES_MAX, EXCERPT_CHARS_MAX, RESPONSE_BYTES_MAX};
use crate::plan::Plan;
use readable::is_readable;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body, or the beginning of it.
    pub body: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// What a call gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// JSON.
    Output(String),
    /// The input is wrong.
    InvalidInput(String),
    /// There is no such thing.
    NotFound(String),
    /// It may pass, after so many seconds where that is known.
    Transient(String, Option<u64>),
    /// It will not work, however often it is tried.
    Permanent(String),
    /// It may or may not have happened.
    Unknown(String),
    /// There is more than can be given back.
    TooLarge(usize),
}

#[derive(Serialize)]
struct Output<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// What a call gives back for a response.
#[must_use]
pub fn outcome(plan: &Plan, response: &Response) -> Outcome {
    let what = match response.status {
        200..=299 if response.cut && plan.is_safe() => {
            return Outcome::TooLarge(RESPONSE_BYTES_MAX);
        }
        200..=299 => return output(plan, response),
        status => format!("the server answered {status}{}", excerpt(response)),
    };
    match response.status {
        400 | 422 => Outcome::InvalidInput(what),
        401 | 403 => Outcome::Permanent(match &plan.auth {
            Some(auth) => format!(
                "{what}; is the secret `{}` the right one, and may it do this?",
                auth.secret
            ),
            None => format!("{what}; this operation is sent without credentials"),
        }),
        404 | 410 => Outcome::NotFound(what),
        // Without a time it may be a gateway's that passed the request on.
        503 if !plan.is_idempotent() && header(response, "retry-after").is_none() => {
            Outcome::Unknown(what)
        }
        408 | 425 | 429 | 503 => Outcome::Transient(what, retry_after(response)),
        300..=399 => Outcome::Permanent(match header(response, "location") {
            Some(place) => format!("{what}; it redirects to `{}`, which is not followed", {
                place.chars().take(200).collect::<String>()
            }),
            None => what,
        }),
        501 | 505 => Outcome::Permanent(what),
        500..=599 if plan.is_idempotent() => Outcome::Transient(what, retry_after(response)),
        500..=599 => Outcome::Unknown(what),
        _ => Outcome::Permanent(what),
    }
}

fn output(plan: &Plan, response: &Response) -> Outcome {
    let mut headers = Map::new();
    for name in &plan.headers {
        // A header that is given several times is a list (RFC 9110, 5.3).
        let all: Vec<&str> = values(response, name).collect();
        if !all.is_empty() {
            headers.insert(name.clone(), all.join(", ").into());
        }
    }
    let body = response
        .body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&response.body);
    let text = std::str::from_utf8(body).ok();
    let text = text.or_else(|| {
        // Cut in the middle of a character.
        let end = std::str::from_utf8(body).err()?.valid_up_to();
        let rest = body.len() - end;
        (response.cut && rest < 4).then(|| std::str::from_utf8(&body[..end]).ok())?
    });
    let raw: Option<Box<RawValue>> = match text {
        None | Some("") => None,
        Some(text) => {
            let parsed = (is_json(response) && is_readable(text))
                .then(|| serde_json::from_str(text).ok())
                .flatten();
            parsed.or_else(|| serde_json::value::to_raw_value(text).ok())
        }
    };
    let output = Output {
        status: response.status,
        headers,
        body: raw.as_deref(),
        body_base64: text.is_none().then(|| BASE64_STANDARD.encode(body)),
        cut: response.cut,
    };
    match serde_json::to_string(&output) {
        Ok(output) => Outcome::Output(output),
        Err(error) => Outcome::Permanent(error.to_string()),
    }
}

/// Whether it says so, or says nothing and may be.
fn is_json(response: &Response) -> bool {
    let Some(media) = header(response, "content-type") else {
        return true;
    };
    let essence = media.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    values(response, name).next()
}

fn values<'r>(response: &'r Response, name: &str) -> impl Iterator<Item = &'r str> {
    let all = response.headers.iter();
    all.filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Seconds, or until a date from the one that the server gives beside it.
fn retry_after(response: &Response) -> Option<u64> {
    let text = header(response, "retry-after")?.trim();
    let by_date = || seconds(text)?.checked_sub(seconds(header(response, "date")?)?);
    text.parse().ok().or_else(by_date)
}

/// A date of HTTP (RFC 9110, 5.6.7) in seconds since the year 1: not to be read as
/// anything else than a difference.
fn seconds(date: &str) -> Option<u64> {
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 0),
        ("Feb", 31),
        ("Mar", 59),
        ("Apr", 90),
        ("May", 120),
        ("Jun", 151),
        ("Jul", 181),
        ("Aug", 212),
        ("Sep", 243),
        ("Oct", 273),
        ("Nov", 304),
        ("Dec", 334),
    ];
    let (_, rest) = date.trim().split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let (_, before) = MONTHS.iter().find(|(name, _)| name == month)?;
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let year: u64 = year
        .parse()
        .ok()
        .filter(|year| (1..=9_999).contains(year))?;
    let clock: Vec<u64> = time
        .split(':')
        .map(|part| part.parse().ok().filter(|part| *part <= 60))
        .collect::<Option<_>>()?;
    let [hour, minute, second] = clock.as_slice() else {
        return None;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(is_leap && *before > 31);
    let years = year - 1;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + before + leap_day + day;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// The beginning of the server's own words, in one line.
fn excerpt(response: &Response) -> String {
    let most = response.body.len().min(EXCERPT_BYTES_MAX);
    let text = String::from_utf8_lossy(&response.body[..most]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(EXCERPT_CHARS_MAX)
        .collect();
    if line.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    match shown.is_empty() {
        true => shown,
        false => format!(": {shown}"),
    }
}
