//! The sandbox: a wasmtime engine, the gate, and one room per capability. It
//! runs one call of one tool in a fresh instance and knows nothing of HTTP
//! routes, principals' rights or runs.
//!
//! What must stay true: an effect needs a [`gate::Permit`], or a [`gate::RunPermit`]
//! where an agent's run asks for it, only the gate makes one, and only for a rule an
//! administrator wrote; every limit is on by default.

pub mod agent;
pub mod call;
pub mod capability;
pub mod compile;
pub mod contract;
pub mod engine;
pub mod gate;
pub mod grants;
mod guests;
pub mod inert;
pub mod inspect;
pub mod limits;
pub mod link;
mod loaded;
pub mod objects;
pub mod sandbox;
pub mod services;
mod sockets;
mod spare;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod typed;

pub use call::{CallError, CallReport, CallRequest, CapabilityUsage, Denial, LogRecord, Usage};
pub use grants::{EffectClass, Grants, GrantsCell};
pub use inspect::{InstallError, Kind, Manifest, ToolInfo, Want};
pub use limits::Limits;
pub use sandbox::{
    Begun, ComponentSource, Plugin, Sandbox, SandboxConfig, SandboxError, SandboxStats, Watch,
};
pub use services::Services;
