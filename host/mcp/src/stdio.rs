//! The protocol over a pair of streams, for one principal: standard input and
//! output of a process that owns its data directory.

use std::sync::Arc;

use airlock_runtime::{Principal, Runtime};
use rmcp::service::{ServerInitializeError, serve_server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::handler::{Handler, Shared};

/// Serves until `input` ends.
///
/// # Errors
/// What came first was no beginning of the protocol.
pub async fn serve_stdio(
    runtime: Arc<Runtime>,
    who: Principal,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), Box<ServerInitializeError>> {
    let handler = Handler::new(Shared::new(runtime), Some(Arc::new(who)));
    let service = match serve_server(handler, (input, output)).await {
        Ok(service) => service,
        // Whoever said nothing at all left.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(Box::new(error)),
    };
    if let Err(error) = service.waiting().await {
        tracing::error!(%error, "the session broke off");
    }
    Ok(())
}
