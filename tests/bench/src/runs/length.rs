//! Whether a step costs the same in short and in long runs.

use anyhow::Result;
use serde_json::{Value, json};

use super::host::{Host, LOOK};
use super::{client, middle};
use crate::Bench;
use crate::http::cpu_s;
use crate::plot::{Growth, Target};

const LENGTHS: [usize; 4] = [10, 100, 1_000, 10_000];

/// A step that is asked for so often.
type Steps = fn(usize) -> Value;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let host = Host::new(bench, &data.path().join("data"))?;
    let kinds: [(&str, Steps); 2] = [
        (
            "recorded values in a run",
            |steps| json!({ "records": steps }),
        ),
        (
            "sandboxed steps in a run",
            |steps| json!({ "calls": steps }),
        ),
    ];
    for (of, steps) in kinds {
        println!("one run after the other, without what a run of no step costs");
        measure(bench, &host, of, steps)?;
    }
    Ok(())
}

fn measure(bench: &Bench, host: &Host, of: &'static str, steps: Steps) -> Result<()> {
    let lengths = if bench.quick { &LENGTHS[..1] } else { &LENGTHS };
    let total = *lengths.last().unwrap_or(&LENGTHS[0]);
    let mut figures: Vec<[Vec<f64>; 2]> = vec![Default::default(); lengths.len()];
    for _ in 0..bench.times(100).min(3) {
        let empty = runs(host, &steps(0), total.min(100))?;
        for (length, figures) in lengths.iter().zip(&mut figures) {
            let count = total / length;
            let spent = runs(host, &steps(*length), count)?;
            for at in 0..2 {
                let each = spent[at] - empty[at];
                figures[at].push(each * 1e6 / *length as f64);
            }
        }
    }
    let mut growth = Growth::new(of, &[("step, µs", Target::Flat), ("CPU, µs", Target::Flat)]);
    for (length, figures) in lengths.iter().zip(figures) {
        growth.row(*length, figures.map(middle).to_vec());
    }
    growth.conclude();
    bench.keep(growth);
    Ok(())
}

/// Wall seconds, by its journal, and CPU seconds of one run, in the mean of some.
fn runs(host: &Host, input: &Value, count: usize) -> Result<[f64; 2]> {
    client()?.block_on(async {
        let mut client = host.connect().await?;
        // Cold caches are no part of it.
        let first = host.batch(1, input).await?.1;
        let (mut ids, before) = (Vec::with_capacity(count), cpu_s(host.pid())?);
        for _ in 0..count {
            let id = client.start(input).await?;
            client.ended(&id, LOOK).await?;
            ids.push(id);
        }
        let cpu_s = cpu_s(host.pid())? - before;
        host.check(&first).await?;
        host.check(&ids).await?;
        let mut wall_ms = 0;
        let started = client.times_of(&ids, "started").await?;
        for (id, started_ms) in ids.iter().zip(started) {
            wall_ms += client.ended_ms(id).await?.saturating_sub(started_ms);
        }
        let count = count as f64;
        Ok([wall_ms as f64 / 1e3 / count, cpu_s / count])
    })
}
