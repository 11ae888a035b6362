//! An agent for Airlock. Replace what it does by your own.

use std::time::Duration;

use airlock_sdk::agent::{self, Outcome};
use airlock_sdk::prelude::*;
use serde_json::{Value, json};

/// What to report on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The folder to report on, as `files` sees it, e.g. `/invoices`.
    folder: String,
    /// For how long a person is asked, in hours; 24 unless given.
    #[serde(default = "day")]
    patience_hours: u32,
}

fn day() -> u32 {
    24
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    /// How many files there are.
    files: usize,
    /// Whether a person wants to know them by name; `None`: nobody said.
    wanted: Option<bool>,
    /// Their names, where they are wanted.
    names: Vec<String>,
}

#[derive(Deserialize)]
struct Listing {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    kind: String,
}

async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    let listing: Listing = agent::call("files/list", &json!({ "path": input.folder })).await?;
    let files = listing.entries.into_iter().filter(|entry| entry.kind == "file");
    let names: Vec<String> = files.map(|file| file.path).collect();
    let patience = Duration::from_secs(u64::from(input.patience_hours) * 3_600);
    let about = json!({ "folder": input.folder, "files": names.len() });
    let asked = agent::ask_about("Name the files?", &["yes", "no"], Some(&about), Some(patience));
    let wanted = match asked.await {
        Ok(decision) => Some(decision.choice == "yes"),
        // Nobody answered in time.
        Err(Error::Transient { .. }) => None,
        Err(error) => return Err(error),
    };
    Outcome::done(&Report {
        files: names.len(),
        wanted,
        names: if wanted == Some(true) { names } else { Vec::new() },
    })
}

airlock_sdk::agent! {
    description: "Reports on a folder, and names its files when a person wants that.",
    input: Input,
    run: run,
    // What the agent would like to be granted, and why.
    wants: [want!(tools, r#"{ tool = "files/list" }"#, "To see which files there are.")],
}

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::{self, Answer, AgentHost};

    use super::*;

    fn host() -> AgentHost {
        testing::agent().tool("files/list", |input| {
            assert_eq!(input, json!({ "path": "/invoices" }));
            Ok(json!({ "entries": [
                { "path": "/invoices/a.csv", "kind": "file" },
                { "path": "/invoices/old", "kind": "folder" },
            ] }))
        })
    }

    #[test]
    fn files_are_named_when_a_person_wants_that() {
        type Decides = fn() -> Answer;
        let table: [(Decides, Value, u64); 3] = [
            (|| "yes".into(), json!({ "files": 1, "wanted": true, "names": ["/invoices/a.csv"] }), 0),
            (|| "no".into(), json!({ "files": 1, "wanted": false, "names": [] }), 0),
            (Answer::nobody, json!({ "files": 1, "wanted": null, "names": [] }), 24),
        ];
        for (decides, report, hours) in table {
            let host = host().decides(move |_| decides());
            let run = host.run(run, "report", json!({ "folder": "/invoices" }));
            assert_eq!(run.output(), report);
            // On the run's own clock: the test does not wait.
            assert_eq!(run.took(), Duration::from_secs(hours * 3_600));
        }
    }

    #[test]
    fn what_is_not_granted_is_denied() {
        let run = testing::agent().run(run, "report", json!({ "folder": "/invoices" }));
        assert_eq!(run.error().code(), "denied");
    }
}
