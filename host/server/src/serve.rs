//! Taking connections, and stopping.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::Runtime;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::App;
use crate::config::ServerConfig;
use crate::dispatch::router;
use crate::front::Front;
use crate::stall::StallGuard;

/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// The head of one request, bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// What a connection over the limit gets.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 156\r\n\r\n\
    {\"type\":\"urn:airlock:problem:overloaded\",\"title\":\"Overloaded\",\"status\":503,\
    \"code\":\"overloaded\",\"detail\":\"too many connections\",\"retry_after_s\":1}           ";

/// Serves the API on `listener` until `shutdown` resolves, then stops: `/readyz`
/// fails, no more connections are taken, calls in flight get
/// [`ServerConfig::drain`] to end, and the runtime is shut down.
///
/// # Errors
/// The listener can't be used.
pub async fn serve(
    runtime: Arc<Runtime>,
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    runtime.set_own_addresses(vec![address]);
    let app = App::new(Arc::clone(&runtime), config, address);
    let front = Front {
        router: router(&app),
        app: Arc::clone(&app),
    };
    let (stop, stopping) = watch::channel(false);
    let mut server = Server {
        places: Arc::new(Semaphore::new(app.config.connections_max)),
        connections: JoinSet::new(),
        front,
        stopping,
    };
    tokio::pin!(shutdown);
    tokio::select! {
        () = server.accept(&listener) => {}
        () = &mut shutdown => {}
    }
    runtime.drain();
    // Still answering, so that whoever asks sees that it is not ready.
    let unready = tokio::time::sleep(app.config.unready);
    tokio::select! {
        () = server.accept(&listener) => {}
        () = unready => {}
    }
    drop(listener);
    stop.send_replace(true);
    server.finish(&runtime, app.config.drain).await;
    Ok(())
}

struct Server {
    front: Front,
    places: Arc<Semaphore>,
    connections: JoinSet<()>,
    stopping: watch::Receiver<bool>,
}

impl Server {
    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = self.connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream),
                Err(error) => {
                    // Out of descriptors, mostly: others must end first.
                    tracing::warn!(%error, "a connection was not taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take(&mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            refuse(stream);
            return;
        };
        let (front, stopping) = (self.front.clone(), self.stopping.clone());
        self.connections.spawn(async move {
            connection(front, stream, stopping).await;
            drop(place);
        });
    }

    /// Lets connections end, then ends them; calls that go on without a
    /// connection are the runtime's.
    async fn finish(mut self, runtime: &Runtime, drain: Duration) {
        let connections = async { while self.connections.join_next().await.is_some() {} };
        let calls = runtime.shutdown(drain);
        let grace = drain + Duration::from_secs(5);
        let (cut_off, _) = tokio::join!(calls, tokio::time::timeout(grace, connections));
        if cut_off > 0 {
            tracing::warn!(calls = cut_off, "calls were ended by the shutdown");
        }
        self.connections.shutdown().await;
    }
}

async fn connection(front: Front, stream: TcpStream, mut stopping: watch::Receiver<bool>) {
    let config = &front.app.config;
    let io = TokioIo::new(StallGuard::new(stream, config.write_stall_timeout));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_read_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, front);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The value is looked at and let go of, so that the future can move between
/// threads.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// Says why, without waiting for a request or for the client to read.
fn refuse(mut stream: TcpStream) {
    tokio::spawn(async move {
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            stream.write_all(FULL).await?;
            stream.shutdown().await
        })
        .await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_well_formed() {
        let text = std::str::from_utf8(FULL).expect("utf-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let length = head.split("content-length: ").nth(1).expect("a length");
        assert_eq!(
            length.trim().parse::<usize>().expect("a number"),
            body.len()
        );
        let problem: airlock_runtime::Problem = serde_json::from_str(body).expect("a problem");
        assert_eq!((problem.status, &*problem.code), (503, "overloaded"));
    }
}
