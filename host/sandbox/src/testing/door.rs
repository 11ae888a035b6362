//! What the tests of several modules set up: a gate over grants written as TOML.

use std::sync::Arc;

use crate::gate::{CallInfo, Gate};
use crate::grants::{EffectClass, Grants, GrantsCell};

/// Grants from TOML.
pub(crate) fn grants(text: &str) -> Grants {
    let grants: Grants = toml::from_str(text).expect(text);
    grants.validate().expect(text);
    grants
}

/// A gate with a cell that a test can replace.
pub(crate) struct Door {
    pub(crate) cell: Arc<GrantsCell>,
    pub(crate) principal: &'static str,
    pub(crate) class: EffectClass,
    pub(crate) budget_bytes: u64,
}

impl Door {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            cell: Arc::new(GrantsCell::new(1, grants(text))),
            principal: "alice",
            class: EffectClass::Plain,
            budget_bytes: 16 << 20,
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        let info = CallInfo {
            call_id: "call-1".to_owned(),
            plugin: "plugin".into(),
            tool: "tool".to_owned(),
            principal: self.principal.to_owned(),
            caller: self.principal.to_owned(),
            class: self.class,
        };
        Gate::new(info, Arc::clone(&self.cell), self.budget_bytes)
    }
}
