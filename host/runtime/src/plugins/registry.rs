//! The plugins in memory and their rows. A call reads one map and one pointer;
//! an administrator's change takes the plugin's lock, commits, then swaps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use airlock_journal::{Batch, Op, Store, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::admission::Admission;
use crate::engine::{Manifest, Plugin};
use crate::grants::{self, GrantsVersion};
use crate::plugins::Active;
use crate::rows;

pub(crate) const PLUGINS: &str = "plugins";
pub(crate) const MANIFESTS: &str = "manifests";
/// Components that were checked and not installed, by plugin.
pub(crate) const CHECKED: &str = "checked";

/// A plugin as it is stored. A removed one keeps its row, so that versions of
/// its grants are never used twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PluginRow {
    pub(crate) name: String,
    /// `None`: removed.
    pub(crate) active: Option<String>,
    pub(crate) versions: Vec<VersionRow>,
    pub(crate) grants_version: u64,
    /// Removed, and what it kept is not all erased yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) erasing: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRow {
    pub(crate) digest: String,
    pub(crate) installed_ms: u64,
    pub(crate) installed_by: String,
    pub(crate) component_bytes: u64,
}

/// The key of a component that was checked as a version of a plugin.
pub(crate) fn checked_key(plugin: &str, digest: &str) -> Bytes {
    [plugin.as_bytes(), b"\0", digest.as_bytes()]
        .concat()
        .into()
}

/// One name.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) admission: Arc<Admission>,
    /// Held by whoever changes the plugin; protects the row.
    pub(crate) row: tokio::sync::Mutex<PluginRow>,
    active: RwLock<Option<Arc<Active>>>,
    /// Of versions that were active before; calls of them may still run.
    earlier: Mutex<Vec<Weak<Plugin>>>,
    /// The registry's, told of each swap.
    changed: watch::Sender<()>,
}

/// All plugins.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    /// Changes with what is in force for any plugin.
    changed: watch::Sender<()>,
}

impl PluginRow {
    pub(crate) fn put(&self) -> Op {
        Op::Put {
            space: PLUGINS,
            key: self.name.clone().into(),
            value: rows::encode(self),
        }
    }

    pub(crate) fn has(&self, digest: &str) -> bool {
        self.versions.iter().any(|version| version.digest == digest)
    }

    /// Whether a version was installed before the active one.
    pub(crate) fn goes_back(&self, digest: &str) -> bool {
        let age = |digest: &str| {
            let mut versions = self.versions.iter();
            versions.position(|version| version.digest == digest)
        };
        let now = self.active.as_deref().and_then(age);
        age(digest).zip(now).is_some_and(|(to, now)| to < now)
    }
}

impl Slot {
    fn new(row: PluginRow, active: Option<Active>, changed: watch::Sender<()>) -> Self {
        let limits = active.as_ref().map(|active| Arc::clone(&active.limits));
        let limits = limits.unwrap_or_default();
        Self {
            name: row.name.clone(),
            admission: Admission::new(&row.name, &limits),
            row: tokio::sync::Mutex::new(row),
            active: RwLock::new(active.map(Arc::new)),
            earlier: Mutex::default(),
            changed,
        }
    }

    /// What is in force; `None`: not installed (any more).
    pub(crate) fn active(&self) -> Option<Arc<Active>> {
        self.active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts a new state in force: the grants reach calls in flight at once, of
    /// whichever version they are.
    pub(crate) fn swap(&self, mut next: Option<Active>) {
        if let Some(next) = &mut next {
            next.adopt(self.active().as_deref());
        }
        let next = next.map(Arc::new);
        if let Some(next) = &next {
            self.admission.set(&next.limits);
        }
        let previous = {
            let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *active, next.clone())
        };
        if let Some(previous) = &previous {
            previous.leave(next.as_deref());
        }
        let made = next.as_ref().and_then(|next| next.made());
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.retain(|plugin| plugin.strong_count() > 0);
        if let Some(plugin) = previous.and_then(|previous| previous.made()) {
            earlier.push(Arc::downgrade(&plugin));
        }
        let grants = next.as_ref().map(|next| &*next.grants);
        for plugin in earlier.iter().filter_map(Weak::upgrade) {
            let in_force = apply(&plugin, grants);
            if let (false, Some(next)) = (in_force, &next)
                && made.as_ref().is_some_and(|made| Arc::ptr_eq(made, &plugin))
            {
                next.unmake();
            }
        }
        // What is installed under the name later is another plugin: its grants are not
        // for calls of this one.
        if next.is_none() {
            earlier.clear();
        }
        self.changed.send_replace(());
    }
}

/// What can't be put in force is not: the plugin then has nothing. Says whether
/// it could.
fn apply(plugin: &Plugin, grants: Option<&GrantsVersion>) -> bool {
    let (version, rules, limits) = match grants {
        Some(grants) => (grants.version, grants.grants.clone(), grants.limits.clone()),
        None => (u64::MAX, Default::default(), Default::default()),
    };
    let Err(error) = plugin.replace(version, rules, limits) else {
        return true;
    };
    tracing::warn!(plugin = plugin.name(), %error, "grants are not in force; nothing is granted");
    if let Err(error) = plugin.replace(version, Default::default(), Default::default()) {
        tracing::error!(plugin = plugin.name(), %error, "no grants could not be put in force");
    }
    false
}

impl Registry {
    /// Reads all plugins.
    pub(crate) fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let mut slots = HashMap::new();
        let changed = watch::Sender::default();
        for row in rows::all::<PluginRow>(&*store, PLUGINS)? {
            let active = match &row.active {
                Some(digest) => {
                    let manifest = manifest(&*store, digest)?;
                    let grants = grants::load(&*store, &row.name, row.grants_version, digest)?;
                    Some(Active::new(&row.name, manifest, Arc::new(grants), None))
                }
                None => None,
            };
            slots.insert(
                row.name.clone(),
                Arc::new(Slot::new(row, active, changed.clone())),
            );
        }
        let slots = RwLock::new(slots);
        Ok(Self {
            store,
            slots,
            changed,
        })
    }

    /// An installed plugin and what is in force for it.
    pub(crate) fn get(&self, name: &str) -> Option<(Arc<Slot>, Arc<Active>)> {
        let slot = self.read().get(name).cloned()?;
        let active = slot.active()?;
        Some((slot, active))
    }

    /// The slot of a name that is or was installed.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Slot>> {
        self.read().get(name).cloned()
    }

    /// All slots, of removed plugins too.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.read().values().cloned().collect()
    }

    /// The slot of a name, made when it is not there.
    pub(crate) fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let name = name.to_owned();
            Arc::new(Slot::new(
                PluginRow {
                    name,
                    ..PluginRow::default()
                },
                None,
                self.changed.clone(),
            ))
        };
        Arc::clone(slots.entry(name.to_owned()).or_insert_with(make))
    }

    /// Changes with what is in force for any plugin.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells whoever listens that what is offered changed, though nothing was put in
    /// force.
    pub(crate) fn touch(&self) {
        self.changed.send_replace(());
    }

    /// All installed plugins by name.
    pub(crate) fn all(&self) -> Vec<(Arc<Slot>, Arc<Active>)> {
        let installed = |slot: &Arc<Slot>| Some((Arc::clone(slot), slot.active()?));
        let mut all: Vec<_> = self.read().values().filter_map(installed).collect();
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        all
    }

    /// A manifest by digest, of whichever plugin has it.
    pub(crate) fn manifest(&self, digest: &str) -> Result<Arc<Manifest>, StoreError> {
        manifest(&*self.store, digest)
    }

    /// Commits a changed row with what else belongs to the change.
    pub(crate) async fn commit(&self, row: &PluginRow, ops: Vec<Op>) -> Result<(), StoreError> {
        let mut batch = Batch { ops };
        batch.ops.insert(0, row.put());
        self.store.commit(batch).await.map(drop)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Slot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn manifest(store: &dyn Store, digest: &str) -> Result<Arc<Manifest>, StoreError> {
    let value = store.get(MANIFESTS, digest.as_bytes())?;
    let value = value.ok_or_else(|| rows::damaged(MANIFESTS, digest.as_bytes()))?;
    rows::decode(MANIFESTS, digest.as_bytes(), &value).map(Arc::new)
}
