//! An ordinary program that knows nothing of where it runs.

use std::io::{Read, stdin};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut input = String::new();
    let read = stdin().read_to_string(&mut input);
    println!(
        "arguments {}, variables {}, stdin {read:?}",
        std::env::args().count(),
        std::env::vars().count(),
    );
    eprintln!("no such file: {}", std::fs::read("/etc/passwd").is_err());
    ExitCode::SUCCESS
}
