//! Why a run does nothing more until a person looks at it, and the command that
//! lets it go on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{SHOWN_CHARS_MAX, cut, part, span};
use crate::output::{cell, one_line, time};

/// Whether a run is blocked, as far as its records tell.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Calls whose outcome nobody knows.
    lost: BTreeSet<u64>,
    /// For another reason.
    other: bool,
}

impl Blocks {
    pub(super) fn apply(&mut self, record: &Value) {
        let why = &record["why"];
        let lost = |why: &Value| match why["because"] == "unknown-outcome" {
            true => why["id"].as_u64(),
            false => None,
        };
        match (record["event"].as_str(), lost(why), record["id"].as_u64()) {
            (Some("blocked"), Some(id), _) => drop(self.lost.insert(id)),
            (Some("blocked"), None, _) => self.other = true,
            (Some("unblocked"), ..) => self.other = false,
            (Some("answered" | "retried"), _, Some(id)) => drop(self.lost.remove(&id)),
            (Some("ended"), ..) => *self = Self::default(),
            _ => {}
        }
    }

    pub(super) fn any(&self) -> bool {
        self.other || !self.lost.is_empty()
    }
}

/// Why a run is blocked, in one line.
pub fn why_blocked(why: &Value) -> String {
    let part = |name: &str| part(why, &[name]);
    match why["because"].as_str().unwrap_or_default() {
        "unknown-outcome" => format!(
            "nobody knows the outcome of #{}: {}",
            part("id"),
            part("detail")
        ),
        "nondeterminism" => format!(
            "the agent does something else than its journal says, which has {}: it does {}",
            part("expected"),
            part("found")
        ),
        "budget" => format!(
            "its journal has {} records, as many as its budget allows",
            part("events")
        ),
        "spent" => format!("it used up its budget: {}", amount(why)),
        "loop" => format!(
            "it called {} {} times and got the same answer each time",
            part("tool"),
            part("times")
        ),
        "restored" => format!(
            "it comes from a backup of {}: what it did since is not in its journal",
            why["made_at_ms"].as_u64().map(time).unwrap_or_default()
        ),
        "journal" => format!("its journal can't be read: {}", part("detail")),
        "component" => format!("its agent can't be run: {}", part("detail")),
        _ => cut(&why.to_string(), SHOWN_CHARS_MAX),
    }
}

/// What was used of the member of the budget that is used up.
fn amount(why: &Value) -> String {
    let used = part(why, &["used"]);
    let time = |us_each: u64| {
        let used = why["used"].as_u64().unwrap_or_default();
        span(used / us_each)
    };
    match why["what"].as_str().unwrap_or_default() {
        "wall_ms" => format!("{} since its start", time(1)),
        "cpu_us" => format!("{} of CPU time", time(1_000)),
        "bytes_out" => format!("{used} bytes sent and written"),
        "journal_bytes" => format!("{used} bytes of journal"),
        "steps" => format!("{used} steps"),
        _ => format!("{used} {}", part(why, &["what"])),
    }
}

/// What a person does about a run that is blocked, as the API tells it, at
/// `now_ms`: lines with commands. None where it is not.
pub fn way_on(run: &Value, now_ms: u64) -> Vec<String> {
    let Some(why) = run.get("blocked") else {
        return Vec::new();
    };
    let resume = format!("airlock runs resume {}", one_line(&cell(run, "id")));
    let number = |name: &str| why[name].as_u64().unwrap_or_default();
    let more = |what: &str, used: u64| {
        let flag = one_line(&what.replace('_', "-"));
        vec![format!(
            "to give it more: {resume} --budget-{flag} {}",
            used.saturating_mul(2)
        )]
    };
    match why["because"].as_str().unwrap_or_default() {
        "unknown-outcome" => {
            let resume = format!("{resume} --request {}", number("id"));
            vec![
                "look whether it happened, then one of".to_owned(),
                format!("  {resume} --retry          it did not: make it again"),
                format!("  {resume} --record OUTPUT  it did, with this output, JSON"),
                format!("  {resume} --fail           tell the agent that nobody knows"),
            ]
        }
        "budget" => more("events", number("events")),
        "spent" if why["what"] == "wall_ms" => {
            // Time went on while it was blocked.
            let since = now_ms.saturating_sub(run["started_ms"].as_u64().unwrap_or(now_ms));
            more("wall_ms", number("used").max(since))
        }
        "spent" => more(why["what"].as_str().unwrap_or_default(), number("used")),
        "journal" | "component" => vec![format!("once that is mended: {resume}")],
        "nondeterminism" => vec![
            format!("to try again: {resume}"),
            format!(
                "to see where it goes another way: airlock runs replay {}",
                one_line(&cell(run, "id"))
            ),
        ],
        _ => vec![format!("to let it go on: {resume}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(why: Value, expect: Expect) {
        let run = json!({ "id": "run_1", "started_ms": 1_000, "blocked": &why });
        let lines = std::iter::once(why_blocked(&why)).chain(way_on(&run, 61_000));
        expect.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn each_block_says_why_and_what_lets_the_run_go_on() {
        check(
            json!({ "because": "unknown-outcome", "id": 3, "detail": "cut off" }),
            expect![[r"
                nobody knows the outcome of #3: cut off
                look whether it happened, then one of
                  airlock runs resume run_1 --request 3 --retry          it did not: make it again
                  airlock runs resume run_1 --request 3 --record OUTPUT  it did, with this output, JSON
                  airlock runs resume run_1 --request 3 --fail           tell the agent that nobody knows"]],
        );
        check(
            json!({ "because": "nondeterminism", "expected": "a timer", "found": "call a/b" }),
            expect![[r"
                the agent does something else than its journal says, which has a timer: it does call a/b
                to try again: airlock runs resume run_1
                to see where it goes another way: airlock runs replay run_1"]],
        );
        check(
            json!({ "because": "budget", "events": 50 }),
            expect![[r"
                its journal has 50 records, as many as its budget allows
                to give it more: airlock runs resume run_1 --budget-events 100"]],
        );
        check(
            json!({ "because": "loop", "tool": "acme/read", "times": 20 }),
            expect![[r"
                it called acme/read 20 times and got the same answer each time
                to let it go on: airlock runs resume run_1"]],
        );
        check(
            json!({ "because": "restored", "made_at_ms": 1_769_860_800_000_u64 }),
            expect![[r"
                it comes from a backup of 2026-01-31 12:00:00Z: what it did since is not in its journal
                to let it go on: airlock runs resume run_1"]],
        );
        check(
            json!({ "because": "journal", "detail": "record 7" }),
            expect![[r"
                its journal can't be read: record 7
                once that is mended: airlock runs resume run_1"]],
        );
        check(
            json!({ "because": "component", "detail": "it is gone" }),
            expect![[r"
                its agent can't be run: it is gone
                once that is mended: airlock runs resume run_1"]],
        );
        check(
            json!({ "because": "of-tomorrow", "n": 1 }),
            expect![[r#"
                {"because":"of-tomorrow","n":1}
                to let it go on: airlock runs resume run_1"#]],
        );
    }

    #[test]
    fn a_budget_that_is_used_up_is_told_in_its_unit_and_with_its_flag() {
        let table = [
            ("steps", 5, "5 steps", "--budget-steps 10"),
            (
                "cpu_us",
                1_500_000,
                "1.5 s of CPU time",
                "--budget-cpu-us 3000000",
            ),
            // A minute has gone by since its start.
            (
                "wall_ms",
                11,
                "11 ms since its start",
                "--budget-wall-ms 120000",
            ),
            (
                "bytes_out",
                7,
                "7 bytes sent and written",
                "--budget-bytes-out 14",
            ),
            (
                "journal_bytes",
                9,
                "9 bytes of journal",
                "--budget-journal-bytes 18",
            ),
        ];
        for (what, used, told, flag) in table {
            let why = json!({ "because": "spent", "what": what, "used": used });
            assert_eq!(why_blocked(&why), format!("it used up its budget: {told}"));
            let run = json!({ "id": "run_1", "started_ms": 1_000, "blocked": why });
            let expect = format!("to give it more: airlock runs resume run_1 {flag}");
            assert_eq!(way_on(&run, 61_000), [expect], "{what}");
        }
    }

    #[test]
    fn a_run_is_blocked_until_what_blocks_it_is_decided() {
        let lost = |id: u64| json!({ "event": "blocked", "why": { "because": "unknown-outcome", "id": id } });
        let spent = json!({ "event": "blocked", "why": { "because": "spent" } });
        let unblocked = json!({ "event": "unblocked" });
        let about = |event: &str, id: u64| json!({ "event": event, "id": id });
        let table = [
            (vec![], false),
            (vec![spent.clone()], true),
            (vec![spent.clone(), json!({ "event": "used" })], true),
            (vec![spent.clone(), unblocked.clone()], false),
            (vec![spent, json!({ "event": "ended" })], false),
            (vec![lost(1), lost(2), about("retried", 1), unblocked], true),
            (
                vec![lost(1), lost(2), about("retried", 1), about("answered", 2)],
                false,
            ),
        ];
        for (records, expect) in table {
            let mut blocks = Blocks::default();
            records.iter().for_each(|record| blocks.apply(record));
            assert_eq!(blocks.any(), expect, "{records:?}");
        }
    }
}
