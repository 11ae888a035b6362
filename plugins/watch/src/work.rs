//! The agent: one cycle, and the wait for the next.

use std::time::{Duration, UNIX_EPOCH};

use airlock_sdk::agent::{self, Outcome};
use airlock_sdk::prelude::*;
use serde_json::{Value, json};

use crate::cycle::{self, Checked};
use crate::{Input, State};

/// Failures in a row, of those that may pass, after which a person is asked.
const FAILURES_MAX: u32 = 3;

const GO_ON: &str = "go on";
const STOP: &str = "stop";

/// Findings that one cycle looks at and leaves to the next.
const FINDINGS_MAX: usize = 1_000;

fn now_ms() -> u64 {
    let now = agent::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    if input.every_s == 0 {
        return Err(Error::invalid_input("every_s: must be at least 1"));
    }
    let mut state = State {
        cycles: input.state.cycles + 1,
        due_ms: cycle::next_due(&input.state, input.every_s.saturating_mul(1_000), now_ms()),
        ..input.state.clone()
    };
    match report(&input, &state).await {
        Ok(known) => {
            state.known = known;
            state.failed = 0;
        }
        Err(error) => {
            state.failed += 1;
            agent::log(&format!("cycle {} failed: {error}", state.cycles));
            if goes_on(&error, &state).await {
                agent::progress(
                    state.cycles as f64,
                    None,
                    "failed; the next cycle tries again",
                );
            } else {
                return Outcome::done(
                    &json!({ "cycles": state.cycles, "stopped": error.to_string() }),
                );
            }
        }
    }
    let wait = state.due_ms.saturating_sub(now_ms());
    agent::sleep(Duration::from_millis(wait)).await?;
    Outcome::continue_as_new(&Input { state, ..input })
}

/// Checks, writes the report, and gives what applies now.
async fn report(input: &Input, state: &State) -> Result<Vec<String>, Error> {
    let asked = json!({ "feed": input.feed, "lock": input.lock, "limit": FINDINGS_MAX });
    let checked: Checked = agent::call("advisories/check", &asked).await?;
    let difference = cycle::difference(&checked, &state.known);
    let file = json!({
        "path": input.report,
        "content": cycle::markdown(state.cycles, &checked, &difference),
        "mode": "replace",
    });
    agent::call::<Value>("files/write", &file).await?;
    let says = format!(
        "{} new, {} still open, {} gone",
        difference.new.len(),
        difference.still.len(),
        difference.gone.len()
    );
    agent::progress(state.cycles as f64, None, &says);
    Ok(difference.known)
}

/// What may pass is tried again in the next cycle, some times; about the rest a
/// person is asked. Who does not answer by then lets it go on.
async fn goes_on(error: &Error, state: &State) -> bool {
    let may_pass = matches!(error, Error::Transient { .. } | Error::Limit { .. });
    if may_pass && state.failed < FAILURES_MAX {
        return true;
    }
    let text = format!("{} cycles in a row have failed: {error}", state.failed);
    let text: String = text.chars().take(2_000).collect();
    let due = Duration::from_millis(state.due_ms.saturating_sub(now_ms()));
    let asked = agent::ask_about(&text, &[GO_ON, STOP], None, Some(due)).await;
    !asked.is_ok_and(|decision| decision.choice == STOP)
}

airlock_sdk::agent! {
    description: "Reports, cycle after cycle, which security advisories apply to a project and which of them are new.",
    input: Input,
    run: run,
    wants: [
        want!(tools, r#"{ tool = "advisories/check" }"#, "To see which advisories apply."),
        want!(tools, r#"{ tool = "files/write", approval = "never" }"#, "To write its report, with nobody there to be asked."),
    ],
}
