//! `cargo xtask bench`: what Airlock adds, as ratios against floors measured in
//! the same run. Medians of interleaved rounds, so that a busy moment of the
//! machine hits both sides.

mod calls;
mod growth;
mod http;
mod load;
mod neighbours;
mod process;
mod rooms;
mod round;

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
    /// Only this one: calls, rooms, http, spawn, neighbours, growth.
    #[arg(long)]
    only: Option<String>,
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
}

impl Bench {
    /// Rounds or repetitions: the full number, or a few when quick.
    pub(crate) fn times(&self, full: usize) -> usize {
        if self.quick { (full / 50).max(2) } else { full }
    }

    pub(crate) fn component(&self, package: &str) -> PathBuf {
        self.components
            .join(format!("{}.wasm", package.replace('-', "_")))
    }
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
    };
    if bench.quick {
        println!("quick form: shows that the benchmarks run; the figures mean nothing");
    }
    let parts: [(&str, Part); 6] = [
        ("calls", calls::run),
        ("rooms", rooms::run),
        ("http", http::run),
        ("spawn", process::run),
        ("neighbours", neighbours::run),
        ("growth", growth::run),
    ];
    for (name, part) in parts {
        if options.only.as_deref().is_none_or(|only| only == name) {
            println!("\n== {name}");
            part(&bench)?;
        }
    }
    Ok(())
}
