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

/// How long what blocks may still take then.
const HUNG_WAIT: Duration = Duration::from_secs(2);

/// The permission of everybody else to write.
const OTHERS_WRITE: u32 = 0o002;
/// What a directory has that all share, as `/tmp`.
const STICKY: u32 = 0o1000;

/// An open data directory.
pub struct Local {
    /// There until this is dropped.
    tokio: Option<tokio::runtime::Runtime>,
    runtime: Arc<Runtime>,
    api: InProcess,
    owner: Principal,
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
        if mode & OTHERS_WRITE != 0 && mode & STICKY != 0 {
            return Err(Misuse(format!(
                "{} is for every user of this machine (mode {mode:o}): name a directory of your own",
                directory.display()
            ))
            .into());
        }
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
        let owner = Principal::local_admin(&user);
        let api = InProcess::new(Arc::clone(&runtime), ServerConfig::default(), owner.clone());
        Ok(Self {
            tokio: Some(tokio),
            runtime,
            api,
            owner,
        })
    }

    fn tokio(&self) -> Result<&tokio::runtime::Runtime> {
        self.tokio.as_ref().context("the data directory is closed")
    }

    /// Speaks the Model Context Protocol on standard input and output, and looks
    /// after runs as a server does, until the input ends or `stop` resolves: as
    /// whoever the `token` is of, or without one as the owner.
    ///
    /// # Errors
    /// The token is not one, runs can't be read, or what came first was no
    /// beginning of the protocol.
    pub fn serve_mcp<S: Future<Output = ()>>(
        self,
        token: Option<&str>,
        stop: impl FnOnce() -> Result<S>,
    ) -> Result<()> {
        let runtime = Arc::clone(&self.runtime);
        let owner = match token {
            Some(token) => (*runtime.authenticate(token).context("the token")?).clone(),
            None => self.owner.clone(),
        };
        self.tokio()?.block_on(async move {
            let stop = stop()?;
            runtime.take_up_runs().await.context("taking up runs")?;
            let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
            tokio::select! {
                served = airlock_mcp::serve_stdio(runtime, owner, input, output) => {
                    served.context("speaking the protocol")
                }
                () = stop => Ok(()),
            }
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
            &mut *on_part,
        );
        let response = self
            .tokio()?
            .block_on(answer)
            .context("the API in this process")?;
        let in_parts = request.in_parts && (200..300).contains(&response.status);
        let body = match in_parts && !response.body.is_empty() {
            true => {
                on_part(&response.body);
                Vec::new()
            }
            false => response.body.to_vec(),
        };
        Ok(Reply {
            status: response.status,
            body,
            retry_after_s: response.retry_after_s,
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.block_on(self.runtime.shutdown(CLOSE_TIMEOUT));
            // A read of standard input that nobody ends can't be waited for.
            tokio.shutdown_timeout(HUNG_WAIT);
        }
    }
}
