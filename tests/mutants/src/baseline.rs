//! Each test once, with no mutant alive: what it reaches and how long it takes is
//! written down. One that does not pass can notice nothing, and is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::build::Program;
use crate::each;
use crate::parts::{Part, TESTS_LEFT_OUT};
use crate::trial::{self, Ended, Test};

/// How often a test that fails may try again: a machine under load.
const TRIES: usize = 3;

const LIMIT: Duration = Duration::from_secs(180);

/// What a test does when nothing is wrong.
#[derive(Debug, Clone)]
pub struct Measured {
    pub test: Test,
    pub millis: u64,
    pub reached: BTreeSet<u32>,
}

/// What is kept of a test, until its program is built again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    program: String,
    millis: u64,
    reached: BTreeSet<u32>,
}

/// Measures the tests of these parts; gives also the names of those that fail.
pub fn measure(
    work: &Path,
    programs: &[Program],
    parts: &[&Part],
    jobs: usize,
) -> Result<(Vec<Measured>, Vec<String>)> {
    let path = work.join("baseline.json");
    let kept: BTreeMap<String, Kept> = crate::read(&path)?;
    let tests = selected(programs, parts)?;
    ensure!(
        tests.len() > 20,
        "only {} tests to notice anything",
        tests.len()
    );
    eprintln!("mutants: {} tests, with no mutant alive", tests.len());
    let measured = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    each(jobs, &tests, |worker, test| {
        let before = kept.get(&test.full_name());
        let found = match before.filter(|kept| kept.program == stamp(&test.program)) {
            Some(kept) => Some(Measured {
                test: test.clone(),
                millis: kept.millis,
                reached: kept.reached.clone(),
            }),
            None => measure_one(work, worker, test)?,
        };
        match found {
            Some(found) => crate::locked(&measured).push(found),
            None => crate::locked(&failed).push(test.full_name()),
        }
        Ok(())
    })?;
    let measured = crate::into_inner(measured);
    keep(&path, kept, &measured)?;
    let failed = crate::into_inner(failed);
    for name in &failed {
        eprintln!("mutants: {name} fails with no mutant alive");
    }
    Ok((measured, failed))
}

fn keep(path: &Path, mut kept: BTreeMap<String, Kept>, measured: &[Measured]) -> Result<()> {
    for found in measured {
        let one = Kept {
            program: stamp(&found.test.program),
            millis: found.millis,
            reached: found.reached.clone(),
        };
        kept.insert(found.test.full_name(), one);
    }
    crate::write(path, &kept)
}

fn selected(programs: &[Program], parts: &[&Part]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for program in programs {
        let of_program = (program.package.as_str(), program.target.as_str());
        if parts.iter().any(|part| part.tests.contains(&of_program)) {
            tests.extend(trial::tests(program)?);
        }
    }
    tests.retain(|test| !TESTS_LEFT_OUT.iter().any(|word| test.name.contains(word)));
    Ok(tests)
}

/// Changes with every build of a program.
fn stamp(program: &Program) -> String {
    let modified = std::fs::metadata(&program.executable).and_then(|about| about.modified());
    format!("{} {modified:?}", program.executable.display())
}

/// Nothing when it does not pass.
fn measure_one(work: &Path, worker: usize, test: &Test) -> Result<Option<Measured>> {
    let scratch = crate::scratch(worker);
    let cover: PathBuf = work.join(format!("cover-{worker}"));
    for _ in 0..TRIES {
        let _ = std::fs::remove_file(&cover);
        let start = Instant::now();
        let told = ("AIRLOCK_MUTANT_COVER", cover.clone().into_os_string());
        if trial::run(test, told, LIMIT, &scratch)? == Ended::Passed {
            let reached = std::fs::read(&cover).unwrap_or_default();
            let ids = reached.as_chunks::<4>().0.iter();
            return Ok(Some(Measured {
                test: test.clone(),
                millis: u64::try_from(start.elapsed().as_millis())?,
                reached: ids.map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            }));
        }
    }
    Ok(None)
}
