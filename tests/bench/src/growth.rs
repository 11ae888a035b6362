//! What calls made and plugins installed leave behind: what one call costs, memory,
//! the audit, the start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::client::Request as Call;
use airlock::commands::install;
use airlock::harness::Server;
use anyhow::{Context, Result};

use crate::Bench;
use crate::http::{cpu_s, start_again, start_airlock};
use crate::load::{Connection, Request};
use crate::plot::{Growth, Target};
use crate::round::median;

/// Calls made so far, where it is looked what one costs.
const CALLS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// So many calls fill what is kept to be quick: caches, pools, the allocator's pages.
/// So many more are to leave memory as it is.
const STEADY: usize = 100_000;

/// Plugins installed so far, where it is looked what one more costs.
const PLUGINS: [usize; 4] = [2, 10, 100, 2_000];

/// Calls that are timed at each size, at most.
const TIMED: usize = 1_000;

/// How long a server may take to stop in order.
const STOP: Duration = Duration::from_secs(120);

pub(crate) fn run(bench: &Bench) -> Result<()> {
    calls(bench)?;
    plugins(bench)
}

fn calls(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut host = Host::new(bench, &data.path().join("data"))?;
    let mut growth = Growth::new(
        "calls",
        &[
            ("call, µs", Target::Flat),
            ("CPU, µs", Target::Flat),
            ("data, KiB", Target::Linear),
            ("audit page, ms", Target::Flat),
            ("audit verified, ms", Target::Linear),
            ("start, ms", Target::Flat),
        ],
    );
    let mut made = 0;
    for calls in marks(bench, &CALLS) {
        let timed = (calls - made).min(TIMED);
        host.times(calls - made - timed)?;
        let [wall_us, cpu_us] = host.times(timed)?;
        made = calls;
        let page_ms = host.answers("GET", "/v1/audit?limit=100")?;
        let verified_ms = host.answers("POST", "/v1/audit/verify")?;
        let size = kib(&host.data)?;
        let start_ms;
        (host, start_ms) = host.restarted(bench)?;
        growth.row(
            calls,
            vec![wall_us, cpu_us, size, page_ms, verified_ms, start_ms],
        );
    }
    growth.conclude();
    bench.keep(growth);
    steady(bench, &host)
}

/// Memory after calls that left the caches full, and after as many again.
fn steady(bench: &Bench, host: &Host) -> Result<()> {
    let calls = bench.times(STEADY);
    host.times(calls)?;
    let before = host.level()?;
    host.times(calls)?;
    let grown = host.level()? as i64 - before as i64;
    println!(
        "memory from call {calls} to call {} of a server: {before} KiB {grown:+} KiB (target below 1024)",
        2 * calls
    );
    Ok(())
}

fn plugins(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut host = Host::new(bench, &data.path().join("data"))?;
    let component = bench.component("airlock-plugin-echo");
    let mut growth = Growth::new(
        "plugins",
        &[
            ("install, ms", Target::Flat),
            ("call, µs", Target::Flat),
            ("CPU, µs", Target::Flat),
            ("memory, KiB", Target::Linear),
            ("list, ms", Target::Linear),
            ("start, ms", Target::Linear),
        ],
    );
    let mut installed = 1;
    for plugins in marks(bench, &PLUGINS) {
        let more = (plugins - installed).max(1);
        let begun = Instant::now();
        for _ in 0..more {
            let (name, bytes) = (
                format!("plugin-{installed}"),
                distinct(&component, installed)?,
            );
            install(&host.server.api(), &name, bytes, None)?;
            installed += 1;
        }
        let each = begun.elapsed() / more as u32;
        let [wall_us, cpu_us] = host.times(bench.times(TIMED))?;
        let memory = resident(host.server.pid())? as f64;
        let list_ms = host.answers("GET", "/v1/plugins")?;
        let start_ms;
        (host, start_ms) = host.restarted(bench)?;
        growth.row(
            plugins,
            vec![ms(each), wall_us, cpu_us, memory, list_ms, start_ms],
        );
    }
    growth.conclude();
    bench.keep(growth);
    Ok(())
}

fn marks(bench: &Bench, all: &[usize]) -> Vec<usize> {
    if bench.quick {
        vec![2, 20]
    } else {
        all.to_vec()
    }
}

/// A server with the echo.
struct Host {
    server: Server,
    request: Request,
    data: PathBuf,
}

impl Host {
    fn new(bench: &Bench, data: &Path) -> Result<Self> {
        let (server, request) = start_airlock(bench, data)?;
        Ok(Self {
            server,
            request,
            data: data.to_owned(),
        })
    }

    /// Calls so often; wall time and CPU of the server for one, µs.
    fn times(&self, calls: usize) -> Result<[f64; 2]> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut connection = Connection::open(self.request.address).await?;
            let (begun, before) = (Instant::now(), cpu_s(self.server.pid())?);
            for call in 1..=calls {
                let status = connection.send(&self.request).await?;
                anyhow::ensure!(status == 200, "call {call} failed with {status}");
            }
            let wall = begun.elapsed().as_secs_f64();
            let cpu = cpu_s(self.server.pid())? - before;
            Ok([wall, cpu].map(|s| s * 1e6 / calls.max(1) as f64))
        })
    }

    /// How long a request takes, ms: the middle of some.
    fn answers(&self, method: &'static str, path: &'static str) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            self.server.api().ok(&Call::new(method, path))?;
            times.push(begun.elapsed());
        }
        Ok(ms(median(times)))
    }

    /// Stops it in order and starts it again; how long until it is ready, ms.
    fn restarted(self, bench: &Bench) -> Result<(Self, f64)> {
        self.server.stop(STOP)?;
        let begun = Instant::now();
        let (server, request) = start_again(bench, &self.data)?;
        let took = ms(begun.elapsed());
        let host = Self {
            server,
            request,
            ..self
        };
        Ok((host, took))
    }

    /// Resident memory in the middle of some more calls, KiB: at any one moment
    /// the views may be at work.
    fn level(&self) -> Result<u64> {
        let mut level = Vec::new();
        for _ in 0..20 {
            self.times(50)?;
            level.push(resident(self.server.pid())?);
        }
        level.sort_unstable();
        Ok(level[level.len() / 2])
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What the files below a directory take, KiB.
fn kib(directory: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).context("reading the data directory")? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            (kib(&entry.path())? * 1024.0) as u64
        } else {
            metadata.len()
        };
    }
    Ok(bytes as f64 / 1024.0)
}

/// The component with a custom section of its own, so that its digest differs.
fn distinct(component: &Path, number: usize) -> Result<Vec<u8>> {
    let mut bytes =
        std::fs::read(component).with_context(|| format!("reading {}", component.display()))?;
    let name = b"airlock-bench";
    let payload = (number as u32).to_le_bytes();
    bytes.push(0);
    bytes.push((1 + name.len() + payload.len()) as u8);
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Resident memory of a process, KiB.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("reading the process's status")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .context("VmRSS")
}
