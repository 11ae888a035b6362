//! Goes through a folder in the order of paths, without following links, and
//! stops at fixed numbers of entries and levels.

use std::fs;

use airlock_sdk::Error;
use globset::{GlobBuilder, GlobMatcher};

use crate::at;

/// How many entries are looked at before a walk gives up.
pub(crate) const ENTRIES_MAX: usize = 100_000;
const LEVELS_MAX: usize = 64;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Other,
}

pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
}

/// A filter on paths below the folder a walk starts in.
pub(crate) struct Glob(Option<GlobMatcher>);

impl Glob {
    pub(crate) fn new(pattern: Option<&str>) -> Result<Self, Error> {
        let Some(pattern) = pattern else {
            return Ok(Self(None));
        };
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| Error::invalid_input(format!("glob: {error}")))?;
        Ok(Self(Some(glob.compile_matcher())))
    }

    pub(crate) fn takes(&self, root: &str, path: &str) -> bool {
        let below = path
            .strip_prefix(root)
            .unwrap_or(path)
            .trim_start_matches('/');
        self.0.as_ref().is_none_or(|glob| glob.is_match(below))
    }
}

/// Calls `visit` with each entry below `root`; `visit` says whether to go on.
/// Gives whether the walk was complete.
pub(crate) fn walk(
    root: &str,
    recursive: bool,
    visit: &mut dyn FnMut(Entry) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let mut walk = Walk {
        recursive,
        left: ENTRIES_MAX,
        complete: true,
        visit,
    };
    walk.folder(root, 0)?;
    Ok(walk.complete)
}

struct Walk<'a> {
    recursive: bool,
    left: usize,
    complete: bool,
    visit: &'a mut dyn FnMut(Entry) -> Result<bool, Error>,
}

impl Walk<'_> {
    /// `Ok(false)`: stop.
    fn folder(&mut self, path: &str, level: usize) -> Result<bool, Error> {
        for entry in self.entries(path)? {
            let deeper = (entry.kind == Kind::Folder && self.recursive).then(|| entry.path.clone());
            if !(self.visit)(entry)? {
                self.complete = false;
                return Ok(false);
            }
            let Some(deeper) = deeper else { continue };
            if level + 1 >= LEVELS_MAX {
                self.complete = false;
            } else if !self.folder(&deeper, level + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entries(&mut self, path: &str) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(at(path))? {
            if self.left == 0 {
                self.complete = false;
                break;
            }
            self.left -= 1;
            let entry = entry.map_err(at(path))?;
            // A name that is not UTF-8 has no place in JSON.
            let Ok(name) = entry.file_name().into_string() else {
                self.complete = false;
                continue;
            };
            let metadata = entry.metadata().map_err(at(path))?;
            let kind = match metadata.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_dir() => Kind::Folder,
                _ => Kind::Other,
            };
            let path = format!("{}/{name}", path.trim_end_matches('/'));
            entries.push(Entry {
                path,
                kind,
                bytes: metadata.len(),
            });
        }
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(entries)
    }
}
