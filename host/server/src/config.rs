//! Bounds of the server. All are on by default.

use std::time::Duration;

use airlock_mcp::McpConfig;

/// Settings of [`crate::serve`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Names that a request's `Host` may have, besides `localhost` and the
    /// address it came in on; without a port: any port.
    pub allow_hosts: Vec<String>,
    /// Connections at once; further ones get 503 and are closed.
    pub connections_max: usize,
    /// For the head of a request, and for a connection that waits between two.
    pub header_read_timeout: Duration,
    /// For the first 64 KiB of a body; larger ones get a second per 64 KiB.
    pub body_read_timeout: Duration,
    /// Without any progress of a reply that the client doesn't read.
    pub write_stall_timeout: Duration,
    /// A stream of events sends a line at least this often, so that nothing in
    /// between gives the connection up.
    pub events_keep_alive: Duration,
    /// Bytes of request bodies held at once, over all connections. One principal
    /// has a quarter of them, and 64 MiB where that is less.
    pub bodies_bytes_max: usize,
    /// Time between `/readyz` failing and no more connections being taken, so
    /// that a load balancer sees it.
    pub unready: Duration,
    /// Time that calls in flight get to end when the server stops.
    pub drain: Duration,
    /// Bounds of the Model Context Protocol; its messages have at most 4 MiB.
    pub mcp: McpConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            allow_hosts: Vec::new(),
            connections_max: 1_024,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            events_keep_alive: Duration::from_secs(15),
            bodies_bytes_max: 512 << 20,
            unready: Duration::ZERO,
            drain: Duration::from_secs(30),
            mcp: McpConfig::default(),
        }
    }
}
