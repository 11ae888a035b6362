//! What is in force for a plugin at one moment: the component, the grants, the
//! class of each tool. Replaced as a whole, so that a call sees one state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use airlock_sandbox::capability::PrepareError;
use airlock_sandbox::{EffectClass, Limits};

use crate::engine::{Effects, Manifest, Plugin, Sandbox};
use crate::grants::GrantsVersion;
use crate::plugins::{Claims, EffectsView};
use crate::remote::{Remote, Withheld, is_server};

/// A component with a name, as it stands now.
pub(crate) struct Active {
    pub(crate) name: String,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) grants: Arc<GrantsVersion>,
    pub(crate) limits: Arc<Limits>,
    /// The server, where it is no component but one of MCP.
    pub(crate) remote: Option<Arc<Remote>>,
    tools: HashMap<String, ToolTerms>,
    /// Made at the first call: directories are opened and pools made then.
    plugin: Mutex<Option<Arc<Plugin>>>,
    /// Held while it is made, which takes as long as counting files does.
    making: Mutex<()>,
}

/// On what terms a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToolTerms {
    /// The effect class in force.
    pub(crate) class: EffectClass,
    /// The grant names the tool's class, and the tool's claim is another one
    /// than when that was granted.
    pub(crate) claim_changed: bool,
    /// Of an MCP server's: why it is not called.
    pub(crate) withheld: Option<Withheld>,
}

impl Active {
    pub(crate) fn new(
        name: &str,
        manifest: Arc<Manifest>,
        grants: Arc<GrantsVersion>,
        plugin: Option<Arc<Plugin>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            remote: is_server(&manifest).then(|| Remote::new(name, &manifest.digest)),
            tools: terms(&manifest, &grants),
            limits: Arc::new(grants.limits.clone()),
            manifest,
            grants,
            plugin: Mutex::new(plugin),
            making: Mutex::default(),
        }
    }

    /// The terms of a tool; `None`: there is no such tool.
    pub(crate) fn tool(&self, name: &str) -> Option<ToolTerms> {
        let terms = self.tools.get(name).copied()?;
        let withheld = self
            .remote
            .as_ref()
            .and_then(|remote| remote.withheld(name));
        Some(ToolTerms { withheld, ..terms })
    }

    /// Goes on with the connection of what was in force before, where it is the
    /// same server.
    pub(crate) fn adopt(&mut self, previous: Option<&Self>) {
        let before = previous.and_then(|previous| previous.remote.clone());
        if let Some(before) = before.filter(|before| *before.digest() == self.manifest.digest) {
            self.remote = Some(before);
        }
    }

    /// Ends its connection, where what is in force now did not take it over.
    pub(crate) fn leave(&self, next: Option<&Self>) {
        let Some(remote) = &self.remote else { return };
        let taken = next.and_then(|next| next.remote.as_ref());
        if !taken.is_some_and(|taken| Arc::ptr_eq(taken, remote)) {
            remote.leave();
        }
    }

    /// The sandbox's side of it, made when it is not there yet. What can't be
    /// put in force is tried again at the next call. Blocks.
    pub(crate) fn plugin(&self, sandbox: &Sandbox) -> Result<Arc<Plugin>, PrepareError> {
        if let Some(plugin) = self.made() {
            return Ok(plugin);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = self.made() {
            return Ok(plugin);
        }
        let made = self.prepare(sandbox)?;
        let mut plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner);
        *plugin = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The sandbox's side of it, when it was made. Never waits for it.
    pub(crate) fn made(&self) -> Option<Arc<Plugin>> {
        self.plugin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same as a value of its own, with the same sandbox side.
    pub(crate) fn renewed(&self) -> Self {
        let (manifest, grants) = (Arc::clone(&self.manifest), Arc::clone(&self.grants));
        Self::new(&self.name, manifest, grants, self.made())
    }

    /// Forgets it: it could not be put in force as it should, and is made anew
    /// at the next call.
    pub(crate) fn unmake(&self) {
        *self.plugin.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn prepare(&self, sandbox: &Sandbox) -> Result<Arc<Plugin>, PrepareError> {
        sandbox.plugin(
            &self.name,
            Arc::clone(&self.manifest),
            self.grants.version,
            self.grants.grants.clone(),
            self.grants.limits.clone(),
        )
    }
}

/// The claims of all tools.
pub(crate) fn claims(manifest: &Manifest) -> Claims {
    let claim =
        |tool: &crate::engine::ToolInfo| (tool.name.clone(), EffectsView::from(&tool.effects));
    manifest.tools.iter().map(claim).collect()
}

/// The class of a tool that nobody granted one: a claim is believed where it asks
/// for more care, and never where it asks for less.
fn unasked(claim: &Effects) -> EffectClass {
    match claim.destructive {
        true => EffectClass::Destructive,
        false => EffectClass::Plain,
    }
}

fn terms(manifest: &Manifest, grants: &GrantsVersion) -> HashMap<String, ToolTerms> {
    let of = |tool: &crate::engine::ToolInfo| {
        let granted = grants.grants.effects.get(&tool.name).copied();
        let pinned = grants.claims.get(&tool.name);
        let same = pinned == Some(&EffectsView::from(&tool.effects));
        let terms = ToolTerms {
            class: granted.unwrap_or_else(|| unasked(&tool.effects)),
            claim_changed: granted.is_some() && !same,
            withheld: None,
        };
        (tool.name.clone(), terms)
    };
    manifest.tools.iter().map(of).collect()
}
