//! Comparing a policy with what is in force, and applying it.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::Grants;
use serde_json::json;

use crate::engine::Manifest;
use crate::grants::{self, GrantError, GrantsChange};
use crate::plugins::{
    Active, CHECKED, MANIFESTS, PluginError, Slot, VersionChanges, checked_key, version_changes,
};
use crate::policy::{
    ApplyPolicy, PluginDiff, Policy, PolicyApplied, PolicyDiff, PolicyError, PolicyPlugin, diff,
};
use crate::principal::Principal;
use crate::record;
use crate::remote;
use crate::runtime::Runtime;

impl Runtime {
    /// What a policy would change. Nothing is changed.
    ///
    /// # Errors
    /// A plugin outside the token's scope, rules that make no sense for their
    /// component, or the store failed.
    pub async fn policy_diff(
        &self,
        who: &Principal,
        policy: &Policy,
    ) -> Result<PolicyDiff, PolicyError> {
        policy.check()?;
        let mut plugins = Vec::new();
        for (name, entry) in &policy.plugins {
            plugins.push(self.plugin_diff(who, name, entry).await?);
        }
        let all = self.registry.all();
        let visible = all
            .iter()
            .map(|(slot, _)| &slot.name)
            .filter(|name| who.may_see(name));
        let unnamed = visible.filter(|name| !policy.plugins.contains_key(*name));
        Ok(PolicyDiff {
            plugins,
            unnamed: unnamed.cloned().collect(),
        })
    }

    /// Applies a policy: for each plugin, component, grants and limits change
    /// together or not at all. Everything is checked before anything changes.
    ///
    /// # Errors
    /// As [`Runtime::policy_diff`], a component that is not installed, one to go
    /// back to that was not asked for, or rules that can't be put in force.
    pub async fn policy_apply(
        &self,
        who: &Principal,
        policy: &Policy,
        how: &ApplyPolicy,
    ) -> Result<PolicyApplied, PolicyError> {
        let diff = self.policy_diff(who, policy).await?;
        for plugin in &diff.plugins {
            may_follow(plugin, how)?;
        }
        let mut applied = PolicyApplied {
            diff,
            grants_versions: Default::default(),
        };
        let changed = applied
            .diff
            .plugins
            .iter()
            .filter(|plugin| !plugin.is_empty());
        for plugin in changed {
            let name = &plugin.plugin;
            let entry = &policy.plugins[name];
            match self.apply_plugin(who, plugin, entry, &how.why).await {
                Ok(version) => drop(applied.grants_versions.insert(name.clone(), version)),
                Err(source) => {
                    let applied = applied.grants_versions.into_keys().collect();
                    return Err(PolicyError::Plugin {
                        plugin: name.clone(),
                        source,
                        applied,
                    });
                }
            }
        }
        Ok(applied)
    }

    async fn plugin_diff(
        &self,
        who: &Principal,
        name: &str,
        entry: &PolicyPlugin,
    ) -> Result<PluginDiff, PolicyError> {
        if !who.may_see(name) {
            return Err(PolicyError::outside(name));
        }
        let refused = |error| PolicyError::plugin(name, error);
        grants::check_limits(&entry.limits).map_err(refused)?;
        let installed = self.registry.get(name);
        check_reach(who, name, entry, installed.as_ref()).map_err(refused)?;
        // Whoever may not grant is not told what there is on the host's disk.
        let may_grant = who.has_one_of(&[]);
        if may_grant {
            self.check_reserved(&entry.grants).await.map_err(refused)?;
        }
        let now = installed.as_ref().map(|(_, active)| active);
        let digest_now = now.map(|active| active.manifest.digest.clone());
        let digest_after = entry.digest.clone().or_else(|| digest_now.clone());
        let (missing, downgrade) = match (&installed, &digest_after) {
            (Some((slot, _)), Some(after)) => {
                let row = slot.row.lock().await;
                (!row.has(after), row.goes_back(after))
            }
            _ => (true, false),
        };
        let nothing = PolicyPlugin::default();
        let before = now.map_or_else(|| (&nothing).into(), |active| (&*active.grants).into());
        let mut diff = PluginDiff {
            plugin: name.to_owned(),
            digest_now,
            digest_after,
            missing,
            downgrade,
            grants_version_now: now.map_or(0, |active| active.grants.version),
            version_changes: VersionChanges::default(),
            changes: diff::changes(before, entry.into()),
        };
        if let Some(manifest) = self.known_manifest(who, &diff).map_err(refused)? {
            grants::check(&entry.grants, &manifest).map_err(refused)?;
            grants::check_descriptions(&entry.descriptions, &manifest).map_err(refused)?;
            if let Some(active) = now {
                diff.version_changes = version_changes(&active.manifest, &manifest, None);
            }
            if may_grant && !diff.is_empty() {
                let opened = self.check_in_force(name, manifest, entry).await;
                opened.map_err(refused)?;
            }
        }
        Ok(diff)
    }

    /// Of the component after, where it is installed or was checked; to a token
    /// that is limited to some plugins, as this plugin alone: a digest is no right
    /// to see what the others have.
    fn known_manifest(
        &self,
        who: &Principal,
        diff: &PluginDiff,
    ) -> Result<Option<Arc<Manifest>>, GrantError> {
        let Some(digest) = &diff.digest_after else {
            return Ok(None);
        };
        let key = checked_key(&diff.plugin, digest);
        let own = !who.is_scoped() || !diff.missing || self.store().get(CHECKED, &key)?.is_some();
        match self.store().get(MANIFESTS, digest.as_bytes())? {
            Some(_) if own => Ok(Some(self.registry.manifest(digest)?)),
            _ => Ok(None),
        }
    }

    /// Opens what the rules name, and lets go of it.
    async fn check_in_force(
        &self,
        name: &str,
        manifest: Arc<Manifest>,
        entry: &PolicyPlugin,
    ) -> Result<(), GrantError> {
        let (sandbox, name) = (Arc::clone(&self.sandbox), name.to_owned());
        let (grants, limits) = (entry.grants.clone(), entry.limits.clone());
        let opened = self
            .blocking(move || sandbox.plugin(&name, manifest, 0, grants, limits).map(drop))
            .await?;
        opened.map_err(|error| GrantError::Prepare(error.to_string()))
    }

    /// Applies what was checked, to what it was checked against.
    async fn apply_plugin(
        &self,
        who: &Principal,
        checked: &PluginDiff,
        entry: &PolicyPlugin,
        why: &str,
    ) -> Result<u64, GrantError> {
        let name = checked.plugin.as_str();
        let (slot, _) = self.installed(who, name)?;
        let mut row = slot.row.lock().await;
        let active = self.still_installed(&slot)?;
        let (version, digest) = (checked.grants_version_now, checked.digest_now.as_deref());
        grants::expect(&active, Some(version), digest)?;
        let after = entry.digest.as_ref().unwrap_or(&active.manifest.digest);
        if !row.has(after) {
            let (plugin, digest) = (name.to_owned(), after.clone());
            return Err(PluginError::VersionNotFound { plugin, digest }.into());
        }
        let mut changed = row.clone();
        changed.active = Some(after.clone());
        let mut more: Vec<Op> = Vec::new();
        let target = match *after == active.manifest.digest {
            true => Arc::clone(&active),
            false => {
                let manifest = self.registry.manifest(after)?;
                remote::check_reach(who, name, &manifest)?;
                let mut detail = json!({ "from": active.manifest.digest, "to": after, "why": why });
                remote::mark(&mut detail, &manifest);
                let record = self.act_of(who, "plugin.activate", name, detail);
                more.push(record::op(&record.map_err(PluginError::from)?));
                let grants = Arc::clone(&active.grants);
                Arc::new(Active::new(name, manifest, grants, None))
            }
        };
        grants::check(&entry.grants, &target.manifest)?;
        grants::check_descriptions(&entry.descriptions, &target.manifest)?;
        let change = GrantsChange {
            who,
            grants: entry.grants.clone(),
            limits: entry.limits.clone(),
            descriptions: entry.descriptions.clone(),
            why,
            action: "policy",
            restored: None,
            for_component: entry.digest.is_some(),
        };
        let grants = self
            .change_grants(&slot, &mut changed, &target, change, more)
            .await?;
        *row = changed;
        Ok(grants.version)
    }
}

/// Refuses components that are not there, or that nobody asked to go back to.
fn may_follow(diff: &PluginDiff, how: &ApplyPolicy) -> Result<(), PolicyError> {
    let plugin = || diff.plugin.clone();
    let digest = diff.digest_after.clone();
    let digest = digest.unwrap_or_else(|| "any".to_owned());
    if diff.missing {
        let plugin = plugin();
        return Err(PolicyError::NotInstalled { plugin, digest });
    }
    if diff.downgrade && !how.downgrade {
        let plugin = plugin();
        let back = PluginError::Downgrade { plugin, digest };
        return Err(PolicyError::plugin(&diff.plugin, back));
    }
    Ok(())
}

fn check_reach(
    who: &Principal,
    name: &str,
    entry: &PolicyPlugin,
    installed: Option<&(Arc<Slot>, Arc<Active>)>,
) -> Result<(), GrantError> {
    let none = Grants::default();
    let after = entry.digest.as_ref();
    let same = |active: &Active| after.is_none_or(|after| *after == active.manifest.digest);
    let before = match installed {
        Some((_, active)) if same(active) => &active.grants.grants,
        _ => &none,
    };
    Ok(grants::reach::check(who, name, before, &entry.grants)?)
}
