//! The `airlock` binary.

use std::process::ExitCode;

use airlock::cli::{Cli, Command};
use airlock::commands;
use airlock::exit::{code_of, problem, problem_of};
use airlock::output::{json_text, print, print_error};
use airlock_sandbox::inspect::text::escape;
use clap::Parser;

/// A call is many small allocations on three runtimes: the C library's allocator
/// spent a fifth of a busy server's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The argument by which the server starts this program to compile one component,
/// under limits. Not for people, so that it is no command.
const COMPILE: &str = "__compile";

/// The argument by which `memory import` starts this program to read one PDF file,
/// under limits.
const READ_PDF: &str = airlock::commands::READ_PDF;

/// The argument by which the server starts this program to become that of an MCP
/// server, confined.
const LAUNCH: &str = "__launch";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == COMPILE) {
        return airlock_sandbox::compile::child_main();
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == READ_PDF)
    {
        return airlock_memory::import::pdf_child_main();
    }
    if std::env::args_os().nth(1).is_some_and(|arg| arg == LAUNCH) {
        return airlock_runtime::launch_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            let detail = error.render().to_string();
            drop(show(&problem("usage", detail.trim_end())));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    // What speaks a protocol on standard output says nothing else there.
    let json = cli.global.json && !matches!(cli.command, Command::Mcp);
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            report(&error, json);
            ExitCode::from(code_of(&error))
        }
    }
}

/// Errors go to standard error, without what a terminal acts on: a plugin may have
/// chosen the words; with `--json`, they go to standard output as a problem.
fn report(error: &anyhow::Error, json: bool) {
    if !json || show(&problem_of(error)).is_err() {
        print_error(&format!("airlock: {}", escape(&format!("{error:#}"))));
    }
}

fn show(problem: &serde_json::Value) -> anyhow::Result<()> {
    print(&json_text(problem)?)
}
