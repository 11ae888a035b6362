//! Says whether what a crash left is whole: `crash_check <dir> <acked>
//! [in flight]` prints `OK <step>` and exits 0, or says what is wrong.
//!
//! It must open; every acknowledged step is there and of those in flight the
//! first ones, whole or not at all; the audit verifies; the views answer from
//! it; thirty more steps and a reopen work, and end at step `<step>`.

#[path = "crash/workload.rs"]
mod workload;

use std::path::Path;
use std::sync::Arc;

use airlock_journal::audit::{self, Audit, Signer};
use airlock_journal::conformance::wait;
use airlock_journal::{SqliteStore, Store, Views};
use workload::{LEASE, Model, SPACE, Step, record};

const MORE_STEPS: u64 = 30;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = Path::new(args.get(1).expect("a directory"));
    let acked = args
        .get(2)
        .and_then(|arg| arg.parse().ok())
        .expect("the last acknowledged step");
    let in_flight = args.get(3).map_or(1, |arg| arg.parse().expect("a number"));
    match check(dir, acked, in_flight) {
        Ok(step) => println!("OK {step}"),
        Err(what) => {
            println!("{}", what.replace('\n', " "));
            std::process::exit(1);
        }
    }
}

fn check(dir: &Path, acked: u64, in_flight: u64) -> Result<u64, String> {
    let key = std::env::var_os("CRASH_KEY").map_or_else(|| dir.with_extension("key"), Into::into);
    let signer = Signer::open_or_create(key).map_err(named("key"))?;
    let at = {
        let store = SqliteStore::open(dir).map_err(named("open"))?;
        let at = step_of(&*store, acked, in_flight)?;
        consistent(&store, &signer, at, dir)?;
        at
    };
    let more = {
        let store = SqliteStore::open(dir).map_err(named("later open"))?;
        go_on(store, &signer, at).map_err(|what| format!("later {what}"))?
    };
    let store = SqliteStore::open(dir).map_err(named("last open"))?;
    let last = step_of(&*store, more, 0).map_err(|what| format!("last {what}"))?;
    consistent(&store, &signer, last, dir).map_err(|what| format!("last {what}"))?;
    Ok(last)
}

/// The step whose state the store is in.
fn step_of(store: &dyn Store, acked: u64, in_flight: u64) -> Result<u64, String> {
    let mut model = Model::after(acked);
    let mut wrong = difference(store, &model)?;
    for _ in 0..in_flight {
        if wrong.is_none() {
            break;
        }
        model.advance();
        let next = difference(store, &model)?;
        if next.is_none() {
            wrong = None;
        }
    }
    match wrong {
        None => Ok(model.steps),
        Some(what) => Err(format!("not-as-acknowledged after step {acked}: {what}")),
    }
}

/// What differs between the store and the model, if anything.
fn difference(store: &dyn Store, model: &Model) -> Result<Option<String>, String> {
    let pairs = store
        .range(SPACE, b"", None, usize::MAX)
        .map_err(named("range"))?;
    if pairs.len() != model.pairs.len() {
        return Ok(Some(format!(
            "{} pairs, not {}",
            pairs.len(),
            model.pairs.len()
        )));
    }
    for ((key, value), (due_key, due)) in pairs.iter().zip(&model.pairs) {
        let point = store.get(SPACE, key).map_err(named("get"))?;
        if key != due_key || value != due || point.as_ref() != Some(due) {
            return Ok(Some(format!("pair {}", key.escape_ascii())));
        }
    }
    for (stream, due) in &model.streams {
        let records = store.read(stream, 0, usize::MAX).map_err(named("read"))?;
        if !records.iter().map(|record| &record.payload).eq(due) {
            return Ok(Some(format!("stream {}", stream.escape_ascii())));
        }
    }
    let mut calls = Vec::new();
    for entry in audit::entries(store, 0) {
        let entry = entry.map_err(named("audit"))?.record;
        if entry.action == "call.done" {
            if entry != record(entry.at_ms) {
                return Err(format!(
                    "the audit record of step {} is not whole",
                    entry.at_ms
                ));
            }
            calls.push(entry.at_ms);
        }
    }
    Ok((calls != model.calls)
        .then(|| format!("{} calls audited, not {}", calls.len(), model.calls.len())))
}

/// Everything that must hold in any state.
fn consistent(
    store: &Arc<SqliteStore>,
    signer: &Signer,
    step: u64,
    dir: &Path,
) -> Result<(), String> {
    store.check().map_err(named("check"))?;
    let model = Model::after(step);
    // A log in which nothing was written yet has no first checkpoint either.
    let empty = store
        .head(audit::STREAM.as_bytes())
        .map_err(named("head"))?
        .len
        == 0;
    if !(empty && step == 0) {
        audit::verify(&**store, &[signer.public_key()], None)
            .map_err(|findings| format!("audit {}", findings[0]))?;
    }
    let views = Views::open(dir.join("views"), Arc::clone(store) as Arc<dyn Store>);
    let stats = views.stats().map_err(named("views"))?;
    let usage = views.usage(None).map_err(named("views"))?;
    let calls = stats.iter().map(|stats| stats.calls).sum::<u64>();
    let bytes = usage.iter().map(|usage| usage.bytes_in).sum::<u64>();
    let due = (model.calls.len() as u64, model.calls.iter().sum::<u64>());
    if (calls, bytes) != due || !views.on_disk() {
        return Err(format!(
            "views say {calls} calls and {bytes} bytes, not {due:?}"
        ));
    }
    Ok(())
}

fn go_on(store: Arc<SqliteStore>, signer: &Signer, at: u64) -> Result<u64, String> {
    let mut model = Model::after(at);
    wait(async {
        let audit = Audit::new(store, signer.clone())
            .await
            .map_err(named("audit"))?;
        for _ in 0..MORE_STEPS {
            match model.advance() {
                Step::Commit { batch, record } => {
                    audit
                        .commit(batch, &record)
                        .await
                        .map_err(named("commit"))?;
                }
                Step::Lease {
                    owner,
                    now_ms,
                    ttl_ms,
                    token,
                } => {
                    let lease = audit.store().lease(LEASE, owner, now_ms, ttl_ms);
                    let given = lease.await.map_err(named("lease"))?;
                    if given != token {
                        return Err(format!("lease token {given}, not {token}"));
                    }
                }
            }
        }
        audit.checkpoint().await.map_err(named("checkpoint"))?;
        Ok(model.steps)
    })
}

fn named<E: std::error::Error>(step: &'static str) -> impl Fn(E) -> String {
    move |error| match error.source() {
        Some(source) => format!("{step}-error {error}: {source}"),
        None => format!("{step}-error {error}"),
    }
}
