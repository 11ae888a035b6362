//! `airlock-example FOLDER`: the model server and the services of one example, on
//! loopback, until it is stopped.

use std::path::PathBuf;

use airlock_examples::services::Services;
use airlock_examples::{MODELS, SERVICES, models};
use airlock_fake_models::FakeModels;
use anyhow::{Context, Result};
use clap::Parser;

/// The model server and the services that an example works with.
#[derive(Parser)]
struct Args {
    /// The example's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The file with what the model says; `script.json` of the folder unless given.
    #[arg(long)]
    script: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let file = args.script.unwrap_or(args.folder.join("script.json"));
    let script = models::read(&file)?;
    let model = FakeModels::start_at(MODELS.parse()?, script)
        .await
        .with_context(|| format!("listening on {MODELS}"))?;
    let services = Services::read(&args.folder)?;
    println!("models: http://{MODELS}/v1, services: http://{SERVICES}");
    let serving = services.serve(SERVICES).await?;
    tokio::select! {
        () = model.run() => Ok(()),
        ended = serving => ended.context("serving"),
    }
}
