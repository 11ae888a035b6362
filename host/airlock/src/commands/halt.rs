//! `airlock halt`: the kill switch, what it holds, and how it is lifted.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::runs::path;
use crate::cli::Halt;
use crate::client::Request;
use crate::exit::Misuse;
use crate::output::{cell, one_line, time};

/// What is said once nothing of a run is halted any more.
pub(super) const LIFTED: &str = "it goes on: the halt was lifted";

pub(super) fn run(session: &Session, command: &Halt) -> Result<()> {
    if command.status {
        let view = session.api.get("/v1/halt")?;
        return session.format.show(&view, text);
    }
    let part = [&command.agent, &command.plugin, &command.run];
    let named = command.all || part.into_iter().any(Option::is_some);
    if !named && !command.lift {
        return Err(Misuse(
            "say what is to stand still: --all, --agent NAME, --plugin NAME or --run RUN; \
             --status shows what does"
                .to_owned(),
        )
        .into());
    }
    let body = json!({
        "halted": !command.lift, "why": command.why,
        "agent": command.agent, "plugin": command.plugin, "run": command.run,
    });
    let view: Value = session
        .api
        .value(&Request::json("POST", "/v1/halt", &body))?;
    session.format.show(&view, text)
}

/// What stands still: what, who said so, when and why, and what lifts it.
fn text(view: &Value) -> String {
    let lines = lines(view, |_, _| true);
    match lines.is_empty() {
        true => "nothing is halted".to_owned(),
        false => lines.join("\n"),
    }
}

/// What of the kill switch holds the run `id`, a line each.
pub(super) fn holds(session: &Session, id: &str) -> Vec<String> {
    let view = session.api.get("/v1/halt").ok();
    let nothing = |view: &Value| view["halted"] != true && view["parts"].as_array().is_none();
    if view.as_ref().is_some_and(nothing) {
        return Vec::new();
    }
    // What is wrong with the run or the token is told by what follows.
    let Ok(run) = session.api.get(&path(id)) else {
        return Vec::new();
    };
    match view {
        Some(view) => lines(&view, |kind, name| is_held(&run, kind, name)),
        None => told(&run),
    }
}

/// Whether what is halted by itself holds a run.
fn is_held(run: &Value, kind: &str, name: &str) -> bool {
    let part = format!("{kind} {name}");
    let held = run["halted"].as_array().into_iter().flatten();
    let own = match kind {
        "run" => &run["id"],
        _ => &run["agent"],
    };
    own == name || held.into_iter().any(|held| *held == part)
}

/// What a run itself says is halted of it, for those who may not see more.
fn told(run: &Value) -> Vec<String> {
    let parts = run["halted"].as_array().into_iter().flatten();
    let parts = parts.filter_map(Value::as_str);
    parts
        .map(|part| format!("it stands still: halted, {}", one_line(part)))
        .collect()
}

fn lines(view: &Value, wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    if view["halted"] == true {
        lines.push(line(view, "everything stands still", ""));
    }
    for part in view["parts"].as_array().into_iter().flatten() {
        let named = ["agent", "plugin", "run"]
            .into_iter()
            .find_map(|kind| Some((kind, part[kind].as_str()?)));
        if let Some((kind, name)) = named.filter(|(kind, name)| wanted(kind, name)) {
            let name = one_line(name);
            lines.push(line(
                part,
                &format!("{kind} {name} stands still"),
                &format!(" --{kind} {name}"),
            ));
        }
    }
    lines
}

/// E.g. `agent a stands still: halted by ada 2026-… (odd); airlock halt --agent a
/// --lift lets it go on`.
fn line(halted: &Value, what: &str, flag: &str) -> String {
    let at = halted["at_ms"].as_u64().map(time).unwrap_or_default();
    let why = match halted["why"].as_str().unwrap_or_default() {
        "" => "no reason given".to_owned(),
        why => one_line(why),
    };
    format!(
        "{what}: halted by {} {at} ({why}); `airlock halt{flag} --lift` lets it go on",
        one_line(&cell(halted, "by"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_says_who_why_and_how_it_is_lifted() {
        let part = |kind: &str, name: &str, why: &str| {
            let mut part = json!({ "by": "ada", "why": why, "at_ms": 1_769_860_800_000_u64 });
            part[kind] = json!(name);
            part
        };
        let parts = [part("agent", "a", "odd\nlines"), part("run", "run_1", "")];
        let view = json!({ "halted": false, "parts": parts });
        assert_eq!(
            text(&view),
            "agent a stands still: halted by ada 2026-01-31 12:00:00Z (odd\\nlines); \
             `airlock halt --agent a --lift` lets it go on\n\
             run run_1 stands still: halted by ada 2026-01-31 12:00:00Z (no reason given); \
             `airlock halt --run run_1 --lift` lets it go on"
        );
        let all = json!({ "halted": true, "by": "eve", "why": "drill", "at_ms": 0 });
        assert_eq!(
            text(&all),
            "everything stands still: halted by eve 1970-01-01 00:00:00Z (drill); \
             `airlock halt --lift` lets it go on"
        );
        assert_eq!(text(&json!({ "halted": false })), "nothing is halted");
    }

    #[test]
    fn a_run_is_held_by_what_it_is_of() {
        let run = json!({ "id": "run_1", "agent": "a", "halted": ["plugin keeper"] });
        let table = [
            ("run", "run_1", true),
            ("run", "run_2", false),
            ("agent", "a", true),
            ("plugin", "a", true),
            ("agent", "b", false),
            ("plugin", "keeper", true),
            ("plugin", "per", false),
        ];
        for (kind, name, expect) in table {
            assert_eq!(is_held(&run, kind, name), expect, "{kind} {name}");
        }
        assert_eq!(told(&run), ["it stands still: halted, plugin keeper"]);
    }
}
