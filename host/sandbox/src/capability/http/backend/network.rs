//! What the `http` room needs of the host, given once at start: how names are
//! resolved, which certificates are trusted, and which addresses are the host's
//! own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use airlock_journal::store::BoxFuture;
use airlock_tls::TlsError;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::sync::Semaphore;

use crate::capability::http::address::{AddressClass, classify};

/// Names resolved at once, over all plugins. The system's resolver cannot be
/// interrupted and holds a thread each.
const LOOKUPS_MAX: usize = 32;
/// Names resolved at once for one plugin, and names of its own that wait among
/// those of others: names that nobody answers for hold up no other plugin's.
pub(in crate::capability::http) const LOOKUPS_EACH_MAX: usize = 4;

/// TLS sessions remembered for each plugin.
const SESSIONS_MAX: usize = 32;

/// Turns a host name into addresses. The room asks once per connection, checks
/// every address and dials one of those it checked.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `host`.
    ///
    /// # Errors
    /// As the system's resolver: the name is unknown or could not be resolved.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    #[expect(
        clippy::disallowed_methods,
        reason = "what a plugin may resolve was permitted"
    )]
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Whether `peer` is this machine, seen from a socket whose own end is `local`: by
/// its own address, whatever class that has, it reaches itself.
pub(in crate::capability::http) fn is_this_machine(peer: SocketAddr, local: SocketAddr) -> bool {
    let [peer, local] = [peer, local].map(|address| address.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Resolver, trust and own addresses of one host.
pub struct Network {
    resolver: Arc<dyn Resolver>,
    tls: ClientConfig,
    own: RwLock<Vec<SocketAddr>>,
    lookups: Arc<Semaphore>,
}

impl Network {
    /// The system's resolver, and the roots of Mozilla's programme. Certificates
    /// in `ca_file` (PEM) are trusted as well.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let tls = airlock_tls::client(ca_file)?;
        Ok(Self {
            resolver: Arc::new(SystemResolver),
            tls,
            own: RwLock::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        })
    }

    /// Resolves names by `resolver` instead of the system's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// The addresses the host itself listens on: no plugin reaches them unless
    /// its rule says `allow_own`.
    pub fn set_own_addresses(&self, addresses: Vec<SocketAddr>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether what an administrator pinned by its URL may be dialled at `address`;
    /// `local` is the near end of the connection, once there is one. The host's own
    /// listeners never are.
    ///
    /// # Errors
    /// Why not.
    pub fn may_dial(
        &self,
        address: SocketAddr,
        local: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<(), String> {
        if self.is_own(address, local) {
            return Err("it is this host's own API".to_owned());
        }
        match classify(address.ip()) {
            AddressClass::Public => Ok(()),
            AddressClass::Private(_) if allow_private => Ok(()),
            AddressClass::Private(what) => Err(format!(
                "its address is not public ({what}): that needs `allow_private`"
            )),
            AddressClass::Metadata => Err("its address is the cloud's metadata service".to_owned()),
            AddressClass::Never(what) => Err(format!("its address is of no host ({what})")),
        }
    }

    /// How TLS is spoken. Sessions are remembered apart from those of others.
    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        let mut tls = self.tls.clone();
        tls.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Arc::new(tls)
    }

    /// Whether `address`, seen from a socket whose own end is `local`, is this
    /// host's own listener.
    pub(super) fn is_own(&self, address: SocketAddr, local: Option<SocketAddr>) -> bool {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let ip = address.ip().to_canonical();
        let here = ip.is_loopback() || local.is_some_and(|local| is_this_machine(address, local));
        own.iter().any(|listener| {
            listener.port() == address.port() && (here || listener.ip().to_canonical() == ip)
        })
    }

    /// Resolves a name on the current runtime, with a place in `share` first. The
    /// caller's losing patience does not free its places: the lookup itself goes on
    /// until it is over.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
        share: &Arc<Semaphore>,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut places = Vec::new();
        for semaphore in [share, &self.lookups] {
            let place = Arc::clone(semaphore).acquire_owned().await;
            places.push(place.map_err(io::Error::other)?);
        }
        let (resolver, host) = (Arc::clone(&self.resolver), host.to_owned());
        let lookup = tokio::spawn(async move {
            let _places = places;
            resolver.resolve(&host, port).await
        });
        lookup.await.map_err(io::Error::other)?
    }
}
