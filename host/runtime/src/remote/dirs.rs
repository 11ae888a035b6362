//! Directories of programs: of a server's before it is installed, and of those whose
//! plugins are gone.
//!
//! What must stay true: whatever a program left there keeps nothing else from being
//! erased; what is changed and deleted is in its directory, wherever links lead; no
//! plugin finds what a server left that was never installed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ids;

/// How the directories of plugins that are gone begin; no plugin's name does.
const GONE: &str = ".gone-";
/// How those begin in which a server is asked for its tools before it is a plugin's.
const NEW: &str = ".new-";
/// Levels below a directory that are made deletable.
const LEVELS_MAX: usize = 64;

/// Takes a plugin's directory out of the way of the next one of its name, and deletes
/// it as far as that is possible; the rest goes at the next start.
///
/// # Errors
/// It is still where it was.
pub(super) fn discard(all: &Path, plugin: &str) -> io::Result<()> {
    let gone = all.join(ids::new_id(GONE));
    match fs::rename(all.join(plugin), &gone) {
        Ok(()) => delete(&gone),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A directory for a server that is no plugin yet, which is deleted by [`delete`]; it
/// is not made.
pub(super) fn fresh(all: &Path) -> PathBuf {
    all.join(ids::new_id(NEW))
}

/// Deletes what is left of plugins that are gone, and of servers that never were one:
/// every directory that is not of a `known` plugin.
pub(super) fn sweep(all: &Path, known: impl Fn(&str) -> bool) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let gone = dirs.filter(|entry| !entry.file_name().to_str().is_some_and(&known));
    gone.for_each(|entry| delete(&entry.path()));
}

/// Deletes a directory as far as that is possible; the rest goes at the next start.
pub(super) fn delete(dir: &Path) {
    if !dir.exists() {
        return;
    }
    if fs::remove_dir_all(dir).is_ok() {
        return;
    }
    if let Ok(dir) = opened(dir) {
        open_up(&dir, 0);
    }
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(dir = %dir.display(), %error, "what a program left is not deleted yet");
    }
}

/// A directory as it stands there, whatever its mode; not what a link leads to.
fn opened(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn open_up(dir: &File, level: usize) {
    let here = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let _ = fs::set_permissions(&here, Permissions::from_mode(0o700));
    for entry in fs::read_dir(&here).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir
            && level < LEVELS_MAX
            && let Ok(inner) = opened(&entry.path())
        {
            open_up(&inner, level + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_program_left_is_deleted_whatever_it_did_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (all, other) = (dir.path().join("mcp"), dir.path().join("other"));
        fs::create_dir_all(all.join("p/locked/inner")).expect("made");
        fs::create_dir(&other).expect("made");
        fs::write(all.join("p/locked/inner/file"), "x").expect("written");
        symlink(&other, all.join("p/locked/link")).expect("linked");
        let closed = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o0));
        closed(&other).expect("set");
        closed(&all.join("p/locked/inner")).expect("set");
        closed(&all.join("p/locked")).expect("set");
        closed(&all.join("p")).expect("set");
        discard(&all, "p").expect("out of the way");
        assert_eq!(fs::read_dir(&all).expect("listed").count(), 0);
        let mode = fs::metadata(&other).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0, "a link is not followed");
        discard(&all, "p").expect("there is none");
    }

    #[test]
    fn what_could_not_be_deleted_goes_at_the_next_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = dir.path();
        let gone = [all.join(".gone-1"), fresh(all), all.join("never-installed")];
        let kept = [all.join("p"), all.join("q")];
        for dir in gone.iter().chain(&kept) {
            fs::create_dir_all(dir.join("a")).expect("made");
        }
        fs::write(all.join("file"), "").expect("written");
        sweep(all, |name| matches!(name, "p" | "q"));
        assert!(!gone.iter().any(|dir| dir.exists()));
        assert!(kept.iter().all(|dir| dir.join("a").exists()));
        assert!(all.join("file").exists(), "the host made no files here");
    }
}
