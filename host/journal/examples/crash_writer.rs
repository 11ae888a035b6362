//! Drives the real store, audit log and views, and prints `ack <i>` by one
//! write(2) after step `i` is durable. Made to be killed, traced or starved.
//!
//! `crash_writer <dir> <to> [from] [exit|clean] [group]`: steps `from + 1` to
//! `to`, `group` of them in flight at once; the audit key is `<dir>.key` unless
//! `CRASH_KEY` names it. `clean` closes everything, `exit` just ends.

#[path = "crash/workload.rs"]
mod workload;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use airlock_journal::audit::{Audit, Signer};
use airlock_journal::store::BoxFuture;
use airlock_journal::{Committed, SqliteStore, Store, StoreError, Views};
use workload::{LEASE, Model, Step};

/// Steps between two looks at the views, and between two signed checkpoints.
const VIEWS_EVERY: u64 = 64;
const CHECKPOINT_EVERY: u64 = 40;

type Failure = Box<dyn std::error::Error>;

/// A step that was queued.
enum Flight<'s> {
    Commit(BoxFuture<'s, Result<Committed, StoreError>>),
    Lease(BoxFuture<'s, Result<u64, StoreError>>, u64),
}

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
    match runtime.block_on(write(&args)) {
        Ok(parts) if args.clean => drop(parts),
        // No destructor runs: the store's threads are cut off wherever they are.
        Ok(_) => std::process::exit(0),
        Err(error) => {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            eprintln!("failed: {error} {source}");
            std::process::exit(3);
        }
    }
}

async fn write(args: &Args) -> Result<(Views, Audit), Failure> {
    let key = std::env::var_os("CRASH_KEY");
    let signer = Signer::open_or_create(key.map_or(args.dir.with_extension("key"), PathBuf::from))?;
    let store: Arc<dyn Store> = SqliteStore::open(&args.dir)?;
    let views = Views::open(args.dir.join("views"), Arc::clone(&store));
    let audit = Audit::new(Arc::clone(&store), signer).await?;
    let mut model = Model::after(args.from);
    while model.steps < args.to {
        let first = model.steps + 1;
        let last = args.to.min(model.steps + args.group);
        // All are queued, in order, before the first is awaited.
        let flights: Vec<_> = (first..=last)
            .map(|_| queue(&*store, model.advance()))
            .collect();
        for (step, flight) in (first..).zip(flights) {
            if let Err(error) = land(flight).await {
                must_not_see(&*store, step);
                return Err(error);
            }
            std::io::stdout().write_all(format!("ack {step}\n").as_bytes())?;
            if step.is_multiple_of(VIEWS_EVERY) {
                views.catch_up()?;
            }
            if step.is_multiple_of(CHECKPOINT_EVERY) {
                let audit = audit.clone();
                tokio::spawn(async move { audit.checkpoint().await.map(drop) });
            }
        }
    }
    audit.checkpoint().await?;
    Ok((views, audit))
}

/// A reader sees a step only once it is durable, so never one that failed.
fn must_not_see(store: &dyn Store, step: u64) {
    let index = format!("index/{step:08}");
    match store.get(workload::SPACE, index.as_bytes()) {
        Ok(None) => {}
        seen => eprintln!("step {step} failed and was still visible: {seen:?}"),
    }
}

fn queue(store: &dyn Store, step: Step) -> Flight<'_> {
    match step {
        Step::Commit { batch, record } => {
            Flight::Commit(store.commit(batch.op(Audit::op(&record))))
        }
        Step::Lease {
            owner,
            now_ms,
            ttl_ms,
            token,
        } => Flight::Lease(store.lease(LEASE, owner, now_ms, ttl_ms), token),
    }
}

async fn land(flight: Flight<'_>) -> Result<(), Failure> {
    match flight {
        Flight::Commit(commit) => drop(commit.await?),
        Flight::Lease(lease, token) => {
            let given = lease.await?;
            if given != token {
                return Err(format!("the lease's token is {given}, not {token}").into());
            }
        }
    }
    Ok(())
}
