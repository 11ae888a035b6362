//! The child process that reads a PDF file from its standard input and writes the
//! text of the pages to its standard output.
//!
//! What must stay true: it limits itself before it looks at the file.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::super::FILE_BYTES_MAX;
use super::{CPU_SECONDS, EXIT_REFUSED, MEMORY_BYTES, extract};

/// Reads what standard input holds, for [`super::PdfReader`]; the whole of the
/// child's `main`.
#[must_use]
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            // Nobody is left to tell when stderr is gone too.
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::from(code)
        }
    }
}

fn serve() -> Result<(), (u8, String)> {
    let failed = |step: &str, error: &dyn std::fmt::Display| (4, format!("{step}: {error}"));
    limit().map_err(|error| failed("limiting the reader", &error))?;
    let mut file = Vec::new();
    let mut input = std::io::stdin().lock().take(FILE_BYTES_MAX + 1);
    input
        .read_to_end(&mut file)
        .map_err(|error| failed("reading the file", &error))?;
    let pages = extract::pages(file).map_err(|reason| (EXIT_REFUSED as u8, reason))?;
    let answer = serde_json::to_vec(&pages).map_err(|error| failed("writing", &error))?;
    let mut output = std::io::stdout().lock();
    let written = output.write_all(&answer).and_then(|()| output.flush());
    written.map_err(|error| failed("writing", &error))
}

fn limit() -> std::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        let (current, maximum) = (Some(soft), Some(hard));
        setrlimit(resource, Rlimit { current, maximum })
    };
    set(Resource::Core, 0, 0)?;
    set(Resource::Fsize, 0, 0)?;
    set(Resource::Cpu, CPU_SECONDS, CPU_SECONDS + 1)?;
    set(Resource::As, MEMORY_BYTES, MEMORY_BYTES)?;
    Ok(())
}
