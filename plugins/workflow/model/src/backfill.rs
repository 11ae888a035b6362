//! Back-filling: one run of a workflow for each interval of a time that has gone by.
//!
//! What must stay true: the same file, inputs and interval have the same key, so
//! that asking twice starts nothing twice; another file has other keys.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::{check, time};

/// Runs that are started at once at most.
pub const RUNS_MAX: usize = 1_000;

/// What is back-filled.
#[derive(Clone, Debug)]
pub struct Backfill<'a> {
    /// The workflow's text.
    pub workflow: &'a str,
    /// The agent that runs it.
    pub agent: &'a str,
    /// Its inputs.
    pub inputs: Map<String, Value>,
    /// The first moment, RFC 3339.
    pub from: &'a str,
    /// The moment after the last one, RFC 3339.
    pub to: &'a str,
    /// How long an interval is, e.g. `1d`.
    pub every: &'a str,
    /// The time now: what is not over yet can't be worked on.
    pub now: SystemTime,
}

/// What a back-fill starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The runs, oldest first.
    pub starts: Vec<Start>,
    /// What is left at the end and is no whole interval: from, to.
    pub left_out: Option<(String, String)>,
}

/// A run to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The key under which it is started once.
    pub key: String,
    /// When its interval starts.
    pub start: String,
    /// When its interval ends.
    pub end: String,
    /// The agent's input.
    pub input: Value,
}

impl Backfill<'_> {
    /// The runs to start.
    ///
    /// # Errors
    /// All that is wrong; of the file with its places.
    pub fn plan(&self) -> Result<Plan, Vec<String>> {
        let checked = check(self.workflow);
        let checked = checked
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let schema = checked.main.input();
        let mut inputs = Value::Object(self.inputs.clone());
        schema.fill(&mut inputs);
        let problems = schema.problems(&inputs, "inputs");
        if !problems.is_empty() {
            return Err(problems);
        }
        let one = |error: String| vec![error];
        let from = time::moment(self.from).map_err(|error| one(format!("from: {error}")))?;
        let to = time::moment(self.to).map_err(|error| one(format!("to: {error}")))?;
        let every = time::duration(self.every).map_err(|error| one(format!("every: {error}")))?;
        let (intervals, rest) = time::intervals(from, to, every, RUNS_MAX).map_err(one)?;
        let spelled = |(start, end)| (time::rfc3339(start), time::rfc3339(end));
        if let Some(future) = intervals.iter().find(|(_, end)| *end > self.now) {
            let (start, end) = spelled(*future);
            return Err(one(format!(
                "to: the interval from {start} to {end} is not over yet"
            )));
        }
        let intervals = intervals.into_iter().map(spelled);
        Ok(Plan {
            starts: intervals
                .map(|(start, end)| self.start(start, end))
                .collect(),
            left_out: (rest < to).then(|| spelled((rest, to))),
        })
    }

    fn start(&self, start: String, end: String) -> Start {
        let input = json!({
            "workflow": self.workflow,
            "inputs": self.inputs,
            "logical_time": start,
            "interval": { "start": start, "end": end },
        });
        let hash = hash(&format!("{}\n{input}", self.agent));
        Start {
            key: format!("backfill/{start}/{end}/{hash:016x}"),
            start,
            end,
            input,
        }
    }
}

/// FNV-1a: tells files apart. Whoever starts runs chooses their keys anyway.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "inputs: { n: integer }\nsteps: [{ id: a, tool: x/y }]\n";

    fn backfill<'a>(workflow: &'a str, from: &'a str, to: &'a str, every: &'a str) -> Backfill<'a> {
        let inputs = Map::from_iter([("n".to_owned(), json!(1))]);
        Backfill {
            workflow,
            agent: "workflow",
            inputs,
            from,
            to,
            every,
            now: time::moment("2026-06-01").expect("a moment"),
        }
    }

    fn starts(plan: &Backfill<'_>) -> Vec<Start> {
        plan.plan().expect("it can be").starts
    }

    #[test]
    fn each_interval_has_a_run_with_a_key_of_its_own() {
        let plan = backfill(FILE, "2026-05-01", "2026-05-04", "1d");
        let starts = starts(&plan);
        assert_eq!(starts.len(), 3);
        assert_eq!(starts[1].start, "2026-05-02T00:00:00Z");
        assert_eq!(starts[1].input["interval"]["end"], "2026-05-03T00:00:00Z");
        assert_eq!(starts[1].input["logical_time"], "2026-05-02T00:00:00Z");
        assert_eq!(starts[1].input["inputs"], json!({ "n": 1 }));
        assert_eq!(self::starts(&plan), starts, "the same keys again");
        // Those that overlap with another back-fill are the same.
        let more = self::starts(&backfill(FILE, "2026-05-02", "2026-05-06", "1d"));
        assert_eq!(more[0], starts[1]);
        let other = FILE.replace("x/y", "x/z");
        let other = self::starts(&backfill(&other, "2026-05-01", "2026-05-04", "1d"));
        assert_ne!(other[0].key, starts[0].key);
        assert!(
            starts
                .iter()
                .all(|start| start.key.len() < 255 && start.key.is_ascii())
        );
    }

    /// What is no whole interval is said, not dropped.
    #[test]
    fn what_is_left_at_the_end_is_told() {
        for (to, left_out) in [
            ("2026-05-03", None),
            (
                "2026-05-03T12:00:00Z",
                Some(("2026-05-03T00:00:00Z", "2026-05-03T12:00:00Z")),
            ),
            // Now is in there: what is over is started.
            (
                "2026-06-01T12:00:00Z",
                Some(("2026-06-01T00:00:00Z", "2026-06-01T12:00:00Z")),
            ),
        ] {
            let plan = backfill(FILE, "2026-05-01", to, "1d").plan().expect(to);
            let left_out = left_out.map(|(from, to)| (from.to_owned(), to.to_owned()));
            assert_eq!(plan.left_out, left_out, "{to}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (file, from, to, every, part) in [
            (FILE, "may", "2026-05-04", "1d", "from: `may` is no moment"),
            (
                FILE,
                "2026-05-01",
                "2026-05-04",
                "daily",
                "every: `daily` is no duration",
            ),
            (FILE, "2026-05-01", "2026-05-01", "1d", "no whole interval"),
            (
                FILE,
                "2026-05-30",
                "2026-06-03",
                "1d",
                "from 2026-06-01T00:00:00Z to 2026-06-02T00:00:00Z is not over yet",
            ),
            (
                FILE,
                "2020-01-01",
                "2026-05-01",
                "1h",
                "more than 1000 intervals",
            ),
            (
                "steps: []",
                "2026-05-01",
                "2026-05-04",
                "1d",
                "1:8: `steps` is empty",
            ),
            (
                "inputs: { m: string }\nsteps: [{ id: a, wait: 1s }]",
                "2026-05-01",
                "2026-05-04",
                "1d",
                "inputs.m: it is missing",
            ),
        ] {
            let problems = backfill(file, from, to, every).plan().expect_err(part);
            assert!(
                problems.iter().any(|problem| problem.contains(part)),
                "{problems:?}"
            );
        }
    }
}
