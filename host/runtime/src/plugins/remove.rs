//! Removing a plugin and erasing what it kept.
//!
//! What must stay true: a plugin gets nothing that an earlier one of its name
//! kept, unless an administrator asked to keep it; an erasure that was
//! interrupted is finished at the next start, or before the name is used again.

use std::collections::BTreeSet;
use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::capability::kv;
use airlock_sandbox::{Grants, Limits};
use serde_json::json;

use crate::grants::{self, GrantsVersion};
use crate::plugins::{Active, ErasedData, PluginError, PluginRow, Removed, Slot, claims};
use crate::principal::Principal;
use crate::record;
use crate::runtime::Runtime;
use crate::{ids, names};

impl Runtime {
    /// Removes a plugin with all its versions, takes its grants away, for calls
    /// in flight too, and erases what it kept in `kv` and `memory`, unless `keep_data`. Then a
    /// later plugin of the same name finds the data again, if that is granted.
    /// Data that an earlier removal kept is erased by removing the name once
    /// more. The history of its grants stays.
    ///
    /// # Errors
    /// No such plugin, outside the token's scope, or the store failed; what could
    /// not be erased then is erased at the next start.
    pub async fn remove_plugin(
        &self,
        who: &Principal,
        name: &str,
        keep_data: bool,
        why: &str,
    ) -> Result<Removed, PluginError> {
        names::why(why)?;
        if !who.may_see(name) {
            return Err(PluginError::OutsideScope(name.to_owned()));
        }
        names::plugin_name(name)?;
        let not_found = || self.no_plugin(who, name);
        let slot = self.registry.known(name).ok_or_else(not_found)?;
        let mut row = slot.row.lock().await;
        self.check_holds(who)?;
        let active = slot.active();
        let (changed, ops) = match &active {
            Some(active) => removal(who, &row, active, keep_data, why),
            None if keep_data || !self.keeps_data(name).await? => return Err(not_found()),
            None => leftovers(&row),
        };
        self.registry.commit(&changed, ops).await?;
        *row = changed;
        slot.swap(None);
        if let Some(remote) = active.as_ref().and_then(|active| active.remote.as_ref()) {
            remote.left().await;
        }
        let erased = match keep_data {
            true => None,
            false => Some(self.erase_data(who, &slot, &mut row).await?),
        };
        drop(row);
        self.sweep_components().await;
        Ok(Removed {
            plugin: name.to_owned(),
            uninstalled: active.is_some(),
            erased,
        })
    }

    /// Erases what a removed plugin kept, under the plugin's lock.
    pub(crate) async fn erase_data(
        &self,
        who: &Principal,
        slot: &Slot,
        row: &mut PluginRow,
    ) -> Result<ErasedData, PluginError> {
        let (remotes, name) = (Arc::clone(&self.remotes), slot.name.clone());
        let discarded = self.blocking(move || remotes.discard(&name)).await?;
        discarded.map_err(PluginError::Disk)?;
        let erased = kv::erase(self.store(), &slot.name).await?;
        let erased = ErasedData {
            pairs: erased.pairs,
            bytes: erased.bytes,
            namespaces: self.erase_memory(&slot.name).await?,
        };
        let changed = PluginRow {
            erasing: false,
            ..row.clone()
        };
        let detail = json!({
            "pairs": erased.pairs, "bytes": erased.bytes, "namespaces": erased.namespaces,
        });
        let record = record::admin(who, "plugin.erase", &slot.name, detail);
        self.registry
            .commit(&changed, vec![record::op(&record)])
            .await?;
        *row = changed;
        Ok(erased)
    }

    /// Whether anything is kept for a plugin.
    async fn keeps_data(&self, name: &str) -> Result<bool, PluginError> {
        let (remotes, plugin) = (Arc::clone(&self.remotes), name.to_owned());
        let has_files = self.blocking(move || remotes.keeps(&plugin)).await?;
        Ok(has_files || kv::holds(self.store(), name)? || self.memory_holds(name).await?)
    }

    /// Finishes the erasures that an abrupt stop interrupted.
    pub(crate) async fn finish_erasures(&self) {
        let remotes = Arc::clone(&self.remotes);
        // Also those that were removed and kept their data.
        let slots = self.registry.slots();
        let known: BTreeSet<String> = slots.iter().map(|slot| slot.name.clone()).collect();
        if let Err(error) = self.blocking(move || remotes.sweep(&known)).await {
            tracing::error!(%error, "what programs left is not deleted yet");
        }
        let who = Principal::local_admin("start");
        for slot in slots {
            let mut row = slot.row.lock().await;
            if !row.erasing {
                continue;
            }
            if let Err(error) = self.erase_data(&who, &slot, &mut row).await {
                tracing::error!(plugin = slot.name, %error, "its data is not erased yet");
            }
        }
    }
}

/// Data of a plugin that was removed earlier.
fn leftovers(row: &PluginRow) -> (PluginRow, Vec<Op>) {
    let changed = PluginRow {
        erasing: true,
        ..row.clone()
    };
    (changed, Vec::new())
}

fn removal(
    who: &Principal,
    row: &PluginRow,
    active: &Active,
    keep_data: bool,
    why: &str,
) -> (PluginRow, Vec<Op>) {
    let changed = PluginRow {
        name: row.name.clone(),
        active: None,
        versions: Vec::new(),
        grants_version: row.grants_version + 1,
        erasing: !keep_data,
    };
    let grants = GrantsVersion {
        version: changed.grants_version,
        plugin: row.name.clone(),
        digest: active.manifest.digest.clone(),
        grants: Grants::default(),
        limits: Limits::default(),
        descriptions: Default::default(),
        claims: claims(&active.manifest),
        at_ms: ids::now_ms(),
        by: who.name.clone(),
        why: why.to_owned(),
        action: "remove".to_owned(),
        restored: None,
        sandboxed: active.remote.is_none(),
    };
    let detail = json!({
        "digest": active.manifest.digest, "why": why, "keep_data": keep_data,
    });
    let mut ops = grants::put(&grants).to_vec();
    ops.push(record::op(&record::admin(
        who,
        "plugin.remove",
        &row.name,
        detail,
    )));
    (changed, ops)
}
