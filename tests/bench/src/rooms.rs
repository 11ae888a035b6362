//! What the gate adds to one granted kv read and one granted file read: asking
//! for the permit, rechecking it at the use and counting the bytes, over the same
//! read done directly.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::sqlite::SqliteStore;
use airlock_journal::{Batch, Store};
use airlock_sandbox::capability::files::bench::FileReadBench;
use airlock_sandbox::capability::{Capability, kv::Kv};
use airlock_sandbox::gate::{CallInfo, Gate};
use airlock_sandbox::{EffectClass, Grants, GrantsCell};
use anyhow::{Context, Result};

use crate::Bench;
use crate::round::{each, interleave, us};

const GRANTS: &str = r#"
kv = [{ bucket = "seen" }]
"#;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let grants: Grants = toml::from_str(GRANTS).context("the benchmark's grants")?;
    let info = CallInfo {
        call_id: "0".into(),
        plugin: "bench".into(),
        tool: "read".into(),
        principal: "p".into(),
        caller: "p".into(),
        class: EffectClass::Plain,
    };
    let gate = Gate::new(info, Arc::new(GrantsCell::new(1, grants)), 16 << 20);

    let store = SqliteStore::open(folder.path().join("journal"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(store.commit(Batch::new().put("bench", "key", vec![7u8; 1024])))?;
    let kv_read = || {
        let value = store.get("bench", b"key")?;
        Ok(value.map_or(0, |bytes| bytes.len()))
    };
    measure::<Kv>(
        bench,
        &gate,
        "kv read, 1 KiB from SQLite",
        &["get", "seen", "key"],
        kv_read,
    )?;

    files(bench, folder.path())
}

/// The whole files room as a guest meets it (open, read, close), against its own
/// functions without the gate.
fn files(bench: &Bench, folder: &Path) -> Result<()> {
    std::fs::write(folder.join("file"), vec![7u8; 1024])?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let host = folder.to_str().context("the folder's name")?;
    let room = FileReadBench::new(host, runtime.handle())?;
    let room = RefCell::new(room);
    let check = |read: wasmtime::Result<usize>| {
        let bytes = read.map_err(|error| anyhow::anyhow!("{error:#}"))?;
        anyhow::ensure!(bytes == 1024, "{bytes} bytes read");
        Ok(())
    };
    let mut direct = each(|| check(runtime.block_on(room.borrow().direct("file"))));
    let mut gated = each(|| check(runtime.block_on(room.borrow_mut().granted("file"))));
    let medians = interleave(bench.times(101), 2000, &mut [&mut direct, &mut gated])?;
    report("file read, 1 KiB, open, read and close", &medians);
    Ok(())
}

fn measure<C: Capability>(
    bench: &Bench,
    gate: &Gate,
    what: &str,
    op: &[&str],
    read: impl Fn() -> Result<usize>,
) -> Result<()> {
    let op = C::parse_op(op).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut direct = each(|| {
        black_box(read()?);
        Ok(())
    });
    let mut gated = each(|| {
        let permit = gate.permit::<C>(op.clone())?;
        permit.recheck()?;
        let bytes = read()?;
        permit.count_in(bytes as u64);
        black_box(permit);
        Ok(())
    });
    let medians = interleave(bench.times(101), 2000, &mut [&mut direct, &mut gated])?;
    report(what, &medians);
    Ok(())
}

fn report(what: &str, medians: &[Duration]) {
    let added = medians[1]
        .saturating_sub(medians[0])
        .max(Duration::from_nanos(1));
    println!(
        "{what}: {} directly, the gate adds {}",
        us(medians[0]),
        us(added)
    );
}
