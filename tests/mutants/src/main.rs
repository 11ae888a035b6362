//! Mutation testing of what must not be wrong. `cargo mutants` says which mutants
//! there are; all of them are compiled into one copy of the workspace, and an
//! environment variable says which one is alive. So each costs a test or two, not
//! a build.
//!
//! What must stay true: a mutant counts as caught only when a test failed that
//! passes without it, and each that survives is in `accepted.toml` with its reason.

mod accepted;
mod baseline;
mod build;
mod hunt;
mod list;
mod parts;
mod report;
mod rewrite;
#[cfg(test)]
mod switch;
mod tree;
mod trial;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::{Known, Workshop};
use crate::hunt::{Hunt, Outcome};
use crate::list::Mutant;
use crate::parts::{PARTS, Part};

/// Changes what must not be wrong, one place at a time, and sees whether a test
/// notices.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask mutants")]
struct Args {
    /// Only this part; may be given more than once.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Take what an earlier run caught as caught, if its file has not changed.
    #[arg(long)]
    resume: bool,
    /// How long the tests may take over one mutant.
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
    /// How many tests run at once; as many as there are processors, if not said.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only say what mutants there are.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let parts = selected(&args.only)?;
    let work = tree::target().join("mutants");
    std::fs::create_dir_all(&work)?;
    let mutants = listed(&work, &parts)?;
    if args.list {
        for mutant in &mutants {
            println!("{}: {}", mutant.part, mutant.name);
        }
        return Ok(());
    }
    let keys = keys(&mutants)?;
    let kept = work.join("left-out.json");
    let mut workshop = Workshop {
        tree: work.join("tree"),
        mutants: &mutants,
        keys: &keys,
        known: read(&kept)?,
        kept,
    };
    let programs = workshop.build(&parts)?;
    let known = workshop.known;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(processors);
    let (measured, failed) = baseline::measure(&work, &programs, &parts, jobs)?;
    let hunt = Hunt {
        work: &work,
        keys: &keys,
        measured: &measured,
        jobs,
        ceiling: Duration::from_secs(args.seconds),
        before: outcomes(&work)?,
        resumes: args.resume,
    };
    let outcomes = hunt.run(&living(&mutants, &keys, &known))?;
    let report = report::report(&mutants, &keys, &known, &outcomes);
    conclude(&work, &report, &mutants, &failed)
}

fn selected(only: &[String]) -> Result<Vec<&'static Part>> {
    for name in only {
        if !PARTS.iter().any(|part| part.name == name) {
            let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            bail!("there is no part `{name}`; there are: {}", names.join(", "));
        }
    }
    let parts = PARTS.iter();
    let parts = parts.filter(|part| only.is_empty() || only.iter().any(|name| name == part.name));
    Ok(parts.collect())
}

/// The mutants, out of a copy that nothing is mutated in.
fn listed(work: &Path, parts: &[&'static Part]) -> Result<Vec<Mutant>> {
    let tree = work.join("list");
    tree::copy(&tree, &std::collections::BTreeSet::new())?;
    list::declare(&tree)?;
    let mutants = list::list(&tree, parts)?;
    eprintln!("mutants: {} in {} parts", mutants.len(), parts.len());
    Ok(mutants)
}

/// What a mutant goes by in results: another, once its file has changed.
fn keys(mutants: &[Mutant]) -> Result<BTreeMap<u32, String>> {
    let mut hashes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for mutant in mutants {
        if !hashes.contains_key(&*mutant.file) {
            let text = std::fs::read(tree::root().join(&mutant.file))?;
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hashes.insert(&mutant.file, hasher.finish());
        }
        let hash = hashes[&*mutant.file];
        keys.insert(mutant.id, format!("{hash:016x} {}", mutant.name));
    }
    Ok(keys)
}

fn living<'a>(
    mutants: &'a [Mutant],
    keys: &BTreeMap<u32, String>,
    known: &Known,
) -> Vec<&'a Mutant> {
    let lives = |mutant: &&Mutant| {
        let key = &keys[&mutant.id];
        !known.unviable.contains(key) && !known.not_tried.contains_key(key)
    };
    mutants.iter().filter(lives).collect()
}

/// The last outcome of each, from earlier runs.
fn outcomes(work: &Path) -> Result<BTreeMap<String, Outcome>> {
    let text = std::fs::read_to_string(work.join("outcomes.jsonl")).unwrap_or_default();
    // The last line may be cut off where a run was interrupted.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines
        .map(|outcome: Outcome| (outcome.key.clone(), outcome))
        .collect())
}

fn conclude(
    work: &Path,
    report: &report::Report,
    mutants: &[Mutant],
    failed: &[String],
) -> Result<()> {
    std::fs::write(work.join("report.txt"), &report.text)?;
    print!("{}", report.text);
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("accepted.toml");
    let is_tried = |file: &str| mutants.iter().any(|mutant| mutant.file == file);
    let mut faults = accepted::faults(&report.survivors, &accepted::read(&list)?, is_tried);
    for (part, counts) in &report.parts {
        if !counts.suffices() {
            faults.push(format!("{part}: less than {} % caught", report::CAUGHT_MIN));
        }
    }
    let failed = failed.iter();
    faults.extend(failed.map(|test| format!("fails with no mutant alive: {test}")));
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Does something for each, `jobs` at once.
pub fn each<T: Sync>(
    jobs: usize,
    all: &[T],
    work: impl Fn(usize, &T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for worker in 0..jobs.max(1) {
            let (next, failed, work) = (&next, &failed, &work);
            scope.spawn(move || {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(worker, one) {
                        *locked(failed) = Some(error);
                        next.store(all.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    into_inner(failed).map_or(Ok(()), Err)
}

/// A folder for what a test leaves behind.
pub fn scratch(worker: usize) -> PathBuf {
    let name = format!("airlock-mutants-{}-{worker}", std::process::id());
    std::env::temp_dir().join(name)
}

/// What it guards, also after a panic.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it guarded.
pub fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What a file of an earlier run holds; nothing when there is none.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T> {
    match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("{}: remove it", path.display()))
        }
        Err(_) => Ok(T::default()),
    }
}

/// Writes what [`read`] reads.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    std::fs::write(path, serde_json::to_vec(value)?)
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_is_reached_is_told_once_and_none_is_alive_by_itself() {
        assert!(!switch::on(7));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("reached");
        for id in [70, 7, 70, 65535, 7] {
            switch::tell(id, &file);
        }
        let told = std::fs::read(&file).expect("what was told");
        let told = told.as_chunks::<4>().0.iter();
        let told: Vec<u32> = told.map(|bytes| u32::from_le_bytes(*bytes)).collect();
        assert_eq!(told, [70, 7, 65535]);
    }

    #[test]
    fn an_unknown_part_is_refused() {
        assert!(selected(&["gate".to_owned()]).is_ok_and(|parts| parts.len() == 1));
        assert!(selected(&[]).is_ok_and(|parts| parts.len() == PARTS.len()));
        assert!(selected(&["door".to_owned()]).is_err());
    }
}
