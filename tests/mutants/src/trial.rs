//! Runs one test in a process of its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::build::Program;

/// What a test may hold; a mutant that loops and collects would take all there is.
const RESIDENT_PAGES_MAX: u64 = (3 << 30) / 4096;

/// A test and where it is.
#[derive(Debug, Clone)]
pub struct Test {
    pub program: Program,
    pub name: String,
}

impl Test {
    /// What it goes by in results.
    pub fn full_name(&self) -> String {
        format!(
            "{} {} {}",
            self.program.package, self.program.target, self.name
        )
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed,
    /// It took too long or too much memory.
    Stopped,
}

/// The tests of a program.
pub fn tests(program: &Program) -> Result<Vec<Test>> {
    let output = Command::new(&program.executable)
        .current_dir(&program.directory)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("starting {}", program.executable.display()))?;
    ensure!(
        output.status.success(),
        "{} lists nothing",
        program.executable.display()
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let tests = names.map(|name| Test {
        program: program.clone(),
        name: name.to_owned(),
    });
    Ok(tests.collect())
}

/// Runs it with this in its environment, in a folder of its own for what is
/// temporary.
pub fn run(test: &Test, told: (&str, OsString), limit: Duration, scratch: &Path) -> Result<Ended> {
    std::fs::create_dir_all(scratch)?;
    let start = Instant::now();
    let mut child = Command::new(&test.program.executable)
        .current_dir(&test.program.directory)
        .args([&test.name, "--exact", "--test-threads=1"])
        .env("CARGO_MANIFEST_DIR", &test.program.directory)
        .env("TMPDIR", scratch)
        .env(told.0, told.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting a test")?;
    let status = wait(&mut child, start + limit)?;
    // Whatever it left running ends with it.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    let _ = std::fs::remove_dir_all(scratch);
    Ok(match status {
        Some(status) if status.success() => Ended::Passed,
        Some(_) => Ended::Failed,
        None => Ended::Stopped,
    })
}

/// Waits until it ends; nothing when it takes too much.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline || resident_pages(child.id()) > RESIDENT_PAGES_MAX {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn resident_pages(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    pages.unwrap_or(0)
}
