//! The API without a server: the same routes in this process, for whoever owns
//! the data directory, as the local administrator.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{Principal, Runtime};
use airlock_server::{InProcess, ServerConfig};
use anyhow::{Context, Result};

use crate::client::{OnPart, Reply, Request};
use crate::config::Settings;
use crate::exit::Misuse;

/// How long closing may take: the audit's last checkpoint is signed then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The permission of everybody else to write.
const OTHERS_WRITE: u32 = 0o002;

/// An open data directory.
pub struct Local {
    tokio: tokio::runtime::Runtime,
    runtime: Arc<Runtime>,
    api: InProcess,
}

/// Refuses data and keys that every user of this machine can write.
///
/// # Errors
/// [`Misuse`] that names the directory.
pub fn check_private(settings: &Settings) -> Result<()> {
    for directory in [&settings.data, &settings.keys] {
        let Ok(found) = std::fs::metadata(directory) else {
            // It is made, or the error is told, when it is opened.
            continue;
        };
        let mode = found.permissions().mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 {
            return Err(Misuse(format!(
                "every user of this machine can write {0} (mode {mode:o}): chmod o-w {0}",
                directory.display()
            ))
            .into());
        }
    }
    Ok(())
}

impl Local {
    /// Opens the data directory.
    ///
    /// # Errors
    /// When it can't be opened, e.g. since a server owns it.
    pub fn open(settings: &Settings) -> Result<Self> {
        check_private(settings)?;
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

    pub(crate) fn send(&self, request: &Request, on_part: OnPart<'_>) -> Result<Reply> {
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
