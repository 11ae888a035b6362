//! Where a server is and what it is given: what an administrator writes.
//!
//! What must stay true: everything that decides what a server can do is in here,
//! and so is pinned with its tools; a secret is only named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Most bytes of what the program is told, all together: the system takes no longer
/// argument, and the launcher is told it in one.
const ORDER_BYTES_MAX: usize = 96 << 10;
/// Most arguments, headers, variables, paths and tools, each.
const ITEMS_MAX: usize = 64;
/// Longest of one, bytes.
const ITEM_BYTES_MAX: usize = 4 << 10;
/// Names and values of all variables, bytes: they go to the launcher as one argument.
const VARIABLES_BYTES_MAX: usize = 32 << 10;

/// A server. Exactly one of `url` and `command` is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it is, `https://…` (streamable HTTP). `http://` needs `allow_private`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers of each request, by name: the name of the secret that is its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The URL may lead to an address that is not public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private: bool,
    /// The program that is started, an absolute path (stdio).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Of its environment, by name: the name of the secret that is its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The rest of its environment, by name: the value itself, which is no secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Files and folders that it may read and execute besides the system's
    /// libraries and programs, absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// It may open TCP connections and ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_network: bool,
    /// Of its tools, only these are taken, by the server's names; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<String>>,
}

/// A server that can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(pub String);

/// Headers that are the connection's or the protocol's own.
const OWN_HEADERS: [HeaderName; 11] = [
    header::HOST,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

impl Server {
    /// Whether it is a program.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.command.is_some()
    }

    /// Secrets that it names.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let named = self.headers.values().chain(self.env.values());
        named.map(String::as_str)
    }

    /// Where it is, for people: without arguments.
    #[must_use]
    pub fn place(&self) -> &str {
        let place = self.url.as_deref().or(self.command.as_deref());
        place.unwrap_or_default()
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// What is wrong, where, and what to write.
    pub fn check(&self) -> Result<(), ServerError> {
        self.checked().map_err(ServerError)
    }

    fn checked(&self) -> Result<(), String> {
        self.check_size()?;
        match (&self.url, &self.command) {
            (Some(url), None) => {
                let others = [
                    ("args", self.args.is_empty()),
                    ("env", self.env.is_empty()),
                    ("variables", self.variables.is_empty()),
                    ("read", self.read.is_empty()),
                    ("allow_network", !self.allow_network),
                ];
                absent(&others, "url")?;
                self.check_headers()?;
                self.check_url(url)
            }
            (None, Some(command)) => {
                let others = [
                    ("headers", self.headers.is_empty()),
                    ("allow_private", !self.allow_private),
                ];
                absent(&others, "command")?;
                check_path("command", command)?;
                self.read
                    .iter()
                    .try_for_each(|path| check_path("read", path))?;
                self.env
                    .keys()
                    .try_for_each(|name| check_secret_variable(name))?;
                self.check_variables()
            }
            _ => Err("name one of `url` and `command`".to_owned()),
        }
    }

    fn check_size(&self) -> Result<(), String> {
        let no_tools = BTreeSet::new();
        let tools = self.tools.as_ref().unwrap_or(&no_tools);
        let lists: [(&str, usize, Vec<&String>); 6] = [
            ("headers", self.headers.len(), pairs(&self.headers)),
            ("env", self.env.len(), pairs(&self.env)),
            ("variables", self.variables.len(), pairs(&self.variables)),
            ("args", self.args.len(), self.args.iter().collect()),
            ("read", self.read.len(), self.read.iter().collect()),
            ("tools", tools.len(), tools.iter().collect()),
        ];
        for (name, count, items) in lists {
            if count > ITEMS_MAX {
                return Err(format!("`{name}` has more than {ITEMS_MAX} items"));
            }
            let fits = |item: &&String| item.len() <= ITEM_BYTES_MAX && !item.contains('\0');
            if !items.iter().all(fits) {
                return Err(format!(
                    "an item of `{name}` has more than {ITEM_BYTES_MAX} bytes, or a NUL"
                ));
            }
        }
        let order = serde_json::to_string(&(&self.args, &self.read, &self.variables));
        let bytes = order.map_or(usize::MAX, |order| order.len());
        if bytes > ORDER_BYTES_MAX {
            return Err(format!(
                "`args`, `read` and `variables` have more than {ORDER_BYTES_MAX} bytes together, as JSON"
            ));
        }
        match self.tools.as_ref().is_some_and(BTreeSet::is_empty) {
            true => Err("`tools` names none: leave it out to take all".to_owned()),
            false => Ok(()),
        }
    }

    /// These are the administrator's own words, which are shown with the server, so
    /// that they may also be the loader's: they are set when the program is begun,
    /// under all that it is held to.
    fn check_variables(&self) -> Result<(), String> {
        for name in self.variables.keys() {
            let shown = crate::text::line(name);
            if !is_variable(name) {
                return Err(format!(
                    "`variables`: `{shown}` is no name of a variable: letters, digits and `_`"
                ));
            }
            if self.env.contains_key(name) {
                return Err(format!(
                    "`{shown}` is in `env`, from a secret, and in `variables`: keep one"
                ));
            }
        }
        let all = self.variables.iter();
        let bytes: usize = all.map(|(name, value)| name.len() + value.len()).sum();
        match bytes > VARIABLES_BYTES_MAX {
            true => Err(format!(
                "`variables` have {bytes} bytes, more than {VARIABLES_BYTES_MAX}"
            )),
            false => Ok(()),
        }
    }

    fn check_url(&self, text: &str) -> Result<(), String> {
        let example = "write e.g. `https://mcp.example.com/mcp`";
        // Without the URL: it may hold a password.
        let url =
            Url::parse(text).map_err(|error| format!("`url`: no URL ({error}); {example}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`url` holds a user or password: name a secret in `headers`".to_owned());
        }
        if url.fragment().is_some() || url.query().is_some() {
            return Err(format!("`url` has a query or fragment; {example}"));
        }
        if url.host().is_none() {
            return Err(format!("`url` names no host; {example}"));
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_private => Ok(()),
            "http" => Err(
                "`url` begins with `http://`, which everybody on the way can read and change: use `https://`, or `allow_private` for a server of your own network"
                    .to_owned(),
            ),
            _ => Err(format!("`url` begins with `https://`; {example}")),
        }
    }

    fn check_headers(&self) -> Result<(), String> {
        for name in self.headers.keys() {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let parsed = parsed
                .map_err(|_| format!("`headers`: `{}` is no header", crate::text::line(name)))?;
            if OWN_HEADERS.contains(&parsed) || parsed.as_str().starts_with("mcp-") {
                return Err(format!("`headers`: `{parsed}` is the connection's own"));
            }
        }
        Ok(())
    }

    /// Its URL, read.
    pub(crate) fn target(&self) -> Option<Target> {
        let url = Url::parse(self.url.as_deref()?).ok()?;
        let (host, port) = (url.host()?.to_owned(), url.port_or_known_default()?);
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Some(Target {
            https: url.scheme() == "https",
            host,
            port,
            authority,
            path: url.path().to_owned(),
        })
    }
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// Names and values.
fn pairs(map: &BTreeMap<String, String>) -> Vec<&String> {
    map.iter().flat_map(|(name, value)| [name, value]).collect()
}

fn absent(others: &[(&str, bool)], with: &str) -> Result<(), String> {
    match others.iter().find(|(_, absent)| !absent) {
        Some((name, _)) => Err(format!("`{name}` does not go with `{with}`")),
        None => Ok(()),
    }
}

fn check_path(what: &str, path: &str) -> Result<(), String> {
    let parts = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let path_of = Path::new(path);
    let whole = path_of.is_absolute() && path_of.components().all(parts);
    match whole && path != "/" {
        true => Ok(()),
        false => Err(format!(
            "`{what}`: `{}` is no absolute path without `..`",
            crate::text::line(path)
        )),
    }
}

fn is_variable(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    name.bytes().all(allowed) && !name.as_bytes().first().is_none_or(u8::is_ascii_digit)
}

/// A secret's value is seen by nobody who looks at the server, and the launcher has
/// it before it confines itself.
fn check_secret_variable(name: &str) -> Result<(), String> {
    // They decide what is run before the server is.
    let loads = name.starts_with("LD_") || ["GCONV_PATH", "GLIBC_TUNABLES"].contains(&name);
    match is_variable(name) && !loads {
        true => Ok(()),
        false => Err(format!(
            "`env`: `{}` can't be set from a secret: letters, digits and `_`, and none of the loader's",
            crate::text::line(name)
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(server: serde_json::Value) -> String {
        match serde_json::from_value::<Server>(server) {
            Ok(server) => match server.check() {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_a_program_is_given_is_bounded() {
        let of = |args: Vec<String>, values: Vec<String>| {
            let variables = values.into_iter().enumerate();
            let variables = variables.map(|(n, value)| (format!("V{n}"), value));
            let server = Server {
                command: Some("/x".to_owned()),
                args,
                variables: variables.collect(),
                ..Server::default()
            };
            server.check().map_err(|error| error.to_string())
        };
        let text = |bytes: usize| "x".repeat(bytes);
        assert_eq!(of(vec![text(1); ITEMS_MAX], vec![]), Ok(()));
        assert_eq!(of(vec![text(ITEM_BYTES_MAX)], vec![]), Ok(()));
        assert!(of(vec![text(1); ITEMS_MAX + 1], vec![]).is_err());
        // Names count: eight of two letters.
        let each = VARIABLES_BYTES_MAX / 8 - 2;
        let mut values = vec![text(each); 8];
        assert_eq!(of(vec![], values.clone()), Ok(()));
        values[7].push('x');
        let refused = of(vec![], values).expect_err("one byte more");
        assert!(refused.contains("have 32769 bytes"), "{refused}");
        // As JSON: `[[` … `],[],{}]`, and each text with its quotes and comma.
        let mut args = vec![text(ITEM_BYTES_MAX); 23];
        let written = 23 * (ITEM_BYTES_MAX + 3) + "[[],[],{}]".len();
        args.push(text(ORDER_BYTES_MAX - written - 2));
        assert_eq!(of(args.clone(), vec![]), Ok(()));
        args[23].push('x');
        let refused = of(args, vec![]).expect_err("one byte more");
        assert!(refused.contains("98304 bytes together"), "{refused}");
    }

    #[test]
    fn a_place_is_for_people() {
        let place = |server: serde_json::Value| {
            let server: Server = serde_json::from_value(server).expect("a server");
            server.place().to_owned()
        };
        let url = json!({ "url": "https://a.test/mcp" });
        assert_eq!(place(url), "https://a.test/mcp");
        let command = json!({ "command": "/bin/x", "args": ["--key", "k"] });
        assert_eq!(place(command), "/bin/x");
        assert_eq!(place(json!({})), "");
    }

    #[test]
    fn a_server_makes_sense_or_is_refused() {
        let long = "x".repeat(ITEM_BYTES_MAX + 1);
        let many = |count: usize, bytes: usize| -> serde_json::Value {
            let pair = |n: usize| (format!("V{n}"), json!("x".repeat(bytes)));
            serde_json::Value::Object((0..count).map(pair).collect())
        };
        let table = [
            (json!({ "url": "https://a.test/mcp" }), "ok"),
            (
                json!({ "url": "https://a.test/mcp", "headers": { "Authorization": "key" } }),
                "ok",
            ),
            (
                json!({ "url": "http://127.0.0.1:1/mcp", "allow_private": true }),
                "ok",
            ),
            (json!({ "url": "http://a.test/mcp" }), "`http://`"),
            (json!({ "url": "ftp://a.test" }), "begins with `https://`"),
            (json!({ "url": "https://u:p@a.test/" }), "user or password"),
            (json!({ "url": "https://u@a.test/" }), "user or password"),
            (json!({ "url": "https://:p@a.test/" }), "user or password"),
            (
                json!({ "url": "https://a.test/?key=1" }),
                "query or fragment",
            ),
            (json!({ "url": "nowhere" }), "no URL"),
            (json!({}), "one of `url` and `command`"),
            (
                json!({ "url": "https://a.test", "command": "/bin/x" }),
                "one of `url` and `command`",
            ),
            (
                json!({ "url": "https://a.test", "env": { "A": "b" } }),
                "`env` does not go with `url`",
            ),
            (
                json!({ "url": "https://a.test", "headers": { "Host": "b" } }),
                "the connection's own",
            ),
            (
                json!({ "url": "https://a.test", "headers": { "mcp-session-id": "b" } }),
                "the connection's own",
            ),
            (
                json!({ "url": "https://a.test", "headers": { "a b": "b" } }),
                "is no header",
            ),
            (
                json!({ "command": "/usr/bin/server", "args": ["-v"], "env": { "TOKEN": "t" } }),
                "ok",
            ),
            (json!({ "command": "server" }), "no absolute path"),
            (json!({ "command": "/usr/../etc/x" }), "no absolute path"),
            (json!({ "command": "/" }), "no absolute path"),
            (
                json!({ "command": "/x", "read": ["/"] }),
                "no absolute path",
            ),
            (
                json!({ "command": "/x", "headers": { "a": "b" } }),
                "`headers` does not go with",
            ),
            (
                json!({ "command": "/x", "env": { "LD_PRELOAD": "a" } }),
                "can't be set",
            ),
            (
                json!({ "command": "/x", "env": { "GLIBC_TUNABLES": "a" } }),
                "can't be set",
            ),
            (
                json!({ "command": "/x", "env": { "A=B": "a" } }),
                "can't be set",
            ),
            (
                json!({ "command": "/x", "env": { "1": "a" } }),
                "can't be set",
            ),
            (
                json!({ "command": "/x", "variables": { "DEBUG": "1", "A_1": "", "LD_PRELOAD": "/usr/lib/x.so" } }),
                "ok",
            ),
            (
                json!({ "command": "/x", "variables": { "A=B": "a" } }),
                "`A=B` is no name of a variable",
            ),
            (
                json!({ "command": "/x", "variables": { "": "a" } }),
                "is no name of a variable",
            ),
            (
                json!({ "command": "/x", "variables": { "1": "a" } }),
                "is no name of a variable",
            ),
            (
                json!({ "command": "/x", "variables": { "A\n": "a" } }),
                "`A\\u{a}` is no name of a variable",
            ),
            (
                json!({ "command": "/x", "variables": { "A": "a\u{0}" } }),
                "or a NUL",
            ),
            (
                json!({ "command": "/x", "variables": { "A": long } }),
                "an item of `variables`",
            ),
            (
                json!({ "command": "/x", "variables": many(65, 1) }),
                "`variables` has more than 64 items",
            ),
            (json!({ "command": "/x", "variables": many(64, 1) }), "ok"),
            (
                json!({ "command": "/x", "variables": many(9, 4_000) }),
                "more than 32768",
            ),
            (
                json!({ "command": "/x", "variables": { "A": "a" }, "env": { "A": "b" } }),
                "`A` is in `env`, from a secret, and in `variables`",
            ),
            (
                json!({ "command": "/x", "variables": { "A": 1 } }),
                "invalid type",
            ),
            (
                json!({ "url": "https://a.test", "variables": { "A": "b" } }),
                "`variables` does not go with `url`",
            ),
            (
                json!({ "command": "/x", "args": [long] }),
                "an item of `args`",
            ),
            (
                json!({ "command": "/x", "args": vec!["a"; 200] }),
                "more than 64 items",
            ),
            (json!({ "command": "/x", "tools": [] }), "names none"),
            (json!({ "command": "/x", "shell": true }), "unknown field"),
        ];
        for (server, expect) in table {
            let found = check(server.clone());
            assert!(found.contains(expect), "{server}: {found}");
        }
    }
}
