//! Where the attacks happen: a server of its own, hostile plugins with narrow
//! grants, files that must not be read and a listener that must not be reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use super::peer::Peers;
use super::policy;
use crate::client::Request;
use crate::commands::install;
use crate::harness::Server;
use crate::packed::GUESTS;

/// What no plugin may ever see.
pub(super) const CANARY: &str = "canary-5f0c7e21-never-to-be-seen";

/// What the server logs while it is attacked: what the guests say as well.
const LOG_FILTER: &str = "info,airlock::guest=debug";

/// How long the log of a call may take to be written, on a slow machine.
const LOG_TIMEOUT: Duration = Duration::from_secs(20);

/// The package of the well-behaved neighbour.
const NEIGHBOUR: &str = "airlock_plugin_echo";

/// Folders of the scene; what lies in `outside` was granted to nobody.
const FOLDERS: [&str; 9] = [
    "ro", "rw", "outside", "raw", "full", "gone", "many", "deep", "race/in",
];

const FILES: [(&str, &str); 6] = [
    ("ro/readable.txt", "may be read"),
    ("rw/own.txt", "own"),
    ("raw/own.txt", "own"),
    ("outside/secret.txt", CANARY),
    ("outside/secret", CANARY),
    ("race/in/secret", "inside"),
];

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
        let server = Server::start_logging(
            &binary,
            &scratch.path().join("data"),
            LOG_FILTER,
            &scratch.path().join("server.log"),
        )?;
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

    /// What a reply holds that nobody may see, or what arrived since the last reply
    /// where it must not.
    pub(super) fn leak(&self, reply: &[u8]) -> Option<&'static str> {
        let text = String::from_utf8_lossy(reply);
        let host_path = self.scratch.path().display().to_string();
        let facts = [
            (text.contains(CANARY), "the canary"),
            (text.contains(&host_path), "a path of the host"),
            (self.peers.take_reached() > 0, "a connection to the canary"),
            (
                self.peers.take_misplaced() > 0,
                "the secret, to where it is not bound",
            ),
        ];
        facts
            .into_iter()
            .find_map(|(leaked, what)| leaked.then_some(what))
    }

    /// The server's log up to now, when it has a line with each of the words.
    pub(super) fn logged(&self, words: &[&str]) -> Option<String> {
        let end = Instant::now() + LOG_TIMEOUT;
        loop {
            let log = std::fs::read(self.folder("server.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let has = |line: &str| words.iter().all(|word| line.contains(word));
            if log.lines().any(has) {
                return Some(log);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Resident memory of the server.
    pub(super) fn memory_bytes(&self) -> Result<u64> {
        let file = format!("/proc/{}/statm", self.server.pid());
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let pages = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.with_context(|| format!("{file} holds no numbers"))? * 4096)
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
            let body = json!({ "grants": policy::grants(self, &name)?, "limits": policy::limits(&name), "why": "selftest" });
            api.ok(&Request::json(
                "PUT",
                format!("/v1/plugins/{name}/grants"),
                &body,
            ))
            .with_context(|| format!("granting {name}"))?;
        }
        Ok(())
    }
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
    for folder in FOLDERS {
        let path = root.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    for (file, text) in FILES {
        std::fs::write(root.join(file), text).with_context(|| format!("writing {file}"))?;
    }
    for (link, target) in [
        ("ro/planted", "outside/secret.txt"),
        ("rw/planted", "outside/secret.txt"),
        ("ro/planted-folder", "outside"),
        ("race/out", "outside"),
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
