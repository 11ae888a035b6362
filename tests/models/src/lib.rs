//! A model server on loopback that speaks the protocols of providers over real HTTP
//! and answers as a script says: well, badly, late, in part or never.
//!
//! What must stay true: it shares no code with what it tests; a request that a real
//! provider would refuse is refused here too, so that a test can't pass on one.

mod check;
mod http;
mod script;
mod speak;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use script::{Call, Counted, Damage, Raw, Reply, Script, Step, What};

/// A free port of loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The path, with the base's prefix.
    pub path: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub text: String,
    /// The body; `null` where it was no JSON.
    pub body: Value,
}

impl Seen {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A server; it ends when it is dropped.
pub struct FakeModels {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

pub(crate) struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
    /// Lets answers go on that wait for a word.
    released: tokio::sync::watch::Sender<bool>,
}

impl FakeModels {
    /// Serves on a free port of loopback.
    ///
    /// # Errors
    /// As the system says.
    pub async fn start(script: Script) -> io::Result<Self> {
        Self::start_with(ANY_PORT, script, None).await
    }

    /// The same on an address of loopback.
    ///
    /// # Errors
    /// As the system says.
    pub async fn start_at(address: SocketAddr, script: Script) -> io::Result<Self> {
        Self::start_with(address, script, None).await
    }

    /// The same with TLS.
    ///
    /// # Errors
    /// As the system says.
    pub async fn start_tls(script: Script, tls: TlsAcceptor) -> io::Result<Self> {
        Self::start_with(ANY_PORT, script, Some(tls)).await
    }

    async fn start_with(
        address: SocketAddr,
        script: Script,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            seen: Mutex::default(),
            arrived: Notify::new(),
            released: tokio::sync::watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), tls));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a provider's configuration.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What came so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// Waits until so many requests have come in all.
    pub async fn arrived(&self, count: usize) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.shared.seen().len() >= count {
                return;
            }
            arrived.await;
        }
    }

    /// Lets answers begin that wait for it, and those that come after.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Adds a step to the script.
    pub fn push(&self, step: Step) {
        self.shared.script().steps.push(step);
    }

    /// Goes on with another script, and forgets what came so far.
    pub fn play(&self, script: Script) {
        *self.shared.script() = script;
        self.shared.seen().clear();
    }

    /// Steps of the script that are not used up.
    #[must_use]
    pub fn left(&self) -> usize {
        self.shared.script().steps.len()
    }

    /// Runs until it is stopped from outside.
    pub async fn run(mut self) {
        // It ends only by being aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for FakeModels {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn released(&self) {
        let mut released = self.released.subscribe();
        // The sender lives as long as this.
        let _ = released.wait_for(|released| *released).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            // A peer that goes away is its own affair.
            let _ = match tls {
                None => serve(stream, &shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &shared).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

/// One request on one connection.
async fn serve<S>(mut stream: S, shared: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seen = http::read(&mut stream).await?;
    let step = {
        let mut script = shared.script();
        let checked = check::check(&seen, script.key.as_deref());
        let model = seen.body["model"].as_str().unwrap_or_default();
        checked.map(|()| script.next(model, &seen.text))
    };
    shared.seen().push(seen.clone());
    shared.arrived.notify_waiters();
    match step {
        Ok(Some(step)) => http::act(&mut stream, shared, &seen, &step.what).await,
        Ok(None) => {
            let raw = speak::refused(&seen.path, 500, "the script has no more steps");
            http::write_raw(&mut stream, &raw).await
        }
        Err((status, why)) => {
            let raw = speak::refused(&seen.path, status, &why);
            http::write_raw(&mut stream, &raw).await
        }
    }
}
