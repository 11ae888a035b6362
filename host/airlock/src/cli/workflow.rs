//! Workflows: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Workflow {
    /// Say everything that is wrong with workflow files, before anything runs.
    ///
    /// Each problem is a line, `file:line:column: message`. Nothing is asked of a
    /// server. Exits with 9 when there are problems.
    #[command(after_help = "Examples:\n  airlock workflow check invoices.yaml\n  \
        airlock workflow check - < invoices.yaml")]
    Check {
        /// The files, YAML or JSON; `-` reads standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of workflow files, for editors.
    #[command(after_help = "Example:\n  airlock workflow schema > workflow.schema.json")]
    Schema,
    /// Start one run for each interval of a time that has gone by.
    ///
    /// The workflow sees its interval as `run.interval`. As many runs as `--at-once`
    /// says are at work; the next one starts when one has ended, also where that one
    /// waits for a person, which is told. Started again with the same file, inputs and
    /// agent, however much later, it starts only what was not started yet. An interval
    /// that is not over is refused.
    #[command(after_help = "Example:\n  \
        airlock workflow backfill daily.yaml --from 2026-05-01 --to 2026-06-01 --every 1d")]
    Backfill(Backfill),
}

#[derive(Debug, Args)]
pub struct Backfill {
    /// The workflow, YAML or JSON.
    pub file: PathBuf,
    /// The agent that runs it.
    #[arg(long, default_value = "workflow")]
    pub agent: String,
    /// The first moment, RFC 3339, or a date.
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// The moment after the last one.
    #[arg(long, value_name = "TIME")]
    pub to: String,
    /// How long an interval is, e.g. `1d`, `6h`.
    #[arg(long, value_name = "DURATION")]
    pub every: String,
    /// The workflow's inputs, a JSON object; `-` reads it from standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    pub inputs: String,
    /// What the runs do without asking a person.
    #[arg(
        long,
        default_value = "supervised",
        value_parser = ["observe", "ask", "supervised", "autonomous"]
    )]
    pub autonomy: String,
    /// Runs that are at work at once.
    #[arg(long, default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub at_once: u16,
    /// Print the intervals, and start nothing.
    #[arg(long)]
    pub dry_run: bool,
}
