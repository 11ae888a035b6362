//! Back-filling: one run of a workflow for each interval of a time that has gone by.
//!
//! What must stay true: the same file, inputs and interval have the same key, so
//! that asking twice starts nothing twice; another file has other keys.

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
}

/// A run to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Its idempotency key.
    pub key: String,
    /// When its interval starts.
    pub start: String,
    /// When its interval ends.
    pub end: String,
    /// The agent's input.
    pub input: Value,
}

impl Backfill<'_> {
    /// The runs to start, oldest first.
    ///
    /// # Errors
    /// All that is wrong; of the file with its places.
    pub fn starts(&self) -> Result<Vec<Start>, Vec<String>> {
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
        let intervals = time::intervals(from, to, every, RUNS_MAX).map_err(one)?;
        let intervals = intervals.into_iter();
        Ok(intervals
            .map(|(start, end)| self.start(time::rfc3339(start), time::rfc3339(end)))
            .collect())
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
        }
    }

    #[test]
    fn each_interval_has_a_run_with_a_key_of_its_own() {
        let plan = backfill(FILE, "2026-05-01", "2026-05-04", "1d");
        let starts = plan.starts().expect("three days");
        assert_eq!(starts.len(), 3);
        assert_eq!(starts[1].start, "2026-05-02T00:00:00Z");
        assert_eq!(starts[1].input["interval"]["end"], "2026-05-03T00:00:00Z");
        assert_eq!(starts[1].input["logical_time"], "2026-05-02T00:00:00Z");
        assert_eq!(starts[1].input["inputs"], json!({ "n": 1 }));
        assert_eq!(plan.starts(), Ok(starts.clone()), "the same keys again");
        // Those that overlap with another back-fill are the same.
        let more = backfill(FILE, "2026-05-02", "2026-05-06", "1d")
            .starts()
            .expect("four days");
        assert_eq!(more[0], starts[1]);
        let other = FILE.replace("x/y", "x/z");
        let other = backfill(&other, "2026-05-01", "2026-05-04", "1d")
            .starts()
            .expect("three days");
        assert_ne!(other[0].key, starts[0].key);
        assert!(
            starts
                .iter()
                .all(|start| start.key.len() < 255 && start.key.is_ascii())
        );
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
            let problems = backfill(file, from, to, every).starts().expect_err(part);
            assert!(
                problems.iter().any(|problem| problem.contains(part)),
                "{problems:?}"
            );
        }
    }
}
