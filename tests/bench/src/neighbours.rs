//! A well-behaved plugin's latency at 30% load, quiet and with as many spinning
//! guests as cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airlock::client::Request as Call;
use airlock::commands::install;
use anyhow::Result;

use crate::Bench;
use crate::http::start_airlock;
use crate::load::{open_loop, quantile, throughput};

const CONNECTIONS: usize = 16;

/// Two epoch ticks, see `host/sandbox`.
const TICKS: Duration = Duration::from_millis(10);

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let (server, request) = start_airlock(bench, &data.path().join("data"))?;
    install(
        &server.api(),
        "spinner",
        std::fs::read(bench.component("evil-resources"))?,
        None,
    )?;
    let limits = serde_json::json!({ "grants": {}, "limits": { "cpu": "20s", "wall": "60s", "rate": "100000/s" } });
    server
        .api()
        .ok(&Call::json("PUT", "/v1/plugins/spinner/grants", &limits))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let warm = Duration::from_millis(if bench.quick { 100 } else { 2000 });
    let time = Duration::from_millis(if bench.quick { 300 } else { 8000 });
    let full = runtime.block_on(throughput(&request, CONNECTIONS, warm))?;
    let rate = (full * 0.3).max(50.0);
    let quiet = runtime.block_on(open_loop(&request, rate, time, CONNECTIONS))?;

    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..cores)
        .map(|_| spin(server.api(), Arc::clone(&stop)))
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let loaded = runtime.block_on(open_loop(&request, rate, time, CONNECTIONS))?;
    stop.store(true, Ordering::Relaxed);
    drop(server);
    for spinner in spinners {
        let _ = spinner.join();
    }
    let (quiet_p99, loaded_p99) = (quantile(&quiet, 0.99), quantile(&loaded, 0.99));
    let target = (quiet_p99 * 3).max(quiet_p99 + TICKS);
    println!(
        "{rate:.0} calls/s (30% of {full:.0}/s), open loop over {CONNECTIONS} connections, {cores} spinning guests"
    );
    println!("quiet:  p50 {:?}, p99 {quiet_p99:?}", quantile(&quiet, 0.5));
    println!(
        "loaded: p50 {:?}, p99 {loaded_p99:?} (target {target:?})",
        quantile(&loaded, 0.5)
    );
    Ok(())
}

fn spin(api: airlock::client::Api, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let call = Call::json("POST", "/v1/tools/spinner/spin", &serde_json::json!({}));
        while !stop.load(Ordering::Relaxed) {
            let _ = api.send(&call);
        }
    })
}
