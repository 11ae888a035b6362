//! `airlock-fake-models --script FILE`: serves until it is stopped, and prints its
//! base URL on the first line.

use std::path::PathBuf;

use airlock_fake_models::{FakeModels, Script};
use anyhow::{Context, Result};
use clap::Parser;

/// A model server that answers as a script says.
#[derive(Parser)]
struct Args {
    /// The script, a JSON file: {"steps": [{"for": "small", "answer": {"text": "Hello."}}]}.
    /// Each request takes the first step that is for it. docs/models.md has what else a
    /// step may say, tests/models/script.example.json one of each kind.
    #[arg(long)]
    script: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = Args::parse().script;
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let script: Script =
        serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let server = FakeModels::start(script).await.context("listening")?;
    println!("{}", server.base_url());
    server.run().await;
    Ok(())
}
