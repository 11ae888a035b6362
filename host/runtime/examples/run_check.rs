//! Says whether the runs that a crash left are whole: `run_check <dir> <acked>
//! [in flight]` prints `OK <runs>` and exits 0, or says what is wrong.
//!
//! It must open; every record that a reader had seen is there; every run goes on
//! to its end, a person being asked about what may have happened; each effect is
//! there once; the journals replay; the audit verifies. What lies beside the store
//! is found by `CRASH_DATA`.

#[path = "crash/host.rs"]
mod host;

use std::path::{Path, PathBuf};
use std::time::Duration;

use airlock_runtime::{
    Block, End, Failure as _, Outcome, ReplayRun, ReplayVerdict, Resume, RunDetail,
};
use host::{CALLS, Failure, Host};
use serde_json::{Value, json};

/// A run that does not end within this is stuck.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = Path::new(args.get(1).expect("a directory"));
    let acked = args.get(2).and_then(|arg| arg.parse().ok());
    let acked = acked.expect("the records that were seen");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let checked = runtime.block_on(async {
        let check = tokio::time::timeout(PATIENCE, check(dir, acked));
        check
            .await
            .unwrap_or_else(|_| Err("a run does not end".into()))
    });
    match checked {
        Ok(runs) => println!("OK {runs}"),
        Err(what) => {
            println!("{}", what.to_string().replace('\n', " "));
            std::process::exit(1);
        }
    }
}

async fn check(dir: &Path, acked: u64) -> Result<usize, Failure> {
    let writer = std::env::var_os("CRASH_DATA").map(PathBuf::from);
    let writer = writer.ok_or("CRASH_DATA is not set")?;
    let data = tempfile::tempdir()?;
    // Components and their code are the writer's; views are computed anew.
    for part in ["components", "cache"] {
        std::os::unix::fs::symlink(writer.join(part), data.path().join(part))?;
    }
    let host = Host::open(dir, data.path(), &writer.with_extension("keys")).await?;
    let found: u64 = host.runs().await?.iter().map(|run| run.events).sum();
    if found < acked {
        return Err(format!("lost: {found} records, {acked} were seen").into());
    }
    host.runtime.take_up_runs().await?;
    // One more works too.
    host.start(u64::MAX).await?;
    let (runs, recorded) = finish(&host).await?;
    for run in &runs {
        whole(&host, run).await?;
    }
    // Each call counts one up, after it has set its key: one that was cut off
    // between the two is recorded by whoever looks, and has not counted.
    let count: usize = host
        .kept("count")
        .await?
        .map_or(Ok(0), |count| count.parse())?;
    let due = runs.len() * CALLS;
    if count > due || count + recorded < due {
        return Err(format!("{count} effects of {} runs", runs.len()).into());
    }
    let verify = host.runtime.audit_verify(None).await?;
    if !verify.ok {
        return Err(format!("the audit: {verify:?}").into());
    }
    Ok(runs.len())
}

/// Every run to its end; and how many calls a person said had happened.
async fn finish(host: &Host) -> Result<(Vec<RunDetail>, usize), Failure> {
    let mut recorded = 0;
    loop {
        let runs = host.runs().await?;
        let open: Vec<&RunDetail> = runs.iter().filter(|run| run.end.is_none()).collect();
        if open.is_empty() {
            return Ok((runs, recorded));
        }
        for run in open {
            recorded += usize::from(look(host, run).await?);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A person looks whether a call happened whose outcome was lost; `true`: it did.
async fn look(host: &Host, run: &RunDetail) -> Result<bool, Failure> {
    let request = match &run.blocked {
        None => return Ok(false),
        Some(Block::UnknownOutcome { id, .. }) => *id,
        Some(other) => return Err(format!("{} is blocked: {other:?}", run.run.id).into()),
    };
    let asked = run.waits_for.iter().find(|open| open.id == request);
    let input = asked.and_then(|open| open.request["input"].as_str());
    let input: Value = serde_json::from_str(input.ok_or("no such request")?)?;
    let key = input["key"].as_str().ok_or("no key")?;
    let happened = host.kept(key).await?.is_some();
    let outcome = match happened {
        true => Outcome::Record(json!({ "count": 0 })),
        false => Outcome::Retry,
    };
    let resume = Resume {
        request: Some(request),
        outcome: Some(outcome),
        ..Resume::default()
    };
    let resumed = host.runtime.resume_run(&host.who, &run.run.id, resume);
    match resumed.await {
        Ok(()) => Ok(happened),
        // Meanwhile it waits for a word on another call too, and on that one first.
        Err(error) if error.code() == "invalid-request" => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// It ended well, has its effects, and its journal is one that replays.
async fn whole(host: &Host, run: &RunDetail) -> Result<(), Failure> {
    let id = &run.run.id;
    if !matches!(run.end, Some(End::Succeeded { .. })) {
        return Err(format!("{id} ended: {:?}", run.end).into());
    }
    for call in 0..CALLS {
        let key = format!("{}-{call}", run.run.goal);
        if host.kept(&key).await?.is_none() {
            return Err(format!("{id} has not the effect {key}").into());
        }
    }
    let replay = host
        .runtime
        .replay_run(&host.who, id, ReplayRun::default())
        .await?;
    match replay.verdict {
        ReplayVerdict::Same => Ok(()),
        _ => Err(format!("{id} replays otherwise: {replay:?}").into()),
    }
}
