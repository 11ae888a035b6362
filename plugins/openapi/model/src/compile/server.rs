//! Which server the operations are on: one, since that is what is granted.

use url::{Host, Url};

use super::Options;
use crate::plan::Carrier;
use crate::problem::{Problem, name};
use crate::request::is_ambiguous;
use crate::spec::{Node, Spec};

/// A server: its URL without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) base: String,
    /// Its host is this machine's, or in a private network.
    pub(crate) is_private: bool,
    pub(crate) is_cleartext: bool,
}

/// The server of the document, or the one that was given in its place.
pub(crate) fn of_document(spec: &Spec<'_>, options: &Options) -> Result<Server, Problem> {
    if let Some(given) = &options.base_url {
        return parse(given).map_err(|why| Problem::option(format!("--base-url {given}: {why}")));
    }
    let servers = match spec.root.get("servers") {
        Some(servers) => servers.items("`servers`")?.collect(),
        None => Vec::new(),
    };
    match servers.as_slice() {
        [] => Err(spec
            .root
            .problem("it names no server: give one, e.g. --base-url https://api.example.com/v1")),
        [one] => resolved(one).and_then(|url| {
            parse(&url).map_err(|why| {
                let url = name(&url);
                one.problem(format!(
                    "its server is `{url}`, {why}: give it, e.g. --base-url https://api.example.com/v1"
                ))
            })
        }),
        several => {
            let urls: Vec<String> = several
                .iter()
                .take(10)
                .map(|one| resolved(one).map(|url| name(&url)))
                .collect::<Result<_, _>>()?;
            Err(Problem::new(
                "/servers",
                format!(
                    "it names {} servers, and a plugin is granted one: choose it with --base-url, \
                     of {}",
                    several.len(),
                    urls.join(", ")
                ),
            ))
        }
    }
}

/// A path's or an operation's own servers must be the one that is granted.
pub(crate) fn check_own(node: &Node<'_>, server: &Server) -> Result<(), Problem> {
    let Some(own) = node.get("servers") else {
        return Ok(());
    };
    let mut urls = Vec::new();
    for one in own.items("`servers`")? {
        let url = resolved(&one)?;
        if parse(&url).is_ok_and(|parsed| parsed.base == server.base) {
            return Ok(());
        }
        if urls.len() < 10 {
            urls.push(name(&url));
        }
    }
    if urls.is_empty() {
        return Ok(());
    }
    Err(node.problem(format!(
        "it is on another server, {}: leave it out with --exclude, or make another plugin of it \
         with --base-url and --include",
        urls.join(", ")
    )))
}

/// A server's URL, with its variables' defaults.
fn resolved(server: &Node<'_>) -> Result<String, Problem> {
    let Some(url) = server.text("url") else {
        return Err(server.problem("a server has no `url`"));
    };
    let mut made = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((variable, behind)) = after.split_once('}') else {
            return Err(server.problem(format!("`{}` has a `{{` without its `}}`", name(url))));
        };
        let known = server
            .get("variables")
            .and_then(|all| all.get(variable))
            .and_then(|one| one.text("default"));
        let Some(value) = known else {
            let variable = name(variable);
            return Err(server.problem(format!(
                "the variable `{variable}` of `{}` has no default: give the URL with --base-url",
                name(url)
            )));
        };
        made.push_str(before);
        made.push_str(value);
        rest = behind;
    }
    made.push_str(rest);
    Ok(made)
}

/// An absolute URL that a rule can name.
fn parse(text: &str) -> Result<Server, String> {
    let relative = text.starts_with('/') || text.is_empty() || text.starts_with('.');
    if relative {
        return Err("relative to where the file is from".to_owned());
    }
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '*' | '{' | '}'))
    {
        return Err("which has a character that no server's URL has".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("which is no URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("and only http and https can be granted".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("with a user in it: credentials are secrets, and no part of a URL".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("with a query or a fragment, which a server has not".to_owned());
    }
    let path = url.path().trim_end_matches('/');
    let behind = text.split_once("://").map_or("", |(_, behind)| behind);
    let written = behind.find('/').map_or("", |at| &behind[at..]);
    if written.trim_end_matches('/') != path {
        return Err("the path of which can be read in two ways".to_owned());
    }
    let segments = || path.split('/').skip(1);
    if segments().any(|segment| segment.is_empty() || is_ambiguous(segment)) {
        return Err("the path of which can be read in two ways".to_owned());
    }
    let is_private = match url.host() {
        Some(Host::Ipv4(ip)) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(Host::Ipv6(ip)) => ip.is_loopback() || (ip.segments()[0] & 0xfe00) == 0xfc00,
        Some(Host::Domain(name)) if name.ends_with('.') => {
            return Err("the host of which ends with a dot".to_owned());
        }
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => return Err("which has no host".to_owned()),
    };
    let origin = url.origin().ascii_serialization();
    Ok(Server {
        base: format!("{origin}{path}"),
        is_private,
        is_cleartext: url.scheme() == "http",
    })
}

impl Server {
    /// The rule of the `http` room that these requests need.
    pub(crate) fn rule(&self, methods: &[String], secret: Option<&str>, private: bool) -> String {
        let methods: Vec<String> = methods.iter().map(|name| format!("\"{name}\"")).collect();
        let secret = secret.map_or(String::new(), |name| format!(", secret = \"{name}\""));
        let private = match private || self.is_private {
            true => ", allow_private = true",
            false => "",
        };
        format!(
            "{{ url = \"{}/**\", methods = [{}]{secret}{private} }}",
            self.base,
            methods.join(", ")
        )
    }
}

/// What an administrator should know of the server.
pub(crate) fn notes(server: &Server, carriers: &[Carrier]) -> Vec<String> {
    let mut notes = Vec::new();
    if server.is_cleartext && !carriers.is_empty() && !server.is_private {
        notes.push(format!(
            "{} is cleartext: the secret can be read on its way",
            server.base
        ));
    }
    notes
}
