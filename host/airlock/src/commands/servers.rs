//! MCP servers of others: `airlock plugin add` with one, and `airlock plugin accept`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::described::changes;
use super::plugins::{ended, inspecting, installed_text, join};
use crate::cli::{PluginAdd, ServerAdd};
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, one_line, print_bytes};

/// The server that is to be installed, if it is one.
pub(super) fn of(add: &ServerAdd) -> Result<Option<Value>> {
    let mut server = match (&add.mcp_url, &add.mcp_command) {
        (Some(url), _) => json!({ "url": url }),
        (None, Some(command)) => json!({ "command": command }),
        (None, None) if !add.tools.is_empty() => {
            let what = "--tool chooses between the tools of an MCP server: it goes with --mcp-url or --mcp-command";
            return Err(Misuse(what.to_owned()).into());
        }
        (None, None) => return Ok(None),
    };
    let lists = [
        ("args", &add.args),
        ("read", &add.read),
        ("tools", &add.tools),
    ];
    let given = lists.into_iter().filter(|(_, items)| !items.is_empty());
    // Also what does not go with the other, which the server says: the parser asks for
    // nothing that can't stand beside what is there.
    for (member, items) in given {
        server[member] = json!(items);
    }
    server["headers"] = pairs("--header-secret", &add.headers)?;
    server["env"] = pairs("--env-secret", &add.env)?;
    server["variables"] = variables(&add.variables)?;
    server["allow_private"] = json!(add.allow_private);
    server["allow_network"] = json!(add.allow_network);
    Ok(Some(server))
}

/// Names and the secrets that are their values.
fn pairs(option: &str, given: &[String]) -> Result<Value> {
    let mut pairs = serde_json::Map::new();
    for pair in given {
        let Some((name, secret)) = pair.split_once('=') else {
            // Without what was given: it may be the secret itself.
            let what =
                format!("{option} takes NAME=SECRET, the secret's name as of `airlock secret set`");
            return Err(Misuse(what).into());
        };
        pairs.insert(name.to_owned(), json!(secret));
    }
    Ok(Value::Object(pairs))
}

/// Names and values, which are no secrets.
fn variables(given: &[String]) -> Result<Value> {
    let mut pairs = serde_json::Map::new();
    for pair in given {
        let Some((name, value)) = pair.split_once('=') else {
            let what = "--env takes NAME=VALUE; for a secret --env-secret NAME=SECRET";
            return Err(Misuse(what.to_owned()).into());
        };
        pairs.insert(name.to_owned(), json!(value));
    }
    Ok(Value::Object(pairs))
}

pub(super) const NOT_SANDBOXED: &str = "NOT SANDBOXED: no grant holds back what this server does";

fn send(session: &Session, name: &str, body: &Value) -> Result<Value> {
    let path = format!("/v1/plugins/{}/mcp?wait=true", encode(name));
    let operation = session.api.value(&Request::json("POST", path, body))?;
    ended(&session.api, operation)
}

pub(super) fn add(session: &Session, request: &PluginAdd, server: Value) -> Result<()> {
    let body = json!({ "server": server, "digest": request.digest, "activate": request.activate });
    let name = request.name.as_deref();
    let name = name.ok_or_else(|| Misuse("give the plugin a name".to_owned()))?;
    let installed = send(session, name, &body)?;
    session.format.show(&installed, |installed| {
        let text = installed_text(name, installed);
        let look = inspecting(name, installed);
        format!("{text}\nwhat it has: {look}\n{NOT_SANDBOXED}")
    })
}

/// The very bytes that its digest is of.
pub(super) fn pinned(session: &Session, name: &str) -> Result<()> {
    let path = format!("/v1/plugins/{}/mcp", encode(name));
    let reply = session.api.ok(&Request::new("GET", path))?;
    print_bytes(&reply.body)
}

pub(super) fn accept(session: &Session, name: &str, digest: Option<&str>, why: &str) -> Result<()> {
    let body = match digest {
        None => json!({ "check": true }),
        Some(digest) => json!({ "digest": digest, "activate": true, "why": why }),
    };
    let found = send(session, name, &body)?;
    session.format.show(&found, |found| {
        let (digest_found, differs) = (cell(found, "digest"), changes(&found["changes"]));
        match (digest, differs.is_empty()) {
            (Some(_), _) => format!("{name} is now {digest_found}{differs}\n{NOT_SANDBOXED}"),
            (None, true) => format!("{name} lists what was accepted"),
            (None, false) => format!(
                "{name} lists other tools than those that were accepted:{differs}\n\
                 to accept this: airlock plugin accept {name} {digest_found}"
            ),
        }
    })
}

/// The server of a plugin, as it is inspected.
pub(super) fn describe(detail: &Value) -> String {
    let server = &detail["server"];
    if detail["sandboxed"] != false {
        return String::new();
    }
    let of = &server["server"];
    let place = of["url"].as_str().or(of["command"].as_str()).unwrap_or("?");
    let mut text = format!("\nNOT SANDBOXED: an MCP server, {}\n", one_line(place));
    for (label, member) in [
        ("arguments", "args"),
        ("may read", "read"),
        ("only the tools", "tools"),
    ] {
        if of[member].as_array().is_some_and(|items| !items.is_empty()) {
            text.push_str(&format!("  {label}: {}\n", one_line(&join(&of[member]))));
        }
    }
    for (label, member) in [("headers", "headers"), ("environment", "env")] {
        let pairs = of[member].as_object().into_iter().flatten();
        let pairs: Vec<String> = pairs
            .map(|(name, secret)| {
                let secret = secret.as_str().unwrap_or("?");
                format!("{name} from the secret {secret}")
            })
            .collect();
        if !pairs.is_empty() {
            text.push_str(&format!("  {label}: {}\n", one_line(&pairs.join(", "))));
        }
    }
    let pairs = of["variables"].as_object().into_iter().flatten();
    for (name, value) in pairs {
        let value = value.as_str().unwrap_or("?");
        text.push_str(&format!(
            "  variable: {}\n",
            one_line(&format!("{name}={value}"))
        ));
    }
    for (member, says) in [
        ("allow_private", "may be at a private address"),
        ("allow_network", "may use the network"),
    ] {
        if of[member] == true {
            text.push_str(&format!("  {says}\n"));
        }
    }
    if let Some(held) = server["landlock"].as_str() {
        text.push_str(&format!("  Landlock holds its files and network: {held}\n"));
    }
    if let Some(found) = server.get("found") {
        let name = cell(detail, "name");
        text.push_str(&format!(
            "\nIt lists other tools than those that were accepted; those that changed are refused:{}\n\
             to accept this: airlock plugin accept {name} {}\n",
            changes(&found["changes"]),
            cell(found, "digest")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_as_not_sandboxed_and_forges_no_line() {
        let found = json!({ "digest": "sha256:2", "changes": { "changed_tools": [{ "tool": "echo", "description": "a\nGranted" }] } });
        let server = json!({
            "server": { "command": "/bin/x", "args": ["a\nb"], "env": { "T": "token" },
                "variables": { "A": "1\n2", "B": "" }, "allow_network": true },
            "landlock": "files, network", "found": found,
        });
        let shown = describe(&json!({ "name": "p", "sandboxed": false, "server": server }));
        let expect = "\nNOT SANDBOXED: an MCP server, /bin/x\n  arguments: a\\nb\n  environment: T from the secret token\n  variable: A=1\\n2\n  variable: B=\n  may use the network\n  Landlock holds its files and network: files, network\n\nIt lists other tools than those that were accepted; those that changed are refused:\n  echo says of itself now: a\\nGranted\nto accept this: airlock plugin accept p sha256:2\n";
        assert_eq!(shown, expect);
        assert_eq!(describe(&json!({ "name": "p" })), "");
    }

    #[test]
    fn a_secret_in_the_place_of_its_name_is_not_told() {
        let error = pairs("--env-secret", &["s3cret".to_owned()]).expect_err("no pair");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let read = pairs("--env-secret", &["A=b=c".to_owned()]).expect("a pair");
        assert_eq!(read, json!({ "A": "b=c" }));
        let error = variables(&["s3cret".to_owned()]).expect_err("no pair");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let read = variables(&["A=b=c".to_owned(), "B=".to_owned()]).expect("pairs");
        assert_eq!(read, json!({ "A": "b=c", "B": "" }));
    }
}
