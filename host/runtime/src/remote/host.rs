//! What servers need of the host: secrets, the network's rules, a launcher and a
//! directory each.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use airlock_journal::audit::{Audit, AuditRecord};
use airlock_mcp_client::{
    Client, Fault, Host, Link, Mask, PATIENCE, Pinned, READABLE, STDERR_BYTES_BEFORE, Server,
    Surroundings,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::components::Components;
use crate::config::RuntimeConfig;
use crate::engine::{ComponentSource, Network, SPREAD_BYTES_MAX, Sandbox, Secret, Vault, masker};
use crate::remote::dirs;
use crate::runtime::OpenError;

/// The way to all servers.
pub(crate) struct Remotes {
    side: Arc<Side>,
    client: Client,
    launcher: PathBuf,
    launcher_args: Vec<OsString>,
    dir: PathBuf,
    components: Arc<Components>,
    sandbox: Arc<Sandbox>,
    audit: Audit,
}

const _: () = assert!(STDERR_BYTES_BEFORE >= SPREAD_BYTES_MAX);

struct Side {
    vault: Arc<Vault>,
    network: Arc<Network>,
}

impl Host for Side {
    fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        self.vault.value_for_host(name).unwrap_or_else(|error| {
            tracing::error!(name, %error, "a secret can't be read");
            None
        })
    }

    fn may_reach(
        &self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<(), String> {
        self.network.may_dial(peer, local, allow_private)
    }

    fn mask(&self, values: &[&str]) -> Option<Mask> {
        let values: Vec<Secret> = values.iter().copied().map(Secret::new).collect();
        match values.is_empty() {
            true => None,
            false => Some(Arc::new(masker(&values))),
        }
    }
}

/// A directory that goes with whoever asked for it.
pub(crate) struct Fresh(PathBuf);

impl Fresh {
    /// Deletes it. Blocks.
    pub(crate) fn delete(&self) {
        dirs::delete(&self.0);
    }
}

impl Remotes {
    pub(crate) fn open(
        config: &RuntimeConfig,
        vault: &Arc<Vault>,
        network: &Arc<Network>,
        components: &Arc<Components>,
        sandbox: &Arc<Sandbox>,
        audit: &Audit,
    ) -> Result<Self, OpenError> {
        let tls = airlock_tls::client(config.ca_file.as_deref());
        let tls = tls.map_err(|error| OpenError::Sandbox(Box::new(error)))?;
        Ok(Self {
            side: Arc::new(Side {
                vault: Arc::clone(vault),
                network: Arc::clone(network),
            }),
            client: Client::new(Arc::new(tls)),
            launcher: config.launcher.clone(),
            launcher_args: config.launcher_args.clone(),
            dir: config.servers_dir(),
            components: Arc::clone(components),
            sandbox: Arc::clone(sandbox),
            audit: audit.clone(),
        })
    }

    /// Connects, for a call or an administrator `by` name. That it is given secrets
    /// is on record before.
    pub(crate) async fn connect(
        &self,
        plugin: &str,
        server: &Server,
        by: &str,
    ) -> Result<Link, Fault> {
        let dir = self.dir(plugin);
        self.connect_in(dir, plugin, server, by).await
    }

    /// The same in a directory that is not the plugin's yet.
    pub(crate) async fn connect_fresh(
        &self,
        fresh: &Fresh,
        plugin: &str,
        server: &Server,
        by: &str,
    ) -> Result<Link, Fault> {
        self.connect_in(fresh.0.clone(), plugin, server, by).await
    }

    async fn connect_in(
        &self,
        dir: PathBuf,
        plugin: &str,
        server: &Server,
        by: &str,
    ) -> Result<Link, Fault> {
        let secrets: BTreeSet<&str> = server.secrets().collect();
        if !secrets.is_empty() {
            let detail =
                json!({ "secrets": secrets, "server": server.place(), "sandboxed": false });
            let record = AuditRecord::now(by, "secret.use", plugin).detail(detail);
            let recorded = self.audit.append(&record).await;
            recorded.map_err(|error| {
                tracing::error!(plugin, %error, "the use of a secret could not be recorded");
                Fault::NotSent("the use of its secrets can't be put on record".to_owned())
            })?;
        }
        Link::open(server, &self.around(dir)).await
    }

    /// Where a server is started from.
    fn around(&self, dir: PathBuf) -> Surroundings {
        Surroundings {
            host: Arc::clone(&self.side) as Arc<dyn Host>,
            client: self.client.clone(),
            launcher: self.launcher.clone(),
            launcher_args: self.launcher_args.clone(),
            dir,
            patience: PATIENCE,
        }
    }

    /// The directory of a plugin's program.
    fn dir(&self, plugin: &str) -> PathBuf {
        self.dir.join(plugin)
    }

    /// Deletes a plugin's directory, or at least takes it out of the way. Blocks.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) fn discard(&self, plugin: &str) -> std::io::Result<()> {
        dirs::discard(&self.dir, plugin)
    }

    /// Deletes what is left of directories that were discarded, and those of no
    /// `known` plugin. Blocks.
    pub(crate) fn sweep(&self, known: &BTreeSet<String>) {
        dirs::sweep(&self.dir, |name| known.contains(name));
    }

    /// Whether a plugin has a directory. Blocks.
    pub(crate) fn keeps(&self, plugin: &str) -> bool {
        self.dir(plugin).is_dir()
    }

    /// A directory for a program that is asked for its tools before it is a plugin's.
    pub(crate) fn fresh(&self) -> Fresh {
        Fresh(dirs::fresh(&self.dir))
    }

    /// What was pinned under a digest, whole. Blocks.
    pub(crate) fn pinned(&self, digest: &str) -> Result<Pinned, String> {
        let bytes = self.components.component(digest);
        let bytes = bytes.map_err(|error| format!("what was pinned can't be read: {error}"))?;
        Pinned::read(&bytes).map_err(|error| error.to_string())
    }

    /// Refuses a program that could read what belongs to the host itself, as the
    /// file system stands now. Blocks.
    pub(crate) fn check_paths(&self, server: &Server) -> Result<(), String> {
        let Some(command) = &server.command else {
            return Ok(());
        };
        let there = READABLE
            .iter()
            .copied()
            .filter(|path| Path::new(path).exists());
        let given = server.read.iter().chain([command]).map(String::as_str);
        for path in there.chain(given) {
            self.sandbox.check_path(Path::new(path))?;
        }
        Ok(())
    }
}
