//! `airlock hooks`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::plugins::list_of;
use super::runs::parse;
use super::schedules::no_run;
use super::{Session, read_input};
use crate::cli::{HookAdd, Hooks};
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, print_error, table, time};

pub(super) fn run(session: &Session, command: Hooks) -> Result<()> {
    match command {
        Hooks::List => {
            let answer = session.api.get("/v1/hooks")?;
            session.format.show(&answer, list_text)
        }
        Hooks::Add(args) => add(session, &args),
        Hooks::Remove { name } => {
            session.api.ok(&Request::new("DELETE", path(&name)))?;
            session
                .format
                .show(&json!({ "removed": name }), |_| format!("removed {name}"))
        }
        Hooks::Rotate {
            name,
            secret_file,
            keep,
        } => {
            let keep = humantime::parse_duration(&keep)
                .map_err(|error| Misuse(format!("`{keep}` is not a time ({error})")))?;
            let secret = secret_file.as_deref().map(secret).transpose()?;
            let body = json!({ "secret": secret, "keep_s": keep.as_secs() });
            made(session, &format!("{}/rotate", path(&name)), &body)
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/hooks/{}", encode(name))
}

/// A secret from a file; one newline at its end is cut.
fn secret(file: &Path) -> Result<String> {
    let text = String::from_utf8(read_input(file)?);
    let text = text.map_err(|_| Misuse(format!("{} is not UTF-8", file.display())))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn add(session: &Session, args: &HookAdd) -> Result<()> {
    let secret = args.secret_file.as_deref().map(secret).transpose()?;
    let mut body = json!({
        "name": args.name, "scheme": args.scheme, "rate_per_min": args.rate, "secret": secret,
    });
    match &args.agent {
        Some(agent) => {
            body["start"] = json!({
                "agent": agent, "goal": args.goal, "input": parse(&args.input, "the input")?,
                "autonomy": args.autonomy,
            });
            if let Some(budget) = args.budget.json() {
                body["start"]["budget"] = budget;
            }
        }
        None => {
            body["signal"] = json!({
                "run": args.signal, "run_at": args.signal_at, "agent": args.signal_of,
                "name": args.signal_name,
            });
        }
    }
    if let (None, Some(_)) = (&args.agent, args.budget.json()) {
        return Err(no_run());
    }
    made(session, "/v1/hooks", &body)
}

fn made(session: &Session, path: &str, body: &Value) -> Result<()> {
    let made: Value = session.api.value(&Request::json("POST", path, body))?;
    let name = cell(&made["hook"], "name");
    let secret = made["secret"].as_str();
    // The output is the secret alone, which a file or a variable may take.
    session.format.show(&made, |_| match secret {
        Some(secret) => secret.to_owned(),
        None => format!("/v1/hooks/{name}"),
    })?;
    if session.format == Format::Text && secret.is_some() {
        print_error(&format!(
            "for /v1/hooks/{name}; the secret is not shown again"
        ));
    }
    Ok(())
}

fn list_text(answer: &Value) -> String {
    let hooks = list_of(answer, "hooks");
    let items = hooks.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|hook| {
            let does = match hook.get("signal") {
                Some(signal) => format!("signal {}", cell(signal, "name")),
                None => format!("run {}", cell(&hook["start"], "agent")),
            };
            vec![
                cell(hook, "name"),
                cell(hook, "scheme"),
                does,
                match hook["revoked"] == true {
                    true => format!("{} (revoked)", cell(hook, "by")),
                    false => cell(hook, "by"),
                },
                cell(hook, "rate_per_min"),
                hook["secret_ms"].as_u64().map(time).unwrap_or_default(),
                hook["previous_until_ms"]
                    .as_u64()
                    .map_or("-".to_owned(), time),
            ]
        })
        .collect();
    let header = [
        "NAME",
        "SCHEME",
        "DOES",
        "BY",
        "A MINUTE",
        "SECRET SINCE",
        "THE ONE BEFORE UNTIL",
    ];
    table(&header, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_the_rate_and_how_long_an_old_secret_holds() {
        let hooks = json!({ "hooks": [
            { "name": "a", "scheme": "standard", "start": { "agent": "x" }, "by": "ada",
              "rate_per_min": 60, "secret_ms": 0, "previous_until_ms": 60_000 },
            { "name": "b", "scheme": "github", "signal": { "name": "go" }, "by": "ada",
              "rate_per_min": 5, "secret_ms": 0 },
        ] });
        let text = list_text(&hooks);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("run x") && lines[1].contains(" 60 "),
            "{text}"
        );
        assert!(lines[1].ends_with("1970-01-01 00:01:00Z"), "{text}");
        assert!(
            lines[2].contains("signal go") && lines[2].ends_with('-'),
            "{text}"
        );
    }
}
