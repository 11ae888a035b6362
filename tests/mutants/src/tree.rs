//! Copies of the workspace: one that `cargo mutants` reads, one that is mutated
//! and built. A file that is the same already is not written again, so that cargo
//! builds only what changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The workspace's root.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// The target directory that cargo uses here.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The files that are under version control, or are not and would be.
pub fn files() -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root())
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .context("starting git")?;
    ensure!(output.status.success(), "git could not list the files");
    let text = String::from_utf8(output.stdout).context("a name that is not UTF-8")?;
    let names = text.split('\0').filter(|name| !name.is_empty());
    let present = |path: &PathBuf| fs::symlink_metadata(root().join(path)).is_ok();
    Ok(names.map(PathBuf::from).filter(present).collect())
}

/// Makes `to` the workspace as it stands, but for the files in `changed`, which
/// someone else writes, and removes what is there no more.
pub fn copy(to: &Path, changed: &BTreeSet<PathBuf>) -> Result<()> {
    let files = files()?;
    ensure!(files.len() > 100, "only {} files to copy", files.len());
    remove_others(to, to, &files)?;
    for file in files.difference(changed) {
        let (from, to) = (root().join(file), to.join(file));
        if from.is_symlink() {
            link(&from, &to)?;
        } else {
            let text = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            write(&to, &text)?;
        }
    }
    Ok(())
}

fn remove_others(root: &Path, dir: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_others(root, &path, files)?;
        } else if !files.contains(path.strip_prefix(root)?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    let target = fs::read_link(from)?;
    if fs::read_link(to).is_ok_and(|there| there == target) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    std::os::unix::fs::symlink(&target, to).with_context(|| format!("linking {}", to.display()))
}

/// Writes a file, unless it holds this already.
pub fn write(to: &Path, text: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))
}
