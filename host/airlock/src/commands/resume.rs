//! `airlock runs resume`.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::runs::{act, parse, path};
use crate::cli::Resume;
use crate::exit::Failure;
use crate::timeline::{way_on, why_blocked};

pub(super) fn resume(session: &Session, args: &Resume) -> Result<()> {
    let outcome = match &args.record {
        Some(text) => Some(json!({ "record": parse(text, "the output")? })),
        None if args.retry => Some(json!("retry")),
        None if args.fail => Some(json!("fail")),
        None => None,
    };
    let body = json!({
        "request": args.request, "outcome": outcome, "budget": args.budget.json(),
    });
    act(session, &args.id, "resume", &body).map_err(|error| advised(session, args, error))
}

/// With what has to be said to let this run go on, in the words of this command.
fn advised(session: &Session, args: &Resume, mut error: anyhow::Error) -> anyhow::Error {
    let refused = |failure: &Failure| failure.code == "invalid-request";
    if !error.downcast_ref::<Failure>().is_some_and(refused) {
        return error;
    }
    let Ok(run) = session.api.get(&path(&args.id)) else {
        return error;
    };
    let lines = way_on(&run, airlock_runtime::now_ms());
    if let (Some(failure), false) = (error.downcast_mut::<Failure>(), lines.is_empty()) {
        if let Some(said) = said(args, &run["blocked"]) {
            failure.problem["detail"] = Value::from(said);
        }
        failure.hint = lines.join("\n  ");
    }
    error
}

/// What was not said, beside why the run is blocked; `None`: something else is
/// wrong.
fn said(args: &Resume, why: &Value) -> Option<String> {
    let blocked = why_blocked(why);
    match (args.request, why["id"].as_u64()) {
        (Some(given), Some(id)) if given == id => None,
        (Some(given), Some(_)) => Some(format!("it is not about request {given}: {blocked}")),
        (None, Some(_)) => Some(format!(
            "it has to be said what became of the call: {blocked}"
        )),
        (_, None) => Some(format!("it needs more than that: {blocked}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, Runs};
    use clap::Parser;

    fn args(more: &[&str]) -> Box<Resume> {
        let typed = ["airlock", "runs", "resume", "run_1"];
        let cli = Cli::try_parse_from([&typed[..], more].concat()).expect("it parses");
        match cli.command {
            Command::Runs(Runs::Resume(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_told_in_words_of_the_command() {
        let lost = json!({ "because": "unknown-outcome", "id": 0, "detail": "cut off" });
        let spent = json!({ "because": "spent", "what": "steps", "used": 5 });
        let table = [
            (
                &[][..],
                &lost,
                Some(
                    "it has to be said what became of the call: \
                     nobody knows the outcome of #0: cut off",
                ),
            ),
            (
                &["--request", "5", "--retry"],
                &lost,
                Some("it is not about request 5: nobody knows the outcome of #0: cut off"),
            ),
            (&["--request", "0", "--fail"], &lost, None),
            (
                &["--budget-steps", "3"],
                &spent,
                Some("it needs more than that: it used up its budget: 5 steps"),
            ),
        ];
        for (more, why, expect) in table {
            assert_eq!(said(&args(more), why).as_deref(), expect, "{more:?}");
        }
    }
}
