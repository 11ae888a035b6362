//! For comparison: a process for each call, as most tool servers do it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::Bench;
use crate::round::{each, interleave, us};

/// The process's side.
pub(crate) fn echo() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    std::io::stdout().write_all(value.to_string().as_bytes())?;
    Ok(())
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut spawn = each(|| {
        let mut child = Command::new(&own)
            .arg("echo-process")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process")?;
        child
            .stdin
            .take()
            .context("its standard input")?
            .write_all(b"{\"message\":\"hello\"}")?;
        let output = child.wait_with_output()?;
        anyhow::ensure!(
            output.stdout == b"{\"message\":\"hello\"}",
            "a wrong answer"
        );
        Ok(())
    });
    let medians = interleave(bench.times(50), 20, &mut [&mut spawn])?;
    println!(
        "a process per call, echo in native code: {}",
        us(medians[0])
    );
    Ok(())
}
