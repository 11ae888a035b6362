//! Finding and activating.

use std::sync::Arc;

use airlock_sandbox::Grants;
use serde_json::json;

use crate::grants;
use crate::names;
use crate::nearest;
use crate::plugins::{
    ActivateRequest, Active, Installed, PluginError, PluginRow, Slot, version_changes,
};
use crate::principal::Principal;
use crate::record;
use crate::remote::{check_reach, is_server, mark};
use crate::runtime::Runtime;

impl Runtime {
    /// An installed plugin that `who` may see.
    pub(crate) fn installed(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<(Arc<Slot>, Arc<Active>), PluginError> {
        if !who.may_see(name) {
            return Err(PluginError::OutsideScope(name.to_owned()));
        }
        names::plugin_name(name)?;
        let found = self.registry.get(name);
        found.ok_or_else(|| self.no_plugin(who, name))
    }

    /// There is no plugin of this name; the nearest that `who` may see is told.
    pub(crate) fn no_plugin(&self, who: &Principal, name: &str) -> PluginError {
        let installed = self.registry.all();
        let seen = installed.iter().filter(|(slot, _)| who.may_see(&slot.name));
        let names: Vec<&str> = seen.map(|(slot, _)| slot.name.as_str()).collect();
        PluginError::NotFound {
            plugin: name.to_owned(),
            hint: nearest::hint(name, &names),
        }
    }

    /// What is in force, asked again under the plugin's lock.
    pub(crate) fn still_installed(&self, slot: &Slot) -> Result<Arc<Active>, PluginError> {
        slot.active().ok_or_else(|| PluginError::gone(&slot.name))
    }

    /// Makes an installed version the active one. Its grants stay as they are;
    /// tools whose claims changed are refused until granted again.
    ///
    /// # Errors
    /// No such version, an unasked downgrade, grants that can't be put in force or
    /// that reach further than the token, or the store failed; then nothing
    /// changed.
    pub async fn activate(
        &self,
        who: &Principal,
        name: &str,
        request: &ActivateRequest,
    ) -> Result<Installed, PluginError> {
        names::why(&request.why)?;
        names::digest(&request.digest)?;
        let (slot, _) = self.installed(who, name)?;
        let mut row = slot.row.lock().await;
        self.check_holds(who)?;
        let active = self.still_installed(&slot)?;
        let (plugin, digest) = (name.to_owned(), request.digest.clone());
        if !row.has(&digest) {
            return Err(PluginError::VersionNotFound { plugin, digest });
        }
        if row.goes_back(&digest) && !request.downgrade {
            return Err(PluginError::Downgrade { plugin, digest });
        }
        self.switch(who, &slot, &mut row, &active, &request.digest, &request.why)
            .await
    }

    /// Switches to another installed version under the plugin's lock.
    pub(crate) async fn switch(
        &self,
        who: &Principal,
        slot: &Slot,
        row: &mut PluginRow,
        active: &Arc<Active>,
        digest: &str,
        why: &str,
    ) -> Result<Installed, PluginError> {
        let manifest = self.registry.manifest(digest)?;
        let changes = version_changes(&active.manifest, &manifest, Some(&active.grants));
        let installed = Installed {
            plugin: slot.name.clone(),
            digest: digest.to_owned(),
            active: true,
            is_agent: manifest.agent.is_some(),
            sandboxed: !is_server(&manifest),
            changes,
        };
        if digest == active.manifest.digest {
            return Ok(installed);
        }
        check_reach(who, &slot.name, &manifest)?;
        // Another component under rules that reach the host.
        let in_force = &active.grants.grants;
        grants::reach::check(who, &slot.name, &Grants::default(), in_force)?;
        let mut detail = json!({
            "from": active.manifest.digest, "to": digest, "why": why, "changes": installed.changes,
        });
        mark(&mut detail, &manifest);
        let next = Arc::new(Active::new(
            &slot.name,
            manifest,
            Arc::clone(&active.grants),
            None,
        ));
        let next = self.prepared(next).await.map_err(PluginError::Prepare)?;
        let mut changed = row.clone();
        changed.active = Some(digest.to_owned());
        let record = self.act_of(who, "plugin.activate", &slot.name, detail)?;
        self.registry
            .commit(&changed, vec![record::op(&record)])
            .await?;
        *row = changed;
        slot.swap(Some(next.renewed()));
        Ok(installed)
    }
}
