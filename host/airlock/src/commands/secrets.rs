//! `airlock secret`. A value never stands on a command line, where other
//! processes could read it.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli::Secret;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, table, time};

pub(super) fn run(session: &Session, command: Secret) -> Result<()> {
    match command {
        Secret::Set { name, file } => {
            let text = value(&name, file.as_deref())?;
            let value = text
                .strip_suffix('\n')
                .map_or(text.as_str(), |cut| cut.strip_suffix('\r').unwrap_or(cut));
            let path = format!("/v1/secrets/{}", encode(&name));
            session.api.ok(&Request::bytes(
                "PUT",
                path,
                "application/octet-stream",
                value.as_bytes().to_vec(),
            ))?;
            session
                .format
                .show(&json!({ "set": name }), |_| format!("set {name}"))
        }
        Secret::List => {
            let answer = session.api.get("/v1/secrets")?;
            session.format.show(&answer, |answer| {
                let secrets = list_of(answer, "secrets");
                let items = secrets.as_array().into_iter().flatten();
                let lines: Vec<Vec<String>> = items
                    .map(|secret| {
                        let at = secret["set_at_ms"].as_u64();
                        vec![
                            cell(secret, "name"),
                            cell(secret, "version"),
                            at.map(time).unwrap_or_default(),
                        ]
                    })
                    .collect();
                table(&["NAME", "VERSION", "SET"], &lines)
            })
        }
        Secret::Remove { name } => {
            session.api.ok(&Request::new(
                "DELETE",
                format!("/v1/secrets/{}", encode(&name)),
            ))?;
            session
                .format
                .show(&json!({ "removed": name }), |_| format!("removed {name}"))
        }
    }
}

/// The secret's value: of a file, typed by a person who does not see it, or from
/// another program.
fn value(name: &str, file: Option<&Path>) -> Result<String> {
    if file.is_none() && std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("value of {name} (not shown): "));
        return typed.context("reading the value from the terminal");
    }
    let bytes = read_input(file.unwrap_or(Path::new("-")))?;
    String::from_utf8(bytes).map_err(|_| Misuse("the secret is not UTF-8".to_owned()).into())
}
