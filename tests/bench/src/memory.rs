//! Searches of the memory beside tantivy alone: an example of its crate.

use std::process::Command;

use anyhow::{Context, Result};

use crate::Bench;

const DOCUMENTS: usize = 100_000;

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let own = std::env::current_exe().context("finding this program")?;
    let folder = own.parent().context("its folder")?;
    let documents = if bench.quick { 200 } else { DOCUMENTS };
    let status = Command::new(folder.join("examples/search_bench"))
        .arg(documents.to_string())
        .status()
        .context("starting search_bench, which `cargo xtask bench` builds")?;
    anyhow::ensure!(status.success(), "search_bench failed ({status})");
    Ok(())
}
