//! One call through the whole sandbox and gate, against the floor.

use std::time::Duration;

use airlock_bench_baseline::{Baseline, Interruptible};
use airlock_sandbox::limits::Rate;
use airlock_sandbox::{CallReport, Limits, testing};
use anyhow::{Context, Result};

use crate::Bench;
use crate::round::{Contender, each, interleave, ratio, us};

const INPUT: &str = "{\"message\":\"hello\"}";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let component =
        std::fs::read(bench.component("airlock-plugin-echo")).context("reading the echo plugin")?;
    let baseline = Baseline::new(&component).map_err(plain)?;
    let interruptible = Interruptible::new(&component).map_err(plain)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let test = testing::sandbox();
    let plugin = test.plugin("echo", component, "", limits(), &["echo"]);
    let (sandbox, plugin) = (&test.sandbox, &plugin);
    let guests = sandbox.guest_runtime().context("the guests' threads")?;
    // From a task that is already on the guests' threads and makes many calls, and
    // from another runtime, which is how the HTTP API calls: two hops more.
    let mut floor = each(|| same(&baseline.call("echo", INPUT).map_err(plain)?));
    let mut async_floor = |times| {
        guests.block_on(async {
            for _ in 0..times {
                same(&interruptible.call("echo", INPUT).await.map_err(plain)?)?;
            }
            Ok(())
        })
    };
    let mut here = |times| {
        guests.block_on(async {
            for _ in 0..times {
                check(
                    sandbox
                        .call_here(plugin, testing::request("echo", INPUT))
                        .await,
                )?;
            }
            Ok(())
        })
    };
    let mut across =
        each(|| check(runtime.block_on(sandbox.call(plugin, testing::request("echo", INPUT)))));
    let contenders: &mut [Contender<'_>] =
        &mut [&mut floor, &mut async_floor, &mut here, &mut across];
    interleave(bench.times(50), 10, contenders)?;
    report(&interleave(bench.times(301), 100, contenders)?);
    Ok(())
}

fn report(medians: &[Duration]) {
    let [floor, async_floor, here, across] = medians else {
        return;
    };
    println!("floor, bare wasmtime, fresh instance:  {}", us(*floor));
    println!(
        "the same, interruptible and on a fiber: {}, {:.2}x",
        us(*async_floor),
        ratio(*async_floor, *floor)
    );
    println!("through sandbox and gate:              {}", us(*here));
    println!("the same from another runtime:         {}", us(*across));
    println!(
        "ratio: {:.2}x, from another runtime {:.2}x (target 1.25x)",
        ratio(*here, *floor),
        ratio(*across, *floor)
    );
}

/// wasmtime's error is none of the standard library's.
fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

fn check(report: CallReport) -> Result<()> {
    same(&report.result?)
}

fn same(output: &str) -> Result<()> {
    anyhow::ensure!(output == INPUT, "a wrong answer {output}");
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
