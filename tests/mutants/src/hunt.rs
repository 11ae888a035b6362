//! Lets one mutant live after the other, and sees whether a test notices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::baseline::Measured;
use crate::each;
use crate::list::Mutant;
use crate::parts::{PARTS, Part};
use crate::trial::{self, Ended};

/// A test that takes longer is not asked first because it noticed another mutant.
const QUICK_MS: u64 = 2_000;

/// What came of a mutant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub key: String,
    pub verdict: Verdict,
    /// The test that noticed.
    pub noticed_by: Option<String>,
    /// How many tests were run, of how many that reach it.
    pub tests: (usize, usize),
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Caught,
    /// Caught, since a test took too much time or memory.
    Stopped,
    Survived,
}

/// What the hunt needs to know.
pub struct Hunt<'a> {
    pub work: &'a Path,
    pub keys: &'a BTreeMap<u32, String>,
    pub measured: &'a [Measured],
    /// How many run at once.
    pub jobs: usize,
    /// How long the tests may take over one mutant.
    pub ceiling: Duration,
    /// Outcomes of before: what noticed then is asked first.
    pub before: BTreeMap<String, Outcome>,
    /// Whether what was caught before still is, unasked.
    pub resumes: bool,
}

impl Hunt<'_> {
    /// Hunts them all; what came of each is also written as it comes.
    pub fn run(&self, mutants: &[&Mutant]) -> Result<BTreeMap<String, Outcome>> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.work.join("outcomes.jsonl"))
            .context("opening the list of outcomes")?;
        let log = Mutex::new(log);
        let outcomes = Mutex::new(BTreeMap::new());
        // Which test noticed last, by file: likely to notice the next.
        let last: Mutex<BTreeMap<&str, Vec<usize>>> = Mutex::default();
        let mut mutants = mutants.to_vec();
        mutants.sort_by_cached_key(|mutant| self.turn(mutant));
        each(self.jobs, &mutants, |worker, mutant| {
            let key = &self.keys[&mutant.id];
            let before = self.before.get(key).filter(|_| self.resumes);
            let outcome = match before.filter(|outcome| outcome.verdict != Verdict::Survived) {
                Some(outcome) => outcome.clone(),
                None => {
                    let recent = crate::locked(&last).get(&*mutant.file).cloned();
                    let (outcome, by) = self.one(worker, mutant, &recent.unwrap_or_default())?;
                    if let Some(by) = by {
                        let mut last = crate::locked(&last);
                        let recent = last.entry(&mutant.file).or_default();
                        recent.retain(|other| *other != by);
                        recent.insert(0, by);
                        recent.truncate(4);
                    }
                    let line = serde_json::to_string(&outcome)?;
                    writeln!(crate::locked(&log), "{line}")?;
                    outcome
                }
            };
            let mut outcomes = crate::locked(&outcomes);
            outcomes.insert(key.clone(), outcome);
            if outcomes.len().is_multiple_of(100) {
                eprintln!("mutants: {} of {}", outcomes.len(), mutants.len());
            }
            Ok(())
        })?;
        Ok(crate::into_inner(outcomes))
    }

    /// In the order of the parts, which is that of their worth; in each, what a quick
    /// test reaches comes first, so that a hunt that is cut short tells most.
    fn turn(&self, mutant: &Mutant) -> (Option<usize>, u64) {
        let part = PARTS.iter().position(|part| part.name == mutant.part);
        let reach = self.measured.iter();
        let reach = reach.filter(|measured| measured.reached.contains(&mutant.id));
        (
            part,
            reach.map(|measured| measured.millis).min().unwrap_or(0),
        )
    }

    /// The outcome, and which test noticed.
    fn one(
        &self,
        worker: usize,
        mutant: &Mutant,
        recent: &[usize],
    ) -> Result<(Outcome, Option<usize>)> {
        let start = Instant::now();
        let tests = self.tests(mutant, recent);
        let scratch = crate::scratch(worker);
        let mut outcome = Outcome {
            key: self.keys[&mutant.id].clone(),
            verdict: Verdict::Survived,
            noticed_by: None,
            tests: (0, tests.len()),
            seconds: 0.0,
        };
        let mut noticed = None;
        for at in tests {
            let measured = &self.measured[at];
            let limit = Duration::from_millis(measured.millis * 5) + Duration::from_secs(20);
            outcome.tests.0 += 1;
            let told = ("AIRLOCK_MUTANT", mutant.id.to_string().into());
            outcome.verdict = match trial::run(&measured.test, told, limit, &scratch)? {
                Ended::Passed if start.elapsed() < self.ceiling => continue,
                Ended::Passed => break,
                Ended::Failed => Verdict::Caught,
                Ended::Stopped => Verdict::Stopped,
            };
            outcome.noticed_by = Some(measured.test.full_name());
            noticed = Some(at);
            break;
        }
        outcome.seconds = start.elapsed().as_secs_f64();
        Ok((outcome, noticed))
    }

    /// The tests of the part that reach it: the one that noticed before, those that
    /// noticed others of the file, those that are named like it, then the quickest
    /// and most specific.
    fn tests(&self, mutant: &Mutant, recent: &[usize]) -> Vec<usize> {
        let before = self.before.get(&self.keys[&mutant.id]);
        let before = before.and_then(|outcome| outcome.noticed_by.as_deref());
        let part = PARTS.iter().find(|part| part.name == mutant.part);
        let reach = |at: &usize| {
            let measured = &self.measured[*at];
            measured.reached.contains(&mutant.id) && part.is_some_and(|part| is_of(measured, part))
        };
        let stem = Path::new(&mutant.file).file_stem();
        let stem = stem.unwrap_or_default().to_string_lossy();
        let stem = stem.strip_suffix('s').unwrap_or(&stem);
        let mut tests: Vec<usize> = (0..self.measured.len()).filter(reach).collect();
        tests.sort_by_cached_key(|at| {
            let measured = &self.measured[*at];
            let noticed = before == Some(&*measured.test.full_name());
            let recently = recent.iter().position(|other| other == at);
            let recently = recently.filter(|_| measured.millis < QUICK_MS);
            let cost = (measured.millis + 20) * (measured.reached.len() as u64 + 20);
            let unlike = !measured.test.name.contains(stem);
            (!noticed, recently.unwrap_or(usize::MAX), unlike, cost)
        });
        tests
    }
}

fn is_of(measured: &Measured, part: &Part) -> bool {
    let program = &measured.test.program;
    part.tests.contains(&(&*program.package, &*program.target))
}
