//! Files.

use std::fs;
use std::io::Write;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

use crate::outcome;

#[derive(Deserialize, JsonSchema)]
pub struct Path {
    /// The path; `%00` stands for NUL.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct Pair {
    /// From where, or the target.
    from: String,
    /// To where, or the link.
    to: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct Amount {
    /// The file or folder.
    path: String,
    /// How many bytes or files.
    amount: u64,
}

fn raw(path: &str) -> String {
    path.replace("%00", "\0")
}

/// Reads a file.
#[tool]
pub fn read(input: Path) -> Result<Value, Error> {
    outcome(fs::read(raw(&input.path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a file.
#[tool]
pub fn write(input: Path) -> Result<Value, Error> {
    outcome(fs::write(raw(&input.path), "written by an attacker").map(|()| true))
}

/// Opens a file with truncation and writes nothing.
#[tool]
pub fn truncate(input: Path) -> Result<Value, Error> {
    outcome(
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(raw(&input.path))
            .map(|_| true),
    )
}

/// Lists a folder.
#[tool]
pub fn list(input: Path) -> Result<Value, Error> {
    outcome(fs::read_dir(raw(&input.path)).map(|entries| {
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        json!(names.collect::<Vec<_>>())
    }))
}

/// Renames.
#[tool]
pub fn rename(input: Pair) -> Result<Value, Error> {
    outcome(fs::rename(raw(&input.from), raw(&input.to)).map(|()| true))
}

/// Makes a hard link.
#[tool]
pub fn hard_link(input: Pair) -> Result<Value, Error> {
    outcome(fs::hard_link(raw(&input.from), raw(&input.to)).map(|()| true))
}

/// Makes a symbolic link and reads through it.
#[tool]
pub fn soft_link(input: Pair) -> Result<Value, Error> {
    #[expect(
        deprecated,
        reason = "the only portable way to make a symbolic link on WASI"
    )]
    let made = fs::soft_link(raw(&input.from), raw(&input.to));
    let seen = fs::read(raw(&input.to)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let seen = seen.map_err(|error| error.to_string());
    Ok(
        json!({ "ok": seen.is_ok(), "made": made.is_ok(), "data": seen.unwrap_or_else(|error| error) }),
    )
}

/// Removes a file.
#[tool]
pub fn remove(input: Path) -> Result<Value, Error> {
    outcome(fs::remove_file(raw(&input.path)).map(|()| true))
}

/// Writes `amount` bytes to a file in pieces, until refused.
#[tool]
pub fn fill(input: Amount) -> Result<Value, Error> {
    let mut file = match fs::File::create(&input.path) {
        Ok(file) => file,
        Err(error) => return outcome::<Value, _>(Err(error)),
    };
    let piece = vec![b'x'; 64 << 10];
    let mut written = 0u64;
    while written < input.amount {
        let more = piece.len().min((input.amount - written) as usize);
        if let Err(error) = file.write_all(&piece[..more]).and_then(|()| file.flush()) {
            return Ok(json!({ "ok": false, "written": written, "error": error.to_string() }));
        }
        written += more as u64;
    }
    Ok(json!({ "ok": true, "written": written }))
}

/// Makes `amount` empty files in a folder, until refused.
#[tool]
pub fn many(input: Amount) -> Result<Value, Error> {
    for number in 0..input.amount {
        if let Err(error) = fs::File::create(format!("{}/{number}", input.path)) {
            return Ok(json!({ "ok": false, "made": number, "error": error.to_string() }));
        }
    }
    Ok(json!({ "ok": true, "made": input.amount }))
}

/// Opens what may block for ever: a pipe or a device.
#[tool]
pub fn fifo_like(input: Path) -> Result<Value, Error> {
    outcome(fs::File::open(raw(&input.path)).and_then(|mut file| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text).map(|_| text)
    }))
}
