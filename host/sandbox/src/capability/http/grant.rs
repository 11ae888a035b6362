//! What an administrator may write under `http`, and which requests it covers.

use std::fmt;
use std::net::IpAddr;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{AddressClass, classify};
use super::url::{Target, UrlPattern};
use crate::capability::secrets::secret::check_name;
use crate::capability::{Given, Grants};
use crate::gate::{Allowed, Missing};
use crate::limits::{ByteSize, Rate};

/// Largest `request_bytes` and `response_bytes` of a rule.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// One rule: a set of requests, and what holds for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Scheme, host, port and path, see [`UrlPattern`].
    pub url: UrlPattern,
    /// The methods; `GET` alone where nothing is said.
    #[serde(default = "get_alone")]
    pub methods: Vec<String>,
    /// A stored secret that may be put into header values and the query of these
    /// requests. Over cleartext `http` only because the rule's `url` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Longest request body.
    #[serde(default = "request_bytes")]
    pub request_bytes: ByteSize,
    /// Longest response body.
    #[serde(default = "response_bytes")]
    pub response_bytes: ByteSize,
    /// How many requests, over all calls of the plugin; a change of the plugin's
    /// grants starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Whether the host may have a private, loopback or link-local address, or be
    /// this machine by whatever address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private: bool,
    /// Whether the host may be this very host's own API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_own: bool,
}

fn get_alone() -> Vec<String> {
    vec!["GET".to_owned()]
}

fn request_bytes() -> ByteSize {
    ByteSize(1 << 20)
}

fn response_bytes() -> ByteSize {
    ByteSize(8 << 20)
}

/// One request, as far as a rule looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its method.
    pub method: Method,
    /// Its URL.
    pub target: Target,
    /// The secret it carries a placeholder of.
    pub secret: Option<String>,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        match &self.secret {
            Some(name) => write!(f, " with secret `{name}`"),
            None => Ok(()),
        }
    }
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.methods.is_empty() {
            return Err("`methods` is empty; leave it out for `GET` alone".into());
        }
        for method in &self.methods {
            check_method(method)?;
        }
        if let Some(name) = &self.secret {
            check_name(name)?;
        }
        for (key, size) in [
            ("request_bytes", self.request_bytes),
            ("response_bytes", self.response_bytes),
        ] {
            if !(1..=BODY_BYTES_MAX).contains(&size.0) {
                return Err(format!(
                    "`{key}` must be between 1B and {}",
                    ByteSize(BODY_BYTES_MAX)
                ));
            }
        }
        if self.rate.is_some_and(|rate| rate.count == 0) {
            return Err("`rate` must be at least 1".into());
        }
        Ok(())
    }

    /// Which requests it is for; what it allows of them is apart.
    pub(super) fn identity(&self) -> String {
        let mut methods = self.methods.clone();
        methods.sort_unstable();
        methods.dedup();
        let mut text = format!("url = \"{}\", methods = {methods:?}", self.url);
        if let Some(secret) = &self.secret {
            text.push_str(&format!(", secret = {secret:?}"));
        }
        for (key, set) in [
            ("allow_private", self.allow_private),
            ("allow_own", self.allow_own),
        ] {
            if set {
                text.push_str(&format!(", {key} = true"));
            }
        }
        text
    }

    fn allows(&self, op: &Op) -> bool {
        self.covers(op) && self.lacks().is_none()
    }

    /// Whether this rule decides each request that `later`, a rule behind it, covers,
    /// so that `later` never holds. Of two patterns that only nearly cover one another
    /// it says no.
    pub fn decides_before(&self, later: &Self) -> bool {
        let methods = later.methods.iter().all(|m| self.methods.contains(m));
        // One without the secret does not decide requests that carry it.
        let secret = self.secret == later.secret || later.secret.is_none();
        let url = || example(&later.url).is_some_and(|target| self.url.matches(&target));
        self.lacks().is_none() && methods && secret && url()
    }

    /// How near it comes to a rule that a component asks for: a host of examples stands
    /// for one that the administrator knows, and so does its secret.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        if self == wanted {
            return Given::All;
        }
        let private = self.allow_private || !wanted.allow_private;
        let own = self.allow_own || !wanted.allow_own;
        let bytes = self.request_bytes.0 >= wanted.request_bytes.0
            && self.response_bytes.0 >= wanted.response_bytes.0;
        let rate = self.rate.is_none() || self.rate == wanted.rate;
        if !(private && own && bytes && rate) {
            return Given::No;
        }
        let elsewhere = wanted.url.is_example()
            && self.lacks().is_none()
            && wanted.methods.iter().all(|m| self.methods.contains(m))
            && (self.secret.is_some() || wanted.secret.is_none());
        match self.decides_before(wanted) {
            true => Given::All,
            false if elsewhere => Given::Elsewhere,
            false => Given::No,
        }
    }

    fn covers(&self, op: &Op) -> bool {
        self.url.matches(&op.target) && self.methods.iter().any(|m| m == op.method.as_str())
    }

    /// What the rule lacks for the address that its host is, without which it covers
    /// nothing. A name's addresses are judged when it is resolved.
    pub fn lacks(&self) -> Option<String> {
        self.address_lacks(self.url.address()?)
    }

    /// What the rule lacks for its host to have the address `ip`.
    pub(super) fn address_lacks(&self, ip: IpAddr) -> Option<String> {
        let named = self.url.address() == Some(ip);
        match classify(ip) {
            AddressClass::Public => None,
            AddressClass::Private(_) if self.allow_private => None,
            AddressClass::Metadata if self.allow_private && named => None,
            AddressClass::Private(kind) => Some(format!(
                "`allow_private = true` in the rule: the host's address is {kind}"
            )),
            AddressClass::Metadata => Some(
                "a rule with `allow_private = true` that names the address itself: it is a \
                 metadata service's"
                    .to_owned(),
            ),
            AddressClass::Never(kind) => Some(format!(
                "no rule can allow it: the host's address is {kind}"
            )),
        }
    }
}

/// A URL that a pattern covers and, of narrower ones, hardly any other does: the
/// stars stand for names that nobody has, `**` for more of them than a path has.
fn example(pattern: &UrlPattern) -> Option<Target> {
    const NAME: &str = "airlock-any";
    let pattern = pattern.to_string();
    let url = match pattern.strip_suffix("**") {
        Some(base) => format!("{base}{}", [NAME; 64].join("/")),
        None => pattern,
    };
    url.replace('*', NAME).parse().ok()
}

fn check_method(method: &str) -> Result<(), String> {
    let known = Method::from_bytes(method.as_bytes()).is_ok() && method.len() <= 32;
    if !known || method.chars().any(|c| c.is_ascii_lowercase()) {
        return Err(format!(
            "`{}` is not a method in upper case",
            method.escape_debug()
        ));
    }
    if ["CONNECT", "TRACE"].contains(&method) {
        return Err(format!("`{method}` cannot be granted"));
    }
    Ok(())
}

pub(super) fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
    let bound = |rule: &Rule| op.secret.is_none() || rule.secret == op.secret;
    match grants
        .http
        .iter()
        .position(|rule| rule.allows(op) && bound(rule))
    {
        Some(index) => Ok(Allowed::Rule(index)),
        None => Err(Missing::new(missing(grants, op))),
    }
}

/// The rule that would allow `op`, and how near the existing ones come.
fn missing(grants: &Grants, op: &Op) -> String {
    if let Some(lacks) = grants
        .http
        .iter()
        .filter(|rule| rule.covers(op))
        .find_map(Rule::lacks)
    {
        return lacks;
    }
    let private = match op.target.address().map(classify) {
        Some(AddressClass::Never(kind)) => {
            return format!("no rule can allow it: the host's address is {kind}");
        }
        Some(AddressClass::Private(_) | AddressClass::Metadata) => ", allow_private = true",
        Some(AddressClass::Public) | None => "",
    };
    let nearest = nearest(grants, op);
    let secret = op
        .secret
        .as_ref()
        .map_or(String::new(), |name| format!(", secret = \"{name}\""));
    format!(
        "no rule allows it; needed: http = [{{ url = \"{}\", methods = [\"{}\"]{secret}{private} }}]{nearest}",
        UrlPattern::naming(&op.target),
        op.method
    )
}

fn nearest(grants: &Grants, op: &Op) -> String {
    let find = |test: &dyn Fn(&Rule) -> bool| grants.http.iter().position(test);
    if let Some(index) = find(&|rule| rule.allows(op)) {
        return format!(" (rule {index} covers the request and is not bound to this secret)");
    }
    if let Some(index) = find(&|rule| rule.url.matches(&op.target)) {
        return format!(" (rule {index} covers the URL with other methods)");
    }
    if let Some(index) = find(&|rule| rule.url.covers_host(&op.target)) {
        return format!(" (rule {index} covers the host with other paths)");
    }
    String::new()
}

pub(super) fn parse_op(words: &[&str]) -> Result<Op, String> {
    const USAGE: &str = "write a method and a URL, e.g. `GET https://api.example.com/v1`, \
                         and `secret=NAME` behind it for a request that carries a secret";
    let (method, url, secret) = match words {
        [method, url] => (method, url, None),
        [method, url, secret] => (
            method,
            url,
            Some(secret.strip_prefix("secret=").ok_or(USAGE)?.to_owned()),
        ),
        _ => return Err(USAGE.into()),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| USAGE)?;
    let target = url
        .parse()
        .map_err(|e| format!("`{}`: {e}", url.escape_debug()))?;
    Ok(Op {
        method,
        target,
        secret,
    })
}
