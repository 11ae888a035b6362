//! The child process that reads a PDF file, as the binary has it in a hidden
//! subcommand; the tests start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    airlock_memory::import::pdf_child_main()
}
