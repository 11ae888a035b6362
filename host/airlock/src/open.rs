//! Opening a data directory that another process may have for a moment, as a
//! command has it that runs while a server starts.
//!
//! What must stay true: one that a server has is not waited for, and whoever gives
//! up says which process has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::StoreError;
use airlock_runtime::{Runtime, RuntimeConfig};
use anyhow::{Context, Result, anyhow};

use crate::config::Settings;
use crate::output::one_line;

/// How long another process may have the data before this one gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Between two tries.
const WAIT: Duration = Duration::from_millis(25);

/// After this long whoever waits is told so.
const SILENT: Duration = Duration::from_secs(1);

/// Who has the data now.
pub(crate) enum Opened {
    /// This process.
    Here(Arc<Runtime>),
    /// The server at this address.
    Server(String),
}

/// Opens the data directory as soon as no other process has it.
///
/// # Errors
/// It can't be opened; a process has it for longer than `patience`.
pub(crate) async fn open(
    settings: &Settings,
    config: &RuntimeConfig,
    patience: Duration,
) -> Result<Opened> {
    let (began, mut told) = (Instant::now(), false);
    loop {
        let error = match Runtime::open(config.clone()).await {
            Ok(runtime) => return Ok(Opened::Here(runtime)),
            Err(error) => anyhow::Error::from(error),
        };
        let Some(owner) = in_use(&error) else {
            return Err(error).with_context(|| format!("opening {}", settings.data.display()));
        };
        if let Some(base) = settings.running_server()? {
            return Ok(Opened::Server(base));
        }
        let (data, waited) = (settings.data.display(), began.elapsed());
        if waited > patience {
            return Err(anyhow!(
                "{data} is in use by {owner}, for {} s now: wait until that has ended, or end it",
                waited.as_secs()
            ));
        }
        if waited > SILENT && !told {
            tracing::error!("{data} is in use by {owner}: waiting for it");
            told = true;
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// Who has the data, where that is why it can't be opened.
fn in_use(error: &anyhow::Error) -> Option<String> {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    let pid = causes.find_map(|cause| match cause {
        StoreError::InUse { pid } => Some(*pid),
        _ => None,
    })?;
    Some(pid.map_or("another process".to_owned(), process))
}

/// E.g. `process 42 (airlock plugin add)`: of its arguments the first ones that are
/// words of a command, since others may be nobody's business.
fn process(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.split('\0');
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let plain = |word: &&str| {
        let first = word.starts_with(|c: char| c.is_ascii_lowercase());
        first && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let command: Vec<&str> = words.take_while(plain).take(2).collect();
    match program {
        "" => format!("process {pid}"),
        program => {
            let command = [&[program], command.as_slice()].concat().join(" ");
            format!("process {pid} ({})", one_line(&command))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Global;
    use airlock_journal::sqlite::DirLock;

    fn opened(settings: &Settings, patience: Duration) -> Result<Opened> {
        let tokio = tokio::runtime::Runtime::new().expect("a runtime");
        tokio.block_on(open(settings, &settings.runtime(), patience))
    }

    #[test]
    fn who_has_the_data_is_told_and_a_server_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let global = Global {
            data: dir.path().join("data"),
            config: None,
            server: None,
            token_file: None,
            json: false,
        };
        let settings = Settings::load(&global).expect("settings");
        let lock = DirLock::take(&settings.runtime().journal_dir()).expect("the data");
        let Err(error) = opened(&settings, Duration::ZERO) else {
            panic!("it is in use");
        };
        let (text, own) = (format!("{error:#}"), std::process::id());
        assert!(
            text.contains(&format!("is in use by process {own} (")),
            "{text}"
        );
        assert_eq!(text.matches("in use").count(), 1, "{text}");
        settings.note_running("http://127.0.0.1:1").expect("a note");
        let found = opened(&settings, Duration::from_secs(600)).expect("a server");
        assert!(matches!(found, Opened::Server(base) if base == "http://127.0.0.1:1"));
        drop(lock);
    }

    #[test]
    fn a_process_is_named_without_what_it_was_given() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", "plugin", "Secret", "more"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let (pid, began) = (child.id(), Instant::now());
        // It is this program until it has become the shell.
        while !process(pid).ends_with("(sh)") {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{}",
                process(pid)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(process(pid), format!("process {pid}"));
    }
}
