//! From a permitted request to an open connection: resolve once, check every
//! address, dial one of those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::Error;

use super::network::{Network, is_this_machine};
use super::pool::{Connection, Key};
use crate::capability::Capability;
use crate::capability::http::{Http, Rule};
use crate::gate::{Missing, Permit};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// The largest head of a response, and the buffer of a connection, bytes.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;

pub(super) struct Dial<'a> {
    pub(super) network: &'a Network,
    pub(super) tls: &'a Arc<ClientConfig>,
    pub(super) lookups: &'a Arc<Semaphore>,
    pub(super) permit: &'a Permit<Http>,
    pub(super) rule: &'a Rule,
    pub(super) key: &'a Key,
    pub(super) patience: Duration,
}

impl Dial<'_> {
    /// Opens a connection, within `patience`.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        let addresses = timeout(self.patience, self.addresses());
        let addresses = addresses.await.map_err(|_| Error::DnsTimeout)??;
        for address in &addresses {
            self.check(*address)?;
        }
        let stream = self.first(&addresses).await?;
        self.check_ends(&stream)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        let opened = async {
            if self.key.https {
                self.handshake(self.secure(stream).await?).await
            } else {
                self.handshake(stream).await
            }
        };
        timeout(self.patience, opened)
            .await
            .map_err(|_| Error::ConnectionTimeout)?
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let port = self.key.port;
        let name = match &self.key.host {
            Host::Ipv4(ip) => return Ok(vec![SocketAddr::new((*ip).into(), port)]),
            Host::Ipv6(ip) => return Ok(vec![SocketAddr::new((*ip).into(), port)]),
            Host::Domain(name) => name,
        };
        let unknown = || Error::DnsError {
            rcode: None,
            info_code: None,
        };
        let addresses = self
            .network
            .resolve(name, port, self.lookups)
            .await
            .map_err(|_| unknown())?;
        if addresses.is_empty() {
            return Err(unknown());
        }
        Ok(addresses
            .into_iter()
            .map(|found| SocketAddr::new(found.ip(), port))
            .collect())
    }

    fn check(&self, address: SocketAddr) -> Result<(), Error> {
        if let Some(needs) = self.rule.address_lacks(address.ip()) {
            return Err(self.refuse(needs));
        }
        if !self.rule.allow_own && self.network.is_own(address, None) {
            return Err(self.refuse_own());
        }
        Ok(())
    }

    /// Where the connection leads, which its ends alone show where the address is
    /// this machine's own.
    fn check_ends(&self, stream: &TcpStream) -> Result<(), Error> {
        let ends = stream
            .peer_addr()
            .and_then(|peer| Ok((peer, stream.local_addr()?)));
        let (peer, local) = ends.map_err(|_| Error::ConnectionTerminated)?;
        if !self.rule.allow_own && self.network.is_own(peer, Some(local)) {
            return Err(self.refuse_own());
        }
        if !self.rule.allow_private && is_this_machine(peer, local) {
            let needs = "`allow_private = true` in the rule: the host's address is this machine's";
            return Err(self.refuse(needs.to_owned()));
        }
        Ok(())
    }

    fn refuse_own(&self) -> Error {
        self.refuse("`allow_own = true` in the rule: the address is the host's own API".to_owned())
    }

    fn refuse(&self, needs: String) -> Error {
        self.permit
            .gate()
            .deny(Http::NAME, self.permit.op(), Missing::new(needs));
        Error::DestinationIpProhibited
    }

    #[expect(clippy::disallowed_methods, reason = "the address was checked")]
    async fn first(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
        let tried = &addresses[..addresses.len().min(ADDRESSES_MAX)];
        let share = self.patience / u32::try_from(tried.len()).unwrap_or(1).max(1);
        let mut failure = Error::DestinationUnavailable;
        for address in tried {
            failure = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Error::ConnectionRefused
                }
                Ok(Err(_)) => Error::DestinationUnavailable,
                Err(_) => Error::ConnectionTimeout,
            };
        }
        Err(failure)
    }

    async fn secure(
        &self,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let name = airlock_tls::server_name(&self.key.host);
        let name = name.ok_or(Error::HttpRequestUriInvalid)?;
        let connector = TlsConnector::from(Arc::clone(self.tls));
        connector.connect(name, stream).await.map_err(tls_error)
    }

    async fn handshake<S>(&self, stream: S) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BYTES_MAX);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|_| Error::ConnectionTerminated)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of a plugin ended");
            }
        });
        Ok(Connection {
            sender,
            _task: AbortOnDropJoinHandle::from(task),
        })
    }
}

fn tls_error(error: std::io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: None,
        },
        _ => Error::TlsProtocolError,
    }
}
