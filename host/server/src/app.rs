//! What all requests share.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use airlock_mcp::{Mcp, McpConfig};
use airlock_runtime::{Principal, Runtime};

use crate::bodies::Bodies;
use crate::config::ServerConfig;

/// The runtime, the settings and the budgets.
pub(crate) struct App {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) config: ServerConfig,
    pub(crate) hosts: Vec<String>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) anonymous: Arc<Principal>,
    /// Who makes every request; only in-process, see [`crate::InProcess`].
    pub(crate) owner: Option<Arc<Principal>>,
    /// Made with the first request that asks for it.
    mcp: OnceLock<Mcp>,
}

impl App {
    /// For requests over a socket: each brings a token.
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        config: ServerConfig,
        address: SocketAddr,
    ) -> Arc<Self> {
        Arc::new(Self::build(runtime, config, address))
    }

    /// For requests of this process itself.
    pub(crate) fn owned(
        runtime: Arc<Runtime>,
        config: ServerConfig,
        address: SocketAddr,
        owner: Principal,
    ) -> Arc<Self> {
        let app = Self::build(runtime, config, address);
        Arc::new(Self {
            owner: Some(Arc::new(owner)),
            ..app
        })
    }

    /// The Model Context Protocol over the same runtime. To be asked on a tokio
    /// runtime.
    pub(crate) fn mcp(&self) -> &Mcp {
        self.mcp.get_or_init(|| {
            let config = McpConfig {
                keep_alive: self.config.events_keep_alive,
                ..self.config.mcp.clone()
            };
            Mcp::new(&self.runtime, &config)
        })
    }

    fn build(runtime: Arc<Runtime>, config: ServerConfig, address: SocketAddr) -> Self {
        let mut hosts = config.allow_hosts.clone();
        hosts.push("localhost".to_owned());
        hosts.push(host_text(address));
        if address.ip().is_unspecified() || address.ip().is_loopback() {
            hosts.extend(["127.0.0.1".to_owned(), "[::1]".to_owned()]);
        }
        hosts
            .iter_mut()
            .for_each(|host| host.make_ascii_lowercase());
        Self {
            owner: None,
            mcp: OnceLock::new(),
            bodies: Bodies::new(config.bodies_bytes_max),
            anonymous: Arc::new(Principal {
                name: "anonymous".to_owned(),
                token_id: None,
                roles: BTreeSet::new(),
                plugins: Some(BTreeSet::new()),
            }),
            hosts,
            runtime,
            config,
        }
    }
}

fn host_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
