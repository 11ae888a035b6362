//! What a durable commit costs: one caller against a bare write and fdatasync of
//! the same bytes, interleaved in the same run, then the throughput of many
//! callers who share syncs, then the speed of a rebuild of the views and of the
//! audit's verification. Figures are medians; compare ratios, not machines.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::audit::{Audit, AuditRecord, Signer, verify};
use airlock_journal::{Batch, SqliteStore, Store, Views};
use serde_json::json;
use tokio::runtime::Runtime;

/// About the size of a call's audit record.
const RECORD_BYTES: usize = 600;
const ROUNDS: usize = 40;
const EACH: usize = 50;

fn main() {
    // `cargo test` runs benches without this argument, only to see that they run.
    let short = !std::env::args().any(|arg| arg == "--bench");
    let rounds = if short { 2 } else { ROUNDS };
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    let runtime = Runtime::new().expect("a runtime");
    let store = SqliteStore::open(dir.path().join("store")).expect("the store");
    let mut file = File::create(dir.path().join("bare")).expect("the file");
    one_caller(&runtime, &store, &mut file, rounds);
    for callers in [1, 16, 256] {
        let seconds = if short { 0.1 } else { 3.0 };
        let rate = throughput(&runtime, &store, callers, Duration::from_secs_f64(seconds));
        println!("{callers:>4} callers: {rate:>8.0} durable commits/s");
    }
    drop(store);
    readers(&runtime, dir.path(), if short { 100 } else { 100_000 });
}

/// How fast a log of calls is opened, verified and folded into views.
fn readers(runtime: &Runtime, dir: &Path, records: usize) {
    let data = dir.join("log");
    let signer = Signer::open_or_create(dir.join("key")).expect("the key");
    let key = signer.public_key();
    runtime.block_on(async {
        let store = SqliteStore::open(&data).expect("the store");
        let audit = Audit::new(Arc::clone(&store) as Arc<dyn Store>, signer)
            .await
            .expect("the log");
        for first in (0..records).step_by(500) {
            let batch =
                (first..first + 500).fold(Batch::new(), |batch, n| batch.op(Audit::op(&call(n))));
            store.commit(batch).await.expect("the records");
            audit.checkpoint().await.expect("the checkpoint");
        }
    });
    let start = Instant::now();
    let store: Arc<dyn Store> = SqliteStore::open(&data).expect("the store");
    let opened = start.elapsed();
    let verified = timed(|| drop(verify(&*store, &[key], None).expect("a sound log")));
    let mut views = None;
    let rebuilt = timed(|| {
        let fresh = views.insert(Views::open(dir.join("views"), Arc::clone(&store)));
        fresh.catch_up().expect("the views");
    });
    let closed = timed(|| drop(views));
    println!(
        "{records} calls in the audit: opened in {opened:?}, verified in {verified:?}, \
         views rebuilt in {rebuilt:?}, closed in {closed:?}"
    );
}

fn call(n: usize) -> AuditRecord {
    AuditRecord::now("token", "call.done", "plugin/tool").detail(json!({
        "call_id": format!("call-{n}"), "plugin": format!("plugin{}", n % 10), "tool": "tool",
        "outcome": "ok", "wall_us": 100, "cpu_us": 50, "peak_memory_bytes": 1 << 20,
        "usage": [
            { "capability": "kv", "rule": 0, "allowed": 2, "denied": 0, "bytes_in": 10, "bytes_out": 0 },
            { "capability": "http", "rule": 1, "allowed": 1, "denied": 0, "bytes_in": 99, "bytes_out": 9 },
        ],
        "denials": [],
    }))
}

fn one_caller(runtime: &Runtime, store: &Arc<SqliteStore>, file: &mut File, rounds: usize) {
    let (mut bare, mut full) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for _ in 0..EACH {
            bare.push(timed(|| {
                file.write_all(&[7; RECORD_BYTES]).expect("the write");
                file.sync_data().expect("the sync");
            }));
        }
        runtime.block_on(async {
            for _ in 0..EACH {
                let start = Instant::now();
                let batch = Batch::new().append("audit", vec![7; RECORD_BYTES]);
                store.commit(batch).await.expect("the commit");
                full.push(start.elapsed());
            }
        });
    }
    let ratio = median(&mut full).as_secs_f64() / median(&mut bare).as_secs_f64();
    println!(
        "write+fdatasync of {RECORD_BYTES} B: {:?}; durable commit: {:?} (p99 {:?}); ratio {ratio:.2}",
        median(&mut bare),
        median(&mut full),
        full[full.len() * 99 / 100]
    );
}

fn throughput(runtime: &Runtime, store: &Arc<SqliteStore>, callers: usize, time: Duration) -> f64 {
    let start = Instant::now();
    let done: usize = runtime.block_on(async {
        let call = || {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while start.elapsed() < time {
                    let batch = Batch::new().append("audit", vec![7; RECORD_BYTES]);
                    store.commit(batch).await.expect("the commit");
                    done += 1;
                }
                done
            })
        };
        let tasks: Vec<_> = (0..callers).map(|_| call()).collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("the caller");
        }
        done
    });
    done as f64 / start.elapsed().as_secs_f64()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
