//! Calls: who may make them, when they start, what is recorded, what is replied.
//!
//! What must stay true: a call that was answered is on record, with its denials
//! and its kept reply, in one durable batch; a call that was refused had no
//! effect at all.

mod error;
mod in_flight;
mod middle;
mod principal_ids;
mod recorded;
mod reply;
mod run;
mod turn;

pub use error::CallRefused;
pub(crate) use in_flight::InFlight;
pub(crate) use principal_ids::PrincipalIds;
pub(crate) use reply::code_of;
pub use reply::status_of;
pub use run::{CallStage, ToolCall};
pub(crate) use run::{Cut, Step, StepMade, check_json};
pub(crate) use turn::{Judged, Turn};
