//! One cycle, without any effect: what is new, what the report says, and when the
//! next one is due.

use std::collections::BTreeSet;

use airlock_sdk::prelude::*;

use crate::State;

/// What `advisories/check` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Checked {
    pub(crate) packages: usize,
    pub(crate) advisories: usize,
    pub(crate) unreadable: usize,
    pub(crate) findings: Vec<Finding>,
    pub(crate) cut: bool,
}

/// One that applies.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Finding {
    id: String,
    package: String,
    version: String,
    title: String,
    severity: String,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    url: String,
}

impl Finding {
    /// What makes it one that was there before.
    fn key(&self) -> String {
        format!("{} {} {}", self.id, self.package, self.version)
    }
}

/// What is different from the cycle before.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) new: Vec<Finding>,
    pub(crate) still: Vec<Finding>,
    /// Keys of those that are gone.
    pub(crate) gone: Vec<String>,
    /// All that apply now.
    pub(crate) known: Vec<String>,
}

pub(crate) fn difference(checked: &Checked, before: &[String]) -> Difference {
    let before: BTreeSet<&str> = before.iter().map(String::as_str).collect();
    let mut difference = Difference::default();
    for finding in &checked.findings {
        let key = finding.key();
        match before.contains(&*key) {
            true => difference.still.push(finding.clone()),
            false => difference.new.push(finding.clone()),
        }
        difference.known.push(key);
    }
    let now: BTreeSet<&String> = difference.known.iter().collect();
    let gone = before
        .iter()
        .filter(|key| !now.contains(&(**key).to_owned()));
    difference.gone = gone.map(|&key| key.to_owned()).collect();
    difference
}

/// When the cycle after this one is due: in step with the first, and never in the
/// past, however long nothing ran.
pub(crate) fn next_due(state: &State, every_ms: u64, now_ms: u64) -> u64 {
    let due = match state.due_ms {
        0 => now_ms,
        due => due,
    };
    let missed = now_ms.saturating_sub(due) / every_ms;
    due.saturating_add(every_ms.saturating_mul(missed + 1))
}

/// The report, in Markdown.
pub(crate) fn markdown(cycle: u64, checked: &Checked, difference: &Difference) -> String {
    let mut text = format!(
        "# Security advisories, cycle {cycle}\n\n{} new, {} still open, {} gone since last time.\n\
         {} packages were held against {} advisories.\n",
        difference.new.len(),
        difference.still.len(),
        difference.gone.len(),
        checked.packages,
        checked.advisories
    );
    if checked.unreadable > 0 {
        text += &format!(
            "{} lines of the feed could not be read.\n",
            checked.unreadable
        );
    }
    if checked.cut {
        text += "There are more than are shown.\n";
    }
    for (title, findings) in [("New", &difference.new), ("Still open", &difference.still)] {
        if !findings.is_empty() {
            text += &format!("\n## {title}\n\n{HEADER}");
            text.extend(findings.iter().map(row));
        }
    }
    if !difference.gone.is_empty() {
        text += "\n## Gone\n\n";
        text.extend(
            difference
                .gone
                .iter()
                .map(|key| format!("- {}\n", cell(key))),
        );
    }
    text
}

const HEADER: &str =
    "| score | severity | advisory | package | what | mended in |\n|---:|---|---|---|---|---|\n";

fn row(finding: &Finding) -> String {
    let score = finding
        .score
        .map_or("-".to_owned(), |score| format!("{score:.1}"));
    let mended = match finding.patched.is_empty() {
        true => "nothing yet".to_owned(),
        false => finding.patched.join(" or "),
    };
    format!(
        "| {score} | {} | {} {} | {} {} | {} | {} |\n",
        cell(&finding.severity),
        cell(&finding.id),
        cell(&finding.url),
        cell(&finding.package),
        cell(&finding.version),
        cell(&finding.title),
        cell(&mended)
    )
}

/// The feed's text as text in a table.
fn cell(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain
        .flat_map(|c| {
            let escaped = matches!(c, '|' | '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#');
            escaped.then_some('\\').into_iter().chain([c])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(keys: &[(&str, &str)]) -> Checked {
        let finding = |(id, version): &(&str, &str)| {
            json!({ "id": id, "package": "a", "version": version, "title": "t|<b>",
                "severity": "high", "score": 7.5, "patched": [] })
        };
        let findings: Vec<_> = keys.iter().map(finding).collect();
        let checked = json!({ "packages": 9, "advisories": 100, "unreadable": 1, "cut": false,
            "findings": findings });
        serde_json::from_value(checked).expect("a report")
    }

    #[test]
    fn what_is_new_is_what_was_not_there() {
        let first = difference(&checked(&[("A", "1"), ("B", "1")]), &[]);
        assert_eq!(
            (first.new.len(), first.still.len(), first.gone.len()),
            (2, 0, 0)
        );
        // Another version of the package is another matter.
        let checked = checked(&[("A", "1"), ("B", "2")]);
        let second = difference(&checked, &first.known);
        assert_eq!((second.new.len(), second.still.len()), (1, 1));
        assert_eq!(second.gone, ["B a 1"]);
        assert_eq!(second.known, ["A a 1", "B a 2"]);
        let text = markdown(2, &checked, &second);
        for part in [
            "1 new, 1 still open, 1 gone",
            "9 packages were held against 100",
            "1 lines of the feed",
            "| 7.5 | high |",
            "t\\|\\<b\\>",
            "nothing yet",
            "- B a 1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn cycles_keep_step_and_do_not_pile_up() {
        let at = |due_ms| State {
            due_ms,
            ..State::default()
        };
        // The first, one on time, one that is late, and one after a long sleep.
        for (due, now, next) in [
            (0, 5_000, 6_000),
            (6_000, 6_000, 7_000),
            (6_000, 6_400, 7_000),
            (6_000, 9_700, 10_000),
            // The wall clock was set back.
            (6_000, 4_000, 7_000),
        ] {
            assert_eq!(next_due(&at(due), 1_000, now), next, "{due} {now}");
        }
    }
}
