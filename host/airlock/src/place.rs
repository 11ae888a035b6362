//! Whether a directory is a data directory, asked before anything is made in it.
//!
//! What must stay true: a command that only reads makes nothing, and none makes
//! anything among files that are not Airlock's.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::config::Settings;
use crate::exit::Misuse;

/// What a directory may hold before its first start: the configuration, what an
/// interrupted start left behind, and what a file system has of its own.
const NO_DATA: [&str; 7] = [
    "airlock.toml",
    "cache",
    "components",
    "lost+found",
    "models.toml",
    "server.address",
    "views",
];

/// What is kept beside the truth, and what only Airlock makes: with both, it has been
/// here.
const BESIDE: [&str; 2] = ["mcp", "memory"];
const MADE: [&str; 2] = ["cache", "components"];

/// How the files of the truth begin; whatever of them is there is for the store to
/// judge.
const JOURNAL: &str = "journal.";

/// What a start that was cut off at once leaves beside them.
const LOCK: &str = "lock";

/// What a restore that was cut off leaves; the next start finishes it.
const RESTORE: [&str; 2] = ["replaced-", "restored-"];

/// As [`check_place`] for a command that makes data; what is left of Airlock's where
/// the journal is gone is a place for a backup, and for nothing else.
///
/// # Errors
/// As [`check_place`].
pub fn check_place_of_backup(settings: &Settings) -> Result<()> {
    looked_at(settings, true, true)
}

/// Refuses a directory that is not Airlock's, and one without data unless
/// `makes`: the command would make it.
///
/// # Errors
/// [`Misuse`] that says what is there; the directory can't be read.
pub fn check_place(settings: &Settings, makes: bool) -> Result<()> {
    looked_at(settings, makes, false)
}

fn looked_at(settings: &Settings, makes: bool, restores: bool) -> Result<()> {
    let data = &settings.data;
    let kept = names(&settings.runtime().journal_dir())?;
    let names = names(data)?;
    let cut_off = |name: &String| RESTORE.iter().any(|prefix| name.starts_with(prefix));
    if kept.iter().any(|name| name.starts_with(JOURNAL)) || names.iter().any(cut_off) {
        return Ok(());
    }
    let nothing_kept = kept.iter().all(|name| name == LOCK);
    let ours = |name: &str| NO_DATA.contains(&name) || (name == "journal" && nothing_kept);
    let made = MADE
        .iter()
        .all(|made| names.iter().any(|name| name == made));
    let beside = |name: &&String| made && BESIDE.contains(&name.as_str());
    let others: Vec<&String> = names.iter().filter(|name| !ours(name)).collect();
    if !others.is_empty() && others.iter().all(beside) {
        if restores {
            return Ok(());
        }
        return Err(Misuse(format!(
            "the journal of {} is gone, and with it what Airlock knew there: put it back, or restore a backup with `airlock restore`",
            data.display()
        ))
        .into());
    }
    if let Some(other) = others.first() {
        return Err(Misuse(format!(
            "{} is not empty and not Airlock's (it has `{other}`): name a data directory, or a new folder, with --data",
            data.display()
        ))
        .into());
    }
    if makes {
        return Ok(());
    }
    Err(Misuse(format!(
        "there is no Airlock data in {}: name its directory with --data; `airlock serve` and `airlock plugin add` begin one",
        data.display()
    ))
    .into())
}

/// What is in a directory; nothing when there is none.
fn names(directory: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(reading)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(reading)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
