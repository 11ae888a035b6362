//! Log records and progress. Both are bounded by the host: what exceeds a limit
//! is dropped there, and the loss is counted.

use std::fmt::Display;

use crate::backend;

/// Severity of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever follows each step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// For whoever wants to know what happened.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a record with named values: `log::write(Level::Info, "done", &[("rows", &3)])`.
pub fn write(level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect();
    backend::log(level, message, &fields);
}

/// Writes a record for whoever looks for a fault.
pub fn debug(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Debug, message, fields);
}

/// Writes a record for whoever wants to know what happened.
pub fn info(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Info, message, fields);
}

/// Writes a record about something that is not as it should be.
pub fn warn(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Warn, message, fields);
}

/// Writes a record about something that failed.
pub fn error(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Error, message, fields);
}

/// Reports progress to whoever watches the call: `done` of `total`, in units of
/// the tool's own choosing. The host keeps at most 100 reports a second and
/// 1 KiB of each message.
pub fn progress(done: f64, total: Option<f64>, message: &str) {
    backend::progress(done, total, message);
}
