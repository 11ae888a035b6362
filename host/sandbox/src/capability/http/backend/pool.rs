//! Open connections of one plugin under one version of its grants. It lives in
//! what the room prepared for them, so that none is ever used by another plugin
//! or outlives a revoked grant.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Host;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

use super::body::RequestBody;

/// Connections of one plugin at once, in use and idle.
const CONNECTIONS_MAX: usize = 128;
/// Idle connections of one plugin.
const IDLE_MAX: usize = 16;
/// How long a connection is kept idle.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long a connection may take to become idle after its response ended.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// What must be equal for a connection to be used again: where it goes, and what
/// the rule let it reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) https: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) allow_private: bool,
    pub(super) allow_own: bool,
}

/// An open connection. Dropping it closes it at once, whatever was under way.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) _task: AbortOnDropJoinHandle<()>,
}

pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    io: Handle,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Key, Instant, Connection)>,
    swept: bool,
}

/// A place among the plugin's connections.
pub(super) struct Place {
    pool: Arc<Inner>,
    permit: OwnedSemaphorePermit,
}

/// A connection in use. Dropping it closes the connection; [`Lease::release`]
/// keeps it.
pub(super) struct Lease {
    pub(super) connection: Connection,
    key: Key,
    place: Place,
}

impl Pool {
    pub(super) fn new(io: Handle) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self {
            inner: Arc::new(Inner {
                io,
                places,
                idle: Mutex::default(),
            }),
        }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.inner.places).acquire_owned().await.ok()?;
        Some(Place {
            pool: Arc::clone(&self.inner),
            permit,
        })
    }

    /// Idle connections now.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.inner.idle().connections.len()
    }
}

impl Place {
    /// An idle connection that is still open.
    pub(super) fn idle(&self, key: &Key) -> Option<Connection> {
        let mut idle = self.pool.idle();
        idle.connections.retain(|(_, since, one)| {
            since.elapsed() < IDLE_TIME && one.sender.is_ready() && !one.sender.is_closed()
        });
        let at = idle
            .connections
            .iter()
            .rposition(|(other, ..)| other == key)?;
        Some(idle.connections.remove(at).2)
    }

    pub(super) fn lease(self, key: Key, connection: Connection) -> Lease {
        Lease {
            connection,
            key,
            place: self,
        }
    }
}

impl Lease {
    /// Gives up the connection and keeps the place, for another one.
    pub(super) fn fail(self) -> Place {
        self.place
    }

    /// Keeps the connection for the next request, once it has settled.
    pub(super) fn release(self) {
        let Self {
            mut connection,
            key,
            place,
        } = self;
        let Place { pool, permit } = place;
        let io = pool.io.clone();
        io.spawn(async move {
            let settled = tokio::time::timeout(SETTLE_TIME, connection.sender.ready()).await;
            drop(permit);
            if matches!(settled, Ok(Ok(()))) {
                Inner::keep(&pool, key, connection);
            }
        });
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(pool: &Arc<Self>, key: Key, connection: Connection) {
        let mut idle = pool.idle();
        if idle.connections.len() >= IDLE_MAX {
            idle.connections.remove(0);
        }
        idle.connections.push((key, Instant::now(), connection));
        if !idle.swept {
            idle.swept = true;
            pool.io.spawn(Self::sweep(Arc::downgrade(pool)));
        }
    }

    /// Closes what has been idle for too long, until there is nothing left.
    async fn sweep(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(IDLE_TIME / 2).await;
            let Some(pool) = pool.upgrade() else {
                return;
            };
            let mut idle = pool.idle();
            idle.connections
                .retain(|(_, since, _)| since.elapsed() < IDLE_TIME);
            if idle.connections.is_empty() {
                idle.swept = false;
                return;
            }
        }
    }
}
