//! Steps per second at 1, 20 and 200 runs, and how long a run of one step takes:
//! recorded values and calls of a sandboxed tool, beside Restate's `ctx.run`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::floor::{Figures, Floor};
use super::host::Host;
use super::restate::Restate;
use super::{client, middle, spread};
use crate::Bench;
use crate::http::cpu_s;
use crate::load::quantile;
use crate::round::{median, ratio, us};

/// Runs at once, and steps of each.
const SHAPES: [(usize, usize); 3] = [(1, 1_000), (20, 300), (200, 100)];

/// Who does the steps.
#[derive(Clone, Copy)]
enum Kind<'a> {
    /// Recorded values: no sandbox but the agent's own.
    Recorded(&'a Host),
    /// Calls of a tool that does nothing, each in a fresh sandbox.
    Called(&'a Host),
    Restate(&'a Restate),
}

/// One of the compared.
struct Contender<'a> {
    kind: Kind<'a>,
    rates: Vec<f64>,
    /// CPU seconds and steps, over all rounds.
    spent: (f64, f64),
    one_step: Vec<Duration>,
}

impl<'a> Contender<'a> {
    fn new(kind: Kind<'a>) -> Self {
        Self {
            kind,
            rates: Vec::new(),
            spent: (0.0, 0.0),
            one_step: Vec::new(),
        }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Recorded(_) => "recorded values",
            Kind::Called(_) => "sandboxed no-op tool",
            Kind::Restate(_) => "restate, ctx.run",
        }
    }

    fn cpu_s(&self) -> Result<f64> {
        match self.kind {
            Kind::Recorded(host) | Kind::Called(host) => cpu_s(host.pid()),
            Kind::Restate(peer) => peer.pids().into_iter().map(cpu_s).sum(),
        }
    }

    async fn round(&mut self, runs: usize, steps: usize) -> Result<()> {
        let before = self.cpu_s()?;
        let (time, ids) = match self.kind {
            Kind::Recorded(host) => host.batch(runs, &json!({ "records": steps })).await?,
            Kind::Called(host) => host.batch(runs, &json!({ "calls": steps })).await?,
            Kind::Restate(peer) => (peer.batch(runs, steps).await?, Vec::new()),
        };
        let done = (runs * steps) as f64;
        self.spent.0 += self.cpu_s()? - before;
        self.spent.1 += done;
        self.rates.push(done / time.as_secs_f64());
        match self.kind {
            Kind::Recorded(host) | Kind::Called(host) => host.check(&ids).await,
            // Its replies were looked at.
            Kind::Restate(_) => Ok(()),
        }
    }

    async fn one_step(&mut self, times: usize) -> Result<()> {
        let input = match self.kind {
            Kind::Recorded(_) => json!({ "records": 1 }),
            _ => json!({ "calls": 1 }),
        };
        match self.kind {
            Kind::Recorded(host) | Kind::Called(host) => {
                let mut client = host.connect().await?;
                for _ in 0..times {
                    self.one_step.push(client.once(&input).await?);
                }
            }
            Kind::Restate(peer) => self.one_step.extend(peer.one_by_one(times).await?),
        }
        Ok(())
    }

    /// Steps per second in the middle round, and CPU for each, µs.
    fn take(&mut self) -> (f64, f64) {
        let (cpu_s, steps) = std::mem::take(&mut self.spent);
        let rate = middle(std::mem::take(&mut self.rates));
        (rate, cpu_s * 1e6 / steps)
    }
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let data = tempfile::tempdir()?;
    let host = Host::new(bench, &data.path().join("data"))?;
    let peer = Restate::start(bench)?;
    let mut floor = Floor::new(bench, data.path())?;
    let mut contenders: Vec<Contender<'_>> = [Kind::Recorded(&host), Kind::Called(&host)]
        .into_iter()
        .chain(peer.as_ref().map(Kind::Restate))
        .map(Contender::new)
        .collect();
    let client = client()?;
    for (runs, steps) in SHAPES {
        let steps = if bench.quick { 3 } else { steps };
        // The first is not counted: caches and compilers are cold.
        for contender in &mut contenders {
            client.block_on(contender.round(runs, steps))?;
            contender.take();
        }
        let mut floors = Vec::new();
        for _ in 0..bench.times(100).min(5) {
            floors.push(floor.round()?);
            for contender in &mut contenders {
                client.block_on(contender.round(runs, steps))?;
            }
        }
        println!("{runs} at once, {steps} steps each");
        let rates = report(&mut contenders);
        if runs == 1 {
            alone(&floors, &rates);
        }
    }
    for _ in 0..bench.times(100).min(5) {
        for contender in &mut contenders {
            client.block_on(contender.one_step(bench.times(100)))?;
        }
    }
    latency(&mut contenders);
    println!(
        "quoted, not measured here: obelisk 0.38, 2 cores: 4 ms a sequential sandboxed step, 400/s concurrent"
    );
    Ok(())
}

/// Prints the rates and returns them.
fn report(contenders: &mut [Contender<'_>]) -> Vec<f64> {
    let figures: Vec<(f64, f64)> = contenders.iter_mut().map(Contender::take).collect();
    for (contender, (rate, cpu_us)) in contenders.iter().zip(&figures) {
        let name = contender.name();
        println!("  {name:<22}{rate:>8.0} steps/s, {cpu_us:>6.1} µs CPU a step");
    }
    if let [recorded, called, peer] = &figures[..] {
        println!(
            "  recorded: {:.2}x restate (target 10x); sandboxed, which is more work: {:.2}x (target 3x)",
            recorded.0 / peer.0,
            called.0 / peer.0
        );
    }
    figures.into_iter().map(|(rate, _)| rate).collect()
}

/// One run alone, beside what the disk and bare wasmtime take.
fn alone(floors: &[Figures], rates: &[f64]) {
    let append = median(floors.iter().map(|figures| figures.append).collect());
    let call = median(floors.iter().map(|figures| figures.call).collect());
    let limit = append * 2 + call;
    let step = |rate: f64| Duration::from_secs_f64(1.0 / rate);
    if let [recorded, called, ..] = rates {
        println!(
            "  floor: a synced append {}, a bare call {}",
            us(append),
            us(call)
        );
        println!(
            "  a sandboxed step {}, two synced appends and a bare call {}: {:.2}x (target 3x)",
            us(step(*called)),
            us(limit),
            ratio(step(*called), limit)
        );
        println!(
            "  a recorded value {}: {:.2}x one synced append",
            us(step(*recorded)),
            ratio(step(*recorded), append)
        );
    }
}

fn latency(contenders: &mut [Contender<'_>]) {
    println!("a run of one step, start to end, one after the other");
    let mut medians = Vec::new();
    for contender in contenders {
        contender.one_step.sort_unstable();
        medians.push(quantile(&contender.one_step, 0.5));
        let times = std::mem::take(&mut contender.one_step);
        println!("  {:<22}{}", contender.name(), spread(times));
    }
    if let [recorded, called, peer] = &medians[..] {
        println!(
            "  recorded: {:.2} of restate's (target 0.20); sandboxed, which is more work: {:.2}",
            ratio(*recorded, *peer),
            ratio(*called, *peer)
        );
    }
}
