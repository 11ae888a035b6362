//! Floods and forgeries aimed at logs.

use std::io::Write as _;

use super::*;

/// Text that would start a line, move the cursor, or reorder what is read.
const HOSTILE: &str = "a\nERROR forged\r\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{2028}\0end";

/// Writes `amount` lines to stdout and to stderr.
#[tool]
pub(crate) fn log_lines(input: Amount) -> Result<Value, Error> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    for n in 0..input.amount {
        writeln!(out, "out {n}").map_err(failed)?;
        writeln!(err, "err {n}").map_err(failed)?;
    }
    Ok(json!({ "lines": 2 * input.amount }))
}

fn failed(error: std::io::Error) -> Error {
    Error::permanent(format!("a write failed: {error}"))
}

/// Writes hostile text wherever text goes, and bytes that are no text.
#[tool]
pub(crate) fn log_control(_input: Amount) -> Result<Value, Error> {
    print!("{HOSTILE}");
    eprint!("{HOSTILE}");
    std::io::stdout()
        .write_all(b"\xff\xfe\xc0\n")
        .map_err(failed)?;
    airlock_sdk::log::info(HOSTILE, &[(HOSTILE, &HOSTILE)]);
    airlock_sdk::progress(1.0, None, HOSTILE);
    Ok(json!({}))
}

/// Writes one line of `amount` bytes that never ends.
#[tool]
pub(crate) fn log_long(input: Amount) -> Result<Value, Error> {
    let chunk = [b'x'; 4096];
    let mut left = input.count();
    while left > 0 {
        let now = left.min(chunk.len());
        std::io::stdout().write_all(&chunk[..now]).map_err(failed)?;
        left -= now;
    }
    Ok(json!({}))
}

/// Writes `amount` records with large fields.
#[tool]
pub(crate) fn log_records(input: Amount) -> Result<Value, Error> {
    let large = "y".repeat(10_000);
    for _ in 0..input.amount {
        airlock_sdk::log::error("record", &[("field", &large), (&large, &1)]);
    }
    Ok(json!({}))
}

/// Reports progress `amount` times.
#[tool]
pub(crate) fn progress_flood(input: Amount) -> Result<Value, Error> {
    let message = "m".repeat(5_000);
    for n in 0..input.amount {
        airlock_sdk::progress(n as f64, Some(f64::NAN), &message);
    }
    Ok(json!({}))
}
