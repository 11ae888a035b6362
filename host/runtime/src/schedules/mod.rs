//! Schedules: at times that a cron line names, a run is started or gets a
//! signal. Reading a line (`cron`), when it comes due in a time zone (`when`),
//! what is decided (`due`), all pure; doing it (`fire`); what people do with
//! schedules (`admin`).
//!
//! What must stay true: a due time has its effect at most once, whatever
//! crashes and however clocks are set; what is not done is on record.

mod admin;
mod cron;
mod due;
mod error;
mod fire;
mod interval;
#[cfg(test)]
mod properties;
mod restored;
mod room;
#[cfg(test)]
mod tests;
mod types;
mod when;

use std::sync::Arc;

use tokio::sync::{Mutex, Notify};

pub use due::CatchUp;
pub use error::ScheduleError;
pub(crate) use fire::follow;
pub(crate) use restored::passed_over;
pub use types::{Did, Fired, Overlap, ScheduleRequest, ScheduleView};

/// The space of the rows, by name.
const SPACE: &str = "schedules";

/// What this process shares about schedules.
#[derive(Default)]
pub(crate) struct Schedules {
    /// One changes at a time, whoever does it.
    turn: Mutex<()>,
    changed: Notify,
}

impl Schedules {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}
