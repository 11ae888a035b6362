//! The `airlock` binary.

use std::process::ExitCode;

use airlock::cli::Cli;
use airlock::commands;
use airlock::exit::{Failure, code_of};
use airlock::output::{print, print_error};
use airlock_sandbox::inspect::text::escape;
use clap::Parser;

/// A call is many small allocations on three runtimes: the C library's allocator
/// spent a fifth of a busy server's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            report(&error, json);
            ExitCode::from(code_of(&error))
        }
    }
}

/// Errors go to standard error, without what a terminal acts on: a plugin may have
/// chosen the words; with `--json`, a problem the API described goes
/// to standard output as it came.
fn report(error: &anyhow::Error, json: bool) {
    match error.downcast_ref::<Failure>() {
        Some(failure) if json => drop(print(&failure.problem.to_string())),
        _ => print_error(&format!("airlock: {}", escape(&format!("{error:#}")))),
    }
}
