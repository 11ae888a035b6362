//! With which secret an operation is sent, and where in the request.
//!
//! What must stay true: a request carries one secret at most, since the host puts in
//! no more.

use super::Options;
use crate::plan::Carrier;
use crate::problem::{Problem, name};
use crate::request::{check_header_name, is_token};
use crate::spec::{Node, Spec};

/// A security scheme of the document that is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scheme {
    pub(crate) name: String,
    pub(crate) carrier: Carrier,
}

/// The scheme that an operation is sent with: the first of its alternatives that can
/// be, or the one that was asked for.
pub(crate) fn of_operation(
    spec: &Spec<'_>,
    operation: &Node<'_>,
    options: &Options,
) -> Result<Option<Scheme>, Problem> {
    let own = operation.get("security");
    let Some(security) = own.or_else(|| spec.root.get("security")) else {
        return Ok(None);
    };
    let mut usable = Vec::new();
    let mut reasons = Vec::new();
    let mut fault = None;
    let mut is_open = security.value.as_array().is_some_and(Vec::is_empty);
    for alternative in security.items("`security`")? {
        let names = alternative.map("what is required")?;
        let names: Vec<&str> = names.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => is_open = true,
            [one] => match scheme(spec, &alternative, one) {
                Ok(Ok(carrier)) => usable.push(Scheme {
                    name: (*one).to_owned(),
                    carrier,
                }),
                Ok(Err(reason)) => reasons.push(reason),
                // No matter where another one can be sent.
                Err(problem) => fault = fault.or(Some(problem)),
            },
            several => reasons.push(format!(
                "`{}` together are more secrets than one request can carry",
                several
                    .iter()
                    .map(|one| name(one))
                    .collect::<Vec<_>>()
                    .join("` and `")
            )),
        }
    }
    let wanted = options.auth.as_ref();
    let chosen = usable
        .iter()
        .find(|scheme| Some(&scheme.name) == wanted)
        .or(usable.first());
    match chosen {
        Some(scheme) => Ok(Some(scheme.clone())),
        None if is_open => Ok(None),
        None => Err(fault.unwrap_or_else(|| {
            security.problem(format!(
            "none of what it asks for can be sent: {}; leave the operation out with --exclude, or \
             call it through a gateway that takes one key",
            reasons.join("; ")
        ))
        })),
    }
}

/// Where a scheme's secret is sent, or why it can't be.
fn scheme(
    spec: &Spec<'_>,
    from: &Node<'_>,
    called: &str,
) -> Result<Result<Carrier, String>, Problem> {
    let all = spec.root.get("components");
    let found = all
        .and_then(|all| all.get("securitySchemes"))
        .and_then(|all| all.get(called));
    let called = name(called);
    let Some(found) = found else {
        return Err(from.problem(format!(
            "there is no scheme `{called}` under `components.securitySchemes`"
        )));
    };
    let scheme = spec.resolve(found)?;
    let refused = |why: &str| Ok(Err(format!("`{called}` is {why}")));
    match scheme.text("type") {
        Some("apiKey") => api_key(&scheme).map(Ok),
        Some("http") => match scheme.text("scheme").unwrap_or_default() {
            kind if kind.eq_ignore_ascii_case("bearer") => Ok(Ok(Carrier::Bearer)),
            kind if kind.eq_ignore_ascii_case("basic") => Ok(Ok(Carrier::Basic)),
            kind => refused(&format!(
                "HTTP authentication `{}`, and only bearer and basic are sent",
                name(kind)
            )),
        },
        Some("oauth2" | "openIdConnect") => Ok(Ok(Carrier::Bearer)),
        Some("mutualTLS") => refused("a client certificate, which can't be sent"),
        other => Err(scheme.problem(format!(
            "`{}` is no type of a security scheme: apiKey, http, oauth2 or openIdConnect",
            name(other.unwrap_or_default())
        ))),
    }
}

fn api_key(scheme: &Node<'_>) -> Result<Carrier, Problem> {
    let Some(key) = scheme.text("name").filter(|key| !key.is_empty()) else {
        return Err(scheme.problem("an API key has no `name`"));
    };
    match scheme.text("in") {
        Some("header") => match check_header_name(key) {
            Ok(()) => Ok(Carrier::Header(key.to_owned())),
            Err(why) => Err(scheme.problem(why)),
        },
        Some("query") => Ok(Carrier::Query(key.to_owned())),
        Some("cookie") if is_token(key) => Ok(Carrier::Cookie(key.to_owned())),
        Some("cookie") => Err(scheme.problem(format!("`{}` is no cookie's name", name(key)))),
        _ => Err(scheme.problem("an API key is `in: header`, `query` or `cookie`")),
    }
}

/// The scheme that was asked for is one that operations are sent with.
pub(crate) fn check_choice(schemes: &[Scheme], options: &Options) -> Result<(), Problem> {
    let Some(wanted) = &options.auth else {
        return Ok(());
    };
    if schemes.iter().any(|scheme| scheme.name == *wanted) {
        return Ok(());
    }
    let known: Vec<String> = schemes.iter().map(|scheme| name(&scheme.name)).collect();
    Err(Problem::option(format!(
        "--auth {}: no operation can be sent with it; in use: {}",
        name(wanted),
        if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        }
    )))
}

/// The secrets' names for the schemes in use.
pub(crate) fn secrets(
    schemes: &[Scheme],
    options: &Options,
) -> Result<Vec<(Scheme, String)>, Problem> {
    let mut common = None;
    let mut named = Vec::new();
    for given in &options.secrets {
        match given.split_once('=') {
            Some((scheme, secret)) => named.push((scheme, secret)),
            None => common = Some(given.as_str()),
        }
    }
    let known: Vec<String> = schemes.iter().map(|scheme| name(&scheme.name)).collect();
    let known = known.join(", ");
    for (scheme, _) in &named {
        if !schemes.iter().any(|one| one.name == *scheme) {
            return Err(Problem::option(format!(
                "--secret {scheme}=…: no operation is sent with `{scheme}`; in use: {}",
                if known.is_empty() { "none" } else { &known }
            )));
        }
    }
    if schemes.len() > 1
        && let Some(common) = common
    {
        return Err(Problem::option(format!(
            "--secret {common}: several schemes are in use ({known}); give each its own, e.g. \
             --secret {}={common}, or choose one with --auth",
            schemes[0].name
        )));
    }
    let of = |scheme: &Scheme| {
        let given = named.iter().find(|(one, _)| *one == scheme.name);
        let given = given.map(|(_, secret)| *secret).or(common);
        let made = match (given, schemes.len()) {
            (Some(given), _) => given.to_owned(),
            (None, 1) => format!("{}-key", options.plugin),
            (None, _) => format!("{}-{}", options.plugin, super::names::secret(&scheme.name)),
        };
        match is_secret_name(&made) {
            true => Ok((scheme.clone(), made)),
            false => Err(Problem::option(format!(
                "--secret: `{}` can't name a secret: write 1 to 64 of a-z, 0-9, `-`, `_` and `.`",
                name(&made)
            ))),
        }
    };
    schemes.iter().map(of).collect()
}

fn is_secret_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(plain)
}
