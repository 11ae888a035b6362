//! `airlock selftest`: attacks this very binary with hostile plugins, class by
//! class, over the HTTP API of a server it starts for that, and reports what
//! held. While each attack runs, a well-behaved plugin's calls must succeed.
//!
//! What must stay true: each check can fail. What the guests were granted works
//! (the first attacks of a class show it), so that a refusal is the sandbox's.

mod attacks;
mod door;
mod ground;
mod install;
mod neighbour;
mod peer;
mod policy;
mod report;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::{Global, Selftest};
use crate::client::{Reply, Request, encode};
use crate::exit::Misuse;
use crate::output::Format;

use attacks::{Attack, ELSEWHERE, EVERY_WORKER, Expect, Seen};
use ground::Ground;
use neighbour::Neighbour;
pub use report::{Outcome, Report};

/// Classes of attacks, as in the report.
pub const CLASSES: [&str; 4] = ["network", "files", "resources", "authority"];

/// Characters of an answer or an error that the report shows.
const SHOWN_CHARS: usize = 100;

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
    Format::of(global).show(&serde_json::to_value(&report)?, |_| report.to_string())?;
    Ok(if report.held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(9)
    })
}

fn attack_all(ground: &Ground, class: Option<&str>) -> Result<Report> {
    let wanted = |attack: &&Attack| class.is_none_or(|class| class == attack.class);
    let mut outcomes = Vec::new();
    for attack in attacks::all().into_iter().filter(wanted) {
        outcomes.push(run_one(ground, attack)?);
    }
    outcomes.extend(install::refusals(ground, class)?);
    outcomes.extend(door::refusals(ground, class)?);
    outcomes.sort_by_key(|outcome| CLASSES.iter().position(|class| *class == outcome.class));
    let later = ELSEWHERE
        .iter()
        .map(|(what, with)| (what.to_string(), with.to_string()))
        .collect();
    Ok(Report { outcomes, later })
}

/// One attack with a neighbour beside it.
fn run_one(ground: &Ground, attack: &Attack) -> Result<Outcome> {
    let neighbour = Neighbour::start(ground);
    let start = Instant::now();
    let before = ground.memory_bytes()?;
    let replies = calls(ground, attack)?;
    let grown_bytes = ground.memory_bytes()?.saturating_sub(before);
    let judged = replies.iter().try_fold(String::new(), |_, reply| {
        judge_reply(ground, attack, reply, grown_bytes)
    });
    let ms = start.elapsed().as_millis() as u64;
    let outcome = Outcome {
        class: attack.class.to_owned(),
        attack: attack.name.to_owned(),
        expected: attack.expect.to_string(),
        ms,
        ..Outcome::default()
    };
    Ok(outcome.judged(judged, neighbour.finish()))
}

/// Makes the attack's calls, all at once.
fn calls(ground: &Ground, attack: &Attack) -> Result<Vec<Reply>> {
    let path = format!("/v1/tools/{}/{}", encode(attack.guest), encode(attack.tool));
    let request = Request::json("POST", path, &(attack.input)(ground));
    let count = match attack.calls {
        EVERY_WORKER => 2 * std::thread::available_parallelism().map_or(4, usize::from),
        count => count,
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let Some(beside) = attack.beside {
            let stop = &stop;
            scope.spawn(move || beside(ground, stop));
        }
        let send = || ground.server.api().send(&request);
        let calls: Vec<_> = (0..count).map(|_| scope.spawn(send)).collect();
        let replies = calls.into_iter().map(|call| {
            let reply = call.join().ok().context("a thread that attacks panicked")?;
            reply.context("the server does not answer")
        });
        let replies = replies.collect();
        stop.store(true, Ordering::Relaxed);
        replies
    })
}

fn judge_reply(
    ground: &Ground,
    attack: &Attack,
    reply: &Reply,
    grown_bytes: u64,
) -> Result<String, String> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let seen = Seen {
        ground,
        status: reply.status,
        body: &body,
        grown_bytes,
    };
    let told = judge(&attack.expect, &seen)?;
    match ground.leak(&reply.body) {
        Some(what) => Err(format!("leaked {what}")),
        None => Ok(told),
    }
}

fn judge(expect: &Expect, seen: &Seen<'_>) -> Result<String, String> {
    let (status, body) = (seen.status, seen.body);
    let code = body["code"].as_str().unwrap_or_default();
    let detail = body["detail"].as_str().unwrap_or_default();
    let told = if status < 300 {
        format!("answered {}", brief(&body["output"].to_string()))
    } else {
        format!("{code}: {}", brief(detail))
    };
    let right = match expect {
        Expect::Limit(limit) => code == "limit" && body["limit"] == *limit,
        Expect::LimitOf(limits) => {
            code == "limit" && limits.iter().any(|limit| body["limit"] == **limit)
        }
        Expect::Code(expected) => code == *expected,
        Expect::Denied(capability) => {
            let failed = status >= 300 || body["output"]["ok"] == false;
            failed && denied(body, capability)
        }
        Expect::Answer(_, check) => status < 300 && check(&body["output"]),
        Expect::After(_, check) => check(seen),
    };
    if right { Ok(told) } else { Err(told) }
}

/// Whether a reply reports a denial of a capability, with the missing rule.
fn denied(body: &Value, capability: &str) -> bool {
    let named = |denial: &Value| {
        let rule = denial["rule"].as_str().unwrap_or_default();
        denial["capability"] == capability && !rule.is_empty()
    };
    body["denials"]
        .as_array()
        .is_some_and(|denials| denials.iter().any(named))
}

fn brief(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        text.to_owned()
    } else {
        text.chars().take(SHOWN_CHARS).chain("…".chars()).collect()
    }
}
