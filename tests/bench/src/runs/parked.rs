//! What runs cost that wait. Parked ones hold no sandbox: nearly all of them are
//! copies of one, written straight into the store, and are found by the server
//! when it starts. Warm ones keep their sandbox; they are measured apart.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::copies::Copies;
use super::host::{Host, LOOK};
use super::{client, now_ms, spread};
use crate::Bench;
use crate::growth::resident;

/// Timers that are due at one moment.
const TIMERS: usize = 1_000;

/// Runs that wait warm, and parked ones that are woken one after the other.
const WOKEN: usize = 100;

/// Time enough for a run to leave memory; whether it did is looked at.
const PARK: Duration = Duration::from_secs(2);

/// A moment that never comes, as long as any other.
const NEVER_MS: u64 = 9_000_000_000_000;

/// How large the parts of a measurement are, and how long its waits.
struct Sizes {
    parked: usize,
    timers: usize,
    woken: usize,
    settle: Duration,
    /// From before the start to the moment at which the timers are due.
    due: Duration,
}

impl Sizes {
    fn of(bench: &Bench) -> Self {
        let (second, parked) = (Duration::from_secs(1), bench.parked);
        if bench.quick {
            return Self {
                parked: 20,
                timers: 5,
                woken: 3,
                settle: second / 5,
                due: second * 2,
            };
        }
        Self {
            parked,
            timers: TIMERS.min(parked),
            woken: WOKEN.min(parked),
            settle: second * 3,
            due: second * 30,
        }
    }
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let sizes = Sizes::of(bench);
    let data = tempfile::tempdir()?;
    let host = Host::new(bench, &data.path().join("data"))?;
    let folder = host.stop()?;
    let host = Host::start(bench, &folder)?;
    std::thread::sleep(sizes.settle);
    let idle = resident(host.pid())?;
    println!("idle server: {idle} KiB resident");

    let originals = originals(bench, &host.stop()?)?;
    let mut copies = Copies::open(&folder, 0)?;
    copies.must_be_parked([&originals.signal, &originals.timer])?;
    let parked = copies.write(&originals.signal, sizes.parked, None)?;
    drop(copies);
    // The listings are made once, as they would have been while the runs began.
    let host = Host::start(bench, &folder)?;
    client()?.block_on(async { host.connect().await?.get("/v1/runs").await })?;
    std::thread::sleep(sizes.settle);

    let mut copies = Copies::open(&host.stop()?, parked.len())?;
    let due_ms = now_ms() + sizes.due.as_millis() as u64;
    let (never, due) = (NEVER_MS.to_string(), due_ms.to_string());
    let timers = copies.write(&originals.timer, sizes.timers, Some((&never, &due)))?;
    drop(copies);

    let begun = Instant::now();
    let host = Host::start(bench, &folder)?;
    println!(
        "{} parked runs, {} of them with a timer: ready {:.2} s after the start (target 5 s)",
        parked.len() + timers.len(),
        timers.len(),
        begun.elapsed().as_secs_f64()
    );
    std::thread::sleep(sizes.settle);
    memory(
        "parked",
        idle,
        resident(host.pid())?,
        parked.len() + timers.len(),
    );
    client()?.block_on(async {
        late("parked", &host, &timers, due_ms).await?;
        woken("parked", &host, &parked[..sizes.woken]).await?;
        warm(&host, &sizes).await
    })
}

/// The runs that are copied.
struct Originals {
    signal: String,
    timer: String,
}

/// By a server whose waiting runs leave memory at once.
fn originals(bench: &Bench, folder: &Path) -> Result<Originals> {
    let config = folder.join("airlock.toml");
    std::fs::write(&config, "agent_warm_seconds = 0\n").context("the settings")?;
    let host = Host::start(bench, folder)?;
    let originals = client()?.block_on(async {
        let mut client = host.connect().await?;
        let signal = client.start(&json!({ "signal": "go" })).await?;
        let timer = client.start(&json!({ "until_ms": NEVER_MS })).await?;
        client.waiting(&signal).await?;
        client.waiting(&timer).await?;
        tokio::time::sleep(PARK).await;
        anyhow::Ok(Originals { signal, timer })
    })?;
    host.stop()?;
    std::fs::remove_file(&config).context("the settings")?;
    Ok(originals)
}

fn memory(what: &str, before: u64, after: u64, runs: usize) {
    let each = (after as f64 - before as f64) * 1024.0 / runs as f64;
    let target = match what {
        "parked" => " (target 2048)",
        _ => "",
    };
    println!("  {what}: {after} KiB resident, {each:.0} bytes a run above idle{target}");
}

/// Waits for runs whose timers are due at one moment.
async fn late(what: &str, host: &Host, ids: &[String], due_ms: u64) -> Result<()> {
    let ready_ms = due_ms.saturating_sub(now_ms());
    tokio::time::sleep(Duration::from_millis(ready_ms)).await;
    let mut client = host.connect().await?;
    for id in ids {
        client.ended(id, LOOK * 10).await?;
    }
    host.check(ids).await?;
    let ended = client.times_of(ids, "ended").await?;
    let answered = client.times_of(ids, "answered").await?;
    let late = |times: Vec<u64>| {
        let late = times.into_iter().map(|at_ms| at_ms.saturating_sub(due_ms));
        spread(late.map(Duration::from_millis).collect())
    };
    let early = if ready_ms == 0 {
        ", some before the server was ready"
    } else {
        ""
    };
    println!(
        "  {what}: {} timers due at one moment{early}: answered late by {}; ended late by {}",
        ids.len(),
        late(answered),
        late(ended)
    );
    Ok(())
}

/// Wakes runs one after the other, each with its signal.
async fn woken(what: &str, host: &Host, ids: &[String]) -> Result<()> {
    let mut client = host.connect().await?;
    let mut times = Vec::with_capacity(ids.len());
    for id in ids {
        let begun = Instant::now();
        client.signal(id, "go").await?;
        client.ended(id, Duration::ZERO).await?;
        times.push(begun.elapsed());
    }
    host.check(ids).await?;
    println!(
        "  {what}: from a signal to the end of the run: {}",
        spread(times)
    );
    Ok(())
}

/// The same of runs that keep their sandbox.
async fn warm(host: &Host, sizes: &Sizes) -> Result<()> {
    let before = resident(host.pid())?;
    let ids = host
        .start_runs(sizes.woken, &json!({ "signal": "go" }))
        .await?;
    let mut client = host.connect().await?;
    for id in &ids {
        client.waiting(id).await?;
    }
    memory("warm", before, resident(host.pid())?, ids.len());
    woken("warm", host, &ids).await?;
    let due_ms = now_ms() + 3 * sizes.settle.as_millis() as u64 / 2;
    let input = json!({ "until_ms": due_ms });
    let ids = host.start_runs(sizes.woken, &input).await?;
    late("warm", host, &ids, due_ms).await
}
