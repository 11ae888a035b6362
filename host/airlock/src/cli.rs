//! The command line: what can be typed, and its help.

mod hooks;
mod memory;
mod plugins;
mod runs;
mod schedules;
mod workflow;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use hooks::{HookAdd, Hooks};
pub use memory::{Memory, MemoryImport, MemoryPut, MemorySearch};
pub use plugins::{OpenApi, Plugin, PluginAdd, ServerAdd};
pub use runs::{Approvals, DecideWith, Halt, Resume, Run, Runs, RunsList, Signal};
pub use schedules::{ScheduleAdd, Schedules};
pub use workflow::{Backfill, Workflow};

/// Exit codes, printed under the help.
const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 failed, or the host did (its log says how) · 2 wrong usage ·
3 denied or not authorised · 4 not found · 5 invalid input or conflict · 6 a limit or
overload, try later · 7 transient, retry · 8 outcome unknown · 9 a verification found
something · 10 a person must look

AIRLOCK_LOG filters the log on standard error, e.g. `info`, or
`info,airlock::guest=debug` for what plugins write to stdout, stderr and their log.";

/// Runs tools from people you don't trust: each call in a sandbox of its own that
/// can touch only what an administrator granted.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Data directory: everything Airlock keeps. Begun by `serve` and by commands
    /// that store something, in a new or empty folder; others need it to be there.
    #[arg(
        long,
        global = true,
        env = "AIRLOCK_DATA",
        default_value = "airlock-data",
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// Configuration file (TOML). Without it `airlock.toml` in the data directory
    /// is read where it exists.
    #[arg(long, global = true, env = "AIRLOCK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of a running server, e.g. http://127.0.0.1:7480. Without it, the
    /// server that owns the data directory is asked, or, when none does, the data
    /// directory is opened by this process.
    #[arg(long, global = true, env = "AIRLOCK_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// File that holds the token for the server. Without it AIRLOCK_TOKEN, then,
    /// for the server that owns the data directory, its first admin token.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON instead of text; an error too, as a problem with a `code`.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    #[command(after_help = "Example:\n  airlock serve --data ./data --listen 127.0.0.1:7480")]
    Serve(Serve),
    /// Speak the Model Context Protocol on standard input and output.
    ///
    /// For clients that start a program. Offers the tools and agents that the token
    /// may use: of the server, or, where none owns the data directory, of this
    /// process. A server offers the same at its path /mcp.
    #[command(after_help = "Example, in a client's configuration:\n  \
        {\"mcpServers\": {\"airlock\": {\"command\": \"airlock\", \"args\": [\"mcp\", \"--data\", \"/srv/airlock\"]}}}")]
    Mcp,
    /// Install, inspect and remove plugins.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Add grants to a plugin.
    ///
    /// Rules are added behind those there are. Of `tools` and `http`, the first rule
    /// that covers an operation decides: one that a rule before it covers never holds,
    /// and a warning says so. With --replace, all are given anew, in your order.
    #[command(after_help = "Examples:\n  \
        airlock grant files 'files = [{ host = \"/srv/invoices\", guest = \"/invoices\", access = \"read\" }]'\n  \
        airlock grant fetch --file fetch-grants.toml --why 'ticket 42'")]
    Grant(Grant),
    /// Take grants away, also from calls in flight.
    #[command(
        after_help = "Examples:\n  airlock revoke fetch http 0   the first http rule\n  \
        airlock revoke fetch http     all http rules\n  airlock revoke fetch          everything"
    )]
    Revoke(Revoke),
    /// Show a plugin's grants, or their history.
    #[command(after_help = "Example:\n  airlock grants fetch --history")]
    Grants(Grants),
    /// Put an earlier version of a plugin's grants in force again.
    #[command(
        after_help = "Example:\n  airlock rollback fetch 3 --why 'the new rule was too wide'"
    )]
    Rollback(Rollback),
    /// Say whether an operation would be allowed, and by which rule. Does nothing.
    #[command(
        after_help = "Examples:\n  airlock explain fetch http GET https://api.example.com/v1/contracts/7\n  \
        airlock explain files files read /invoices/2026-01.csv\n  \
        airlock explain files files write /out/report.html --tool write\n\nExits with 3 when it would be denied."
    )]
    Explain(Explain),
    /// List and call tools.
    #[command(subcommand)]
    Tool(Tool),
    /// Start a run of an agent.
    #[command(after_help = "Example:\n  \
        airlock run reconcile --goal 'check May' --input '{\"month\":\"2026-05\"}' --follow")]
    Run(Run),
    /// List, show, end and resume runs.
    #[command(subcommand)]
    Runs(Runs),
    /// Give a run a signal.
    #[command(after_help = "Example:\n  airlock signal run_01a1fd… paid '{\"invoice\":7}'")]
    Signal(Signal),
    /// Make everything or a part of it stand still: no call starts, those in flight
    /// end, runs wait.
    #[command(after_help = "Examples:\n  \
        airlock halt --all --why 'incident 12'\n  airlock halt --agent reconcile --why 'odd calls'\n  \
        airlock halt --status\n  airlock halt --lift   everything goes on, but for parts halted by themselves")]
    Halt(Halt),
    /// Answer what agents ask people.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Start or signal runs at given times.
    #[command(subcommand)]
    Schedules(Schedules),
    /// Let other services start or signal runs, by signed requests.
    #[command(subcommand)]
    Hooks(Hooks),
    /// Check declarative workflows, and run them for times gone by.
    #[command(subcommand)]
    Workflow(Workflow),
    /// Store secrets that plugins may use and never see.
    #[command(subcommand)]
    Secret(Secret),
    /// Language models that agents ask: what is configured, what was used.
    #[command(subcommand)]
    Models(Models),
    /// Documents that agents and tools keep: look at them, search, import files.
    #[command(subcommand)]
    Memory(Memory),
    /// Make and revoke tokens for the API.
    #[command(subcommand)]
    Token(Token),
    /// Read and verify the audit.
    #[command(subcommand)]
    Audit(Audit),
    /// Usage of grants, statistics of calls, recent calls.
    #[command(subcommand)]
    Views(Views),
    /// Compare a policy file with what is in force, and apply it.
    #[command(
        after_help = "Examples:\n  airlock apply policy.toml         show what would change\n  \
        airlock apply policy.toml --yes   change it"
    )]
    Apply(Apply),
    /// Copy everything but the keys into one file, also while a server runs.
    #[command(after_help = "Example:\n  airlock backup /backups/airlock-2026-01-31.db")]
    Backup {
        /// The new file; readable by its owner only.
        file: PathBuf,
    },
    /// Make the data directory from a backup. No server may own it.
    #[command(after_help = "Examples:\n  \
        airlock restore /backups/airlock-2026-01-31.db --data ./new-data\n  \
        airlock restore /backups/airlock-2026-01-31.db --force   in place of the data that is there\n\n\
        The keys (`vault.key`, `audit.key`) are not in a backup: put them into the keys directory first.")]
    Restore {
        /// The backup; checked before anything is changed.
        file: PathBuf,
        /// Move data that is there out of the way, into a directory
        /// `replaced-…` in the data directory, instead of refusing.
        #[arg(long)]
        force: bool,
    },
    /// Attack this very binary with hostile plugins and report what held.
    #[command(after_help = "Example:\n  airlock selftest --class files")]
    Selftest(Selftest),
    /// Start a plugin of your own in a new folder.
    #[command(after_help = "Example:\n  airlock new word-count && cd word-count && cargo test")]
    New(New),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  airlock completions bash > /etc/bash_completion.d/airlock")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address to listen on; loopback unless told otherwise. Port 0 picks a free one.
    #[arg(long, env = "AIRLOCK_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Host names that requests may carry in `Host`, besides the loopback ones.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// File to which each new signed head of the audit is appended.
    #[arg(long, value_name = "FILE")]
    pub audit_heads: Option<PathBuf>,
    /// URL to which each new signed head of the audit is posted.
    #[arg(long, value_name = "URL")]
    pub audit_heads_url: Option<String>,
    /// Go on with a new key where `audit.key` is lost for good. What the old one
    /// signed until then still verifies by `audit.known-keys` beside it.
    #[arg(long)]
    pub new_audit_key: bool,
}

#[derive(Debug, Args)]
pub struct Grant {
    /// The plugin.
    pub plugin: String,
    /// Grants as TOML, as under `[plugins.NAME.grants]` of a policy file.
    #[arg(required_unless_present_any = ["file", "limits"], conflicts_with = "file")]
    pub grants: Option<String>,
    /// File with the grants; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Put these in the place of the plugin's grants, instead of adding them.
    #[arg(long)]
    pub replace: bool,
    /// Change a limit, e.g. `cpu=5s`; the others stay. Can be given several times.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub limits: Vec<String>,
    /// The reason, kept in the history and the audit.
    #[arg(long, default_value = "")]
    pub why: String,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The plugin.
    pub plugin: String,
    /// The capability; without it, everything.
    pub capability: Option<String>,
    /// The rule's number in `airlock grants`, from 0; without it, all of them.
    pub rule: Option<usize>,
    /// The reason, kept in the history and the audit.
    #[arg(long, default_value = "")]
    pub why: String,
}

#[derive(Debug, Args)]
pub struct Grants {
    /// The plugin.
    pub plugin: String,
    /// Show every version: who changed how many rules of what, when, why.
    #[arg(long)]
    pub history: bool,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The plugin.
    pub plugin: String,
    /// The version of the grants; without it, the one before the current.
    pub version: Option<u64>,
    /// The reason, kept in the history and the audit.
    #[arg(long, default_value = "")]
    pub why: String,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The plugin.
    pub plugin: String,
    /// The capability, e.g. `http`.
    pub capability: String,
    /// The operation, e.g. `GET https://api.example.com/`.
    #[arg(required = true)]
    pub operation: Vec<String>,
    /// As called by this tool: one that is called as read-only changes nothing,
    /// whatever is granted. Without it, by any tool of the plugin.
    #[arg(long)]
    pub tool: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Tool {
    /// List the tools of all plugins.
    #[command(after_help = "Example:\n  airlock tool list --plugin files --schemas")]
    List {
        /// Only this plugin's.
        #[arg(long)]
        plugin: Option<String>,
        /// With their schemas.
        #[arg(long)]
        schemas: bool,
    },
    /// Call a tool.
    #[command(
        after_help = "Examples:\n  airlock tool call echo/echo '{\"message\": \"hello\"}'\n  \
        airlock tool call table/query - < query.json\n  \
        airlock tool call javascript/run '{\"code\": \"1 + 1\"}' --log   with what the tool writes"
    )]
    Call {
        /// The plugin and its tool.
        #[arg(value_name = "PLUGIN/TOOL")]
        tool: String,
        /// The input as JSON; `-` reads standard input.
        #[arg(default_value = "{}")]
        input: String,
        /// Do it at most once under this key.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Wall-time bound for this call, e.g. `2s`; the plugin's own also holds.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        timeout: Option<String>,
        /// Also print usage and denials.
        #[arg(long, short)]
        verbose: bool,
        /// Show what the tool wrote to stdout, stderr and its log, on standard
        /// error; with `--json`, in the reply.
        #[arg(long)]
        log: bool,
        /// Show the tool's progress on standard error; on a terminal that is done
        /// anyway.
        #[arg(long)]
        progress: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Store a secret; its value is read from standard input or a file, never
    /// from the command line.
    #[command(after_help = "Example:\n  airlock secret set contracts-key --file key.txt")]
    Set {
        /// The secret's name.
        name: String,
        /// File with the value; one trailing newline is cut. Without it standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List names, never values.
    #[command(after_help = "Example:\n  airlock secret list")]
    List,
    /// Remove a secret.
    #[command(after_help = "Example:\n  airlock secret remove contracts-key")]
    Remove {
        /// The secret's name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Models {
    /// List the roles and the models behind them.
    #[command(after_help = "Example:\n  airlock models list")]
    List,
    /// Show what agents used on a day (UTC), and what it cost.
    #[command(after_help = "Example:\n  airlock models usage --day 2026-01-31")]
    Usage {
        /// The day; today without it.
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<String>,
    },
    /// Check a file of models, without a server.
    #[command(after_help = "Example:\n  airlock models check models.toml")]
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Ask the models of a role once: whether they answer, how fast and for how much.
    /// It costs what the provider takes, and counts in no budget.
    #[command(after_help = "Example:\n  airlock models try fast")]
    Try {
        /// The role.
        role: String,
        /// What to ask; a greeting without it.
        text: Option<String>,
    },
    /// Have the server read its file of models anew. One that can't be used changes
    /// nothing.
    #[command(after_help = "Example:\n  airlock models reload")]
    Reload,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token. It is shown once.
    #[command(
        after_help = "Example:\n  airlock token create billing --role caller --plugin invoices --expires 90d"
    )]
    Create {
        /// Who will use it.
        name: String,
        /// Roles: viewer, caller, operator, approver, admin.
        #[arg(long = "role", required = true, value_delimiter = ',')]
        roles: Vec<String>,
        /// Only these plugins; without it, all.
        #[arg(long = "plugin", value_delimiter = ',')]
        plugins: Vec<String>,
        /// How long it is valid, e.g. `90d`; without it, until revoked.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        expires: Option<String>,
    },
    /// List tokens, never their text.
    #[command(after_help = "Example:\n  airlock token list")]
    List,
    /// Revoke a token.
    #[command(after_help = "Example:\n  airlock token revoke 65f1cd9d0b3b57e8")]
    Revoke {
        /// The token's id from `airlock token list`.
        id: String,
        /// Also where no other token administers the whole host.
        #[arg(long)]
        last: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List records, newest last.
    #[command(after_help = "Example:\n  airlock audit list --from 0 --limit 50")]
    List {
        /// Sequence number of the first record; without it, the end of the log.
        #[arg(long)]
        from: Option<u64>,
        /// How many records.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Verify the chain and its signed checkpoints; exits with 9 when it finds
    /// something.
    #[command(after_help = "Example:\n  airlock audit verify --head \"$(tail -1 heads.txt)\"")]
    Verify {
        /// A head that was emitted earlier; detects a log cut back together with
        /// its checkpoints.
        #[arg(long, value_name = "HEAD")]
        head: Option<String>,
    },
    /// Write all records as JSON lines to standard output.
    #[command(after_help = "Example:\n  airlock audit export > audit.jsonl")]
    Export,
}

#[derive(Debug, Subcommand)]
pub enum Views {
    /// What each grant was used for.
    #[command(after_help = "Example:\n  airlock views usage --plugin fetch")]
    Usage {
        /// Only this plugin's.
        #[arg(long)]
        plugin: Option<String>,
    },
    /// Calls, outcomes and time per tool.
    #[command(after_help = "Example:\n  airlock views stats")]
    Stats,
    /// Recent calls, newest first.
    #[command(after_help = "Example:\n  airlock views calls --limit 5")]
    Calls {
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Throw the views away and compute them again from the audit.
    #[command(after_help = "Example:\n  airlock views rebuild")]
    Rebuild,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// The policy file.
    pub policy: PathBuf,
    /// Apply it instead of only showing the difference.
    #[arg(long)]
    pub yes: bool,
    /// Also go back to versions that were installed before the active one.
    #[arg(long)]
    pub downgrade: bool,
    /// The reason, kept in the history and the audit.
    #[arg(long, default_value = "")]
    pub why: String,
}

#[derive(Debug, Args)]
pub struct Selftest {
    /// Only this class of attacks: network, files, resources, authority.
    #[arg(long)]
    pub class: Option<String>,
    /// Folder with the hostile components, instead of those in the binary.
    #[arg(long, value_name = "DIR")]
    pub guests: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct New {
    /// The plugin's name and the new folder's.
    pub name: String,
    /// Where to make the folder.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub into: PathBuf,
    /// Make an agent, which calls tools, waits and asks people, in place of tools.
    #[arg(long)]
    pub agent: bool,
}
