//! The sandbox: a wasmtime engine, the gate, and one room per capability. It
//! runs one call of one tool in a fresh instance and knows nothing of HTTP
//! routes, principals' rights or runs.
//!
//! What must stay true: an effect needs a [`gate::Permit`], only the gate makes
//! one, and only for a rule an administrator wrote; every limit is on by default.

pub mod call;
pub mod capability;
pub mod contract;
pub mod gate;
pub mod grants;
pub mod inert;
pub mod inspect;
pub mod limits;
pub mod services;
pub mod state;
#[cfg(test)]
pub(crate) mod testing;
pub mod typed;

pub use call::{CallError, CallReport, CallRequest, Denial, Usage};
pub use grants::{EffectClass, Grants, GrantsCell};
pub use inspect::{InstallError, Kind, Manifest, ToolInfo, Want};
pub use limits::Limits;
pub use services::Services;
