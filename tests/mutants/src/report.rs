//! What came of it, by part.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::build::Known;
use crate::hunt::{Outcome, Verdict};
use crate::list::Mutant;

/// The share of mutants that have to be noticed, percent.
pub const CAUGHT_MIN: usize = 95;

/// Counts of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub caught: usize,
    /// Of these, because a test took too much time or memory.
    pub stopped: usize,
    pub survived: usize,
    pub unviable: usize,
    pub not_tried: usize,
}

impl Counts {
    fn tenths(&self) -> usize {
        let tried = self.caught + self.survived;
        (self.caught * 1000).checked_div(tried).unwrap_or(0)
    }

    pub fn suffices(&self) -> bool {
        self.tenths() >= CAUGHT_MIN * 10
    }
}

/// Everything there is to say.
pub struct Report {
    pub parts: BTreeMap<&'static str, Counts>,
    /// By their lasting names, each as often as it survived.
    pub survivors: Vec<String>,
    pub text: String,
}

/// Counts and lists.
pub fn report(
    mutants: &[Mutant],
    keys: &BTreeMap<u32, String>,
    known: &Known,
    outcomes: &BTreeMap<String, Outcome>,
) -> Report {
    let mut report = Report {
        parts: BTreeMap::new(),
        survivors: Vec::new(),
        text: String::new(),
    };
    let mut not_tried = String::new();
    for mutant in mutants {
        let key = &keys[&mutant.id];
        let counts = report.parts.entry(mutant.part).or_default();
        if known.unviable.contains(key) {
            counts.unviable += 1;
        } else if let Some(why) = known.not_tried.get(key) {
            counts.not_tried += 1;
            let _ = writeln!(not_tried, "not tried: {}: {why}", mutant.name);
        } else if let Some(outcome) = outcomes.get(key) {
            counts.add(outcome.verdict);
            if outcome.verdict == Verdict::Survived {
                report.survivors.push(mutant.lasting_name());
                let (run, reach) = outcome.tests;
                let name = &mutant.name;
                let _ = writeln!(report.text, "survived: {name} ({run} of {reach} tests)");
            }
        }
    }
    report.text.push_str(&not_tried);
    for (part, counts) in &report.parts {
        let line = counts.line(part);
        report.text.push_str(&line);
    }
    report
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Caught => self.caught += 1,
            Verdict::Stopped => {
                self.caught += 1;
                self.stopped += 1;
            }
            Verdict::Survived => self.survived += 1,
        }
    }

    fn line(&self, part: &str) -> String {
        let tenths = self.tenths();
        format!(
            "{part}: {}.{} % caught: {} of {} ({} by time or memory), {} survived; \
             {} do not compile, {} not tried\n",
            tenths / 10,
            tenths % 10,
            self.caught,
            self.caught + self.survived,
            self.stopped,
            self.survived,
            self.unviable,
            self.not_tried
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_caught_do_not_suffice() {
        let cases = [(0, 0, false), (95, 5, true), (949, 51, false), (1, 0, true)];
        for (caught, survived, suffices) in cases {
            let counts = Counts {
                caught,
                survived,
                ..Counts::default()
            };
            assert_eq!(counts.suffices(), suffices, "{caught} and {survived}");
        }
    }
}
