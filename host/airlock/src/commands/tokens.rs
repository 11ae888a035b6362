//! `airlock token`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::{join, list_of};
use crate::cli::Token;
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{Format, cell, print_error, table, time};

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
            for text in unknown(session, &plugins) {
                print_error(&text);
            }
            // The output is the token alone, which a file or a variable may take.
            session.format.show(&made, |made| cell(made, "token"))?;
            if session.format == Format::Text {
                let id = cell(&made["view"], "id");
                print_error(&format!("id {id}; the token is not shown again"));
            }
            Ok(())
        }
        Token::List => {
            let answer = session.api.get("/v1/tokens")?;
            session.format.show(&answer, list_text)
        }
        Token::Revoke { id, last } => {
            let request = Request::new("DELETE", format!("/v1/tokens/{}?last={last}", encode(&id)));
            let revoked: Value = session
                .api
                .value(&request)
                .map_err(|error| by_name(session, error, &id))?;
            let shown = json!({
                "revoked": id, "schedules": revoked["schedules"], "hooks": revoked["hooks"],
            });
            session.format.show(&shown, revoked_text)
        }
    }
}

/// A line for each plugin of a scope that is not there.
fn unknown(session: &Session, plugins: &[String]) -> Vec<String> {
    let Ok(answer) = session.api.get("/v1/plugins") else {
        return Vec::new();
    };
    let there = list_of(&answer, "plugins");
    let there = there.as_array().cloned().unwrap_or_default();
    let missing = plugins
        .iter()
        .filter(|plugin| !there.iter().any(|found| found["name"] == plugin.as_str()));
    missing
        .map(|plugin| format!("no plugin {plugin} is installed; see airlock plugin list"))
        .collect()
}

/// With the ids of the tokens that have what was given for a name.
fn by_name(session: &Session, mut error: anyhow::Error, name: &str) -> anyhow::Error {
    let Some(failure) = error
        .downcast_mut::<Failure>()
        .filter(|failure| failure.code == "token-not-found")
    else {
        return error;
    };
    let answer = session.api.get("/v1/tokens").unwrap_or_default();
    let tokens = list_of(&answer, "tokens");
    let named = tokens.as_array().into_iter().flatten();
    let ids: Vec<String> = named
        .filter(|token| token["principal"] == name)
        .map(|token| cell(token, "id"))
        .collect();
    if !ids.is_empty() {
        failure.hint = format!(
            "a token is revoked by its id; of that name: {}",
            ids.join(", ")
        );
    }
    error
}

/// What was revoked, and what stands still with that.
fn revoked_text(shown: &Value) -> String {
    let mut text = format!("revoked {}", cell(shown, "revoked"));
    for (kind, what) in [
        ("schedules", "schedules that do nothing any more"),
        ("hooks", "webhooks that take nothing any more"),
    ] {
        let names = shown[kind].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        if !names.is_empty() {
            text.push_str(&format!("\n{what}: {}", names.join(", ")));
        }
    }
    text
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

/// Whether a token is good at `now_ms`, and why not.
fn state(token: &Value, now_ms: u64) -> &'static str {
    let at = |field: &str| token[field].as_u64();
    match (at("revoked_ms"), at("expires_ms")) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now_ms => "expired",
        (None, _) => "live",
    }
}

fn list_text(answer: &Value) -> String {
    let now_ms = airlock_runtime::now_ms();
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
                state(token, now_ms).to_owned(),
            ]
        })
        .collect();
    table(
        &["ID", "NAME", "ROLES", "PLUGINS", "EXPIRES", "STATE"],
        &lines,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_with_a_token_is_told() {
        let alone = json!({ "revoked": "t1", "schedules": null, "hooks": null });
        assert_eq!(revoked_text(&alone), "revoked t1");
        let more = json!({ "revoked": "t1", "schedules": ["a", "b"], "hooks": ["c"] });
        assert_eq!(
            revoked_text(&more),
            "revoked t1\nschedules that do nothing any more: a, b\nwebhooks that take nothing any more: c"
        );
    }

    #[test]
    fn a_token_that_is_no_good_is_shown_as_such() {
        let cases = [
            (json!({}), "live"),
            (json!({ "expires_ms": 11 }), "live"),
            (json!({ "expires_ms": 10 }), "expired"),
            (json!({ "revoked_ms": 9 }), "revoked"),
            (json!({ "revoked_ms": 9, "expires_ms": 10 }), "revoked"),
        ];
        for (token, expect) in cases {
            assert_eq!(state(&token, 10), expect, "{token}");
        }
        let shown = list_text(&json!({ "tokens": [{ "id": "t1", "revoked_ms": 9 }] }));
        assert!(shown.ends_with("revoked"), "{shown}");
    }
}
