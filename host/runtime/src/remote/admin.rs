//! Installing a server, and taking the tools that it lists now.
//!
//! What must stay true: what an administrator accepts is what was shown, by its
//! digest; nobody whose token is limited to some plugins brings in what reaches the
//! whole host.

use std::sync::Arc;

use airlock_mcp_client::{Fault, Pinned, Server};
use airlock_sandbox::inspect::Kind;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admission::NotAdmitted;
use crate::engine::Manifest;
use crate::names;
use crate::plugins::{InstallRequest, Operation, PluginError};
use crate::principal::{Principal, Role};
use crate::runtime::Runtime;
use crate::stop::Stop;

/// What a limited token can't bring in.
const REACHES: &str = "an MCP server, which is not sandboxed,";

/// An MCP server to install as a version of a plugin: it is asked for its tools,
/// which are pinned.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallServer {
    /// The server; absent: the one that is installed, with the tools that it lists
    /// now.
    #[serde(default)]
    pub server: Option<Server>,
    /// `sha256:…` that it must have with its tools, as it was shown.
    #[serde(default)]
    pub digest: Option<String>,
    /// Make it the active version, also in place of another.
    #[serde(default)]
    pub activate: bool,
    /// Only look, and say what it would change: nothing is installed.
    #[serde(default)]
    pub check: bool,
    /// Why, for the audit.
    #[serde(default)]
    pub why: String,
}

/// Whether a version is a server.
pub(crate) fn is_server(manifest: &Manifest) -> bool {
    manifest.kind == Kind::Server
}

/// Says in a record about a version that it is not sandboxed, where it is not.
pub(crate) fn mark(detail: &mut Value, manifest: &Manifest) {
    if is_server(manifest) {
        detail["sandboxed"] = json!(false);
    }
}

/// Whether `who` may put this version in force, as far as it is a server.
pub(crate) fn check_reach(
    who: &Principal,
    plugin: &str,
    manifest: &Manifest,
) -> Result<(), PluginError> {
    match is_server(manifest) {
        true => may_install(who, plugin),
        false => Ok(()),
    }
}

fn may_install(who: &Principal, plugin: &str) -> Result<(), PluginError> {
    let plugin = plugin.to_owned();
    if !who.has_one_of(&[Role::Admin]) {
        return Err(PluginError::ServerNeedsAdmin(plugin));
    }
    match who.is_scoped() {
        true => Err(PluginError::BeyondScope {
            plugin,
            rule: REACHES,
        }),
        false => Ok(()),
    }
}

/// A server that is asked for its tools before it is installed.
pub(crate) struct Asked {
    pub(crate) server: Server,
    /// It is the one of the plugin, which has to be there still.
    pub(crate) again: bool,
}

impl Runtime {
    /// Starts installing a server; see [`Runtime::install`].
    ///
    /// # Errors
    /// As [`Runtime::install`]; besides, only an administrator may whose token is
    /// not limited, and what makes no sense as a server is refused.
    pub async fn install_server(
        self: &Arc<Self>,
        who: &Principal,
        plugin: &str,
        request: InstallServer,
    ) -> Result<Operation, PluginError> {
        names::plugin_name(plugin)?;
        may_install(who, plugin)?;
        self.may_ask(plugin)?;
        let again = request.server.is_none();
        let server = match request.server {
            Some(server) => server,
            None => self.installed_pinned(who, plugin).await?.server,
        };
        server
            .check()
            .map_err(|error| PluginError::BadServer(error.to_string()))?;
        for secret in server.secrets() {
            names::secret_name(secret)?;
        }
        let (remotes, checked) = (Arc::clone(&self.remotes), server.clone());
        let checked = self.blocking(move || remotes.check_paths(&checked)).await?;
        checked.map_err(PluginError::BadServer)?;
        let install = InstallRequest {
            name: plugin.to_owned(),
            component: Bytes::new(),
            digest: request.digest,
            activate: request.activate,
            check: request.check,
            why: request.why,
        };
        self.begin_install(who, install, Some(Asked { server, again }))
    }

    /// What was pinned of a server in force, as a document for policies.
    ///
    /// # Errors
    /// No such plugin, it is no server, outside the token's scope, or it can't be
    /// read.
    pub async fn server_document(
        &self,
        who: &Principal,
        plugin: &str,
    ) -> Result<String, PluginError> {
        let pinned = self.installed_pinned(who, plugin).await?;
        String::from_utf8(pinned.bytes()).map_err(|error| PluginError::BadServer(error.to_string()))
    }

    /// Asks a server for its tools: the document to install.
    pub(crate) async fn pin(
        &self,
        who: &Principal,
        plugin: &str,
        server: Server,
    ) -> Result<Bytes, PluginError> {
        let failed = |fault: Fault| PluginError::Unreachable(fault.to_string());
        // What a server leaves that is no plugin yet, nobody else finds.
        let found = self.registry.get(plugin);
        let is_one = found.is_some_and(|(_, active)| is_server(&active.manifest));
        let fresh = (!is_one).then(|| self.remotes.fresh());
        let asked = async {
            let (remotes, by) = (&self.remotes, &who.name);
            let link = match &fresh {
                Some(fresh) => remotes.connect_fresh(fresh, plugin, &server, by).await?,
                None => remotes.connect(plugin, &server, by).await?,
            };
            link.all_tools(&server).await
        };
        let mut stop = self.stop.subscribe();
        let tools = tokio::select! {
            biased;
            () = self.halts.ends(plugin, None) => None,
            () = self.revoked(who) => None,
            _ = stop.wait_for(|stop| *stop != Stop::No) => None,
            tools = asked => Some(tools),
        };
        if let Some(fresh) = fresh.filter(|_| server.is_program()) {
            self.blocking(move || fresh.delete()).await?;
        }
        match tools.transpose().map_err(failed)? {
            Some(tools) => Ok(Pinned::new(server, tools).bytes().into()),
            None => {
                self.check_holds(who)?;
                self.may_ask(plugin)?;
                Err(PluginError::Interrupted)
            }
        }
    }

    /// Whether a server may be asked for its tools, for which its program is started.
    fn may_ask(&self, plugin: &str) -> Result<(), PluginError> {
        let refused = match *self.stop.borrow() {
            Stop::Draining | Stop::Now => return Err(PluginError::ShuttingDown),
            Stop::Halted => NotAdmitted::Halted,
            Stop::No if self.halts.plugin(plugin) => NotAdmitted::PluginHalted {
                plugin: plugin.to_owned(),
            },
            Stop::No => return Ok(()),
        };
        Err(refused.into())
    }

    /// The manifest of a document.
    pub(crate) fn pinned_manifest(
        &self,
        who: &Principal,
        plugin: &str,
        digest: &str,
        bytes: &[u8],
    ) -> Result<Arc<Manifest>, PluginError> {
        may_install(who, plugin)?;
        let pinned = Pinned::read(bytes);
        let pinned = pinned.map_err(|error| PluginError::BadServer(error.to_string()))?;
        self.remotes
            .check_paths(&pinned.server)
            .map_err(PluginError::BadServer)?;
        Ok(Arc::new(super::manifest(&pinned, digest, bytes.len())))
    }

    async fn installed_pinned(&self, who: &Principal, plugin: &str) -> Result<Pinned, PluginError> {
        let (_, active) = self.installed(who, plugin)?;
        if !is_server(&active.manifest) {
            return Err(PluginError::NotAServer(plugin.to_owned()));
        }
        let (remotes, digest) = (Arc::clone(&self.remotes), active.manifest.digest.clone());
        let pinned = self.blocking(move || remotes.pinned(&digest)).await?;
        pinned.map_err(PluginError::BadServer)
    }
}
