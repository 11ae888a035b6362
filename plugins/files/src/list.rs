//! The `list` tool.

use airlock_sdk::prelude::*;

use crate::walk::{self, Glob, Kind};

const ENTRIES_DEFAULT: usize = 1_000;
const ENTRIES_MAX: usize = 5_000;

/// What to list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The folder, as a path in the sandbox, e.g. `/data`.
    path: String,
    /// Whether to go into subfolders.
    #[serde(default)]
    recursive: bool,
    /// Only paths below the folder that match, e.g. `*.csv` or `**/*.csv`.
    glob: Option<String>,
    /// How many entries at most: 1 to 5,000, 1,000 unless given.
    limit: Option<usize>,
}

/// What is there.
#[derive(Serialize, JsonSchema)]
pub struct Listing {
    /// The entries, sorted by path.
    entries: Vec<Entry>,
    /// Whether there is more than this.
    cut: bool,
}

/// One entry of a folder.
#[derive(Serialize, JsonSchema)]
pub struct Entry {
    /// The whole path, for `read`.
    path: String,
    /// `file`, `folder` or `other` (a link, for example).
    kind: &'static str,
    /// The size of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

pub(crate) fn run(input: &List) -> Result<Listing, Error> {
    let limit = input.limit.unwrap_or(ENTRIES_DEFAULT);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(Error::invalid_input(format!(
            "limit: must be from 1 to {ENTRIES_MAX}"
        )));
    }
    let glob = Glob::new(input.glob.as_deref())?;
    let mut entries = Vec::new();
    let complete = walk::walk(&input.path, input.recursive, &mut |entry| {
        if !glob.takes(&input.path, &entry.path) {
            return Ok(true);
        }
        if entries.len() == limit {
            return Ok(false);
        }
        let (kind, bytes) = match entry.kind {
            Kind::File => ("file", Some(entry.bytes)),
            Kind::Folder => ("folder", None),
            Kind::Other => ("other", None),
        };
        entries.push(Entry {
            path: entry.path,
            kind,
            bytes,
        });
        Ok(true)
    })?;
    Ok(Listing {
        entries,
        cut: !complete,
    })
}
