//! MCP servers for tests:
//!
//! - `good`: a real one, by `rmcp`, over standard input and output;
//! - `good-http`: the same over HTTP on loopback; its URL is the first line it
//!   writes;
//! - `modern`, `modern-http`: the same, of the version 2026-07-28 alone;
//! - `hostile CASE`: answers as no server should;
//! - `launch ORDER`: the launcher of the host.

mod good;
mod hostile;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match args.as_slice() {
        ["launch", _] => return airlock_mcp_client::child_main(),
        ["good"] => good::serve(false, false),
        ["good-http"] => good::serve(true, false),
        ["modern"] => good::serve(false, true),
        ["modern-http"] => good::serve(true, true),
        ["hostile", case] => hostile::serve(case),
        other => {
            eprintln!("what is {other:?}?");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
