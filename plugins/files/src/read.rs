//! The `read` tool.

use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};

use airlock_sdk::prelude::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::{Encoding, at};

const BYTES_DEFAULT: u64 = 256 * 1024;
const BYTES_MAX: u64 = 768 * 1024;

/// What to read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The file, as a path in the sandbox, e.g. `/data/a.csv`.
    path: String,
    /// The byte to start at; 0 unless given.
    #[serde(default)]
    offset: u64,
    /// How many bytes at most: 1 to 786,432; 262,144 unless given.
    limit: Option<u64>,
    /// `text` for UTF-8 (the default), `base64` for any bytes.
    #[serde(default)]
    encoding: Encoding,
}

/// What was read.
#[derive(Serialize, JsonSchema)]
pub struct Reading {
    /// The content, in the encoding that was asked for.
    content: String,
    /// The encoding of the content.
    encoding: Encoding,
    /// The size of the whole file in bytes.
    size: u64,
    /// The byte after the last one in the content.
    next_offset: u64,
    /// Whether the file ends there.
    end: bool,
}

pub(crate) fn run(input: &Read) -> Result<Reading, Error> {
    let limit = input.limit.unwrap_or(BYTES_DEFAULT);
    if !(1..=BYTES_MAX).contains(&limit) {
        return Err(Error::invalid_input(format!(
            "limit: must be from 1 to {BYTES_MAX}"
        )));
    }
    let mut file = File::open(&input.path).map_err(at(&input.path))?;
    let metadata = file.metadata().map_err(at(&input.path))?;
    if metadata.is_dir() {
        return Err(Error::invalid_input(format!(
            "{}: is a folder; use `list`",
            input.path
        )));
    }
    file.seek(SeekFrom::Start(input.offset))
        .map_err(at(&input.path))?;
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(at(&input.path))?;
    // The file may have grown since; an offset past its end says nothing of it.
    let seen = match bytes.len() as u64 {
        0 => 0,
        count => input.offset.saturating_add(count),
    };
    let size = metadata.len().max(seen);
    let content = match input.encoding {
        Encoding::Base64 => BASE64_STANDARD.encode(&bytes),
        Encoding::Text => text(&mut bytes, input, limit)?,
    };
    let next_offset = input.offset.saturating_add(bytes.len() as u64);
    let end = next_offset >= metadata.len();
    Ok(Reading {
        content,
        encoding: input.encoding,
        size,
        next_offset,
        end,
    })
}

/// The bytes as text. A character that the limit cut in two stays for the next
/// read; anything else that is not UTF-8 is an error.
fn text(bytes: &mut Vec<u8>, input: &Read, limit: u64) -> Result<String, Error> {
    let full = bytes.len() as u64 == limit;
    if let Err(error) = std::str::from_utf8(bytes) {
        let valid = error.valid_up_to();
        if error.error_len().is_some() || !full || valid == 0 {
            let place = input.offset.saturating_add(valid as u64);
            let message = format!(
                "{}: not UTF-8 text at byte {place}; read it as base64",
                input.path
            );
            return Err(Error::invalid_input(message));
        }
        bytes.truncate(valid);
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
