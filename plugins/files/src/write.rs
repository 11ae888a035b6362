//! The `write` tool.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use airlock_sdk::prelude::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::{Encoding, at};

/// What happens to a file that exists.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It stays, and the call fails.
    #[default]
    Create,
    /// Its content is replaced in one step.
    Replace,
    /// The content is added at its end.
    Append,
}

/// What to write.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The file, as a path in the sandbox, e.g. `/out/report.html`.
    path: String,
    /// The content, in the encoding given.
    content: String,
    /// `text` (the default) or `base64`.
    #[serde(default)]
    encoding: Encoding,
    /// `create` (the default; fails if the file exists), `replace` or `append`.
    #[serde(default)]
    mode: Mode,
    /// Whether to make the folders on the way.
    #[serde(default)]
    folders: bool,
}

/// What was written.
#[derive(Serialize, JsonSchema)]
pub struct Written {
    /// The file.
    path: String,
    /// How many bytes were written.
    bytes: u64,
    /// The size of the whole file now, in bytes.
    size: u64,
}

pub(crate) fn run(input: &Write) -> Result<Written, Error> {
    let decoded;
    let bytes = match input.encoding {
        Encoding::Text => input.content.as_bytes(),
        Encoding::Base64 => {
            let wrong = |error| Error::invalid_input(format!("content: not base64: {error}"));
            decoded = BASE64_STANDARD.decode(&input.content).map_err(wrong)?;
            &decoded
        }
    };
    let path = Path::new(&input.path);
    if path.file_name().is_none() {
        return Err(Error::invalid_input(format!(
            "path: `{}` names no file",
            input.path
        )));
    }
    if let (true, Some(folder)) = (input.folders, path.parent()) {
        fs::create_dir_all(folder).map_err(at(&input.path))?;
    }
    match input.mode {
        Mode::Create => create(path, bytes),
        Mode::Append => append(path, bytes),
        Mode::Replace => replace(path, bytes),
    }
    .map_err(|error| explain(error, input))?;
    let size = fs::metadata(path).map_err(at(&input.path))?.len();
    Ok(Written {
        path: input.path.clone(),
        bytes: bytes.len() as u64,
        size,
    })
}

fn explain(error: std::io::Error, input: &Write) -> Error {
    if error.kind() == ErrorKind::AlreadyExists {
        let message = format!(
            "{}: exists already; use mode `replace` or `append`",
            input.path
        );
        return Error::invalid_input(message);
    }
    at(&input.path)(error)
}

/// Makes the file; one that can't be written whole does not stay behind.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    or_remove(path, fill(file, bytes))
}

/// Adds to the file, or makes it; what could not be added whole is cut off again,
/// unless another has written meanwhile.
fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let existing = OpenOptions::new().append(true).open(path);
    let mut file = match existing {
        Err(error) if error.kind() == ErrorKind::NotFound => return create(path, bytes),
        file => file?,
    };
    let before = file.metadata()?.len();
    let mut added = 0;
    let written = add(&mut file, bytes, &mut added);
    if written.is_err() && file.metadata()?.len() == before + added {
        // The first error is the one to report.
        let _ = file.set_len(before);
    }
    written
}

/// Writes beside the file and renames, so that a call that fails or is ended
/// midway leaves the old content.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true);
    let written = file
        .open(&partial)
        .and_then(|file| fill(file, bytes))
        .and_then(|()| fs::rename(&partial, path));
    or_remove(&partial, written)
}

fn fill(mut file: File, bytes: &[u8]) -> std::io::Result<()> {
    add(&mut file, bytes, &mut 0)
}

/// Writes all of `bytes` and counts what was taken in `added`.
fn add(file: &mut File, bytes: &[u8], added: &mut u64) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = &rest[count..];
                *added += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.flush()
}

fn or_remove(path: &Path, written: std::io::Result<()>) -> std::io::Result<()> {
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(path);
    }
    written
}
