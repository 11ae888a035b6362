//! Plugins: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Install a component, or another version of an installed plugin.
    ///
    /// A plugin's first version is active at once, without any grant. Another one
    /// waits until it is activated, since it gets the grants of the one before.
    ///
    /// With --openapi, each operation of an OpenAPI document becomes a tool, without
    /// a component of one's own. All that the plugin asks for is that one server.
    ///
    /// With --mcp-url or --mcp-command, an MCP server of others in the place of a
    /// component. It is not sandboxed: whatever it does, no grant holds it back. Its
    /// tools are pinned as it lists them; see `airlock plugin accept`.
    #[command(after_help = "Examples:\n  airlock plugin add fetch ./fetch.wasm\n  \
        airlock plugin add fetch ./fetch-2.wasm --activate   in place of the version before\n  \
        airlock plugin add --openapi orders.json             each operation as a tool\n  \
        airlock plugin add tickets --mcp-url https://mcp.example.com/mcp --header-secret Authorization=tickets-key\n  \
        airlock plugin add notes --mcp-command /usr/local/bin/notes-mcp --env-secret TOKEN=notes-token")]
    Add(Box<PluginAdd>),
    /// List installed plugins.
    #[command(after_help = "Example:\n  airlock plugin list")]
    List,
    /// Show a plugin: tools, what it wants and why, what is granted, versions.
    #[command(
        after_help = "Examples:\n  airlock plugin inspect fetch\n  airlock plugin inspect fetch --digest sha256:1f0c"
    )]
    Inspect {
        /// The plugin.
        name: String,
        /// An installed version to look at before it is active, or its beginning.
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
    },
    /// Show how the tools of an MCP server differ from those that were accepted, and
    /// accept them.
    #[command(
        after_help = "Examples:\n  airlock plugin accept notes                  show the difference\n  \
        airlock plugin accept notes sha256:1f0c…     accept it, as it was shown"
    )]
    Accept {
        /// The plugin.
        name: String,
        /// The digest that was shown.
        digest: Option<String>,
        /// The reason, kept in the audit.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Print an MCP server with its tools as they were accepted: a document that a
    /// policy file can name as its `source`.
    #[command(after_help = "Example:\n  airlock plugin pinned notes > notes.json")]
    Pinned {
        /// The plugin.
        name: String,
    },
    /// Make another installed version the active one.
    #[command(after_help = "Example:\n  airlock plugin activate fetch sha256:1f0c")]
    Activate {
        /// The plugin.
        name: String,
        /// The version's digest, or an unambiguous beginning of it.
        digest: String,
        /// Also where it was installed before the active one.
        #[arg(long)]
        downgrade: bool,
    },
    /// Remove a plugin with its grants and what it kept in `kv`. Its audit stays.
    #[command(after_help = "Examples:\n  airlock plugin remove fetch\n  \
        airlock plugin remove fetch --keep-data   a later `fetch` finds the data again, if granted")]
    Remove {
        /// The plugin.
        name: String,
        /// Leave what it kept in `kv` and `memory`; removing the name once more erases it.
        #[arg(long)]
        keep_data: bool,
        /// The reason, kept in the history and the audit.
        #[arg(long, default_value = "")]
        why: String,
    },
}

#[derive(Debug, Args)]
pub struct PluginAdd {
    /// The plugin's name: 1 to 64 of `a-z 0-9 - _`, starting with a letter. With
    /// --openapi the document's title, unless given.
    #[arg(required_unless_present = "openapi")]
    pub name: Option<String>,
    /// The component (.wasm), or a folder that holds exactly one.
    #[arg(required_unless_present_any = ["openapi", "mcp_url", "mcp_command"], conflicts_with = "openapi")]
    pub source: Option<PathBuf>,
    /// Refuse the component unless it has this digest.
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<String>,
    /// Make it the active version at once, with the grants there are.
    #[arg(long)]
    pub activate: bool,
    #[command(flatten)]
    pub openapi: OpenApi,
    #[command(flatten)]
    pub server: ServerAdd,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Of an OpenAPI document")]
pub struct OpenApi {
    /// Make a tool of each operation of this document: OpenAPI 3.0 or 3.1, JSON or
    /// YAML; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub openapi: Option<PathBuf>,
    /// The server, in place of the document's, e.g. https://api.example.com/v1.
    #[arg(long, value_name = "URL", requires = "openapi")]
    pub base_url: Option<String>,
    /// Only these operations: a tag, an operationId, a path such as `/orders/*`, or
    /// `GET /orders`. Can be given several times.
    #[arg(long, value_name = "WHICH", requires = "openapi")]
    pub include: Vec<String>,
    /// All but these operations.
    #[arg(long, value_name = "WHICH", requires = "openapi")]
    pub exclude: Vec<String>,
    /// The security scheme to use, where operations leave the choice. Where the
    /// document names none: how the secret is sent, as `bearer`, `basic`,
    /// `header:NAME` or `query:NAME`.
    #[arg(long, value_name = "SCHEME", requires = "openapi")]
    pub auth: Option<String>,
    /// The name of the secret that is sent; `NAME-key` unless given. With several
    /// schemes one for each, as SCHEME=SECRET.
    #[arg(long, value_name = "SECRET", requires = "openapi")]
    pub secret: Vec<String>,
    /// The server has a private address: ask for a rule with `allow_private`.
    #[arg(long, requires = "openapi")]
    pub private: bool,
    /// Leave out operations that can't be tools, and say which, instead of refusing
    /// the document.
    #[arg(long, requires = "openapi")]
    pub skip: bool,
    /// Put what it asks for in force at once.
    #[arg(long, requires = "openapi")]
    pub grant: bool,
    /// Write the component to a file instead of installing it, e.g. as the `source`
    /// of a policy.
    #[arg(long, value_name = "FILE", requires = "openapi", conflicts_with_all = ["grant", "digest", "activate"])]
    pub write: Option<PathBuf>,
}

/// An MCP server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Of an MCP server")]
pub struct ServerAdd {
    /// An MCP server at this URL (streamable HTTP). It is not sandboxed.
    #[arg(long, value_name = "URL", conflicts_with_all = ["source", "mcp_command", "openapi"])]
    pub mcp_url: Option<String>,
    /// A header of each request to the server, with the secret that is its value.
    #[arg(
        long = "header-secret",
        value_name = "HEADER=SECRET",
        requires = "mcp_url"
    )]
    pub headers: Vec<String>,
    /// The URL may lead to an address that is not public.
    #[arg(long, requires = "mcp_url")]
    pub allow_private: bool,
    /// An MCP server that is this program, an absolute path. It is not sandboxed: it
    /// runs with the host's user, an empty environment, a directory of its own, and
    /// what Landlock holds it to.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["source", "openapi"])]
    pub mcp_command: Option<String>,
    /// An argument of the program. Can be given several times.
    #[arg(
        long = "arg",
        value_name = "ARG",
        requires = "mcp_command",
        allow_hyphen_values = true
    )]
    pub args: Vec<String>,
    /// A variable of the program's environment, with the secret that is its value.
    #[arg(
        long = "env-secret",
        value_name = "NAME=SECRET",
        requires = "mcp_command"
    )]
    pub env: Vec<String>,
    /// A variable of the program's environment that is no secret: it is shown with the
    /// server, and pinned. Can be given several times.
    #[arg(long = "env", value_name = "NAME=VALUE", requires = "mcp_command")]
    pub variables: Vec<String>,
    /// A file or folder that the program may read and execute besides the system's
    /// libraries.
    #[arg(long, value_name = "PATH", requires = "mcp_command")]
    pub read: Vec<String>,
    /// The program may open TCP connections and ports.
    #[arg(long, requires = "mcp_command")]
    pub allow_network: bool,
    /// Take only this tool of the server, by the server's name for it. Can be given
    /// several times.
    #[arg(long = "tool", value_name = "TOOL")]
    pub tools: Vec<String>,
}
