//! `cargo xtask bench`: what Airlock adds, as ratios against floors measured in
//! the same run. Medians of interleaved rounds, so that a busy moment of the
//! machine hits both sides.

mod calls;
mod growth;
mod http;
mod load;
mod mcp;
mod memory;
mod models;
mod neighbours;
mod plot;
mod process;
mod react;
mod rooms;
mod round;
mod runs;

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The allocator of the `airlock` binary, for both sides of each comparison.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Options {
    /// The `airlock` binary.
    #[arg(long)]
    airlock: Option<PathBuf>,
    /// Folder of the built components.
    #[arg(long)]
    components: Option<PathBuf>,
    /// Few and short rounds: shows that the benchmarks run; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Only this one: calls, rooms, http, spawn, neighbours, growth, mcp, models, react, memory, runs; or one of
    /// `runs`: runs-steps, runs-replay, runs-length, runs-stored, runs-parked.
    #[arg(long)]
    only: Option<String>,
    /// Runs in the store at most, in `runs-stored`.
    #[arg(long, default_value_t = 20_000)]
    stored: usize,
    /// Parked runs, in `runs-parked`.
    #[arg(long, default_value_t = 2_000)]
    parked: usize,
    /// A file to draw into, SVG: how figures grow, of the parts that measure it.
    #[arg(long)]
    plot: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Other processes of the benchmark.
#[derive(Debug, Subcommand)]
enum Role {
    /// The bare axum handler that does the bare wasmtime call.
    #[command(hide = true)]
    BareServer { component: PathBuf },
    /// A tool as a process: reads JSON, writes JSON, ends.
    #[command(hide = true)]
    EchoProcess,
}

/// One group of benchmarks.
type Part = fn(&Bench) -> Result<()>;

/// What the benchmarks run on.
pub(crate) struct Bench {
    pub(crate) airlock: PathBuf,
    pub(crate) components: PathBuf,
    pub(crate) quick: bool,
    /// Runs in the store at most.
    pub(crate) stored: usize,
    /// Parked runs.
    pub(crate) parked: usize,
    /// What is to be drawn.
    growth: RefCell<Vec<plot::Growth>>,
}

impl Bench {
    /// Keeps a table until all are drawn.
    pub(crate) fn keep(&self, growth: plot::Growth) {
        self.growth.borrow_mut().push(growth);
    }

    /// Rounds or repetitions: the full number, or a few when quick.
    pub(crate) fn times(&self, full: usize) -> usize {
        if self.quick { (full / 50).max(2) } else { full }
    }

    pub(crate) fn component(&self, package: &str) -> PathBuf {
        self.components
            .join(format!("{}.wasm", package.replace('-', "_")))
    }
}

/// Whether a part is the one named, or one of a group of that name.
fn is_of(part: &str, name: &str) -> bool {
    let rest = part.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn main() -> Result<()> {
    let options = Options::parse();
    match options.role {
        Some(Role::BareServer { component }) => return http::bare_server(&component),
        Some(Role::EchoProcess) => return process::echo(),
        None => {}
    }
    let bench = Bench {
        airlock: options
            .airlock
            .ok_or_else(|| anyhow::anyhow!("--airlock is missing"))?,
        components: options
            .components
            .ok_or_else(|| anyhow::anyhow!("--components is missing"))?,
        quick: options.quick,
        stored: options.stored,
        parked: options.parked,
        growth: RefCell::default(),
    };
    if bench.quick {
        println!("quick form: shows that the benchmarks run; the figures mean nothing");
    }
    let parts: [(&str, Part); 15] = [
        ("calls", calls::run),
        ("rooms", rooms::run),
        ("http", http::run),
        ("spawn", process::run),
        ("neighbours", neighbours::run),
        ("growth", growth::run),
        ("mcp", mcp::run),
        ("models", models::run),
        ("react", react::run),
        ("memory", memory::run),
        ("runs-steps", runs::steps::run),
        ("runs-replay", runs::replay::run),
        ("runs-length", runs::length::run),
        ("runs-stored", runs::stored::run),
        ("runs-parked", runs::parked::run),
    ];
    for (name, part) in parts {
        if options.only.as_deref().is_none_or(|only| is_of(name, only)) {
            println!("\n== {name}");
            part(&bench)?;
        }
    }
    match options.plot {
        Some(file) => plot::draw(&bench.growth.take(), &file),
        None => Ok(()),
    }
}
