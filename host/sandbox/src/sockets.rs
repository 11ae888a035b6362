//! `wasi:sockets`, which languages' standard libraries import: linked, for tools
//! and agents alike, and never granted.
//!
//! What must stay true: a socket is refused before it exists, a name before it is
//! looked up, and each attempt is on record.

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use wasmtime_wasi::p2::{DynPollable, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::agent::{AgentHost, Note};
use crate::capability::log::escape;
use crate::gate::{Gate, Missing};

const RULE: &str = "raw sockets cannot be granted; use `http`";

/// Links the interfaces, each by its own function.
///
/// # Errors
/// A name that is linked already.
pub(crate) fn link<T: Send + 'static>(
    linker: &mut Linker<T>,
    denied: fn(&mut T) -> WasiSocketsCtxView<'_>,
    sockets: fn(&mut T) -> SocketsView<'_>,
) -> wasmtime::Result<()> {
    let options = network::LinkOptions::default();
    network::add_to_linker::<_, WasiSockets>(linker, &options, denied)?;
    instance_network::add_to_linker::<_, WasiSockets>(linker, denied)?;
    tcp::add_to_linker::<_, WasiSockets>(linker, denied)?;
    udp::add_to_linker::<_, WasiSockets>(linker, denied)?;
    tcp_create_socket::add_to_linker::<_, Sockets>(linker, sockets)?;
    udp_create_socket::add_to_linker::<_, Sockets>(linker, sockets)?;
    ip_name_lookup::add_to_linker::<_, Sockets>(linker, sockets)
}

/// Creating a socket and looking up a name: refused here, on record.
struct Sockets;

/// One store's sockets: there are none.
pub(crate) struct SocketsView<'a> {
    pub(crate) refuses: Refuses<'a>,
    pub(crate) inner: WasiSocketsCtxView<'a>,
}

/// Where a refusal is put on record.
pub(crate) enum Refuses<'a> {
    /// In a call's denials.
    Call(&'a Gate),
    /// In the log of an agent's run.
    Run(&'a dyn AgentHost),
}

impl HasData for Sockets {
    type Data<'a> = SocketsView<'a>;
}

impl SocketsView<'_> {
    fn refuse(&self, operation: &str) -> SocketError {
        match self.refuses {
            Refuses::Call(gate) => {
                gate.deny("sockets", &operation, Missing::new(RULE));
            }
            Refuses::Run(host) => {
                let message = format!("denied: sockets: {}: {RULE}", escape(operation));
                let level = "warn".to_owned();
                if let Err(stopped) = host.note(Note::Log { level, message }) {
                    return SocketError::trap(stopped);
                }
            }
        }
        network::ErrorCode::AccessDenied.into()
    }
}

impl network::Host for SocketsView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<network::ErrorCode> {
        self.inner.convert_error_code(error)
    }
    fn network_error_code(
        &mut self,
        error: Resource<io::error::Error>,
    ) -> wasmtime::Result<Option<network::ErrorCode>> {
        self.inner.network_error_code(error)
    }
}

impl network::HostNetwork for SocketsView<'_> {
    fn drop(&mut self, network: Resource<network::Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.inner, network)
    }
}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(
        &mut self,
        _: network::IpAddressFamily,
    ) -> Result<Resource<TcpSocket>, SocketError> {
        Err(self.refuse("create a TCP socket"))
    }
}

impl udp_create_socket::Host for SocketsView<'_> {
    async fn create_udp_socket(
        &mut self,
        _: network::IpAddressFamily,
    ) -> Result<Resource<UdpSocket>, SocketError> {
        Err(self.refuse("create a UDP socket"))
    }
}

impl ip_name_lookup::Host for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        _: Resource<network::Network>,
        name: String,
    ) -> Result<Resource<ip_name_lookup::ResolveAddressStream>, SocketError> {
        Err(self.refuse(&format!("look up {name}")))
    }
}

impl ip_name_lookup::HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> Result<Option<network::IpAddress>, SocketError> {
        self.inner.resolve_next_address(stream)
    }
    fn subscribe(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.inner.subscribe(stream)
    }
    fn drop(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<()> {
        ip_name_lookup::HostResolveAddressStream::drop(&mut self.inner, stream)
    }
}
