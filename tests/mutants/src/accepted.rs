//! Survivors that are accepted, each with its reason: `tests/mutants/accepted.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    accepted: Vec<Accepted>,
}

/// A survivor nobody can notice, or nobody needs to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Its name without line and column.
    pub mutant: String,
    /// Why.
    pub reason: String,
    /// How many survive that go by this name.
    #[serde(default = "one")]
    pub count: usize,
}

fn one() -> usize {
    1
}

/// Reads the list.
pub fn read(path: &Path) -> Result<Vec<Accepted>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Accepted>> {
    let list: List = toml::from_str(text).context("reading the accepted survivors")?;
    for one in &list.accepted {
        ensure!(
            !one.reason.trim().is_empty(),
            "`{}` has no reason",
            one.mutant
        );
    }
    Ok(list.accepted)
}

/// What is wrong between the survivors and the list; `is_tried` says of a file
/// whether its mutants lived in this run.
pub fn faults(
    survivors: &[String],
    accepted: &[Accepted],
    is_tried: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for survivor in survivors {
        counts.entry(survivor).or_default().0 += 1;
    }
    for one in accepted {
        let file = one.mutant.split_once(": ").map_or("", |(file, _)| file);
        if is_tried(file) {
            counts.entry(&one.mutant).or_default().1 += one.count;
        }
    }
    let faults = counts
        .into_iter()
        .filter_map(|(name, counts)| match counts {
            (survive, listed) if survive == listed => None,
            (survive, 0) => Some(format!("{survive} × survived, with no reason: {name}")),
            (0, _) => Some(format!("accepted, but does not survive: {name}")),
            (survive, listed) => Some(format!("{listed} accepted, {survive} survive: {name}")),
        });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_survivors_have_to_agree() {
        let list = r#"
            [[accepted]]
            mutant = "a.rs: delete ! in f"
            reason = "the same either way"
            count = 2
            [[accepted]]
            mutant = "b.rs: delete ! in g"
            reason = "the same either way"
        "#;
        let accepted = parse(list).expect("a list");
        let check = |survivors: &[&str], tried: &str, expected: &[&str]| {
            let survivors: Vec<String> = survivors.iter().map(|&name| name.to_owned()).collect();
            let found = faults(&survivors, &accepted, |file| tried.contains(file));
            assert_eq!(found, expected, "{survivors:?} of {tried}");
        };
        let (a, b) = ("a.rs: delete ! in f", "b.rs: delete ! in g");
        check(&[a, a, b], "a.rs b.rs", &[]);
        check(&[a, a], "a.rs", &[]);
        check(
            &[a, b],
            "a.rs b.rs",
            &["2 accepted, 1 survive: a.rs: delete ! in f"],
        );
        check(
            &[a, a],
            "a.rs b.rs",
            &["accepted, but does not survive: b.rs: delete ! in g"],
        );
        let c = "c.rs: delete ! in h";
        check(
            &[a, a, c],
            "a.rs c.rs",
            &["1 × survived, with no reason: c.rs: delete ! in h"],
        );
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        for list in [
            "[[accepted]]\nmutant = 'a.rs: delete ! in f'\nreason = ' '",
            "[[accepted]]\nmutant = 'a.rs: delete ! in f'",
            "[[accepted]]\nmutant = 'a'\nreason = 'b'\nline = 3",
        ] {
            assert!(parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn the_list_of_this_project_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("accepted.toml");
        read(&path).expect("the list");
    }
}
