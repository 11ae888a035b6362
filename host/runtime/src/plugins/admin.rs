//! Activating and removing.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::{Grants, Limits};
use serde_json::json;

use crate::grants::{self, GrantsVersion};
use crate::plugins::{
    ActivateRequest, Active, Installed, PluginError, PluginRow, Slot, claims, version_changes,
};
use crate::principal::Principal;
use crate::record;
use crate::runtime::Runtime;
use crate::{ids, names};

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
        found.ok_or_else(|| PluginError::NotFound(name.to_owned()))
    }

    /// What is in force, asked again under the plugin's lock.
    pub(crate) fn still_installed(&self, slot: &Slot) -> Result<Arc<Active>, PluginError> {
        slot.active()
            .ok_or_else(|| PluginError::NotFound(slot.name.clone()))
    }

    /// Makes an installed version the active one. Its grants stay as they are;
    /// tools whose claims changed are refused until granted again.
    ///
    /// # Errors
    /// No such version, an unasked downgrade, grants that can't be put in force,
    /// or the store failed; then nothing changed.
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
        let active = self.still_installed(&slot)?;
        let version = |digest: &str| row.position(digest);
        let Some(position) = version(&request.digest) else {
            let (plugin, digest) = (name.to_owned(), request.digest.clone());
            return Err(PluginError::VersionNotFound { plugin, digest });
        };
        if version(&active.manifest.digest).is_some_and(|now| position < now) && !request.downgrade
        {
            let (plugin, digest) = (name.to_owned(), request.digest.clone());
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
        let changes = version_changes(&active.manifest, &manifest);
        let installed = Installed {
            plugin: slot.name.clone(),
            digest: digest.to_owned(),
            active: true,
            changes,
        };
        if digest == active.manifest.digest {
            return Ok(installed);
        }
        let next = Arc::new(Active::new(
            &slot.name,
            manifest,
            Arc::clone(&active.grants),
            None,
        ));
        let next = self.prepared(next).await.map_err(PluginError::Prepare)?;
        let mut changed = row.clone();
        changed.active = Some(digest.to_owned());
        let detail = json!({
            "from": active.manifest.digest, "to": digest, "why": why, "changes": installed.changes,
        });
        let record = record::admin(who, "plugin.activate", &slot.name, detail);
        self.registry
            .commit(&changed, vec![record::op(&record)])
            .await?;
        *row = changed;
        slot.swap(Some(next.renewed()));
        Ok(installed)
    }

    /// Removes a plugin with all its versions, and takes its grants away, for
    /// calls in flight too. The history of its grants and what it stored stay.
    ///
    /// # Errors
    /// No such plugin, outside the token's scope, or the store failed.
    pub async fn remove_plugin(
        &self,
        who: &Principal,
        name: &str,
        why: &str,
    ) -> Result<(), PluginError> {
        names::why(why)?;
        let (slot, _) = self.installed(who, name)?;
        let mut row = slot.row.lock().await;
        let active = self.still_installed(&slot)?;
        let (changed, ops) = removal(who, &row, &active, why);
        self.registry.commit(&changed, ops).await?;
        *row = changed;
        slot.swap(None);
        drop(row);
        self.sweep_components().await;
        Ok(())
    }
}

fn removal(who: &Principal, row: &PluginRow, active: &Active, why: &str) -> (PluginRow, Vec<Op>) {
    let changed = PluginRow {
        name: row.name.clone(),
        active: None,
        versions: Vec::new(),
        grants_version: row.grants_version + 1,
    };
    let grants = GrantsVersion {
        version: changed.grants_version,
        plugin: row.name.clone(),
        digest: active.manifest.digest.clone(),
        grants: Grants::default(),
        limits: Limits::default(),
        claims: claims(&active.manifest),
        at_ms: ids::now_ms(),
        by: who.name.clone(),
        why: why.to_owned(),
        action: "remove".to_owned(),
        restored: None,
    };
    let detail = json!({ "digest": active.manifest.digest, "why": why });
    let mut ops = grants::put(&grants).to_vec();
    ops.push(record::op(&record::admin(
        who,
        "plugin.remove",
        &row.name,
        detail,
    )));
    (changed, ops)
}
