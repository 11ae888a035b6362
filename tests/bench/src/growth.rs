//! Resident memory: with 1,000 installed plugins, and from call 20,000 to call
//! 100,000.

use std::path::Path;
use std::time::Duration;

use airlock::commands::install;
use anyhow::{Context, Result};

use crate::Bench;
use crate::http::start_airlock;
use crate::load::Connection;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let (server, request) = start_airlock(bench, &data.path().join("data"))?;
    println!("one plugin: {} KiB resident", resident(server.pid())?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (first, last) = if bench.quick {
        (200, 400)
    } else {
        (20_000, 100_000)
    };
    let mut levels = [Vec::new(), Vec::new()];
    runtime.block_on(async {
        let mut connection = Connection::open(request.address).await?;
        for call in 1..=last {
            anyhow::ensure!(
                connection.send(&request).await? == 200,
                "call {call} failed"
            );
            for (end, level) in [first, last].into_iter().zip(&mut levels) {
                if (end - first / 4..=end).contains(&call) && call % (first / 80).max(1) == 0 {
                    level.push(resident(server.pid())?);
                }
            }
        }
        anyhow::Ok(())
    })?;
    let [before, after] = levels.map(middle);
    let grown = after as i64 - before as i64;
    println!(
        "from call {first} to call {last}: {before} to {after} KiB, {grown:+} KiB (target below 1024)"
    );

    let plugins = if bench.quick { 5 } else { 1_000 };
    let component = bench.component("airlock-plugin-echo");
    let before = resident(server.pid())?;
    for number in 0..plugins {
        install(
            &server.api(),
            &format!("plugin-{number}"),
            distinct(&component, number)?,
            None,
        )?;
    }
    std::thread::sleep(Duration::from_millis(500));
    println!(
        "{plugins} more plugins, each a component of its own: {:+} KiB",
        resident(server.pid())? as i64 - before as i64
    );
    Ok(())
}

/// The middle of what was resident in the calls before a point: at any one moment
/// the views may be at work.
fn middle(mut level: Vec<u64>) -> u64 {
    level.sort_unstable();
    level.get(level.len() / 2).copied().unwrap_or_default()
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
