//! MCP servers for tests, each of which [`USAGE`] describes.

mod good;
mod hostile;

use std::process::ExitCode;

/// What `--help` says.
const USAGE: &str = "\
MCP servers for tests.

Usage: airlock-mcp-servers SERVER

Servers:
  good          a real one, over standard input and output
  good-http     the same over HTTP on loopback; the first line it writes is its URL
  modern        as good, of the version 2026-07-28 alone
  modern-http   as good-http, of that version alone
  hostile CASE  answers as no server should, e.g. hostile 'answers twice'; the cases
                stand in tests/mcp-servers/src/hostile.rs, and any other is good
  launch ORDER  the launcher of the host, which starts a server's program confined";

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
        ["--help" | "-h" | "help"] => println!("{USAGE}"),
        other => {
            let typed = other.join(" ");
            eprintln!("airlock-mcp-servers: there is no server `{typed}`\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
