//! Who calls: a token's owner, with roles and a scope. Authentication makes
//! principals (see `tokens`); everything else only asks them.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a token may do. `admin` may do everything; the others add up.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads plugins, tools, grants, usage and calls.
    Viewer,
    /// Lists and calls tools.
    Caller,
    /// Installs plugin versions (which run nothing and are granted nothing by
    /// that), and reads the audit.
    Operator,
    /// Decides what an agent must ask a person.
    Approver,
    /// Everything: grants, activation, removal, tokens, secrets.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 5] = [
        Self::Viewer,
        Self::Caller,
        Self::Operator,
        Self::Approver,
        Self::Admin,
    ];

    /// The name in tokens, API and CLI.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Caller => "caller",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name: what audit records show, what idempotency keys belong to, and
    /// (hashed with the plugin's name) what plugins see. Several tokens may have
    /// the same one, so that a token can be replaced.
    pub name: String,
    /// The token it came with; `None` for the local administrator.
    pub token_id: Option<String>,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// The plugins it may see and use; `None`: all.
    pub plugins: Option<BTreeSet<String>>,
}

impl Principal {
    /// Whoever runs the command line on the data directory itself, which takes
    /// the rights of its owner anyway.
    #[must_use]
    pub fn local_admin(user: &str) -> Self {
        Self {
            name: format!("local:{user}"),
            token_id: None,
            roles: BTreeSet::from([Role::Admin]),
            plugins: None,
        }
    }

    /// Whether it has one of `roles`, or is an administrator.
    #[must_use]
    pub fn has_one_of(&self, roles: &[Role]) -> bool {
        self.roles.contains(&Role::Admin) || roles.iter().any(|role| self.roles.contains(role))
    }

    /// Whether `plugin` is inside its scope.
    #[must_use]
    pub fn may_see(&self, plugin: &str) -> bool {
        self.plugins
            .as_ref()
            .is_none_or(|plugins| plugins.contains(plugin))
    }

    /// What is asked for, as this token sees it: what is kept for an idempotency key is
    /// its principal's, whose tokens share their keys, and is none for a token that
    /// reaches less.
    #[must_use]
    pub fn within(&self, target: String) -> String {
        match &self.plugins {
            None => target,
            Some(plugins) => {
                let names: Vec<&str> = plugins.iter().map(String::as_str).collect();
                format!("{target} for {}", names.join(" "))
            }
        }
    }

    /// Whether it is limited to some plugins.
    #[must_use]
    pub fn is_scoped(&self) -> bool {
        self.plugins.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_shown_by_the_name_it_is_read_by() {
        for role in Role::ALL {
            assert_eq!(role.to_string(), role.name());
            let read: Role = serde_json::from_value(role.name().into()).expect("a role");
            assert_eq!(read, role);
        }
    }
}
