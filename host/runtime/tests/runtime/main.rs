//! The runtime over stores in memory: what happens wherever storage fails, what
//! is refused, what is on record.

mod agents;
mod audit_key;
mod bounds;
mod budgets;
mod explain;
mod faults;
mod halts;
mod hooks;
mod host;
mod lists;
mod once;
mod policy;
mod prune;
mod remove;
mod reserved;
mod restore;
mod runs;
mod schedules;
mod tokens;
