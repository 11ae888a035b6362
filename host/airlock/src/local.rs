//! The API without a server: the same routes in this process, for whoever owns
//! the data directory, as the local administrator.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{Principal, Runtime};
use airlock_server::{InProcess, ServerConfig};
use anyhow::{Context, Result};

use crate::client::{Reply, Request};
use crate::config::Settings;

/// How long closing may take: the audit's last checkpoint is signed then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open data directory.
pub struct Local {
    tokio: tokio::runtime::Runtime,
    runtime: Arc<Runtime>,
    api: InProcess,
}

impl Local {
    /// Opens the data directory.
    ///
    /// # Errors
    /// When it can't be opened, e.g. since a server owns it.
    pub fn open(settings: &Settings) -> Result<Self> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting threads")?;
        let runtime = tokio
            .block_on(Runtime::open(settings.runtime()))
            .with_context(|| format!("opening {}", settings.data.display()))?;
        let user = std::env::var("USER").unwrap_or_else(|_| "owner".to_owned());
        let api = InProcess::new(
            Arc::clone(&runtime),
            ServerConfig::default(),
            Principal::local_admin(&user),
        );
        Ok(Self {
            tokio,
            runtime,
            api,
        })
    }

    pub(crate) fn send(&self, request: &Request, on_part: &mut dyn FnMut(&[u8])) -> Result<Reply> {
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = self.api.request(
            request.method,
            &request.path,
            &headers,
            request.body.clone(),
            on_part,
        );
        let response = self
            .tokio
            .block_on(answer)
            .context("the API in this process")?;
        Ok(Reply {
            status: response.status,
            body: response.body.to_vec(),
            retry_after_s: response.retry_after_s,
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.tokio.block_on(self.runtime.shutdown(CLOSE_TIMEOUT));
    }
}
