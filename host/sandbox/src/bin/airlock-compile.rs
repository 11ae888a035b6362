//! The compiler as a program of its own, for tests of the sandbox. The shipped
//! binary does the same in a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    airlock_sandbox::compile::child_main()
}
