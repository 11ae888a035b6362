//! Changing grants, looking at their history, explaining them.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::capability::Explanation;
use airlock_sandbox::{EffectClass, Grants, Limits};
use serde_json::json;

use crate::grants::{
    self, Descriptions, ExplainRequest, GrantError, GrantsHistory, GrantsUpdate, GrantsVersion,
    RollbackRequest,
};
use crate::plugins::{Active, Claims, EffectsView, PluginError, Slot, claims};
use crate::principal::Principal;
use crate::record;
use crate::remote::is_server;
use crate::runtime::Runtime;
use crate::{ids, names};

/// Most versions of one page of a history.
const HISTORY_MAX: usize = 100;

/// A change of one plugin's grants.
pub(crate) struct GrantsChange<'a> {
    pub(crate) who: &'a Principal,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) descriptions: Descriptions,
    pub(crate) why: &'a str,
    pub(crate) action: &'static str,
    /// For a rollback, the version it goes back to.
    pub(crate) restored: Option<&'a GrantsVersion>,
    /// It was made for the component that it is for, whatever its tools claim.
    pub(crate) for_component: bool,
}

impl Runtime {
    /// What is granted to a plugin; version 0 when nothing ever was.
    ///
    /// # Errors
    /// No such plugin, or outside the token's scope.
    pub fn grants(&self, who: &Principal, plugin: &str) -> Result<GrantsVersion, GrantError> {
        let (_, active) = self.installed(who, plugin)?;
        Ok(GrantsVersion {
            sandboxed: active.remote.is_none(),
            ..(*active.grants).clone()
        })
    }

    /// Earlier versions, newest first, those before `before`; at most 100.
    ///
    /// # Errors
    /// No such plugin, outside the token's scope, or the store failed.
    pub fn grants_history(
        &self,
        who: &Principal,
        plugin: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<GrantsHistory, GrantError> {
        let (_, active) = self.installed(who, plugin)?;
        let end = before.unwrap_or(u64::MAX).min(active.grants.version + 1);
        let limit = limit.clamp(1, HISTORY_MAX);
        let versions = grants::history(self.store(), plugin, end, limit)?;
        let last = versions.last().map(|last| last.version);
        let next_before = last.filter(|last| *last > 1);
        Ok(GrantsHistory {
            versions,
            next_before,
        })
    }

    /// Replaces everything that is granted to a plugin, and its limits. It holds
    /// for calls in flight when this returns.
    ///
    /// # Errors
    /// The rules make no sense or can't be put in force, something changed
    /// meanwhile, or the store failed; then nothing changed.
    pub async fn set_grants(
        &self,
        who: &Principal,
        plugin: &str,
        update: GrantsUpdate,
    ) -> Result<GrantsVersion, GrantError> {
        let (slot, _) = self.installed(who, plugin)?;
        let mut row = slot.row.lock().await;
        let active = self.still_installed(&slot)?;
        grants::expect(
            &active,
            update.expected_version,
            update.expected_digest.as_deref(),
        )?;
        grants::check(&update.grants, &active.manifest)?;
        grants::check_descriptions(&update.descriptions, &active.manifest)?;
        let change = GrantsChange {
            who,
            // A rule that is granted again is not there twice.
            grants: update.grants.without_repeats(),
            limits: update.limits,
            descriptions: update.descriptions,
            why: &update.why,
            action: "set",
            restored: None,
            for_component: update.expected_digest.is_some(),
        };
        self.change_grants(&slot, &mut row, &active, change, Vec::new())
            .await
    }

    /// Takes everything away from a plugin; limits and descriptions stay.
    ///
    /// # Errors
    /// No such plugin, outside the token's scope, or the store failed.
    pub async fn revoke_grants(
        &self,
        who: &Principal,
        plugin: &str,
        why: &str,
    ) -> Result<GrantsVersion, GrantError> {
        let (slot, _) = self.installed(who, plugin)?;
        let mut row = slot.row.lock().await;
        let active = self.still_installed(&slot)?;
        let change = GrantsChange {
            who,
            grants: Grants::default(),
            limits: active.grants.limits.clone(),
            descriptions: active.grants.descriptions.clone(),
            why,
            action: "revoke",
            restored: None,
            for_component: false,
        };
        self.change_grants(&slot, &mut row, &active, change, Vec::new())
            .await
    }

    /// Goes back to an earlier version, as a new version. Classes and descriptions
    /// of tools that the active component lacks are left out.
    ///
    /// # Errors
    /// No such plugin or version, outside the token's scope, the rules can't be
    /// put in force any more, or the store failed.
    pub async fn rollback_grants(
        &self,
        who: &Principal,
        plugin: &str,
        request: &RollbackRequest,
    ) -> Result<GrantsVersion, GrantError> {
        let (slot, _) = self.installed(who, plugin)?;
        let mut row = slot.row.lock().await;
        let active = self.still_installed(&slot)?;
        let in_force = active.grants.version;
        let version = request.version.unwrap_or(in_force.saturating_sub(1));
        if version >= in_force {
            let plugin = plugin.to_owned();
            return Err(match version == in_force {
                true => GrantError::InForce { plugin, version },
                false => GrantError::VersionNotFound { plugin, version },
            });
        }
        let mut earlier = grants::load(self.store(), plugin, version, &active.manifest.digest)?;
        earlier
            .grants
            .effects
            .retain(|tool, _| active.tool(tool).is_some());
        earlier
            .descriptions
            .retain(|tool, _| active.tool(tool).is_some());
        let change = GrantsChange {
            who,
            grants: earlier.grants.clone(),
            limits: earlier.limits.clone(),
            descriptions: earlier.descriptions.clone(),
            why: &request.why,
            action: "rollback",
            restored: Some(&earlier),
            for_component: false,
        };
        self.change_grants(&slot, &mut row, &active, change, Vec::new())
            .await
    }

    /// Whether the grants in force allow an operation, and by which rule: to the
    /// tool that is named, else to the plugin's tools, with those named that are
    /// denied it by their read-only class.
    ///
    /// # Errors
    /// No such plugin, tool or capability, or an operation that can't be read.
    pub fn explain(
        &self,
        who: &Principal,
        plugin: &str,
        request: &ExplainRequest,
    ) -> Result<Explanation, GrantError> {
        let (_, active) = self.installed(who, plugin)?;
        let words: Vec<&str> = request.operation.split_whitespace().collect();
        let as_class = |class| {
            let grants = &active.grants.grants;
            let explained = grants.explain_as(&request.capability, &words, class);
            explained.map_err(GrantError::Invalid)
        };
        if let Some(tool) = &request.tool {
            let terms = active.tool(tool);
            let unknown = || GrantError::Invalid(format!("`{plugin}` has no tool `{tool}`"));
            let terms = terms.ok_or_else(unknown)?;
            let mut explained = as_class(terms.class)?;
            if is_server(&active.manifest) {
                explained.unheld();
            }
            if terms.claim_changed {
                explained.refuse(format!(
                    "every call of `{tool}` is refused: it claims other effects than when they were granted"
                ));
            }
            return Ok(explained);
        }
        if is_server(&active.manifest) {
            let mut explained = as_class(EffectClass::Plain)?;
            explained.unheld();
            return Ok(explained);
        }
        let (widest, narrowed) = (
            as_class(EffectClass::Plain)?,
            as_class(EffectClass::ReadOnly)?,
        );
        if widest.allowed == narrowed.allowed {
            return Ok(widest);
        }
        let tools = active.manifest.tools.iter().map(|tool| &tool.name);
        let (read_only, others): (Vec<_>, Vec<_>) = tools.partition(|tool| {
            let terms = active.tool(tool);
            terms.is_some_and(|terms| terms.class == EffectClass::ReadOnly)
        });
        Ok(match others.is_empty() {
            true => narrowed,
            false => Explanation {
                not_for: read_only.into_iter().cloned().collect(),
                ..widest
            },
        })
    }

    /// Refuses rules that name what belongs to the host itself.
    pub(crate) async fn check_reserved(&self, grants: &Grants) -> Result<(), GrantError> {
        let (sandbox, grants) = (Arc::clone(&self.sandbox), grants.clone());
        let checked = self
            .blocking(move || sandbox.check_reserved(&grants))
            .await?;
        checked.map_err(|error| GrantError::Reserved(error.to_string()))
    }

    /// Checks, commits (with `more` in the same batch), and puts in force.
    pub(crate) async fn change_grants(
        &self,
        slot: &Slot,
        row: &mut crate::plugins::PluginRow,
        active: &Arc<Active>,
        change: GrantsChange<'_>,
        more: Vec<Op>,
    ) -> Result<GrantsVersion, GrantError> {
        names::why(change.why)?;
        self.check_holds(change.who).map_err(PluginError::from)?;
        grants::check_limits(&change.limits)?;
        check_reach(change.who, slot, active, &change.grants)?;
        self.check_reserved(&change.grants).await?;
        let grants = next_version(active, row.grants_version + 1, &change);
        let next = Active::new(
            &slot.name,
            Arc::clone(&active.manifest),
            Arc::new(grants.clone()),
            None,
        );
        // Opens what the rules name, so that nothing is stored that can't be in
        // force; then the calls in flight and the next ones share one sandbox
        // side.
        let prepared = self
            .prepared(Arc::new(next))
            .await
            .map_err(GrantError::Prepare)?;
        let next = Active::new(
            &slot.name,
            Arc::clone(&active.manifest),
            Arc::clone(&prepared.grants),
            active.made(),
        );
        let mut changed = row.clone();
        changed.grants_version = grants.version;
        let mut ops = more;
        ops.extend(grants::put(&grants));
        let (action, detail) = acted(&change, active, &grants);
        let record = self.act_of(change.who, &action, &grants.plugin, detail);
        ops.push(record::op(&record.map_err(PluginError::from)?));
        self.registry.commit(&changed, ops).await?;
        *row = changed;
        slot.swap(Some(next));
        Ok(grants)
    }
}

/// A limited token keeps rules that reach the host only as they are, and only
/// for the component they are in force for.
fn check_reach(
    who: &Principal,
    slot: &Slot,
    target: &Active,
    after: &Grants,
) -> Result<(), GrantError> {
    let none = Grants::default();
    let now = slot.active();
    let same = |now: &Arc<Active>| now.manifest.digest == target.manifest.digest;
    let now = now.filter(same);
    let before = now.as_ref().map_or(&none, |now| &now.grants.grants);
    Ok(grants::reach::check(who, &slot.name, before, after)?)
}

fn next_version(active: &Active, version: u64, change: &GrantsChange<'_>) -> GrantsVersion {
    GrantsVersion {
        version,
        plugin: active.name.clone(),
        digest: active.manifest.digest.clone(),
        grants: change.grants.clone(),
        limits: change.limits.clone(),
        descriptions: change.descriptions.clone(),
        claims: pinned(active, change),
        at_ms: ids::now_ms(),
        by: change.who.name.clone(),
        why: change.why.to_owned(),
        action: change.action.to_owned(),
        restored: change.restored.map(|earlier| earlier.version),
        sandboxed: active.remote.is_none(),
    }
}

/// The claims that the classes are granted for. A class that stays as it was is
/// granted for what it was granted for, or a change of something else would let a
/// tool back in whose claim nobody looked at.
fn pinned(active: &Active, change: &GrantsChange<'_>) -> Claims {
    let mut pinned = claims(&active.manifest);
    if change.for_component {
        return pinned;
    }
    for (tool, class) in &change.grants.effects {
        let before = [Some(&*active.grants), change.restored];
        let same = before
            .into_iter()
            .flatten()
            .filter(|version| version.grants.effects.get(tool) == Some(class));
        let granted: Vec<Option<EffectsView>> = same
            .map(|version| version.claims.get(tool).copied())
            .collect();
        let Some(first) = granted
            .first()
            .filter(|_| !granted.contains(&pinned.get(tool).copied()))
        else {
            continue;
        };
        match first {
            Some(claim) => drop(pinned.insert(tool.clone(), *claim)),
            None => drop(pinned.remove(tool)),
        }
    }
    pinned
}

/// What is done with the grants, for the audit.
fn acted(
    change: &GrantsChange<'_>,
    active: &Active,
    grants: &GrantsVersion,
) -> (String, serde_json::Value) {
    let detail = json!({
        "version": grants.version,
        "digest": grants.digest,
        "why": grants.why,
        "restored": grants.restored,
        "before": active.grants.grants,
        "after": grants.grants,
        "limits": grants.limits,
        "descriptions_before": active.grants.descriptions,
        "descriptions": grants.descriptions,
    });
    (format!("grants.{}", change.action), detail)
}
