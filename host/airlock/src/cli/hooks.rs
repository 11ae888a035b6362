//! Webhooks: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::runs::Budget;

#[derive(Debug, Subcommand)]
pub enum Hooks {
    /// List webhooks, never their secrets.
    #[command(after_help = "Example:\n  airlock hooks list")]
    List,
    /// Make a webhook: deliveries to /v1/hooks/NAME act in your name.
    ///
    /// Its secret is made and shown once, unless it is given.
    #[command(after_help = "Examples:\n  \
        airlock hooks add paid --agent reconcile\n  \
        airlock hooks add push --scheme github --agent review --secret-file secret.txt\n  \
        airlock hooks add answered --signal-at /data/run --signal-of review --signal-name answer")]
    Add(Box<HookAdd>),
    /// Remove a webhook. Runs that it started go on.
    #[command(after_help = "Example:\n  airlock hooks remove paid")]
    Remove {
        /// The webhook.
        name: String,
    },
    /// Give a webhook another secret.
    #[command(after_help = "Example:\n  airlock hooks rotate paid --keep 1h")]
    Rotate {
        /// The webhook.
        name: String,
        /// File with the new one; without it one is made and shown.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// For how long the one before holds too, at most a week.
        #[arg(long, default_value = "0s", value_name = "TIME")]
        keep: String,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["agent", "signal", "signal_at"])))]
pub struct HookAdd {
    /// Its name: 1 to 64 of `a-z 0-9 - _`, starting with a letter.
    pub name: String,
    /// How deliveries are signed: as Standard Webhooks, or as GitHub does.
    #[arg(long, default_value = "standard", value_parser = ["standard", "github"])]
    pub scheme: String,
    /// File with what they are signed with; without it one is made and shown.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Deliveries a minute at most.
    #[arg(long, default_value_t = 60, value_name = "NUMBER")]
    pub rate: u32,
    /// Start a run of this agent; its input gets the delivery as `payload`.
    #[arg(long)]
    pub agent: Option<String>,
    /// What the run is to reach.
    #[arg(long, default_value = "", requires = "agent")]
    pub goal: String,
    /// More of the run's input, a JSON object.
    #[arg(long, default_value = "{}", value_name = "JSON", requires = "agent")]
    pub input: String,
    /// What the run does without asking a person.
    #[arg(
        long,
        default_value = "supervised",
        requires = "agent",
        value_parser = ["observe", "ask", "supervised", "autonomous"]
    )]
    pub autonomy: String,
    #[command(flatten)]
    pub budget: Budget,
    /// Give this run a signal, or the run that goes on in its place.
    #[arg(long, value_name = "RUN", requires = "signal_name")]
    pub signal: Option<String>,
    /// Give a signal to the run that a delivery names here, a JSON pointer.
    #[arg(long, value_name = "POINTER", requires_all = ["signal_name", "signal_of"])]
    pub signal_at: Option<String>,
    /// The agent whose runs alone a delivery may name.
    #[arg(long, value_name = "AGENT", requires = "signal_at")]
    pub signal_of: Option<String>,
    /// The signal's name; its payload is the delivery.
    #[arg(long, value_name = "NAME")]
    pub signal_name: Option<String>,
}
