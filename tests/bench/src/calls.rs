//! One call through the whole sandbox and gate, against the floor.

use airlock_bench_baseline::Baseline;
use airlock_sandbox::limits::Rate;
use airlock_sandbox::{Limits, testing};
use anyhow::{Context, Result};

use crate::Bench;
use crate::round::{interleave, ratio, us};

const INPUT: &str = "{\"message\":\"hello\"}";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let component =
        std::fs::read(bench.component("airlock-plugin-echo")).context("reading the echo plugin")?;
    let baseline = Baseline::new(&component).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let test = testing::sandbox();
    let plugin = test.plugin("echo", component, "", limits(), &["echo"]);
    let mut floor = || {
        let output = baseline
            .call("echo", INPUT)
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        anyhow::ensure!(output == INPUT, "a wrong answer {output}");
        Ok(())
    };
    let mut whole = || {
        let report = runtime.block_on(test.sandbox.call(&plugin, testing::request("echo", INPUT)));
        anyhow::ensure!(
            report.result.as_deref() == Ok(INPUT),
            "a wrong answer {:?}",
            report.result
        );
        Ok(())
    };
    for _ in 0..bench.times(500) {
        floor()?;
        whole()?;
    }
    let medians = interleave(bench.times(101), 200, &mut [&mut floor, &mut whole])?;
    println!("floor, bare wasmtime, fresh instance: {}", us(medians[0]));
    println!("through sandbox and gate:             {}", us(medians[1]));
    println!(
        "ratio: {:.2}x (target 1.25x)",
        ratio(medians[1], medians[0])
    );
    drop(entered);
    Ok(())
}

/// The defaults without the rate, which the benchmark would run into.
pub(crate) fn limits() -> Limits {
    Limits {
        rate: Rate {
            count: u32::MAX,
            per: std::time::Duration::from_secs(1),
        },
        ..Limits::default()
    }
}
