//! `airlock selftest`: attacks this very binary with hostile plugins, class by
//! class, over the HTTP API of a server it starts for that, and reports what
//! held. While each attack runs, a well-behaved plugin's calls must succeed.

mod attacks;
mod ground;
mod install;
mod neighbour;
mod peer;
mod report;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{Global, Selftest};
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::Format;

use attacks::{Attack, Expect, LATER};
use ground::Ground;
use neighbour::Neighbour;
pub use report::{Outcome, Report};

/// Classes of attacks, as in the report.
pub const CLASSES: [&str; 4] = ["network", "files", "resources", "authority"];

/// The command.
///
/// # Errors
/// When the attacks can't be run; an attack that succeeds is no error but exit
/// code 9.
pub fn run(global: &Global, args: &Selftest) -> Result<ExitCode> {
    if let Some(class) = args
        .class
        .as_deref()
        .filter(|class| !CLASSES.contains(class))
    {
        return Err(Misuse(format!(
            "no class `{class}`; there are: {}",
            CLASSES.join(", ")
        ))
        .into());
    }
    let ground = Ground::prepare(args.guests.as_deref())?;
    let report = attack_all(&ground, args.class.as_deref())?;
    let format = if global.json {
        Format::Json
    } else {
        Format::Text
    };
    format.show(&serde_json::to_value(&report)?, |_| report.to_string())?;
    Ok(if report.held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(9)
    })
}

fn attack_all(ground: &Ground, class: Option<&str>) -> Result<Report> {
    let wanted = |attack: &&Attack| class.is_none_or(|class| class == attack.class);
    let mut outcomes = install::refusals(ground, class)?;
    for attack in attacks::all().into_iter().filter(wanted) {
        outcomes.push(run_one(ground, attack)?);
    }
    let later = LATER
        .iter()
        .map(|(what, with)| (what.to_string(), with.to_string()))
        .collect();
    Ok(Report { outcomes, later })
}

/// One attack with a neighbour beside it.
fn run_one(ground: &Ground, attack: &Attack) -> Result<Outcome> {
    let neighbour = Neighbour::start(ground);
    let start = Instant::now();
    let path = format!("/v1/tools/{}/{}", encode(attack.guest), encode(attack.tool));
    let request = Request::json("POST", path, &(attack.input)(ground));
    let reply = ground.server.api().send(&request)?;
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let judged = judge(ground, &attack.expect, reply.status, &body).and_then(|seen| {
        let leak = ground.leaked_into(&reply.body);
        let reached = (ground.peers.reached() > 0).then_some("a request to the canary");
        leak.or(reached)
            .map_or(Ok(seen), |what| Err(format!("leaked {what}")))
    });
    let calls = neighbour.finish();
    let held = judged.is_ok() && calls.failed == 0 && calls.succeeded > 0;
    let seen = match judged {
        Ok(seen) | Err(seen) if calls.failed == 0 => seen,
        Ok(seen) | Err(seen) => format!("{seen}; the neighbour failed: {}", calls.last_failure),
    };
    Ok(Outcome {
        class: attack.class.to_owned(),
        attack: attack.name.to_owned(),
        expected: attack.expect.to_string(),
        seen,
        held,
        neighbour_calls: calls.succeeded,
        ms: start.elapsed().as_millis() as u64,
    })
}

fn judge(ground: &Ground, expect: &Expect, status: u16, body: &Value) -> Result<String, String> {
    let code = body["code"].as_str().unwrap_or_default();
    let detail = body["detail"].as_str().unwrap_or_default();
    let seen = if status < 300 {
        format!("answered {}", brief(&body["output"]))
    } else {
        format!("{code}: {detail}")
    };
    let right = match expect {
        Expect::Limit(limit) => code == "limit" && body["limit"] == *limit,
        Expect::Code(expected) => code == *expected,
        Expect::Denied(capability) => {
            let named =
                |denial: &Value| denial["capability"] == *capability && denial["rule"] != "";
            body["denials"]
                .as_array()
                .is_some_and(|denials| denials.iter().any(named))
        }
        Expect::Answer(_, check) => status < 300 && check(&body["output"]),
        Expect::After(_, check) => check(ground, status, body),
    };
    if right { Ok(seen) } else { Err(seen) }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 100 {
        text
    } else {
        text.chars().take(100).chain("…".chars()).collect()
    }
}

/// A reply for attacks whose input needs nothing.
fn nothing(_: &Ground) -> Value {
    json!({})
}
