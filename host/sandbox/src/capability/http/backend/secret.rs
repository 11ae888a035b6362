//! A secret in a request: where its placeholder may stand, how the value gets
//! there, and how it is kept out of what comes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use wasmtime_wasi_http::Error;
use zeroize::Zeroizing;

use crate::capability::http::url::Target;
use crate::capability::secrets::{Matcher, Placeholders, Redactor, Secret, UNRESERVED, percent};

/// Why a request with placeholders is refused before any rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::capability::http) enum Misuse {
    #[error("a secret's placeholder may stand in a header's value or in the query alone")]
    Place,
    #[error("a request carries one secret at most")]
    Several,
}

/// The secret whose placeholder a request carries.
pub(in crate::capability::http) fn carried(
    placeholders: &Placeholders,
    parts: &Parts,
) -> Result<Option<String>, Misuse> {
    if placeholders.is_empty() {
        return Ok(None);
    }
    let found = |text: &[u8]| placeholders.names_in(text);
    let authority = parts
        .uri
        .authority()
        .map_or("", |authority| authority.as_str());
    let elsewhere = [parts.method.as_str(), authority, parts.uri.path()];
    let names = parts.headers.keys().map(HeaderName::as_str);
    if elsewhere
        .into_iter()
        .chain(names)
        .any(|text| !found(text.as_bytes()).is_empty())
    {
        return Err(Misuse::Place);
    }
    let mut carried = found(parts.uri.query().unwrap_or_default().as_bytes());
    for (name, value) in &parts.headers {
        carried.extend(found(value.as_bytes()));
        carried.extend(
            basic(name, value)
                .map(|text| found(&text))
                .unwrap_or_default(),
        );
    }
    carried.sort();
    carried.dedup();
    if carried.len() > 1 {
        return Err(Misuse::Several);
    }
    Ok(carried.pop())
}

/// `user:password` of `Authorization: Basic`.
fn basic(name: &HeaderName, value: &HeaderValue) -> Option<Vec<u8>> {
    let text = value.to_str().ok().filter(|_| *name == AUTHORIZATION)?;
    let (scheme, encoded) = text.split_once(' ')?;
    STANDARD
        .decode(encoded.trim())
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))
}

/// Puts the value where its placeholder stands.
pub(super) fn substitute(
    placeholders: &Placeholders,
    name: &str,
    secret: &Secret,
    target: &mut Target,
    headers: &mut HeaderMap,
) -> Result<(), Error> {
    let value = secret.expose();
    if let Some(query) = &target.query {
        let escaped = Zeroizing::new(percent(value, UNRESERVED));
        if let Some(query) = placeholders.replace(query.as_bytes(), name, &escaped) {
            let query = String::from_utf8(query).map_err(|_| Error::HttpRequestUriInvalid)?;
            target.query = Some(query);
        }
    }
    for (header, held) in headers.iter_mut() {
        let plain = placeholders.replace(held.as_bytes(), name, value);
        let replaced = plain.or_else(|| {
            let text = placeholders.replace(&basic(header, held)?, name, value)?;
            Some(format!("Basic {}", STANDARD.encode(Zeroizing::new(text))).into_bytes())
        });
        if let Some(replaced) = replaced {
            let invalid = |_| Error::HttpRequestHeaderSize {
                field_name: None,
                field_size: None,
            };
            *held = HeaderValue::from_bytes(&Zeroizing::new(replaced)).map_err(invalid)?;
            held.set_sensitive(true);
        }
    }
    Ok(())
}

/// Where in a request the placeholder stands, for the audit.
pub(super) fn places(
    placeholders: &Placeholders,
    target: &Target,
    headers: &HeaderMap,
) -> Vec<String> {
    let found = |text: &[u8]| !placeholders.names_in(text).is_empty();
    let query = target
        .query
        .as_ref()
        .filter(|query| found(query.as_bytes()));
    let held = |(name, value): &(&HeaderName, &HeaderValue)| {
        found(value.as_bytes()) || basic(name, value).is_some_and(|text| found(&text))
    };
    let headers = headers
        .iter()
        .filter(held)
        .map(|(name, _)| format!("header {name}"));
    query
        .map(|_| "query".to_owned())
        .into_iter()
        .chain(headers)
        .collect()
}

/// Keeps secrets out of answers.
#[derive(Clone)]
pub(super) struct Redaction(Arc<Matcher>);

impl Redaction {
    pub(super) fn stream(&self) -> Redactor {
        Redactor::new(Arc::clone(&self.0))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Masks values; a header whose very name gives the value away is dropped.
    pub(super) fn headers(&self, headers: &mut HeaderMap) {
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names
            .into_iter()
            .filter(|name| self.0.mask(name.as_str().as_bytes()).is_some())
        {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            if let Some(masked) = self.0.mask(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&masked)
                    .unwrap_or_else(|_| HeaderValue::from_static("*"));
            }
        }
    }
}

/// Matchers of the secrets in play, since making one takes a moment. Secrets that
/// changed get a new one.
#[derive(Default)]
pub(super) struct Matchers {
    /// The latest last.
    made: Mutex<Vec<Made>>,
    /// How often another one became the latest.
    changes: AtomicU64,
}

struct Made {
    /// Of the secrets.
    digest: [u8; 32],
    redaction: Redaction,
    /// The change by which it became the latest.
    change: u64,
}

/// Matchers kept: one, and another while a secret changes.
const MATCHERS_MAX: usize = 2;

impl Matchers {
    /// Matchers made and kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The changes until now, and what became the latest after the first `seen`.
    pub(super) fn since(&self, seen: u64) -> (u64, Vec<Redaction>) {
        let made = self.lock();
        let newer = made.iter().filter(|one| one.change > seen);
        let found = newer.map(|one| one.redaction.clone()).collect();
        (self.changes(), found)
    }

    /// What keeps all of `secrets` out; `None` where there are none.
    pub(super) fn redaction(&self, secrets: &[Secret]) -> Option<Redaction> {
        if secrets.is_empty() {
            return None;
        }
        let digest = digest(secrets);
        let mut made = self.lock();
        if let Some(latest) = made.last().filter(|one| one.digest == digest) {
            return Some(latest.redaction.clone());
        }
        let redaction = match made.iter().position(|one| one.digest == digest) {
            Some(at) => made.remove(at).redaction,
            None => Redaction(Arc::new(Matcher::new(secrets))),
        };
        let surplus = (made.len() + 1).saturating_sub(MATCHERS_MAX);
        made.drain(..surplus);
        let change = self.changes() + 1;
        made.push(Made {
            digest,
            redaction: redaction.clone(),
            change,
        });
        self.changes.store(change, Ordering::Release);
        Some(redaction)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(secrets: &[Secret]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for secret in secrets {
        digest.update(secret.expose().len().to_be_bytes());
        digest.update(secret.expose());
    }
    digest.finalize().into()
}
