//! Runs of agents: what can be typed.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct Run {
    /// The agent: a plugin.
    pub agent: String,
    /// What is to be reached, in words.
    #[arg(long, default_value = "")]
    pub goal: String,
    /// Its input, a JSON object; `-` reads it from standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    pub input: String,
    /// What it does without asking a person.
    #[arg(
        long,
        default_value = "supervised",
        value_parser = ["observe", "ask", "supervised", "autonomous"]
    )]
    pub autonomy: String,
    #[command(flatten)]
    pub budget: Budget,
    /// Show what happens until the run has ended or waits for a person: its plan,
    /// each step, and what it used of its budget. Ends as the run does: 1 when it
    /// failed (or as its code says, e.g. 6 for `limit`) or was cancelled, 10 when a
    /// person must look, answer or let it go on.
    #[arg(long)]
    pub follow: bool,
}

/// What a run may use.
#[derive(Debug, Args)]
pub struct Budget {
    /// Calls of tools it may make at most.
    #[arg(
        long = "budget-calls",
        visible_alias = "calls",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub calls: Option<u64>,
    /// Requests of any kind it may make at most.
    #[arg(
        long = "budget-steps",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub steps: Option<u64>,
    /// Records that its journal may have at most.
    #[arg(
        long = "budget-events",
        visible_alias = "events",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub events: Option<u64>,
    /// Bytes that its journal may have at most.
    #[arg(
        long = "budget-journal-bytes",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub journal_bytes: Option<u64>,
    /// How long it may take, waiting too, milliseconds.
    #[arg(
        long = "budget-wall-ms",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub wall_ms: Option<u64>,
    /// CPU time that it and the tools it calls may take, microseconds.
    #[arg(
        long = "budget-cpu-us",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub cpu_us: Option<u64>,
    /// Bytes that its tools may send and write.
    #[arg(
        long = "budget-bytes-out",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub bytes_out: Option<u64>,
    /// Tokens of language models it may use, in and out.
    #[arg(
        long = "budget-model-tokens",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub model_tokens: Option<u64>,
    /// What language models may cost it, millionths of the currency.
    #[arg(
        long = "budget-model-micros",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub model_micros: Option<u64>,
    /// How often the same call may give the same answer.
    #[arg(
        long = "budget-repeats",
        value_name = "NUMBER",
        allow_negative_numbers = true
    )]
    pub repeats: Option<u64>,
}

impl Budget {
    /// As the API takes it: what is given.
    pub fn json(&self) -> Option<serde_json::Value> {
        let members = [
            ("calls", self.calls),
            ("steps", self.steps),
            ("events", self.events),
            ("journal_bytes", self.journal_bytes),
            ("wall_ms", self.wall_ms),
            ("cpu_us", self.cpu_us),
            ("bytes_out", self.bytes_out),
            ("model_tokens", self.model_tokens),
            ("model_micros", self.model_micros),
            ("repeats", self.repeats),
        ];
        let given = members.into_iter();
        let given: serde_json::Map<_, _> = given
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect();
        (!given.is_empty()).then(|| given.into())
    }
}

#[derive(Debug, Subcommand)]
pub enum Runs {
    /// List runs, newest first.
    #[command(
        after_help = "Examples:\n  airlock runs list --agent reconcile --status failed\n  \
        airlock runs list --limit 1000 --before run_01a1fd…   those before this one"
    )]
    List(RunsList),
    /// How the runs of each agent went.
    #[command(after_help = "Example:\n  airlock runs stats")]
    Stats,
    /// Remove ended runs for good, with their journals.
    #[command(
        after_help = "Examples:\n  airlock runs prune --older-than 90d --dry-run\n  \
        airlock runs prune --older-than 7d --agent watch"
    )]
    Prune {
        /// Those that ended so long ago, e.g. `30d`; at least a minute.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        older_than: String,
        /// Only this agent's.
        #[arg(long)]
        agent: Option<String>,
        /// Only say how many there are.
        #[arg(long)]
        dry_run: bool,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Write a whole run as one JSON document to standard output.
    #[command(after_help = "Example:\n  airlock runs export run_01a1fd… > run.json")]
    Export {
        /// The run.
        id: String,
    },
    /// Show a run: its plan and budget, each step with what became of it, its end.
    #[command(after_help = "Example:\n  airlock runs show run_01a1fd…")]
    Show {
        /// The run.
        id: String,
    },
    /// Print a run's journal, a line for each record.
    #[command(after_help = "Examples:\n  airlock runs events run_01a1fd… --json\n  \
        airlock runs events run_01a1fd… --follow")]
    Events {
        /// The run.
        id: String,
        /// Show what happens, and what happened so far, until the run has ended.
        /// Ends as the run does, as `airlock run --follow`; with 7 where no server
        /// looks after it.
        #[arg(long)]
        follow: bool,
    },
    /// End a run: what is under way first.
    #[command(after_help = "Example:\n  airlock runs cancel run_01a1fd… --why 'wrong month'")]
    Cancel {
        /// The run.
        id: String,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Keep a run from going on; what is under way ends and is kept.
    #[command(after_help = "Example:\n  airlock runs pause run_01a1fd…")]
    Pause {
        /// The run.
        id: String,
    },
    /// Begin a run at a step of another.
    ///
    /// What came before the step is taken from the other run's journal, its effects
    /// too; what comes after it happens anew, in your name. Approvals are not taken
    /// over. A call before the step whose outcome is not known blocks the new run.
    #[command(after_help = "Examples:\n  \
        airlock runs fork run_01a1fd… --at 7                        make request 7 and what follows anew\n  \
        airlock runs fork run_01a1fd… --at 7 --agent ./fixed.wasm   with another version")]
    Fork {
        /// The run.
        id: String,
        /// The first request that is made anew, as `runs show` numbers it.
        #[arg(long, value_name = "REQUEST")]
        at: u64,
        /// Another input, a JSON object; `-` reads it from standard input.
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// Another version of the agent: its name for the active one, a digest, or a
        /// component's file; one that is not active takes an administrator. It has
        /// to do the same up to the step.
        #[arg(long, value_name = "VERSION")]
        agent: Option<String>,
    },
    /// Replay a run's journal against a version of its agent, without effects.
    ///
    /// Shows where and how that version would go another way. A component's file
    /// is installed as a version that is not active. Ends with 9 when it differs.
    #[command(after_help = "Examples:\n  \
        airlock runs replay run_01a1fd…                         the component it began with\n  \
        airlock runs replay run_01a1fd… --agent sha256:…        an installed version\n  \
        airlock runs replay run_01a1fd… --agent reporter        the active version of a plugin\n  \
        airlock runs replay run_01a1fd… --agent ./reporter.wasm")]
    Replay {
        /// The run.
        id: String,
        /// A digest of an installed version, a plugin, or a component's file (with
        /// a `/` or `.wasm` in its name).
        #[arg(long, value_name = "VERSION")]
        agent: Option<String>,
    },
    /// Let a paused or blocked run go on. Whoever started and paused it may; the rest
    /// is an operator's.
    ///
    /// Where it is not known whether a call happened, say what became of it; look
    /// at the system it would have changed before you do.
    #[command(after_help = "Examples:\n  \
        airlock runs resume run_01a1fd… --request 3 --retry          it did not happen: make it again\n  \
        airlock runs resume run_01a1fd… --request 3 --record '{}'    it happened, with this output\n  \
        airlock runs resume run_01a1fd… --request 3 --fail           tell the agent that nobody knows")]
    Resume(Box<Resume>),
}

#[derive(Debug, Args)]
pub struct Resume {
    /// The run.
    pub id: String,
    /// The request whose outcome was lost, as `runs show` numbers it.
    #[arg(long)]
    pub request: Option<u64>,
    /// It did not happen: make the call again.
    #[arg(long, group = "outcome", requires = "request")]
    pub retry: bool,
    /// Don't make it again, and tell the agent `unknown`.
    #[arg(long, group = "outcome", requires = "request")]
    pub fail: bool,
    /// Where it used up its budget: more of it.
    #[command(flatten)]
    pub budget: Budget,
    /// It happened, and this was its output.
    #[arg(long, group = "outcome", requires = "request", value_name = "JSON")]
    pub record: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunsList {
    /// Only this agent's.
    #[arg(long)]
    pub agent: Option<String>,
    /// Only those that stand so.
    #[arg(
        long,
        value_parser = [
            "running", "waiting", "paused", "blocked", "cancelling", "succeeded", "failed",
            "escalated", "cancelled", "continued",
        ]
    )]
    pub status: Option<String>,
    /// Only those that were started by them.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only those before this one.
    #[arg(long, value_name = "RUN")]
    pub before: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct Signal {
    /// The run.
    pub id: String,
    /// The signal's name.
    pub name: String,
    /// What the agent gets, JSON.
    #[arg(default_value = "null", value_name = "PAYLOAD")]
    pub payload: String,
}

#[derive(Debug, Args)]
pub struct Halt {
    /// Everything.
    #[arg(long, group = "part")]
    pub all: bool,
    /// Only the runs of this agent.
    #[arg(long, group = "part")]
    pub agent: Option<String>,
    /// Only the calls of this plugin's tools and, if it is an agent, its runs.
    #[arg(long, group = "part")]
    pub plugin: Option<String>,
    /// Only this run; its children go on.
    #[arg(long, group = "part")]
    pub run: Option<String>,
    /// Let it go on; everything, where no part is named.
    #[arg(long)]
    pub lift: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    pub why: String,
    /// Only show what stands still, since when and why.
    #[arg(long, conflicts_with_all = ["part", "lift", "why"])]
    pub status: bool,
}

#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// List questions that wait for a person, oldest first.
    #[command(after_help = "Example:\n  airlock approvals list --agent reconcile")]
    List {
        /// Only those of this agent's runs.
        #[arg(long)]
        agent: Option<String>,
        /// Only those of runs after this one, where there are more than are listed.
        #[arg(long, value_name = "RUN")]
        after: Option<String>,
    },
    /// Show a question: what it is about, who decides it until when, who approved.
    #[command(after_help = "Example:\n  airlock approvals show run_01a1fd….4")]
    Show {
        /// The question, as `approvals list` names it.
        id: String,
    },
    /// Approve a call.
    #[command(after_help = "Example:\n  airlock approvals approve run_01a1fd….4 --note 'checked'")]
    Approve {
        /// The question, as `approvals list` names it.
        id: String,
        #[command(flatten)]
        with: DecideWith,
    },
    /// Deny a call.
    #[command(
        after_help = "Example:\n  airlock approvals deny run_01a1fd….4 --note 'not this month'"
    )]
    Deny {
        /// The question, as `approvals list` names it.
        id: String,
        #[command(flatten)]
        with: DecideWith,
    },
    /// Answer a question with one of its choices.
    #[command(
        after_help = "Example:\n  airlock approvals decide run_01a1fd….4 yes --note 'checked'"
    )]
    Decide {
        /// The question, as `approvals list` names it.
        id: String,
        /// One of its choices.
        decision: String,
        #[command(flatten)]
        with: DecideWith,
    },
}

#[derive(Debug, Args)]
pub struct DecideWith {
    /// For the agent and the record.
    #[arg(long)]
    pub note: Option<String>,
    /// The hash that `approvals show` has after `for`: refused when something else
    /// is asked by now. Without it, the question is shown as it was decided.
    #[arg(long, value_name = "HASH")]
    pub binding: Option<String>,
}
