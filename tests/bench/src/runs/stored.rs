//! Whether a step costs the same with few and with many runs in the store. All but
//! one of them are copies, written straight into the store.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::copies::Copies;
use super::host::Host;
use super::{client, middle};
use crate::Bench;
use crate::http::cpu_s;
use crate::plot::{Growth, Target};

/// Sizes of the store, as far as they are asked for.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Runs at once, and steps of each.
const SHAPE: (usize, usize) = (20, 100);

/// What is measured at one size.
struct Figures {
    step_us: f64,
    cpu_us: f64,
    start: Duration,
    list: Duration,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut host = Host::new(bench, &data.path().join("data"))?;
    let (_, original) = client()?.block_on(host.batch(1, &json!({ "records": 1 })))?;
    client()?.block_on(host.check(&original))?;
    let mut stored = 1;
    let mut growth = Growth::new(
        "runs in the store",
        &[
            ("step, µs", Target::Flat),
            ("CPU, µs", Target::Flat),
            ("start, ms", Target::Flat),
            ("list, ms", Target::Flat),
        ],
    );
    for size in sizes(bench) {
        let folder = host.stop()?;
        let mut copies = Copies::open(&folder, stored)?;
        copies.write(&original[0], size - stored, None)?;
        drop(copies);
        stored = size;
        let begun = Instant::now();
        host = Host::start(bench, &folder)?;
        let figures = measure(bench, &host, begun.elapsed())?;
        let [start_ms, list_ms] = [figures.start, figures.list].map(|t| t.as_secs_f64() * 1e3);
        let figures = vec![figures.step_us, figures.cpu_us, start_ms, list_ms];
        growth.row(size, figures);
    }
    growth.conclude();
    bench.keep(growth);
    Ok(())
}

fn sizes(bench: &Bench) -> Vec<usize> {
    if bench.quick {
        return vec![10, 40];
    }
    let below = SIZES.into_iter().filter(|size| *size < bench.stored);
    below.chain([bench.stored]).collect()
}

fn measure(bench: &Bench, host: &Host, start: Duration) -> Result<Figures> {
    let (runs, steps) = if bench.quick { (2, 3) } else { SHAPE };
    let input = json!({ "records": steps });
    client()?.block_on(async {
        // The listings catch up with the copies, and caches are cold after a start.
        host.connect().await?.get("/v1/runs").await?;
        let mut ids = host.batch(runs, &input).await?.1;
        let before = cpu_s(host.pid())?;
        let rounds = bench.times(100).min(7);
        let mut times = Vec::new();
        for _ in 0..rounds {
            let (time, more) = host.batch(runs, &input).await?;
            times.push(time.as_secs_f64());
            ids.extend(more);
        }
        let cpu_s = cpu_s(host.pid())? - before;
        host.check(&ids).await?;
        let mut connection = host.connect().await?;
        let begun = Instant::now();
        connection.get("/v1/runs").await?;
        let all = (runs * steps) as f64;
        Ok(Figures {
            step_us: middle(times) * 1e6 / all,
            cpu_us: cpu_s * 1e6 / (all * rounds as f64),
            start,
            list: begun.elapsed(),
        })
    })
}
