//! What is granted to plugins: versions, their history, and why something is
//! allowed or not.
//!
//! What must stay true: every version is kept; a change is one batch with its
//! audit record, and is in force for calls in flight when its request is
//! answered.

mod admin;
mod check;
mod error;
pub(crate) mod reach;
mod rows;
mod types;

pub(crate) use admin::GrantsChange;
pub(crate) use check::{check, check_descriptions, check_limits, expect};
pub use error::GrantError;
pub(crate) use rows::{history, load, put};
pub use types::{
    Descriptions, ExplainRequest, GrantsHistory, GrantsUpdate, GrantsVersion, RollbackRequest,
};
