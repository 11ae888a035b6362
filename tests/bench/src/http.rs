//! The echo over HTTP with authentication and durable audit, against a bare axum
//! handler that does the bare wasmtime call, and against the same handler when it
//! also appends one line to a file and answers once that is synced: what any
//! server must pay that acknowledges nothing before it is durable.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock::client::Request as Call;
use airlock::commands::install;
use airlock::harness::Server;
use airlock_bench_baseline::Baseline;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::sync::{mpsc, oneshot};

use crate::Bench;
use crate::load::{Request, throughput};

/// The longest that a start may take.
const READY: Duration = Duration::from_secs(900);

const INPUT: &str = "{\"message\":\"hello\"}";

/// The bare server's side: prints its address and serves until killed. `/echo`
/// only calls, `/durable` also waits for a synced append.
pub(crate) fn bare_server(component: &Path) -> Result<()> {
    let baseline =
        Arc::new(Baseline::new(&std::fs::read(component)?).map_err(|e| anyhow::anyhow!("{e:#}"))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let appender = Appender::start()?;
        let router = Router::new()
            .route("/echo", post(bare))
            .route("/durable", post(durable))
            .with_state((baseline, appender));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        axum::serve(listener, router).await?;
        Ok(())
    })
}

type Bare = State<(Arc<Baseline>, Appender)>;

async fn bare(State((baseline, _)): Bare, body: String) -> Result<String, StatusCode> {
    baseline
        .call("echo", &body)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn durable(State((baseline, appender)): Bare, body: String) -> Result<String, StatusCode> {
    let output = baseline
        .call("echo", &body)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let line = format!("{{\"tool\":\"echo\",\"bytes\":{}}}\n", output.len());
    appender
        .append(line)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(output)
}

/// One line on its way to the disk, and the way back.
type Waiting = (String, oneshot::Sender<()>);

/// Appends lines to a file on a thread of its own; one `fdatasync` serves
/// everybody who waited.
#[derive(Clone)]
struct Appender(mpsc::UnboundedSender<Waiting>);

impl Appender {
    fn start() -> Result<Self> {
        let (sender, mut queue) = mpsc::unbounded_channel::<Waiting>();
        let mut file = tempfile::tempfile().context("the file of the bare records")?;
        std::thread::spawn(move || {
            let mut group = Vec::new();
            while queue.blocking_recv_many(&mut group, 1024) > 0 {
                let lines: String = group.iter().map(|(line, _)| line.as_str()).collect();
                if file.write_all(lines.as_bytes()).is_err() || file.sync_data().is_err() {
                    return;
                }
                for (_, reply) in group.drain(..) {
                    let _ = reply.send(());
                }
            }
        });
        Ok(Self(sender))
    }

    async fn append(&self, line: String) -> Result<()> {
        let (reply, durable) = oneshot::channel();
        self.0.send((line, reply))?;
        Ok(durable.await?)
    }
}

/// A process that is killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_bare(component: &Path) -> Result<(Killed, SocketAddr)> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut child = Killed(
        Command::new(own)
            .arg("bare-server")
            .arg(component)
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let stdout = child.0.stdout.take().context("its standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((
        child,
        line.trim().parse().context("the bare server's address")?,
    ))
}

/// A server with the echo plugin, and a request that calls it.
pub(crate) fn start_airlock(bench: &Bench, data: &Path) -> Result<(Server, Request)> {
    let server = Server::start(&bench.airlock, data, &[])?;
    let bytes = std::fs::read(bench.component("airlock-plugin-echo"))?;
    install(&server.api(), "echo", bytes, None)?;
    unlimited(&server, "echo")?;
    let request = echo_of(&server)?;
    Ok((server, request))
}

/// The same over a directory that has the plugin, once it is ready.
pub(crate) fn start_again(bench: &Bench, data: &Path) -> Result<(Server, Request)> {
    let server = Server::start(&bench.airlock, data, &[])?;
    ready(&server)?;
    let request = echo_of(&server)?;
    Ok((server, request))
}

fn echo_of(server: &Server) -> Result<Request> {
    let (address, token) = (address_of(server)?, Some(server.token()));
    Ok(Request::post(address, "/v1/tools/echo/echo", token, INPUT))
}

pub(crate) fn address_of(server: &Server) -> Result<SocketAddr> {
    let address = server.base().trim_start_matches("http://").parse();
    address.context("the server's address")
}

/// Waits until a server has done what it does on start.
pub(crate) fn ready(server: &Server) -> Result<()> {
    let begun = Instant::now();
    while server.api().send(&Call::new("GET", "/readyz"))?.status != 200 {
        anyhow::ensure!(begun.elapsed() < READY, "the server is not ready");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Lifts the default rate, which the benchmark would run into.
pub(crate) fn unlimited(server: &Server, plugin: &str) -> Result<()> {
    let body = serde_json::json!({ "grants": {}, "limits": { "rate": "1000000/s", "concurrency": 300, "queue": 1000 } });
    let path = format!("/v1/plugins/{plugin}/grants");
    server.api().ok(&Call::json("PUT", path, &body))?;
    Ok(())
}

/// One of the compared servers.
pub(crate) struct Contender {
    request: Request,
    pid: u32,
    rates: Vec<f64>,
    /// CPU seconds and requests, over all rounds.
    spent: (f64, f64),
}

impl Contender {
    pub(crate) fn new(request: Request, pid: u32) -> Self {
        Self {
            request,
            pid,
            rates: Vec::new(),
            spent: (0.0, 0.0),
        }
    }

    pub(crate) async fn round(&mut self, connections: usize, time: Duration) -> Result<()> {
        let before = cpu_s(self.pid)?;
        let rate = throughput(&self.request, connections, time).await?;
        self.spent.0 += cpu_s(self.pid)? - before;
        self.spent.1 += rate * time.as_secs_f64();
        self.rates.push(rate);
        Ok(())
    }

    /// Requests per second in the middle round, and CPU of the server for each,
    /// µs, which does not depend on what else the machine does.
    pub(crate) fn take(&mut self) -> (f64, f64) {
        self.rates.sort_by(f64::total_cmp);
        let rate = self.rates[self.rates.len() / 2];
        let (cpu_s, requests) = std::mem::take(&mut self.spent);
        self.rates.clear();
        (rate, cpu_s * 1e6 / requests)
    }
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let (bare_process, address) = start_bare(&bench.component("airlock-plugin-echo"))?;
    let (server, airlock) = start_airlock(bench, &data.path().join("data"))?;
    let bare = bare_process.0.id();
    let mut contenders = [
        Contender::new(Request::post(address, "/echo", None, INPUT), bare),
        Contender::new(Request::post(address, "/durable", None, INPUT), bare),
        Contender::new(airlock, server.pid()),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let time = Duration::from_millis(if bench.quick { 100 } else { 1500 });
    let rounds = if bench.quick { 1 } else { 5 };
    for connections in [1, 16, 256] {
        for _ in 0..rounds {
            for contender in &mut contenders {
                runtime.block_on(contender.round(connections, time))?;
            }
        }
        let [bare, durable, airlock] = contenders.each_mut().map(Contender::take);
        println!(
            "{connections:>3} connections: bare {:>6.0}/s, bare and durable {:>6.0}/s, airlock {:>6.0}/s: {:.2}x the bare time (target 2x), {:.2}x the bare and durable",
            bare.0,
            durable.0,
            airlock.0,
            bare.0 / airlock.0,
            durable.0 / airlock.0
        );
        println!(
            "                 CPU of the server per request: {:.0} µs, {:.0} µs, {:.0} µs",
            bare.1, durable.1, airlock.1
        );
    }
    Ok(())
}

/// CPU time of a process so far, s, by clock ticks of 10 ms (proc(5)).
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("reading its CPU")?;
    let after_name = stat.rsplit_once(')').context("the process's stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(11), ticks(12));
    Ok((user.context("user time")? + system.context("system time")?) / 100.0)
}
