//! Installing: a job that validates, compiles and asks the component what it
//! has, then adds it as a version.
//!
//! What must stay true: nothing names a component before its bytes are durable;
//! a first version has no grants; replacing an active version takes an
//! administrator who asked for it.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_mcp_client::Pinned;
use bytes::Bytes;
use serde_json::json;

use crate::engine::Manifest;
use crate::grants;
use crate::operations::Progress;
use crate::plugins::registry::VersionRow;
use crate::plugins::{
    Active, CHECKED, InstallRequest, Installed, MANIFESTS, Operation, PluginError, PluginRow, Slot,
    VersionChanges, checked_key, version_changes,
};
use crate::principal::{Principal, Role};
use crate::problem::{Problem, log_failure};
use crate::record;
use crate::remote::Asked;
use crate::runtime::Runtime;
use crate::{ids, names, remote, rows};

/// Most versions of one plugin.
const VERSIONS_MAX: usize = 100;

impl Runtime {
    /// Starts installing a component as a version of a plugin. The work goes on
    /// when the caller leaves; see [`Runtime::operation`].
    ///
    /// # Errors
    /// The request makes no sense, or too many installs wait.
    pub fn install(
        self: &Arc<Self>,
        who: &Principal,
        request: InstallRequest,
    ) -> Result<Operation, PluginError> {
        if !who.may_see(&request.name) {
            return Err(PluginError::OutsideScope(request.name));
        }
        names::plugin_name(&request.name)?;
        self.begin_install(who, request, None)
    }

    /// The same for an MCP server, where one is given: the component is what it
    /// says of itself.
    pub(crate) fn begin_install(
        self: &Arc<Self>,
        who: &Principal,
        request: InstallRequest,
        server: Option<Asked>,
    ) -> Result<Operation, PluginError> {
        names::why(&request.why)?;
        if let Some(expected) = &request.digest {
            names::digest(expected)?;
        }
        if self.is_stopping() {
            return Err(PluginError::ShuttingDown);
        }
        let queue_max = self.config().install_queue_max;
        let begun = self.operations.begin("install", &request.name, queue_max);
        let (operation, progress) = begun.ok_or(PluginError::Busy(queue_max))?;
        let (runtime, who) = (Arc::clone(self), who.clone());
        tokio::spawn(async move {
            let result = runtime.install_now(&who, request, server, &progress);
            let result = result.await;
            progress.end(result.map_err(|error| {
                log_failure(&error);
                Problem::of(&error)
            }));
        });
        Ok(operation)
    }

    /// Where an operation stands.
    ///
    /// # Errors
    /// There is none, or it is about a plugin outside the token's scope.
    pub fn operation(&self, who: &Principal, id: &str) -> Result<Operation, PluginError> {
        let visible = |operation: &Operation| who.may_see(&operation.plugin);
        let found = self.operations.get(id).filter(visible);
        found.ok_or_else(|| PluginError::OperationNotFound(id.to_owned()))
    }

    /// An operation once it has ended.
    ///
    /// # Errors
    /// As [`Runtime::operation`].
    pub async fn wait_operation(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<Operation, PluginError> {
        self.operation(who, id)?;
        let ended = self.operations.ended(id).await;
        ended.ok_or_else(|| PluginError::OperationNotFound(id.to_owned()))
    }

    /// All operations that are still known, newest first.
    pub fn operations(&self, who: &Principal) -> Vec<Operation> {
        let mut all = self.operations.list();
        all.retain(|operation| who.may_see(&operation.plugin));
        all
    }

    async fn install_now(
        &self,
        who: &Principal,
        mut request: InstallRequest,
        server: Option<Asked>,
        progress: &Progress,
    ) -> Result<Installed, PluginError> {
        let turn = self.install_turns.acquire().await;
        let _turn = turn.map_err(|_| PluginError::ShuttingDown)?;
        progress.running();
        // Nothing is asked, compiled or kept for whoever has no say any more.
        self.check_holds(who)?;
        let again = server.as_ref().is_some_and(|asked| asked.again);
        if let Some(asked) = server {
            request.component = self.pin(who, &request.name, asked.server).await?;
        }
        let component = request.component.clone();
        let digest = self.blocking(move || ids::digest(&component)).await?;
        if let Some(expected) = request
            .digest
            .clone()
            .filter(|expected| *expected != digest)
        {
            return Err(PluginError::DigestMismatch {
                expected,
                found: digest,
            });
        }
        let manifest = match Pinned::is_meant(&request.component) {
            true => self.pinned_manifest(who, &request.name, &digest, &request.component)?,
            false => self.manifest_of(&digest, &request.component).await?,
        };
        self.check_holds(who)?;
        if request.check {
            return self.checked(&request.name, &manifest).await;
        }
        let _naming = self.naming.read().await;
        self.put_component(digest, request.component.clone())
            .await?;
        let slot = self.registry.slot(&request.name);
        let mut row = slot.row.lock().await;
        if again {
            // What was removed while its server was asked does not come back.
            self.still_installed(&slot)?;
        }
        self.add_version(who, &slot, &mut row, &manifest, &request)
            .await
    }

    /// The manifest of a component: the one known, else by inspection.
    async fn manifest_of(
        &self,
        digest: &str,
        component: &Bytes,
    ) -> Result<Arc<Manifest>, PluginError> {
        let known = self.store().get(MANIFESTS, digest.as_bytes())?;
        if known.is_some() {
            return Ok(self.registry.manifest(digest)?);
        }
        let inspected = self.sandbox.inspect(component.clone()).await;
        Ok(Arc::new(inspected.map_err(PluginError::Component)?))
    }

    /// What installing it would change. Its manifest is kept, and that it was
    /// checked as this plugin.
    async fn checked(
        &self,
        name: &str,
        manifest: &Arc<Manifest>,
    ) -> Result<Installed, PluginError> {
        let found = self.registry.get(name);
        if let Some((slot, _)) = &found {
            check_room(&*slot.row.lock().await, name, &manifest.digest)?;
        }
        let checked = Op::Put {
            space: CHECKED,
            key: checked_key(name, &manifest.digest),
            value: Bytes::new(),
        };
        self.commit(vec![known(manifest), checked]).await?;
        Ok(Installed {
            plugin: name.to_owned(),
            digest: manifest.digest.clone(),
            active: false,
            is_agent: manifest.agent.is_some(),
            sandboxed: !remote::is_server(manifest),
            changes: found.map_or_else(VersionChanges::default, |(_, active)| {
                version_changes(&active.manifest, manifest, Some(&active.grants))
            }),
        })
    }

    async fn put_component(&self, digest: String, component: Bytes) -> Result<(), PluginError> {
        let components = Arc::clone(&self.components);
        let stored = self
            .blocking(move || components.put(&digest, &component))
            .await?;
        stored.map_err(PluginError::Disk)
    }

    async fn add_version(
        &self,
        who: &Principal,
        slot: &Slot,
        row: &mut PluginRow,
        manifest: &Arc<Manifest>,
        request: &InstallRequest,
    ) -> Result<Installed, PluginError> {
        self.check_holds(who)?;
        if row.erasing {
            self.erase_data(who, slot, row).await?;
        }
        let active = slot.active();
        let replaces = active
            .as_ref()
            .is_some_and(|active| active.manifest.digest != manifest.digest);
        if request.activate && replaces && !who.has_one_of(&[Role::Admin]) {
            return Err(PluginError::NeedsAdmin(slot.name.clone()));
        }
        if request.activate && row.goes_back(&manifest.digest) {
            let (plugin, digest) = (slot.name.clone(), manifest.digest.clone());
            return Err(PluginError::Downgrade { plugin, digest });
        }
        if !row.has(&manifest.digest) {
            self.store_version(who, slot, row, manifest, &request.why)
                .await?;
        }
        match active {
            Some(active) if request.activate => {
                self.switch(who, slot, row, &active, &manifest.digest, &request.why)
                    .await
            }
            active => Ok(Installed {
                plugin: slot.name.clone(),
                digest: manifest.digest.clone(),
                active: row.active.as_deref() == Some(&manifest.digest),
                is_agent: manifest.agent.is_some(),
                sandboxed: !remote::is_server(manifest),
                changes: active.map_or_else(VersionChanges::default, |active| {
                    version_changes(&active.manifest, manifest, Some(&active.grants))
                }),
            }),
        }
    }

    async fn store_version(
        &self,
        who: &Principal,
        slot: &Slot,
        row: &mut PluginRow,
        manifest: &Arc<Manifest>,
        why: &str,
    ) -> Result<(), PluginError> {
        check_room(row, &slot.name, &manifest.digest)?;
        let mut changed = row.clone();
        changed.name.clone_from(&slot.name);
        changed.versions.push(VersionRow {
            digest: manifest.digest.clone(),
            installed_ms: ids::now_ms(),
            installed_by: who.name.clone(),
            component_bytes: manifest.component_bytes,
        });
        let first = changed.active.is_none();
        if first {
            changed.active = Some(manifest.digest.clone());
        }
        let mut detail = json!({ "digest": manifest.digest, "active": first, "why": why });
        remote::mark(&mut detail, manifest);
        let record = self.act_of(who, "plugin.install", &slot.name, detail)?;
        self.registry
            .commit(&changed, vec![known(manifest), record::op(&record)])
            .await?;
        *row = changed;
        if first {
            let version = row.grants_version;
            let none = grants::load(self.store(), &slot.name, version, &manifest.digest)?;
            let manifest = Arc::clone(manifest);
            slot.swap(Some(Active::new(
                &slot.name,
                manifest,
                Arc::new(none),
                None,
            )));
        }
        Ok(())
    }
}

fn check_room(row: &PluginRow, plugin: &str, digest: &str) -> Result<(), PluginError> {
    if row.has(digest) || row.versions.len() < VERSIONS_MAX {
        return Ok(());
    }
    Err(PluginError::TooManyVersions {
        plugin: plugin.to_owned(),
        versions_max: VERSIONS_MAX,
    })
}

fn known(manifest: &Manifest) -> Op {
    Op::Put {
        space: MANIFESTS,
        key: manifest.digest.clone().into(),
        value: rows::encode(manifest),
    }
}
