//! Drives runs of an agent over the real store, and prints `ack <n>` by one
//! write(2) for the `n` records of all runs that a reader has seen. Made to be
//! traced by `tests/powerloss`.
//!
//! `run_writer <dir> <to> [from] [exit|clean] [group]`: runs `from + 1` to `to`,
//! `group` at a time; the store is `<dir>`, all else lies beside it.

#[path = "crash/host.rs"]
mod host;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use airlock_runtime::{GrantsUpdate, InstallRequest, OperationState};
use airlock_sandbox::testing::built;
use host::{CALLS, Failure, Host};
use serde_json::{Value, json};

/// A run that does not end within this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

struct Args {
    dir: PathBuf,
    to: u64,
    from: u64,
    clean: bool,
    group: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, default| {
        args.get(at)
            .map_or(default, |arg| arg.parse().expect("a number"))
    };
    let args = Args {
        dir: args.get(1).expect("a directory").into(),
        to: number(2, u64::MAX),
        from: number(3, 0),
        clean: args.get(4).is_some_and(|mode| mode == "clean"),
        group: number(5, 1),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let written = runtime.block_on(async { tokio::time::timeout(PATIENCE, write(&args)).await });
    match written {
        Ok(Ok(host)) if args.clean => {
            runtime.block_on(host.runtime.shutdown(Duration::from_secs(5)));
        }
        // No destructor runs: the store's threads are cut off wherever they are.
        Ok(Ok(_)) => std::process::exit(0),
        failed => {
            let why = failed.map(|written| written.err().map(|error| error.to_string()));
            eprintln!("failed: {why:?}");
            std::process::exit(3);
        }
    }
}

async fn write(args: &Args) -> Result<Host, Failure> {
    let data = args.dir.parent().unwrap_or(Path::new("."));
    let host = Host::open(&args.dir, data, &data.with_extension("keys")).await?;
    if args.from == 0 {
        set_up(&host).await?;
    }
    host.runtime.take_up_runs().await?;
    // What is known of each run: its records.
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for run in host.runs().await? {
        seen.insert(run.run.id, run.events);
    }
    let (mut open, mut next) = (Vec::new(), args.from + 1);
    while next <= args.to || !open.is_empty() {
        while next <= args.to && (open.len() as u64) < args.group {
            open.push(host.start(next).await?);
            next += 1;
        }
        let before: u64 = seen.values().sum();
        let mut still = Vec::new();
        for id in open {
            let run = host.run(&id)?;
            seen.insert(id.clone(), run.events);
            if run.end.is_none() {
                still.push(id);
            }
        }
        open = still;
        let total: u64 = seen.values().sum();
        if total > before {
            std::io::stdout().write_all(format!("ack {total}\n").as_bytes())?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let count = host.kept("count").await?;
    let due = args.to * CALLS as u64;
    match count.as_ref().map(|count| count.parse::<u64>()) {
        Some(Ok(count)) if count == due => Ok(host),
        _ => Err(format!("{count:?} effects, not {due}").into()),
    }
}

/// Installs the agent and its tool, once.
async fn set_up(host: &Host) -> Result<(), Failure> {
    for (name, component) in [("prober", "agent_prober"), ("keeper", "keeper")] {
        let request = InstallRequest {
            name: name.to_owned(),
            component: built(component),
            digest: None,
            activate: true,
            check: false,
            why: String::new(),
        };
        let begun = host.runtime.install(&host.who, request)?;
        let ended = host.runtime.wait_operation(&host.who, &begun.id).await?;
        if ended.state != OperationState::Succeeded {
            return Err(format!("{name} is not installed: {ended:?}").into());
        }
    }
    let kept = json!([{ "bucket": "kept", "bytes": "100MiB", "keys": 1_000_000 }]);
    let effects = json!({ "put": "plain", "get": "read-only" });
    grant(host, "keeper", json!({ "kv": kept, "effects": effects })).await?;
    let tools = json!([{ "tool": "keeper/*" }]);
    grant(host, "prober", json!({ "tools": tools })).await
}

async fn grant(host: &Host, plugin: &str, grants: Value) -> Result<(), Failure> {
    let update: GrantsUpdate = serde_json::from_value(json!({ "grants": grants }))?;
    host.runtime.set_grants(&host.who, plugin, update).await?;
    Ok(())
}
