//! `airlock plugin add`: a component, or an MCP server of others.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct PluginAdd {
    /// The plugin's name: 1 to 64 of `a-z 0-9 - _`, starting with a letter.
    pub name: String,
    /// The component (.wasm), or a folder that holds exactly one.
    #[arg(required_unless_present_any = ["mcp_url", "mcp_command"])]
    pub source: Option<PathBuf>,
    /// Refuse it unless it has this digest.
    #[arg(long, value_name = "sha256:…")]
    pub digest: Option<String>,
    /// Make it the active version at once, with the grants there are.
    #[arg(long)]
    pub activate: bool,
    #[command(flatten)]
    pub server: ServerAdd,
}

/// An MCP server.
#[derive(Debug, Args)]
pub struct ServerAdd {
    /// An MCP server at this URL (streamable HTTP). It is not sandboxed.
    #[arg(long, value_name = "URL", conflicts_with_all = ["source", "mcp_command"])]
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
    #[arg(long, value_name = "PROGRAM", conflicts_with = "source")]
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
