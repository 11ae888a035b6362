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

/// What an administrator says of secrets.
pub(crate) struct Asked<'o> {
    /// The name of a scheme, or how the secret is sent.
    wanted: Option<&'o str>,
    /// For operations of a document that asks for a secret nowhere.
    unsaid: Option<Scheme>,
    /// For those that ask only for what can't be sent.
    instead: Option<Scheme>,
    /// Neither the document nor the administrator says anything of secrets.
    is_silent: bool,
}

impl Asked<'_> {
    /// What is told where nobody says anything.
    pub(crate) fn note(&self) -> Option<String> {
        let note = format!(
            "the document says nothing of secrets, so that none is sent; if its server asks for \
             one, say how with --auth {WORDS}"
        );
        self.is_silent.then_some(note)
    }
}

/// Reads what was asked for. A name that the document has is its scheme, else it may
/// be one of the four words, which say how a secret is sent.
pub(crate) fn asked<'o>(
    spec: &Spec<'_>,
    operations: &[Node<'_>],
    options: &'o Options,
) -> Result<Asked<'o>, Problem> {
    let wanted = options.auth.as_deref();
    let says = |node: &Node<'_>| node.get("security").is_some();
    let is_unsaid = !says(&spec.root) && !operations.iter().any(says);
    let declared = |name: &str| declared(spec, name).is_some();
    let found = match wanted {
        Some(word) if !declared(word) => in_words(word)?,
        Some(_) | None => None,
    };
    let unsaid = match wanted {
        Some(known) if is_unsaid && declared(known) => match scheme(spec, &spec.root, known)? {
            Ok(carrier) => Some(Scheme {
                name: known.to_owned(),
                carrier,
            }),
            Err(why) => return Err(Problem::option(format!("--auth: {why}"))),
        },
        _ => found.clone().filter(|_| is_unsaid),
    };
    let all = spec.root.get("components");
    let names_some = all.is_some_and(|all| all.get("securitySchemes").is_some());
    Ok(Asked {
        wanted,
        unsaid,
        instead: found,
        is_silent: is_unsaid && !names_some && wanted.is_none(),
    })
}

/// How a secret is sent where no scheme of the document says it.
const WORDS: &str = "bearer, basic, header:NAME or query:NAME";

fn in_words(word: &str) -> Result<Option<Scheme>, Problem> {
    let refused = |why: String| Err(Problem::option(format!("--auth {}: {why}", name(word))));
    let carrier = match word.split_once(':') {
        None if word == "bearer" => Carrier::Bearer,
        None if word == "basic" => Carrier::Basic,
        Some(("header", called)) => match check_header_name(called) {
            Ok(()) => Carrier::Header(called.to_owned()),
            Err(why) => return refused(why),
        },
        Some(("query", called)) if is_token(called) => Carrier::Query(called.to_owned()),
        Some(("query", called)) => {
            return refused(format!("`{}` can't name a value of a query", name(called)));
        }
        _ => return Ok(None),
    };
    Ok(Some(Scheme {
        name: word.to_owned(),
        carrier,
    }))
}

/// The scheme that an operation is sent with: the first of its alternatives that can
/// be, or the one that was asked for.
pub(crate) fn of_operation(
    spec: &Spec<'_>,
    operation: &Node<'_>,
    asked: &Asked<'_>,
) -> Result<Option<Scheme>, Problem> {
    let own = operation.get("security");
    let Some(security) = own.or_else(|| spec.root.get("security")) else {
        return Ok(asked.unsaid.clone());
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
    let chosen = usable
        .iter()
        .find(|scheme| Some(scheme.name.as_str()) == asked.wanted)
        .or(usable.first());
    match (chosen, &asked.instead) {
        (Some(scheme), _) => Ok(Some(scheme.clone())),
        (None, _) if is_open => Ok(None),
        (None, Some(instead)) => Ok(Some(instead.clone())),
        (None, None) => Err(fault.unwrap_or_else(|| {
            security.problem(format!(
            "none of what it asks for can be sent: {}; leave the operation out with --exclude, or \
             call it through a gateway that takes one key, with --auth {WORDS}",
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
    let found = declared(spec, called);
    let called = name(called);
    let Some(found) = found else {
        return Err(from.problem(format!(
            "there is no scheme `{called}` under `components.securitySchemes`: add it, or say how \
             a secret is sent with --auth {WORDS}"
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

/// A scheme of the document.
fn declared<'a>(spec: &Spec<'a>, called: &str) -> Option<Node<'a>> {
    let all = spec.root.get("components")?;
    all.get("securitySchemes")?.get(called)
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
        match known.is_empty() {
            true => format!("none; where the document names no scheme, write {WORDS}"),
            false => known.join(", "),
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
    if schemes.is_empty()
        && let Some(common) = common
    {
        return Err(Problem::option(format!(
            "--secret {}: no operation is sent with a secret, since the document asks for none; \
             say how it is sent with --auth {WORDS}",
            name(common)
        )));
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
