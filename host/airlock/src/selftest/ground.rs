//! Where the attacks happen: a server of its own, hostile plugins with narrow
//! grants, files that must not be read and a listener that must not be reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peer::Peers;
use crate::client::Request;
use crate::commands::install;
use crate::harness::Server;
use crate::packed::GUESTS;

/// What no plugin may ever see.
pub(super) const CANARY: &str = "canary-5f0c7e21-never-to-be-seen";

/// The package of the well-behaved neighbour.
const NEIGHBOUR: &str = "airlock_plugin_echo";

/// The scene of the attacks.
pub(super) struct Ground {
    pub(super) server: Server,
    pub(super) guests: BTreeMap<String, Vec<u8>>,
    pub(super) peers: Peers,
    scratch: TempDir,
}

impl Ground {
    /// Starts the server, lays out the files, installs the guests.
    pub(super) fn prepare(folder: Option<&Path>) -> Result<Self> {
        let guests = guests(folder)?;
        if !guests.contains_key(NEIGHBOUR) || guests.len() < 2 {
            bail!(
                "this binary was built without the hostile guests; build them with `cargo xtask plugins`, or give --guests"
            );
        }
        let scratch = tempfile::tempdir().context("making a folder for the attacks")?;
        lay_out(scratch.path())?;
        let binary = std::env::current_exe().context("finding this binary")?;
        let server = Server::start(&binary, &scratch.path().join("data"), &[])?;
        let ground = Self {
            server,
            guests,
            peers: Peers::start()?,
            scratch,
        };
        ground.store_secrets()?;
        ground.install_guests()?;
        Ok(ground)
    }

    /// A folder of the scene.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The component of a guest, by its crate's name with underscores.
    pub(super) fn component(&self, name: &str) -> Option<&[u8]> {
        self.guests.get(name).map(Vec::as_slice)
    }

    /// What of the things nobody may see is in a text.
    pub(super) fn leaked_into(&self, text: &[u8]) -> Option<&'static str> {
        let text = String::from_utf8_lossy(text);
        let host_path = self.scratch.path().display().to_string();
        if text.contains(CANARY) {
            return Some("the canary");
        }
        text.contains(&host_path).then_some("a path of the host")
    }

    fn store_secrets(&self) -> Result<()> {
        for name in ["selftest-key", "other-key"] {
            let request = Request::bytes(
                "PUT",
                format!("/v1/secrets/{name}"),
                "application/octet-stream",
                CANARY.into(),
            );
            self.server.api().ok(&request).context("storing a secret")?;
        }
        Ok(())
    }

    fn install_guests(&self) -> Result<()> {
        let api = self.server.api();
        for (crate_name, bytes) in &self.guests {
            let Some(name) = plugin_name(crate_name) else {
                continue;
            };
            install(&api, &name, bytes.clone(), None)
                .with_context(|| format!("installing {name}"))?;
            let body =
                json!({ "grants": self.grants(&name)?, "limits": limits(), "why": "selftest" });
            api.ok(&Request::json(
                "PUT",
                format!("/v1/plugins/{name}/grants"),
                &body,
            ))
            .with_context(|| format!("granting {name}"))?;
        }
        Ok(())
    }

    /// What each guest is granted: enough to try to get more.
    fn grants(&self, name: &str) -> Result<Value> {
        let text = match name {
            "evil-prober" => format!(
                r#"
                files = [
                    {{ host = "{ro}", guest = "/ro", access = "read" }},
                    {{ host = "{rw}", guest = "/rw", access = "read-write", bytes = "1MiB", files = 100 }},
                ]
                http = [
                    {{ url = "http://{peer}/echo", methods = ["GET"], allow_private = true, secret = "selftest-key" }},
                    {{ url = "http://{peer}/echo64", methods = ["GET"], allow_private = true, secret = "selftest-key" }},
                    {{ url = "http://{peer}/post", methods = ["POST"], allow_private = true, secret = "selftest-key" }},
                    {{ url = "http://{peer}/ok", methods = ["GET"], allow_private = true }},
                    {{ url = "http://{peer}/redirect", methods = ["GET"], allow_private = true }},
                    {{ url = "http://{peer}/drip", methods = ["GET"], allow_private = true }},
                    {{ url = "http://{peer}/big", methods = ["GET"], allow_private = true, response_bytes = "1MiB" }},
                ]
                kv = [{{ bucket = "own", bytes = "64KiB" }}]
                env = [{{ name = "GRANTED", value = "1" }}]
                "#,
                ro = self.folder("ro").display(),
                rw = self.folder("rw").display(),
                peer = self.peers.granted,
            ),
            _ => String::new(),
        };
        let table: toml::Table = toml::from_str(&text).context("a grant of the self-test")?;
        Ok(serde_json::to_value(table)?)
    }
}

/// Tight, so that attacks end soon.
fn limits() -> Value {
    json!({ "cpu": "300ms", "wall": "2s" })
}

/// Guests that are installed and called; the others are refused at install.
fn plugin_name(crate_name: &str) -> Option<String> {
    match crate_name {
        NEIGHBOUR => Some("neighbour".to_owned()),
        "evil_metadata" | "evil_init" => None,
        other => Some(other.replace('_', "-")),
    }
}

fn guests(folder: Option<&Path>) -> Result<BTreeMap<String, Vec<u8>>> {
    let Some(folder) = folder else {
        return Ok(GUESTS
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect());
    };
    let mut found = BTreeMap::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wanted = name.starts_with("evil_") || name == NEIGHBOUR;
        if wanted
            && path
                .extension()
                .is_some_and(|extension| extension == "wasm")
        {
            found.insert(
                name,
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?,
            );
        }
    }
    Ok(found)
}

fn lay_out(root: &Path) -> Result<()> {
    for folder in ["ro", "rw", "outside"] {
        let path = root.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    for (file, text) in [
        ("ro/readable.txt", "may be read"),
        ("rw/own.txt", "own"),
        ("outside/secret.txt", CANARY),
    ] {
        std::fs::write(root.join(file), text).with_context(|| format!("writing {file}"))?;
    }
    for (link, target) in [
        ("ro/planted", "outside/secret.txt"),
        ("rw/planted", "outside/secret.txt"),
        ("ro/planted-folder", "outside"),
    ] {
        std::os::unix::fs::symlink(root.join(target), root.join(link))
            .with_context(|| format!("planting {link}"))?;
    }
    let made = std::process::Command::new("mkfifo")
        .arg(root.join("rw/pipe"))
        .status()
        .context("starting mkfifo")?;
    anyhow::ensure!(made.success(), "mkfifo failed");
    Ok(())
}
