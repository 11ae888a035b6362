//! `airlock token`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::{join, list_of};
use crate::cli::Token;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, table, time};

pub(super) fn run(session: &Session, command: Token) -> Result<()> {
    match command {
        Token::Create {
            name,
            roles,
            plugins,
            expires,
        } => {
            let scope = if plugins.is_empty() {
                Value::Null
            } else {
                json!(plugins)
            };
            let seconds = expires.as_deref().map(seconds).transpose()?;
            let body = json!({ "principal": name, "roles": roles, "plugins": scope, "expires_in_s": seconds });
            let made: Value = session
                .api
                .value(&Request::json("POST", "/v1/tokens", &body))?;
            session.format.show(&made, |made| {
                format!(
                    "{}\nid {}; it is not shown again",
                    cell(made, "token"),
                    cell(&made["view"], "id")
                )
            })
        }
        Token::List => {
            let answer = session.api.get("/v1/tokens")?;
            session.format.show(&answer, list_text)
        }
        Token::Revoke { id } => {
            session.api.ok(&Request::new(
                "DELETE",
                format!("/v1/tokens/{}", encode(&id)),
            ))?;
            session
                .format
                .show(&json!({ "revoked": id }), |_| format!("revoked {id}"))
        }
    }
}

fn seconds(text: &str) -> Result<u64> {
    let time = humantime::parse_duration(text);
    time.map(|time| time.as_secs()).map_err(|error| {
        Misuse(format!(
            "`{text}` is not a time ({error}); write e.g. `90d`"
        ))
        .into()
    })
}

fn list_text(answer: &Value) -> String {
    let tokens = list_of(answer, "tokens");
    let items = tokens.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|token| {
            let expires = token["expires_ms"]
                .as_u64()
                .map_or_else(|| "never".to_owned(), time);
            let scope = if token["plugins"].is_null() {
                "all".to_owned()
            } else {
                join(&token["plugins"])
            };
            vec![
                cell(token, "id"),
                cell(token, "principal"),
                join(&token["roles"]),
                scope,
                expires,
            ]
        })
        .collect();
    table(&["ID", "NAME", "ROLES", "PLUGINS", "EXPIRES"], &lines)
}
