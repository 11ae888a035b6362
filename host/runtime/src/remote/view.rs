//! A server as listings show it: that it is not sandboxed, and what it lists now.

use airlock_mcp_client::{Pinned, Server, confinement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids;
use crate::plugins::{Active, VersionChanges, version_changes};
use crate::remote::{is_server, manifest};
use crate::runtime::Runtime;

/// An MCP server of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct McpServerView {
    /// Where it is and what it is given.
    pub server: Server,
    /// Of a program: what the kernel holds it to, `none`, `files` or `files,
    /// network`; where that is not enough, it is not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<String>,
    /// What it listed last, where that is not what was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundView>,
}

/// A server's tools, where they are not those that were accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundView {
    /// When they were listed, milliseconds since 1970.
    pub at_ms: u64,
    /// Of the version that they would be: what is accepted.
    pub digest: String,
    /// How they differ.
    pub changes: VersionChanges,
}

impl Runtime {
    /// The server of a plugin, where it is one.
    pub(crate) async fn server_view(&self, active: &Active) -> Option<McpServerView> {
        if !is_server(&active.manifest) {
            return None;
        }
        let (remotes, digest) = (self.remotes.clone(), active.manifest.digest.clone());
        let read = self.blocking(move || remotes.pinned(&digest)).await.ok()?;
        let pinned = read.inspect_err(|error| tracing::error!(error, "a server can't be shown"));
        let server = pinned.ok()?.server;
        let seen = active.remote.as_ref().and_then(|remote| remote.seen());
        let found = seen.filter(|seen| !seen.differs.is_none()).map(|seen| {
            let bytes = Pinned::new(server.clone(), seen.tools.clone()).bytes();
            let digest = ids::digest(&bytes);
            let after = manifest(
                &Pinned::new(server.clone(), seen.tools.clone()),
                &digest,
                bytes.len(),
            );
            FoundView {
                at_ms: seen.at_ms,
                changes: version_changes(&active.manifest, &after, Some(&active.grants)),
                digest,
            }
        });
        Some(McpServerView {
            landlock: server.is_program().then(|| confinement().word().to_owned()),
            server,
            found,
        })
    }
}
