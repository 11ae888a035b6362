//! Starts a server of its own in a directory of its own, for the self-test, the
//! demo, the tests and the benchmarks. It listens on loopback and is killed when
//! dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{Api, Remote};
use crate::config::beside;

/// How long a server may take to be ready, on a slow machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    child: Child,
    base: String,
    token: String,
}

impl Server {
    /// Starts `binary serve` on a free port over `data`, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with what it printed.
    pub fn start(binary: &Path, data: &Path, args: &[&str]) -> Result<Self> {
        let mut command = serve(binary, data);
        Self::launch(command.args(args).stderr(Stdio::piped()), data)
    }

    /// The same, with its log, filtered as `AIRLOCK_LOG` says, in a file.
    ///
    /// # Errors
    /// When it ends or is not ready in time, or the file can't be made.
    pub fn start_logging(binary: &Path, data: &Path, filter: &str, log: &Path) -> Result<Self> {
        let file =
            File::create(log).with_context(|| format!("making the log {}", log.display()))?;
        let mut command = serve(binary, data);
        Self::launch(command.env("AIRLOCK_LOG", filter).stderr(file), data)
    }

    fn launch(command: &mut Command, data: &Path) -> Result<Self> {
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let errors = collect(child.stderr.take());
        match wait_for_address(&mut child) {
            Ok(base) => {
                let file = token_file(&beside(data));
                let token = std::fs::read_to_string(&file)
                    .with_context(|| format!("reading {}", file.display()))?;
                Ok(Self {
                    child,
                    base,
                    token: token.trim().to_owned(),
                })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let printed = errors
                    .recv_timeout(Duration::from_secs(2))
                    .unwrap_or_default();
                Err(error.context(format!("the server printed: {printed}")))
            }
        }
    }

    /// Its address, e.g. `http://127.0.0.1:41234`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The first admin token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A client with the first admin token.
    pub fn api(&self) -> Api {
        Api::Remote(Remote::new(&self.base, &self.token))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without warning, as a crash would.
    ///
    /// # Errors
    /// When the process can't be waited for.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill().context("killing the server")?;
        self.child.wait().context("waiting for the server")
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it has not stopped within `bound`.
    pub fn stop(mut self, bound: Duration) -> Result<ExitStatus> {
        let asked = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status();
        asked.context("sending SIGTERM")?;
        let end = Instant::now() + bound;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().context("waiting for the server")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not stop within {bound:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env_remove("AIRLOCK_CONFIG")
        .env_remove("AIRLOCK_LISTEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Where the first admin token is, within the keys' directory.
pub fn token_file(keys: &Path) -> PathBuf {
    keys.join("admin.token")
}

/// The server prints `listening on http://…` once it is ready.
fn wait_for_address(child: &mut Child) -> Result<String> {
    let stdout = child
        .stdout
        .take()
        .context("the server has no standard output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(Ok(line)) = lines.next() {
            if let Some(address) = line.strip_prefix("listening on ") {
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    receiver
        .recv_timeout(START_TIMEOUT)
        .context("the server did not become ready")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(64 << 10).read_to_end(&mut kept);
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
    });
    receiver
}
