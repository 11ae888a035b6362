//! Settings: what the configuration file says, and where things are.
//!
//! What must stay true: an unknown key is an error, and keys never lie inside
//! the data directory, so that a copy of the data is not a copy of the keys.

use std::fs::TryLockError;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use airlock_runtime::RuntimeConfig;
use airlock_sandbox::limits::ByteSize;
use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cli::Global;
use crate::exit::Misuse;

/// The configuration file, `airlock.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Address to listen on.
    pub listen: Option<SocketAddr>,
    /// Host names that requests may carry in `Host`.
    pub hosts: Vec<String>,
    /// Directory of the keys; must be outside the data directory.
    pub keys: Option<PathBuf>,
    /// Certificates (PEM) that plugins' requests trust besides Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// The file of language models; `models.toml` in the data directory where it is
    /// there and this is not.
    pub models_file: Option<PathBuf>,
    /// Threads that run guests; the number of cores without it.
    pub guest_workers: Option<usize>,
    /// Calls at once, over all plugins.
    pub calls_max: Option<u32>,
    /// Agents in a sandbox at once.
    pub agents_max: Option<u32>,
    /// Seconds that a waiting agent keeps its sandbox.
    pub agent_warm_seconds: Option<u64>,
    /// Seconds between `/readyz` failing and connections being refused.
    pub unready_seconds: Option<u64>,
    /// Seconds that calls in flight get at shutdown.
    pub shutdown_seconds: Option<u64>,
    /// How long ended runs are kept, e.g. `90d`; for ever without it.
    pub runs_keep: Option<String>,
    /// Most that is kept of one principal for `Idempotency-Key`, e.g. `4GiB`.
    pub idempotency_bytes: Option<String>,
    /// File to which new heads of the audit are appended.
    pub audit_heads: Option<PathBuf>,
    /// URL to which new heads of the audit are posted.
    pub audit_heads_url: Option<String>,
}

/// Settings of this process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// The keys' directory.
    pub keys: PathBuf,
    /// The configuration file.
    pub file: File,
}

/// The least that may be kept of one principal.
const KEPT_BYTES_LEAST: ByteSize = ByteSize(1 << 20);

/// What a running server writes into its data directory.
const RUNNING: &str = "server.address";

impl File {
    fn check(&self) -> Result<(), String> {
        if self.calls_max == Some(0) {
            return Err("`calls_max` is 0; it is at least 1".to_owned());
        }
        if self.agents_max == Some(0) {
            return Err("`agents_max` is 0; it is at least 1".to_owned());
        }
        if self.guest_workers == Some(0) {
            return Err("`guest_workers` is 0; it is at least 1".to_owned());
        }
        self.runs_keep()?;
        self.idempotency_bytes()?;
        self.hosts.iter().try_for_each(|host| check_host(host))?;
        check_heads(self.audit_heads.as_deref(), self.audit_heads_url.as_deref())
    }

    fn idempotency_bytes(&self) -> Result<Option<u64>, String> {
        let Some(text) = &self.idempotency_bytes else {
            return Ok(None);
        };
        match text.parse::<ByteSize>() {
            Ok(bytes) if bytes >= KEPT_BYTES_LEAST => Ok(Some(bytes.0)),
            Ok(_) => Err(format!(
                "`idempotency_bytes` is {text}; it is at least {KEPT_BYTES_LEAST}"
            )),
            Err(error) => Err(format!("`idempotency_bytes`: {error}")),
        }
    }

    fn runs_keep(&self) -> Result<Option<Duration>, String> {
        let Some(text) = &self.runs_keep else {
            return Ok(None);
        };
        match humantime::parse_duration(text) {
            Ok(keep) if keep >= Duration::from_secs(60) => Ok(Some(keep)),
            Ok(_) => Err(format!("`runs_keep` is {text}; it is at least a minute")),
            Err(error) => Err(format!(
                "`runs_keep` is `{text}`, which is not a time ({error}); write e.g. `90d`"
            )),
        }
    }
}

/// Refuses what no request can carry in `Host`.
///
/// # Errors
/// What is wrong with it.
pub fn check_host(host: &str) -> Result<(), String> {
    let names = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match !host.is_empty() && host.chars().all(names) {
        true => Ok(()),
        false => Err(format!(
            "`{host}` in `hosts` is no host name; write e.g. `airlock.example.com`"
        )),
    }
}

/// Refuses places that heads of the audit can't go to: a folder that is not
/// there, a URL that is not one of HTTP.
///
/// # Errors
/// What is wrong with it.
pub fn check_heads(file: Option<&Path>, url: Option<&str>) -> Result<(), String> {
    if let Some(file) = file {
        let folder = file.parent().filter(|path| !path.as_os_str().is_empty());
        if file.is_dir() || !folder.is_none_or(Path::is_dir) {
            let file = file.display();
            return Err(format!(
                "`audit_heads` is {file}; it must be a file in a folder that exists"
            ));
        }
    }
    let Some(url) = url else {
        return Ok(());
    };
    let parsed = url.parse::<ureq::http::Uri>().ok();
    let usable = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    match usable {
        true => Ok(()),
        false => Err(format!(
            "`audit_heads_url` is `{url}`; it begins with `https://` or `http://` and names a host"
        )),
    }
}

impl Settings {
    /// Reads the configuration file that was named, or the one in the data
    /// directory where it exists.
    ///
    /// # Errors
    /// A file that can't be read, an unknown key, a value that can't be used,
    /// keys inside the data.
    pub fn load(global: &Global) -> Result<Self> {
        let default = global.data.join("airlock.toml");
        let path = match &global.config {
            Some(path) => Some(path.clone()),
            None => default.is_file().then_some(default),
        };
        let file = path.as_deref().map_or_else(|| Ok(File::default()), read)?;
        if let (Some(path), Err(complaint)) = (&path, file.check()) {
            return Err(Misuse(format!("{}: {complaint}", path.display())).into());
        }
        let keys = file.keys.clone().unwrap_or_else(|| beside(&global.data));
        let settings = Self {
            data: global.data.clone(),
            keys,
            file,
        };
        if absolute(&settings.keys).starts_with(absolute(&settings.data)) {
            return Err(Misuse(format!(
                "the keys' directory {} is inside the data directory; a copy of the data would be a copy of the keys",
                settings.keys.display()
            ))
            .into());
        }
        Ok(settings)
    }

    /// How the runtime is to be opened.
    pub fn runtime(&self) -> RuntimeConfig {
        let mut config = RuntimeConfig::new(&self.data, &self.keys);
        config.ca_file.clone_from(&self.file.ca_file);
        config.models_file.clone_from(&self.file.models_file);
        config.models_beside = Some(self.data.join("models.toml"));
        config.guest_workers = self.file.guest_workers.or(config.guest_workers);
        // It was checked when it was read.
        config.runs_keep = self.file.runs_keep().unwrap_or_default();
        let kept = self.file.idempotency_bytes().unwrap_or_default();
        config.idempotency_bytes_max = kept.unwrap_or(config.idempotency_bytes_max);
        config.calls_max = self.file.calls_max.unwrap_or(config.calls_max);
        config.agents_max = self.file.agents_max.unwrap_or(config.agents_max);
        let warm = self
            .file
            .agent_warm_seconds
            .map(std::time::Duration::from_secs);
        config.agent_warm = warm.unwrap_or(config.agent_warm);
        config
    }

    /// The address of the server that owns the data directory, if one runs.
    ///
    /// # Errors
    /// When the file that says so can't be read.
    pub fn running_server(&self) -> Result<Option<String>> {
        let path = self.data.join(RUNNING);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let mut words = text.split_whitespace();
        let (Some(pid), Some(address)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        // A server that crashed leaves the file behind; its number may be another
        // process's by now, and anybody may listen where it did.
        Ok(owns(&self.runtime().journal_dir(), pid).then(|| address.to_owned()))
    }

    /// Notes that this process serves the data directory at `address`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn note_running(&self, address: &str) -> Result<()> {
        let path = self.data.join(RUNNING);
        let text = format!("{} {address}\n", std::process::id());
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Removes that note.
    pub fn note_stopped(&self) {
        let _ = std::fs::remove_file(self.data.join(RUNNING));
    }
}

/// Whether the process that wrote its number there owns the data: it holds the
/// lock, which the kernel takes from it when it ends.
fn owns(journal: &Path, pid: &str) -> bool {
    let path = journal.join("lock");
    let Ok(mut lock) = std::fs::File::open(&path) else {
        return false;
    };
    let mut owner = String::new();
    let read = lock.read_to_string(&mut owner).is_ok();
    read && owner.trim() == pid && matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn read(path: &Path) -> Result<File> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).map_err(|error| Misuse(format!("{}: {error}", path.display())).into())
}

/// The directory of the keys that belongs to a data directory: `data-keys`
/// beside `data`.
pub fn beside(data: &Path) -> PathBuf {
    let absolute = absolute(data);
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    absolute.with_file_name(format!("{name}-keys"))
}

fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.canonicalize().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(data: &Path) -> Global {
        Global {
            data: data.to_path_buf(),
            config: None,
            server: None,
            token_file: None,
            json: false,
        }
    }

    #[test]
    fn settings() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("data");
        let settings = Settings::load(&global(&data)).expect("defaults");
        assert_eq!(settings.keys.file_name().expect("name"), "data-keys");
        assert_eq!(settings.runtime().ca_file, None);

        std::fs::write(data.join("airlock.toml"), "ca_file = \"/etc/own-ca.pem\"").expect("write");
        let settings = Settings::load(&global(&data)).expect("a certificate file");
        let trusted = settings.runtime().ca_file;
        assert_eq!(trusted.as_deref(), Some(Path::new("/etc/own-ca.pem")));

        let good = "hosts = [\"a.example\", \"[::1]:80\"]\naudit_heads = \"heads\"\n\
                    audit_heads_url = \"https://a.example/heads\"\ncalls_max = 1\n\
                    idempotency_bytes = \"2GiB\"";
        std::fs::write(data.join("airlock.toml"), good).expect("write");
        let settings = Settings::load(&global(&data)).expect("all of it can be used");
        assert_eq!(settings.runtime().idempotency_bytes_max, 2 << 30);

        let cases = [
            ("listn = \"127.0.0.1:1\"", "unknown field `listn`"),
            ("listen = \"here\"", "listen"),
            ("keys = \"KEYS\"", "inside the data directory"),
            ("calls_max = 0", "`calls_max` is 0"),
            ("agents_max = 0", "`agents_max` is 0"),
            ("guest_workers = 0", "`guest_workers` is 0"),
            ("hosts = [\"a.example\", \"a b\"]", "`a b` in `hosts`"),
            ("runs_keep = \"soon\"", "`runs_keep` is `soon`"),
            ("runs_keep = \"59s\"", "at least a minute"),
            ("idempotency_bytes = \"1023KiB\"", "it is at least 1MiB"),
            ("idempotency_bytes = \"much\"", "`much` is not a size"),
            ("hosts = [\"\"]", "no host name"),
            ("audit_heads = \"/nowhere/at/all\"", "a folder that exists"),
            ("audit_heads = \"/\"", "must be a file"),
            ("audit_heads_url = \"ftp://x\"", "`ftp://x`"),
            ("audit_heads_url = \"nonsense\"", "`nonsense`"),
            ("audit_heads_url = \"http://\"", "`http://`"),
        ];
        for (text, expect) in cases {
            let text = text.replace("KEYS", &data.join("keys").display().to_string());
            std::fs::write(data.join("airlock.toml"), text).expect("write");
            let error = Settings::load(&global(&data)).expect_err(expect);
            assert!(format!("{error:#}").contains(expect), "{error:#}");
            assert!(error.is::<Misuse>());
        }
    }

    #[test]
    fn a_note_of_a_process_that_is_gone_counts_for_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = Settings::load(&global(dir.path())).expect("defaults");
        assert_eq!(settings.running_server().expect("none"), None);
        settings.note_running("http://127.0.0.1:1").expect("note");
        let address = || settings.running_server().expect("reads");
        assert_eq!(address(), None, "it runs, and does not own the data");
        let lock = airlock_journal::sqlite::DirLock::take(&settings.runtime().journal_dir());
        let lock = lock.expect("the data");
        assert_eq!(address().as_deref(), Some("http://127.0.0.1:1"));
        for pid in ["1", "4294967294"] {
            let note = format!("{pid} http://127.0.0.1:1\n");
            std::fs::write(dir.path().join(RUNNING), note).expect("write");
            assert_eq!(address(), None, "another process owns the data than {pid}");
        }
        settings.note_running("http://127.0.0.1:1").expect("note");
        drop(lock);
        assert_eq!(address(), None, "it owned the data once");
    }
}
