//! PDF: the text of each page, read by a child process.
//!
//! The file says how its streams are to be unpacked, and a small one can ask for more
//! memory and time than there is. No parser in this process can be stopped once it
//! runs, so it runs in another one, with limits that the kernel keeps.
//!
//! What must stay true: this process never looks into a PDF file; the child ends
//! within its limits or is killed.

mod child;
mod extract;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::chunk::{Chunk, Chunks, cut};
use crate::model::Source;

pub use child::child_main;

/// CPU time of the child, seconds.
pub const CPU_SECONDS: u64 = 20;
/// Address space of the child, bytes.
pub const MEMORY_BYTES: u64 = 1 << 30;
/// Wall time of the child.
pub const WALL: Duration = Duration::from_secs(40);
/// Text of a file, bytes.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// What the child may say of them, bytes: six for each of some characters.
const ANSWER_BYTES_MAX: u64 = 8 * TEXT_BYTES_MAX as u64;
/// What the child may say about a failure, bytes.
const REASON_BYTES_MAX: u64 = 4 << 10;
/// The file is at fault.
const EXIT_REFUSED: i32 = 3;

/// The program that reads one file: usually this binary with a hidden subcommand
/// that calls [`child_main`].
#[derive(Debug, Clone)]
pub struct PdfReader {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Cuts the pages, each by itself.
pub(super) fn chunks(pages: &[String]) -> Result<Vec<Chunk>, String> {
    let mut chunks = Chunks::default();
    for (page, text) in (1..).zip(pages) {
        for (start, end) in cut(text) {
            let source = Source {
                page: Some(page),
                ..Source::default()
            };
            chunks.push(&text[start..end], source)?;
        }
    }
    let chunks = chunks.done();
    if chunks.is_empty() {
        return Err("it has no text that can be read; scanned pages are pictures".to_owned());
    }
    Ok(chunks)
}

impl PdfReader {
    /// The text of each page.
    pub(super) fn pages(&self, file: &[u8]) -> Result<Vec<String>, String> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the reader of PDF files can't be started: {error}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let errors = child.stderr.take();
        let (status, answer, reason) = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A child that ended early has said why.
                input.map(|mut input| input.write_all(file))
            });
            let answer = scope.spawn(move || read(output, ANSWER_BYTES_MAX));
            let reason = scope.spawn(move || read(errors, REASON_BYTES_MAX));
            let status = wait(&mut child);
            (
                status,
                answer.join().unwrap_or_default(),
                reason.join().unwrap_or_default(),
            )
        });
        judge(status?, &answer, &reason)
    }
}

fn read(from: Option<impl Read>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What could not be read is not understood, and told then.
        let _ = from.take(bytes_max).read_to_end(&mut bytes);
    }
    bytes
}

/// Waits for the child, which is killed when its time is over.
fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let begun = Instant::now();
    let failed = |error: std::io::Error| format!("waiting for the reader of PDF files: {error}");
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if begun.elapsed() > WALL {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(format!("reading it took more than {} s", WALL.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn judge(status: ExitStatus, answer: &[u8], reason: &[u8]) -> Result<Vec<String>, String> {
    use std::os::unix::process::ExitStatusExt;
    if status.success() {
        return serde_json::from_slice(answer)
            .map_err(|error| format!("its text could not be taken over: {error}"));
    }
    let said = String::from_utf8_lossy(reason);
    if status.code() == Some(EXIT_REFUSED) {
        return Err(said.trim().to_owned());
    }
    if said.contains("memory allocation of") {
        return Err(format!(
            "reading it needs more than {MEMORY_BYTES} bytes of memory"
        ));
    }
    match status.signal() {
        // XCPU, KILL: the limit on time.
        Some(24 | 9) => Err(format!("reading it takes more than {CPU_SECONDS} s")),
        _ => Err(format!("it could not be read ({status})")),
    }
}
