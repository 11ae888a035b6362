//! The peer: Restate's server and its TypeScript SDK from npm, in pinned versions,
//! with its default settings. Installed into a cache beside the build, started in
//! a directory of its own, on loopback, and killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Bench;
use crate::http::Killed;
use crate::load::{Connection, Request};

const PACKAGE: &str = include_str!("../../restate/package.json");
const LOCK: &str = include_str!("../../restate/package-lock.json");
const SERVICE: &str = include_str!("../../restate/service.mjs");

const LOCK_FILE: &str = "package-lock.json";

/// How long its server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running peer.
pub(super) struct Restate {
    server: Killed,
    service: Killed,
    ingress: SocketAddr,
    _data: tempfile::TempDir,
}

impl Restate {
    /// `None`, with a line that says why, where it can't be had.
    pub(super) fn start(bench: &Bench) -> Result<Option<Self>> {
        let folder = cache()?;
        if let Some(why) = missing(bench, &folder) {
            println!("restate: left out: {why}");
            return Ok(None);
        }
        install(&folder)?;
        let restate = launch(&folder)?;
        println!("restate: {}", settings(&folder)?);
        Ok(Some(restate))
    }

    /// The processes it takes: its server and the service's.
    pub(super) fn pids(&self) -> [u32; 2] {
        [self.server.0.id(), self.service.0.id()]
    }

    fn request(&self, steps: usize) -> Request {
        let body = json!({ "steps": steps }).to_string();
        Request::post(self.ingress, "/Steps/run", None, &body)
    }

    /// How long `count` invocations of so many steps take at once, from the first
    /// request to the last reply.
    pub(super) async fn batch(&self, count: usize, steps: usize) -> Result<Duration> {
        let begun = Instant::now();
        let one = |_| async {
            let mut connection = Connection::open(self.ingress).await?;
            invoke(&mut connection, &self.request(steps), steps).await
        };
        futures_util::future::try_join_all((0..count).map(one)).await?;
        Ok(begun.elapsed())
    }

    /// How long `count` invocations of one step take, one after the other.
    pub(super) async fn one_by_one(&self, count: usize) -> Result<Vec<Duration>> {
        let mut connection = Connection::open(self.ingress).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            invoke(&mut connection, &self.request(1), 1).await?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

async fn invoke(connection: &mut Connection, request: &Request, steps: usize) -> Result<()> {
    let (status, body) = connection.exchange(request).await?;
    let text = String::from_utf8_lossy(body);
    anyhow::ensure!(status == 200, "restate: status {status}: {text}");
    let reply: Value = serde_json::from_str(&text).context("restate's reply")?;
    anyhow::ensure!(reply == json!({ "steps": steps }), "restate: {reply}");
    Ok(())
}

/// Beside the builds, so that it is installed once.
fn cache() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let target = own.parent().and_then(Path::parent);
    Ok(target
        .context("the build's folder")?
        .join("bench-peers/restate"))
}

/// The package with the binary, as npm names systems.
fn binary(folder: &Path) -> PathBuf {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("@restatedev/restate-server-{system}-{machine}");
    let packages = folder.join("node_modules");
    packages.join(package).join("bin/restate-server")
}

fn is_installed(folder: &Path) -> bool {
    let lock = std::fs::read_to_string(folder.join(LOCK_FILE));
    lock.is_ok_and(|lock| lock == LOCK) && binary(folder).is_file()
}

fn missing(bench: &Bench, folder: &Path) -> Option<String> {
    let lacks = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null());
        !command.status().is_ok_and(|status| status.success())
    };
    if lacks("node") {
        return Some("there is no `node`".to_owned());
    }
    if is_installed(folder) {
        return None;
    }
    if bench.quick {
        return Some("it is not installed, and the quick form installs nothing".to_owned());
    }
    lacks("npm").then(|| "there is no `npm`".to_owned())
}

/// The lock is written last: with it, the rest is there.
fn install(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).context("the cache of peers")?;
    std::fs::write(folder.join("service.mjs"), SERVICE)?;
    if is_installed(folder) {
        return Ok(());
    }
    std::fs::write(folder.join("package.json"), PACKAGE)?;
    std::fs::write(folder.join(LOCK_FILE), LOCK)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let status = npm.current_dir(folder).stdout(Stdio::null()).status();
    let installed = status.context("starting npm")?.success();
    if !installed || !binary(folder).is_file() {
        let _ = std::fs::remove_file(folder.join(LOCK_FILE));
        anyhow::bail!("npm did not install restate");
    }
    Ok(())
}

/// What matters of how it is set, by its own word.
fn settings(folder: &Path) -> Result<String> {
    let asked = |argument| {
        let output = Command::new(binary(folder)).arg(argument).output();
        let output = output.context("asking restate for its settings")?;
        String::from_utf8(output.stdout).context("restate's settings")
    };
    let config: toml::Table = asked("--dump-config")?.parse().context("its settings")?;
    let off = config
        .get("log-server")
        .and_then(|log| log.get("rocksdb-disable-wal-fsync"))
        .and_then(toml::Value::as_bool);
    let synced = match off {
        Some(false) => "each commit of its log is synced",
        Some(true) => "its log is NOT synced",
        None => "whether its log is synced is not known",
    };
    let version = asked("--version")?;
    let lock: Value = serde_json::from_str(LOCK)?;
    let sdk = &lock["packages"]["node_modules/@restatedev/restate-sdk"]["version"];
    let sdk = sdk.as_str().unwrap_or("of an unknown version");
    Ok(format!(
        "{}, TypeScript SDK {sdk}, default settings: {synced}",
        version.trim()
    ))
}

fn launch(folder: &Path) -> Result<Restate> {
    let mut node = Command::new("node");
    node.arg("service.mjs").current_dir(folder);
    let (service, lines) = spawn(&mut node)?;
    let port = found(&lines, |line| {
        line.strip_prefix("listening on ")?.trim().parse().ok()
    });
    let port: u16 = port.context("its service did not start")?;

    let data = tempfile::tempdir()?;
    let mut command = Command::new(binary(folder));
    command
        .args(["--listen-mode", "tcp", "--use-random-ports", "true"])
        .args(["--bind-ip", "127.0.0.1", "--log-format", "json"])
        .args(["--no-logo", "--base-dir"])
        .arg(data.path())
        .current_dir(data.path())
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env("DO_NOT_TRACK", "1");
    let (server, lines) = spawn(&mut command)?;
    let (mut ingress, mut admin) = (None, None);
    let both = found(&lines, |line| {
        match listening(line) {
            Some((name, port)) if name == "http-ingress-server" => ingress = Some(port),
            Some((name, port)) if name == "admin-api-server" => admin = Some(port),
            _ => {}
        }
        ingress.zip(admin)
    });
    let (ingress, admin) = both.context("restate's server did not start")?;
    let restate = Restate {
        server,
        service,
        ingress: local(ingress),
        _data: data,
    };
    super::client()?.block_on(register(&restate, local(admin), port))?;
    Ok(restate)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Which server listens where, out of a line of its log.
fn listening(line: &str) -> Option<(String, u16)> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let name = entry["span"]["server_name"].as_str()?;
    let port = entry["span"]["server.port"].as_u64()?;
    Some((name.to_owned(), port.try_into().ok()?))
}

/// Starts a process; its output is read for as long as it lives.
fn spawn(command: &mut Command) -> Result<(Killed, mpsc::Receiver<String>)> {
    let mut child: Child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let stdout = child.stdout.take();
    let child = Killed(child);
    let (sender, lines) = mpsc::channel();
    let mut stdout = BufReader::new(stdout.context("its standard output")?);
    std::thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
        let _ = std::io::copy(&mut stdout.by_ref(), &mut std::io::sink());
    });
    Ok((child, lines))
}

/// The first line that says something, within the time there is.
fn found<T>(lines: &mpsc::Receiver<String>, mut what: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).ok()?;
        if let Some(found) = what(&line) {
            return Some(found);
        }
    }
}

/// Makes the service known, and waits until it can be invoked.
async fn register(restate: &Restate, admin: SocketAddr, port: u16) -> Result<()> {
    let body = json!({ "uri": format!("http://{}", local(port)) }).to_string();
    let deploy = Request::post(admin, "/deployments", None, &body);
    let begun = Instant::now();
    loop {
        let deployed = match Connection::open(admin).await {
            Ok(mut connection) => connection.send(&deploy).await.unwrap_or_default() < 300,
            Err(_) => false,
        };
        if deployed && restate.one_by_one(1).await.is_ok() {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "restate is not ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
