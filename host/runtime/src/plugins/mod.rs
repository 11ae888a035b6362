//! Installed plugins: versions of components under a name, the active one, and
//! what is granted to it.

mod active;
mod admin;
mod changes;
mod error;
mod install;
mod offers;
mod registry;
mod remove;
mod types;
mod views;

pub(crate) use active::{Active, claims};
pub(crate) use changes::version_changes;
pub use error::PluginError;
pub use offers::{Hints, Offer, OfferedAgent, OfferedTool};
pub(crate) use registry::{CHECKED, MANIFESTS, PLUGINS, PluginRow, Registry, Slot, checked_key};
pub use types::{
    ActivateRequest, AgentView, Claims, EffectsChange, EffectsView, ErasedData, InstallRequest,
    Installed, Operation, OperationState, PluginDetail, PluginSummary, Removed, SchemaChange,
    ToolChange, ToolView, VersionChanges, VersionView, WantView,
};
pub(crate) use types::{is_yes, yes};
