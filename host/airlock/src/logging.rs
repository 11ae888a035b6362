//! The log of this process, on standard error.
//!
//! What must stay true: a line that can't be written is lost, and nothing else is.

use tracing_subscriber::EnvFilter;

use crate::output::print_error;

/// The variable that filters the log, e.g. `info,airlock::guest=debug`.
pub const FILTER: &str = "AIRLOCK_LOG";

/// Starts it, filtered as [`FILTER`] says, or by `default`; as JSON lines if asked.
pub fn start_logging(json: bool, default: &str) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would be told on standard error, where it panics whoever logs.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = if json {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    if let Err(error) = started {
        print_error(&format!("airlock: logging could not be started: {error}"));
    }
}
