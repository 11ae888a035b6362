//! Schedules: what can be typed.

use clap::{Args, Subcommand};

use super::runs::Budget;

#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// List schedules with their next due time and what came of the latest.
    #[command(after_help = "Example:\n  airlock schedules list")]
    List,
    /// Show a schedule.
    #[command(after_help = "Example:\n  airlock schedules show nightly")]
    Show {
        /// The schedule.
        name: String,
    },
    /// Make a schedule. It acts in your name, while a server runs.
    #[command(after_help = "Examples:\n  \
        airlock schedules add nightly '0 3 * * *' --zone Europe/Berlin --agent reconcile\n  \
        airlock schedules add tick '*/15 * * * *' --signal run_01a1fd… --signal-name tick\n\n\
        The fields are minute, hour, day of month, month, day of week; `@daily` and the like are known.\n\
        A time that does not exist, since clocks go forward over it, comes due right after the gap; one\n\
        that exists twice comes due the first time. Where the hours begin with `*`, each hour that goes\n\
        by counts instead.")]
    Add(Box<ScheduleAdd>),
    /// Remove a schedule. Runs that it started go on.
    #[command(after_help = "Example:\n  airlock schedules remove nightly")]
    Remove {
        /// The schedule.
        name: String,
    },
    /// Make a schedule stand still. What comes due meanwhile is not made up for.
    #[command(after_help = "Example:\n  airlock schedules pause nightly")]
    Pause {
        /// The schedule.
        name: String,
    },
    /// Let a schedule go on.
    #[command(after_help = "Example:\n  airlock schedules resume nightly")]
    Resume {
        /// The schedule.
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["agent", "signal"])))]
pub struct ScheduleAdd {
    /// Its name: 1 to 64 of `a-z 0-9 - _`, starting with a letter.
    pub name: String,
    /// When it comes due.
    pub cron: String,
    /// The time zone, a name of the IANA database.
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// Start a run of this agent.
    #[arg(long)]
    pub agent: Option<String>,
    /// What the run is to reach.
    #[arg(long, default_value = "", requires = "agent")]
    pub goal: String,
    /// The run's input, a JSON object.
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
    /// The signal's name.
    #[arg(long, value_name = "NAME", requires = "signal")]
    pub signal_name: Option<String>,
    /// What the agent gets with the signal.
    #[arg(long, default_value = "null", value_name = "JSON", requires = "signal")]
    pub payload: String,
    /// What becomes of due times that were missed while no server ran: `skip` lets
    /// them go, `once` makes up for the newest, `all` for the newest
    /// `--catch-up-max`.
    #[arg(long, default_value = "once", value_parser = ["skip", "once", "all"])]
    pub catch_up: String,
    /// With `--catch-up all`: how many at most.
    #[arg(long, value_name = "NUMBER")]
    pub catch_up_max: Option<usize>,
    /// What becomes of a due time while the run before goes on.
    #[arg(
        long,
        default_value = "skip",
        value_parser = ["allow", "skip", "queue", "cancel-previous"]
    )]
    pub overlap: String,
    /// Put it in the place of one of this name.
    #[arg(long)]
    pub replace: bool,
}
