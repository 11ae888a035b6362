//! From a base URL to an open connection. The address may be a private one: an
//! administrator wrote the URL.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use url::Host;

use super::BaseUrl;
use crate::error::{Failed, Why};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The largest head of an answer, and the buffer of a connection, bytes.
const READ_BYTES_MAX: usize = 64 << 10;

pub(super) type Opened = (http1::SendRequest<Full<Bytes>>, JoinHandle<()>);

pub(super) async fn connect(base: &BaseUrl, tls: &Arc<ClientConfig>) -> Result<Opened, Failed> {
    let stream = first(&addresses(base).await?).await?;
    stream
        .set_nodelay(true)
        .map_err(|_| failed("the connection ended"))?;
    match base.https {
        true => {
            let connector = TlsConnector::from(Arc::clone(tls));
            let secured = connector.connect(name(base)?, stream).await;
            handshake(secured.map_err(|error| failed(tls_words(&error)))?).await
        }
        false => handshake(stream).await,
    }
}

fn failed(message: &str) -> Failed {
    Failed::transient(Why::Connect, message)
}

async fn addresses(base: &BaseUrl) -> Result<Vec<SocketAddr>, Failed> {
    let name = match &base.host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new((*ip).into(), base.port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new((*ip).into(), base.port)]),
        Host::Domain(name) => name.as_str(),
    };
    let found = tokio::net::lookup_host((name, base.port)).await;
    let found = found.map_err(|_| failed("the provider's name can't be resolved"))?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

async fn first(addresses: &[SocketAddr]) -> Result<TcpStream, Failed> {
    let mut last = failed("the provider's name has no address");
    for address in addresses {
        last = match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                failed("the provider refused the connection")
            }
            Err(_) => failed("the provider can't be reached"),
        };
    }
    Err(last)
}

fn name(base: &BaseUrl) -> Result<ServerName<'static>, Failed> {
    let name = airlock_tls::server_name(&base.host);
    name.ok_or_else(|| failed("the provider's name is none that TLS knows"))
}

fn tls_words(error: &std::io::Error) -> &'static str {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => "the provider's certificate is not trusted",
        _ => "TLS with the provider failed",
    }
}

async fn handshake<S>(stream: S) -> Result<Opened, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(READ_BYTES_MAX);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(|_| failed("the connection ended"))?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a model provider ended");
        }
    });
    Ok((sender, task))
}
