//! Policy files: everything granted, in one text. Parsed strictly, compared with
//! what is in force, applied plugin by plugin.

mod apply;
mod diff;
mod parse;
mod types;

pub use parse::PolicyError;
pub use types::{
    ApplyPolicy, Change, ChangeKind, PluginDiff, Policy, PolicyApplied, PolicyDiff, PolicyPlugin,
};
