//! The way to servers of the Model Context Protocol that others wrote: a program
//! that is started, or a URL.
//!
//! Such a server is not sandboxed: what it does is seen by nobody. So nothing it
//! says is trusted. Each message, list, name and result has a bound; what it says
//! of itself is pinned by whoever installs it ([`Pinned`]); what it asks of its
//! client (sampling, elicitation, roots) is refused; and of a request that failed it
//! is always known whether it was written ([`Fault`]).
//!
//! # Why the client of `rmcp` is not used
//!
//! `rmcp` is what the host's own MCP server speaks through, and what this crate is
//! tested against. Its client sends a request again once a session was lost,
//! resumes streams on its own, and tells a request that was never written from one
//! whose answer was lost only by chance: an effect that may have happened would be
//! repeated in silence. It starts a task for each notification, and writes what a
//! server says to the log. What a client needs of the protocol are five requests.

mod error;
mod filter;
mod given;
mod http;
mod launch;
mod link;
mod output;
mod pinned;
mod rpc;
mod server;
mod stdio;
mod text;
mod tool;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use error::Fault;
pub use http::Client;
pub use launch::READABLE;
pub use launch::{Confinement, child_main, confinement};
pub use link::{Call, Link, Progress, Tell};
pub use output::Output;
pub use pinned::{Difference, Pinned, PinnedError};
pub use server::{Server, ServerError};
pub use stdio::STDERR_BYTES_BEFORE;
pub use tool::{Annotations, Tool};

/// Largest message, bytes, either way.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Most tools of one server.
pub const TOOLS_MAX: usize = 256;
/// How long a server may take until it is ready, and again to list its tools.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection needs of the host.
pub trait Host: Send + Sync + 'static {
    /// The value of a secret; `None`: there is none of this name.
    fn secret(&self, name: &str) -> Option<Zeroizing<String>>;

    /// Whether a request may go to this address; `local` is the near end of the
    /// connection, once there is one.
    ///
    /// # Errors
    /// Why not.
    fn may_reach(
        &self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<(), String>;

    /// Masks these values of secrets in what a server writes, before any of it is cut;
    /// `None`: there is none to mask.
    fn mask(&self, values: &[&str]) -> Option<Mask>;
}

/// A copy of a text in which secrets are masked, with as many bytes; `None` where there
/// is none.
pub type Mask = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Where a server is started from.
#[derive(Clone)]
pub struct Surroundings {
    /// The host.
    pub host: Arc<dyn Host>,
    /// Sends requests over HTTP.
    pub client: Client,
    /// The program that confines itself and becomes the server's, see
    /// [`child_main`].
    pub launcher: PathBuf,
    /// Its arguments, before the order.
    pub launcher_args: Vec<std::ffi::OsString>,
    /// The server's own directory, where it is a program; made when absent.
    pub dir: PathBuf,
    /// How long a server may take until it is ready, and again to list its tools,
    /// e.g. [`PATIENCE`].
    pub patience: Duration,
}
