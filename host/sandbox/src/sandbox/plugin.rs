//! An installed component under a name, with what an administrator allowed it.
//!
//! What must stay true: rooms, limits and the version of the grants that a call
//! begins with belong together.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::capability::{PrepareContext, PrepareError, RoomsPrepared};
use crate::gate::{CallInfo, Gate};
use crate::grants::{Grants, GrantsCell};
use crate::inspect::Manifest;
use crate::limits::Limits;
use crate::loaded::Loaded;
use crate::services::Services;

/// An installed component with a name, its grants and its limits.
pub struct Plugin {
    name: Arc<str>,
    manifest: Arc<Manifest>,
    services: Arc<Services>,
    grants: Arc<GrantsCell>,
    terms: RwLock<Terms>,
    loaded: RwLock<Weak<Loaded>>,
}

/// What a call begins with.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) limits: Arc<Limits>,
    pub(super) rooms: Arc<RoomsPrepared>,
    version: u64,
    grants: Arc<Grants>,
}

impl Plugin {
    pub(super) fn new(
        name: &str,
        manifest: Arc<Manifest>,
        services: Arc<Services>,
        version: u64,
        grants: Grants,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        Ok(Self {
            terms: RwLock::new(Terms::new(name, &services, version, &grants, limits)?),
            grants: Arc::new(GrantsCell::new(version, grants)),
            name: name.into(),
            manifest,
            services,
            loaded: RwLock::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of its component.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The limits in force for the next call.
    pub fn limits(&self) -> Arc<Limits> {
        self.terms().limits
    }

    /// The version of the grants in force.
    pub fn grants_version(&self) -> u64 {
        self.grants.version()
    }

    /// Puts other grants and limits in force. Calls in flight lose what is no
    /// longer granted and gain nothing; the limits hold for calls that follow.
    ///
    /// # Errors
    /// The first rule that can't be put in force; then nothing changed.
    pub fn replace(
        &self,
        version: u64,
        grants: Grants,
        limits: Limits,
    ) -> Result<(), PrepareError> {
        let terms = Terms::new(&self.name, &self.services, version, &grants, limits)?;
        let mut current = self.terms.write().unwrap_or_else(PoisonError::into_inner);
        self.grants.replace(version, grants);
        *current = terms;
        Ok(())
    }

    pub(super) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    pub(super) fn terms(&self) -> Terms {
        let terms = self.terms.read().unwrap_or_else(PoisonError::into_inner);
        terms.clone()
    }

    pub(super) fn loaded(&self) -> Option<Arc<Loaded>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.upgrade()
    }

    pub(super) fn set_loaded(&self, loaded: &Arc<Loaded>) {
        let mut slot = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::downgrade(loaded);
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(super) fn gate(&self, info: CallInfo, terms: &Terms) -> Gate {
        let start = (terms.version, Arc::clone(&terms.grants));
        let cell = Arc::clone(&self.grants);
        Gate::starting(info, cell, start, terms.limits.host_memory.0)
    }
}

impl Terms {
    fn new(
        plugin: &str,
        services: &Arc<Services>,
        version: u64,
        grants: &Grants,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        limits.validate().map_err(|message| PrepareError {
            capability: "limits",
            rule: 0,
            message,
        })?;
        let rooms = RoomsPrepared::new(&PrepareContext {
            plugin,
            grants,
            version,
            limits: &limits,
            services,
        })?;
        Ok(Self {
            limits: Arc::new(limits),
            rooms: Arc::new(rooms),
            version,
            grants: Arc::new(grants.clone()),
        })
    }
}
