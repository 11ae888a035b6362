//! Lists, reads, writes and searches files under the folders an administrator
//! granted. It sees guest paths only; the host refuses and audits every other.
//!
//! What must stay true: each answer is bounded and says when it was cut, and no
//! link is followed while walking a folder.

mod list;
mod read;
mod search;
mod walk;
mod write;

use airlock_sdk::prelude::*;

use crate::list::{List, Listing};
use crate::read::{Read, Reading};
use crate::search::{Found, Search};
use crate::write::{Write, Written};

/// How bytes stand in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// UTF-8 text as it is.
    #[default]
    Text,
    /// Base64 with padding (RFC 4648), for any bytes.
    Base64,
}

/// Lists what is in a folder: path, kind and size of each entry, sorted by path.
/// Can go into subfolders and filter by a glob such as `**/*.csv`.
#[tool(read_only, title = "List a folder")]
fn list(input: List) -> Result<Listing, Error> {
    list::run(&input)
}

/// Reads a file, or a part of it, as text or base64. `end` tells whether the file
/// ends there; otherwise go on at `next_offset`.
#[tool(read_only, title = "Read a file")]
fn read(input: Read) -> Result<Reading, Error> {
    read::run(&input)
}

/// Writes a file: creates a new one, replaces the content of one in one step, or
/// appends to one.
#[tool(destructive, title = "Write a file")]
fn write(input: Write) -> Result<Written, Error> {
    write::run(&input)
}

/// Searches the text files under a folder for a regular expression and gives the
/// lines that match, with line numbers and, where wanted, the lines around them.
#[tool(read_only, title = "Search in files")]
fn search(input: Search) -> Result<Found, Error> {
    search::run(&input)
}

plugin! {
    tools: [list, read, write, search],
    wants: [
        want!(files, r#"{ host = "/path/to/folder", guest = "/data", access = "read" }"#, "To list, read and search the files of this folder."),
        want!(files, r#"{ host = "/path/to/another/folder", guest = "/out", access = "read-write" }"#, "To write files, where the `write` tool is used.", optional),
    ],
}

/// Puts the path in front of what failed.
fn at(path: &str) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| Error::from(error).context(path)
}

#[cfg(test)]
mod tests;
