//! Installed plugins: versions of components under a name, the active one, and
//! what is granted to it.

mod active;
mod admin;
mod error;
mod install;
mod registry;
mod remove;
mod types;
mod views;

pub(crate) use active::{Active, claims};
pub use error::PluginError;
pub(crate) use registry::{CHECKED, MANIFESTS, PLUGINS, PluginRow, Registry, Slot, checked_key};
pub use types::{
    ActivateRequest, AgentView, Claims, EffectsChange, EffectsView, ErasedData, InstallRequest,
    Installed, Operation, OperationState, PluginDetail, PluginSummary, Removed, ToolView,
    VersionChanges, VersionView, WantView,
};
pub(crate) use views::version_changes;
