//! One call through the whole sandbox and gate, against the floor.

use airlock_bench_baseline::Baseline;
use airlock_sandbox::limits::Rate;
use airlock_sandbox::{CallReport, Limits, testing};
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
    // From a task that is already on the guests' threads, and from another
    // runtime, which is how the HTTP API calls: two hops more.
    let sandbox = &test.sandbox;
    let guests = sandbox
        .guest_runtime()
        .context("the guests' threads")?
        .clone();
    let mut here =
        || check(guests.block_on(sandbox.call_here(&plugin, testing::request("echo", INPUT))));
    let mut across =
        || check(runtime.block_on(sandbox.call(&plugin, testing::request("echo", INPUT))));
    for _ in 0..bench.times(500) {
        floor()?;
        here()?;
        across()?;
    }
    let contenders: &mut [&mut dyn FnMut() -> Result<()>] =
        &mut [&mut floor, &mut here, &mut across];
    let medians = interleave(bench.times(101), 200, contenders)?;
    println!("floor, bare wasmtime, fresh instance: {}", us(medians[0]));
    println!("through sandbox and gate:             {}", us(medians[1]));
    println!("the same from another runtime:        {}", us(medians[2]));
    println!(
        "ratio: {:.2}x, from another runtime {:.2}x (target 1.25x)",
        ratio(medians[1], medians[0]),
        ratio(medians[2], medians[0])
    );
    drop(entered);
    Ok(())
}

fn check(report: CallReport) -> Result<()> {
    anyhow::ensure!(
        report.result.as_deref() == Ok(INPUT),
        "a wrong answer {:?}",
        report.result
    );
    Ok(())
}

/// The defaults without the rate, which the benchmark would run into.
pub(crate) fn limits() -> Limits {
    Limits {
        rate: Rate {
            count: 1_000_000,
            per: std::time::Duration::from_secs(1),
        },
        ..Limits::default()
    }
}
