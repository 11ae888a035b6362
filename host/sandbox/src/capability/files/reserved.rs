//! What belongs to Airlock itself and is never granted: whoever reaches its data
//! or its keys has the secrets, the grants and the audit.
//!
//! What must stay true: places are compared by identity (device and inode) as
//! well as by real path, so that no link, spelling or mount leads around it.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Places of the host that no plugin is granted, nor what holds them or lies in
/// them.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    places: Vec<(&'static str, PathBuf)>,
}

/// A granted directory and a reserved place overlap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Overlap {
    /// The path as it was granted.
    pub host: PathBuf,
    /// Where it really leads.
    pub real: PathBuf,
    /// What the reserved place is, e.g. `data directory`.
    pub what: &'static str,
    /// The reserved place, without links.
    pub place: PathBuf,
    /// How they overlap.
    pub kind: OverlapKind,
}

/// How a granted directory and a reserved place overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlapKind {
    /// They are the same.
    Is,
    /// The granted one is inside.
    LiesIn,
    /// The granted one is around it.
    Holds,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host, real, what, ..
        } = self;
        write!(f, "`{}`", host.display())?;
        if real != host {
            write!(f, ", which leads to `{}`,", real.display())?;
        }
        let verb = match self.kind {
            OverlapKind::Is => "is",
            OverlapKind::LiesIn => "lies in",
            OverlapKind::Holds => "holds",
        };
        let place = self.place.display();
        write!(f, " {verb} Airlock's {what} `{place}`: no plugin gets that")
    }
}

impl Reserved {
    /// Reserves places, each with what it is, e.g. `data directory`. Links that
    /// stand directly in one of them reserve what they lead to as well.
    pub fn new(places: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Self {
        let places = places.into_iter().collect();
        Self { places }
    }

    /// Whether the directory `host` keeps clear of all reserved places, as the
    /// file system stands now. Blocks.
    ///
    /// # Errors
    /// The first overlap.
    pub fn check(&self, host: &Path) -> Result<(), Overlap> {
        let real = real_path(host);
        for (what, place) in self.now() {
            if let Some(kind) = overlap(&real, &place) {
                return Err(Overlap {
                    host: host.to_owned(),
                    real,
                    what,
                    place,
                    kind,
                });
            }
        }
        Ok(())
    }

    /// The places without links, and what the links in them lead to.
    fn now(&self) -> Vec<(&'static str, PathBuf)> {
        let mut all = Vec::new();
        for (what, place) in &self.places {
            let place = real_path(place);
            all.extend(links(&place).into_iter().map(|to| (*what, to)));
            all.push((*what, place));
        }
        all
    }
}

/// What the links directly in `dir` lead to; nothing when it can't be listed.
#[expect(
    clippy::disallowed_methods,
    reason = "looks where Airlock's own directories are, for no guest"
)]
fn links(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .map(|entry| real_path(&entry.path()))
        .collect()
}

fn overlap(granted: &Path, place: &Path) -> Option<OverlapKind> {
    match (is_within(granted, place), is_within(place, granted)) {
        (true, true) => Some(OverlapKind::Is),
        (true, false) => Some(OverlapKind::LiesIn),
        (false, true) => Some(OverlapKind::Holds),
        (false, false) => None,
    }
}

/// Whether `inner` is `outer` or below it. Both are real paths.
fn is_within(inner: &Path, outer: &Path) -> bool {
    if inner.starts_with(outer) {
        return true;
    }
    // The same directory can be mounted in two places.
    let Ok(outer) = identity(outer) else {
        return false;
    };
    let mut around = inner.ancestors();
    around.any(|dir| identity(dir).is_ok_and(|dir| dir == outer))
}

/// Device and inode of what is at `path`.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// `path` without links. Where its end does not exist, that of its beginning
/// which does.
fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for dir in path.ancestors() {
        if let Ok(real) = std::fs::canonicalize(dir) {
            let rest = path.strip_prefix(dir).unwrap_or(Path::new(""));
            return match rest.as_os_str().is_empty() {
                true => real,
                false => real.join(rest),
            };
        }
    }
    path
}
