//! How fast a long journal is caught up with: a run that waits is killed with its
//! server, and its agent starts again from the beginning when its signal comes.

use anyhow::Result;
use serde_json::json;

use super::host::{Host, LOOK};
use super::{client, middle, now_ms};
use crate::Bench;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut host = Host::new(bench, &data.path().join("data"))?;
    let client = client()?;
    let lengths = if bench.quick { [0, 20] } else { [0, 10_000] };
    let mut times = lengths.map(|_| Vec::new());
    for _ in 0..bench.times(100).min(5) {
        for (steps, times) in lengths.into_iter().zip(&mut times) {
            let input = json!({ "records": steps, "signal": "go" });
            let id = client.block_on(async {
                let mut client = host.connect().await?;
                let id = client.start(&input).await?;
                client.waiting(&id).await?;
                anyhow::Ok(id)
            })?;
            host = Host::start(bench, &host.kill()?)?;
            let time = client.block_on(async {
                let mut client = host.connect().await?;
                let begun_ms = now_ms();
                client.signal(&id, "go").await?;
                client.ended(&id, LOOK).await?;
                host.check(std::slice::from_ref(&id)).await?;
                let ended_ms = client.ended_ms(&id).await?;
                anyhow::Ok(ended_ms.saturating_sub(begun_ms))
            })?;
            times.push(time as f64);
        }
    }
    let [none, all] = times.map(middle);
    let (steps, net) = (lengths[1] as f64, (all - none).max(1.0));
    println!(
        "after a kill, {steps} recorded values: {:.1} ms from the signal to the end, {:.1} ms with none: {:.0} steps/s, reading the journal included (target 100000/s)",
        all,
        none,
        steps * 1e3 / net
    );
    Ok(())
}
