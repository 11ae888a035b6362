//! `airlock serve`: the composition root. Opens the runtime over the data
//! directory, serves the API, and lets the audit's heads leave the machine.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::audit::SignedHead;
use airlock_runtime::{Runtime, RuntimeConfig};
use airlock_server::ServerConfig;
use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Global, Serve};
use crate::config::{Settings, check_heads, check_host};
use crate::exit::Misuse;
use crate::local::check_private;
use crate::logging::start_logging;
use crate::open::{Opened, PATIENCE, open};
use crate::output::print;
use crate::place::check_place;

/// Where the server listens unless told otherwise.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7480);

/// How long file operations that have begun may still take at the end: one on a
/// mount that hangs never returns.
const HUNG_WAIT: Duration = Duration::from_secs(2);

pub(super) fn run(global: &Global, args: &Serve) -> Result<()> {
    let settings = Settings::load(global)?;
    check(args)?;
    check_private(&settings)?;
    check_place(&settings, true)?;
    // What clients of the protocol do is told as answers, not in the log.
    start_logging(global.json, "info,rmcp=error");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("airlock-api")
        .enable_all()
        .build()
        .context("starting the API's threads")?;
    let served = runtime.block_on(serve(&settings, args));
    runtime.shutdown_timeout(HUNG_WAIT);
    served
}

/// What was given on the command line, as the file's own values are checked.
fn check(args: &Serve) -> Result<()> {
    let hosts = args.hosts.iter().try_for_each(|host| check_host(host));
    let heads = check_heads(args.audit_heads.as_deref(), args.audit_heads_url.as_deref());
    hosts
        .and(heads)
        .map_err(|complaint| Misuse(complaint).into())
}

async fn serve(settings: &Settings, args: &Serve) -> Result<()> {
    // The data directory first: a second server must not take a port and then fail.
    let config = RuntimeConfig {
        new_audit_key: args.new_audit_key,
        ..settings.runtime()
    };
    let runtime = match open(settings, &config, PATIENCE).await? {
        Opened::Here(runtime) => runtime,
        Opened::Server(base) => anyhow::bail!(
            "{} is in use by the server at {base}; --data names another directory",
            settings.data.display()
        ),
    };
    let address = args.listen.or(settings.file.listen).unwrap_or(LISTEN);
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| anyhow::anyhow!(not_bound(address, &error)))?;
    let bound = listener.local_addr().context("the listener's address")?;
    let base = format!("http://{}", reachable(bound));
    emit_heads(&runtime, settings, args);
    // Whoever is told that it is there may stop it at once.
    let stop = stop_signal()?;
    settings.note_running(&base)?;
    if let Some(file) = runtime.first_token_file() {
        announce(&format!("the first admin token is in {}", file.display()));
    }
    if let Some(warning) = exposure(bound) {
        tracing::warn!("{warning}");
    }
    runtime
        .take_up_runs()
        .await
        .context("taking up runs that have not ended")?;
    announce(&format!("listening on {base}"));
    let served =
        airlock_server::serve(runtime, listener, server_config(settings, args), stop).await;
    settings.note_stopped();
    served.context("serving")
}

/// Why nothing listens on the address, and what to do.
fn not_bound(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program listens on {address} already; --listen names another address for this one"
        ),
        _ => format!("listening on {address}: {error}; --listen names another address"),
    }
}

/// Says it on standard output; a server is not stopped by one that is full.
fn announce(text: &str) {
    if let Err(error) = print(text) {
        tracing::warn!("{error:#}");
    }
}

/// What to say about an address that other machines reach.
fn exposure(bound: SocketAddr) -> Option<String> {
    let reached = !bound.ip().is_loopback();
    reached.then(|| {
        format!("bound to {bound}: other machines reach it, and tokens travel unencrypted; put TLS in front")
    })
}

/// The address a client on this machine uses: a wildcard is reached by loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv6() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => std::net::Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, bound.port())
}

fn server_config(settings: &Settings, args: &Serve) -> ServerConfig {
    let mut config = ServerConfig::default();
    config
        .allow_hosts
        .extend(settings.file.hosts.iter().chain(&args.hosts).cloned());
    if let Some(seconds) = settings.file.unready_seconds {
        config.unready = Duration::from_secs(seconds);
    }
    if let Some(seconds) = settings.file.shutdown_seconds {
        config.drain = Duration::from_secs(seconds);
    }
    config
}

/// Resolves at SIGTERM or SIGINT.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping; calls in flight may end");
    })
}

/// Where signed heads of the audit go, so that a log that was cut back is found.
struct Outlets {
    file: Option<PathBuf>,
    url: Option<String>,
}

fn emit_heads(runtime: &Arc<Runtime>, settings: &Settings, args: &Serve) {
    let outlets = Outlets {
        file: args
            .audit_heads
            .clone()
            .or_else(|| settings.file.audit_heads.clone()),
        url: args
            .audit_heads_url
            .clone()
            .or_else(|| settings.file.audit_heads_url.clone()),
    };
    let heads = runtime.audit_heads();
    tokio::spawn(follow_heads(heads, Arc::new(outlets)));
}

async fn follow_heads(mut heads: watch::Receiver<Option<SignedHead>>, outlets: Arc<Outlets>) {
    loop {
        let head = heads.borrow_and_update().as_ref().map(ToString::to_string);
        if let Some(head) = head {
            tracing::info!(head, "audit head");
            let outlets = Arc::clone(&outlets);
            let sent = tokio::task::spawn_blocking(move || outlets.emit(&head)).await;
            if let Ok(Err(error)) = sent {
                tracing::error!(
                    error = format!("{error:#}"),
                    "an audit head did not leave this process"
                );
            }
        }
        if heads.changed().await.is_err() {
            return;
        }
    }
}

impl Outlets {
    fn emit(&self, head: &str) -> Result<()> {
        let filed = self
            .file
            .as_deref()
            .map_or(Ok(()), |file| append(file, head));
        let posted = self.url.as_deref().map_or(Ok(()), |url| post(url, head));
        filed.and(posted)
    }
}

fn append(file: &Path, head: &str) -> Result<()> {
    let step = || format!("appending to {}", file.display());
    let mut open = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(step)?;
    writeln!(open, "{head}").with_context(step)?;
    open.sync_data().with_context(step)
}

fn post(url: &str, head: &str) -> Result<()> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let agent: ureq::Agent = config.into();
    agent
        .post(url)
        .content_type("text/plain")
        .send(head)
        .with_context(|| format!("posting to {url}"))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::File;

    #[test]
    fn times_of_stopping_are_configured() {
        let settings = |text: &str| Settings {
            data: PathBuf::from("data"),
            keys: PathBuf::from("data-keys"),
            file: toml::from_str::<File>(text).expect("a configuration"),
        };
        let args = Serve {
            listen: None,
            hosts: Vec::new(),
            audit_heads: None,
            audit_heads_url: None,
            new_audit_key: false,
        };
        let of = |text: &str| {
            let config = server_config(&settings(text), &args);
            (config.unready.as_secs(), config.drain.as_secs())
        };
        assert_eq!(of(""), (0, 30));
        assert_eq!(of("unready_seconds = 5\nshutdown_seconds = 7"), (5, 7));
    }

    #[test]
    fn a_wildcard_is_reached_by_loopback() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ];
        for (bound, expect) in cases {
            assert_eq!(
                reachable(bound.parse().expect("an address")).to_string(),
                expect
            );
        }
    }

    #[test]
    fn whoever_lets_other_machines_in_is_told() {
        let cases = [
            ("127.0.0.1:80", false),
            ("[::1]:80", false),
            ("0.0.0.0:80", true),
            ("[::]:80", true),
            ("192.0.2.1:80", true),
        ];
        for (bound, told) in cases {
            let warning = exposure(bound.parse().expect("an address"));
            let names = warning.map(|warning| warning.contains(bound));
            assert_eq!(names, told.then_some(true), "{bound}");
        }
    }
}
