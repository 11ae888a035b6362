//! Where a request goes, and which requests a rule's URL covers.
//!
//! What must stay true: a target has one spelling, the one that is matched is
//! the one that is sent, and taking it apart again gives the same target. What
//! could be read in two ways (user-info, trailing dots, broken escapes) is
//! refused, not guessed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Longest URL, bytes.
pub const URL_BYTES_MAX: usize = 8 << 10;

/// Why a URL is refused before any rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("not an absolute `http` or `https` URL")]
    Scheme,
    /// Over [`URL_BYTES_MAX`].
    #[error("longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Spaces, control characters or backslashes.
    #[error("contains a space, a control character or a backslash")]
    Character,
    /// `user@` or `user:password@`.
    #[error("contains user-info; use a header and a secret")]
    UserInfo,
    /// The host or the port is none.
    #[error("its host or port is not valid")]
    Host,
    /// `example.com.`
    #[error("its host ends with a dot")]
    TrailingDot,
    /// `%` without two hexadecimal digits, or an escaped control character.
    #[error("its path contains a broken escape or an escaped control character")]
    Escape,
}

/// An absolute URL without user-info and fragment, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) https: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl FromStr for Target {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '\\')
        {
            return Err(UrlError::Character);
        }
        let (_, authority, _) = split(text)?;
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let name = authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name);
        if authority.contains('%') || authority.starts_with(':') || authority.ends_with(':') {
            return Err(UrlError::Host);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Host)?;
        let host = url.host().ok_or(UrlError::Host)?.to_owned();
        check_host(&host, name)?;
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Host)?;
        Ok(Self {
            https: url.scheme() == "https",
            host,
            port,
            path: normal_path(url.path())?,
            query: url.query().map(str::to_owned),
        })
    }
}

/// Scheme, authority and the rest, as they are written.
fn split(text: &str) -> Result<(&str, &str, &str), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(UrlError::Scheme);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.is_empty() {
        return Err(UrlError::Host);
    }
    Ok((scheme, authority, rest))
}

fn check_host(host: &Host<String>, written: &str) -> Result<(), UrlError> {
    if written.ends_with('.') {
        return Err(UrlError::TrailingDot);
    }
    let Host::Domain(name) = host else {
        return Ok(());
    };
    if name.ends_with('.') {
        return Err(UrlError::TrailingDot);
    }
    let label = |label: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(known)
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(UrlError::Host);
    }
    Ok(())
}

/// RFC 3986, 6.2.2: escapes in upper case, unreserved characters unescaped. Dot
/// segments are resolved already.
fn normal_path(path: &str) -> Result<String, UrlError> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        normal.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(UrlError::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(UrlError::Escape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| UrlError::Escape)?;
        match byte {
            b'-' | b'.' | b'_' | b'~' => normal.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => normal.push(char::from(byte)),
            _ if byte.is_ascii_control() => return Err(UrlError::Escape),
            _ => normal.push_str(&format!("%{byte:02X}")),
        }
        rest = &rest[at + 3..];
    }
    normal.push_str(rest);
    Ok(normal)
}

impl Target {
    /// `host` or `host:port`, as it goes into `Host`.
    pub(super) fn authority(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        if self.port == default {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host, where it is an address.
    pub(super) fn address(&self) -> Option<std::net::IpAddr> {
        match self.host {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }
}

/// Without the query, which may hold what should not be logged.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// The URL of a rule: `scheme://host[:port][/path]`.
///
/// - The scheme is `https`, or `http` where cleartext is meant.
/// - The host is exact, or `*.example.com`, which covers one label
///   (`a.example.com`, not `a.b.example.com`, not `example.com`). Whoever answers
///   for that domain's names sees which of them are asked for.
/// - Without a port, the scheme's own is meant.
/// - Without a path, `/` alone. `*` covers one whole segment that is not empty;
///   `**`, at the end, covers everything from there on, so that `/v1/**` covers
///   `/v1/` and `/v1/a/b`, not `/v1`. Segments that some servers read as
///   something else (escaped slashes, `..;`, empty ones) are covered by `/**`
///   alone. The query is not part of the match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPattern {
    text: String,
    one_label: bool,
    base: Target,
    segments: Vec<Segment>,
    rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

impl UrlPattern {
    /// Whether the rule covers `target`.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.covers_host(target) && self.covers_path(&target.path)
    }

    /// Whether the rule covers scheme, host and port of `target`.
    #[must_use]
    pub fn covers_host(&self, target: &Target) -> bool {
        (self.base.https, self.base.port) == (target.https, target.port) && self.covers_name(target)
    }

    /// Whether the rule covers the host of `target`, by whatever scheme and port.
    pub(super) fn covers_name(&self, target: &Target) -> bool {
        if !self.one_label {
            return self.base.host == target.host;
        }
        let (Host::Domain(suffix), Host::Domain(name)) = (&self.base.host, &target.host) else {
            return false;
        };
        let label = name
            .strip_suffix(suffix.as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
    }

    /// Whether its host is one of those that are nobody's and kept for examples (RFC
    /// 2606), so that it stands for another one.
    pub(super) fn is_example(&self) -> bool {
        let Host::Domain(name) = &self.base.host else {
            return false;
        };
        let mut labels = name.rsplit('.');
        let (last, before) = (labels.next(), labels.next());
        matches!(last, Some("example" | "invalid"))
            || (matches!(last, Some("com" | "net" | "org")) && before == Some("example"))
    }

    /// The host as an address, where the rule names one.
    pub(super) fn address(&self) -> Option<std::net::IpAddr> {
        self.base.address()
    }

    /// The URL of the narrowest rule that covers `target`: its own, or all of its
    /// host where its path can be read in several ways.
    pub(super) fn naming(target: &Target) -> String {
        let exact = target.to_string();
        match exact.parse::<Self>() {
            Ok(pattern) if pattern.matches(target) => exact,
            _ => format!("{}/**", exact.strip_suffix(&target.path).unwrap_or(&exact)),
        }
    }

    fn covers_path(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        if self.rest && self.segments.is_empty() {
            return true;
        }
        let fits = match self.rest {
            true => segments.len() > self.segments.len(),
            false => segments.len() == self.segments.len(),
        };
        let last = segments.len() - 1;
        let plain = |(at, segment): (usize, &&str)| {
            !is_ambiguous(segment) && (!segment.is_empty() || at == last)
        };
        fits && segments.iter().enumerate().all(plain)
            && self
                .segments
                .iter()
                .zip(&segments)
                .all(|(pattern, segment)| match pattern {
                    Segment::Any => !segment.is_empty(),
                    Segment::Literal(literal) => literal == segment,
                })
    }
}

/// Whether some server takes the segment for more than one, or for a step up.
fn is_ambiguous(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let name = lower.split(';').next().unwrap_or_default();
    let encoded = ["%2f", "%5c", "%252e", "%252f", "%255c", "%3b"];
    matches!(name, "." | "..") || encoded.iter().any(|escape| lower.contains(escape))
}

impl FromStr for UrlPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("`{}`: {why}", text.escape_debug());
        let (scheme, authority, path) = split(text).map_err(|e| refuse(&e.to_string()))?;
        if path.contains(['?', '#']) {
            return Err(refuse(
                "a rule has no query and no fragment; the query is not matched",
            ));
        }
        let (one_label, host) = match authority.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, authority),
        };
        if host.contains('*') {
            return Err(refuse(
                "`*` in a host stands for its whole first label: `*.example.com`",
            ));
        }
        let base: Target = format!("{scheme}://{host}{path}")
            .parse()
            .map_err(|e: UrlError| refuse(&e.to_string()))?;
        let wild_base = matches!(&base.host, Host::Domain(name) if name.contains('.'));
        if one_label && !wild_base {
            return Err(refuse(
                "a wildcard needs a domain of two labels or more behind it",
            ));
        }
        if path.trim_start_matches('/').split('/').count() != base.path[1..].split('/').count() {
            return Err(refuse(
                "its path contains `.`, `..` or begins with more than one slash",
            ));
        }
        let (segments, rest) = segments(&base.path).map_err(refuse)?;
        Ok(Self {
            text: text.to_owned(),
            one_label,
            base,
            segments,
            rest,
        })
    }
}

fn segments(path: &str) -> Result<(Vec<Segment>, bool), &'static str> {
    let mut words: Vec<&str> = path[1..].split('/').collect();
    let rest = words.last() == Some(&"**");
    if rest {
        words.pop();
    }
    let last = words.len().saturating_sub(1);
    let segment = |(at, word): (usize, &str)| match word {
        "*" => Ok(Segment::Any),
        "**" => Err("`**` stands at the end of a path alone"),
        _ if word.contains('*') => Err("`*` in a path stands for a whole segment"),
        "" if at != last || rest => Err("its path contains an empty segment"),
        _ if is_ambiguous(word) => Err("its path contains an escaped slash or dot"),
        _ => Ok(Segment::Literal(word.to_owned())),
    };
    let segments = words
        .into_iter()
        .enumerate()
        .map(segment)
        .collect::<Result<_, _>>()?;
    Ok((segments, rest))
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for UrlPattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for UrlPattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for UrlPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UrlPattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://",
            "description": "scheme://host[:port]/path; the host may begin with `*.`, a path \
                            segment may be `*`, and the path may end with `**`",
            "examples": ["https://api.example.com/v1/contracts/*"]
        })
    }
}
