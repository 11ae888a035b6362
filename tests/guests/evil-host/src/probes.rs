//! Looking for what a process would have: environment, arguments, input, a
//! terminal, the network.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use wasip2::cli::{environment as env, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

use super::*;

/// All that is known of the process.
#[tool]
pub(crate) fn environment(_input: Amount) -> Result<Value, Error> {
    let path = |path: std::io::Result<std::path::PathBuf>| {
        outcome(path.map(|path| path.display().to_string()))
    };
    Ok(json!({
        "environment": env::get_environment(),
        "arguments": env::get_arguments(),
        "initial_cwd": env::initial_cwd(),
        "std_vars": std::env::vars().count(),
        "std_args": std::env::args().count(),
        "std_exe": path(std::env::current_exe()),
    }))
}

/// Reads all of stdin.
#[tool]
pub(crate) fn stdin(_input: Amount) -> Result<Value, Error> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    Ok(outcome(read.map(|count| count as u64)))
}

/// Looks for a terminal.
#[tool]
pub(crate) fn terminals(_input: Amount) -> Result<Value, Error> {
    Ok(json!([
        terminal_stdin::get_terminal_stdin().is_some(),
        terminal_stdout::get_terminal_stdout().is_some(),
        terminal_stderr::get_terminal_stderr().is_some(),
    ]))
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Target {
    /// A listening address, e.g. `127.0.0.1:80`.
    address: String,
    /// A host name.
    name: String,
}

/// Every way to the network but the granted one.
#[tool]
pub(crate) fn sockets(input: Target) -> Result<Value, Error> {
    let debug = |error| format!("{error:?}");
    let raw = |family| tcp_create_socket::create_tcp_socket(family).map(|_| "a socket");
    let network = instance_network::instance_network();
    let looked_up = ip_name_lookup::resolve_addresses(&network, &input.name);
    let udp = udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4).map(|_| "a socket");
    let address = input.address.as_str();
    Ok(json!({
        "raw_tcp4": outcome(raw(IpAddressFamily::Ipv4).map_err(debug)),
        "raw_tcp6": outcome(raw(IpAddressFamily::Ipv6).map_err(debug)),
        "raw_udp": outcome(udp.map_err(debug)),
        "raw_lookup": outcome(looked_up.map(|_| "addresses").map_err(debug)),
        "connect": outcome(TcpStream::connect(address).map(|_| "connected")),
        "listen": outcome(TcpListener::bind("127.0.0.1:0").map(|_| "listening")),
        "udp": outcome(UdpSocket::bind("127.0.0.1:0").map(|_| "bound")),
        "lookup": outcome((input.name.as_str(), 80).to_socket_addrs().map(|_| "addresses")),
    }))
}

/// Ends the process instead of answering, with status 0 unless `amount` is not.
#[tool]
pub(crate) fn exit(input: Amount) -> Result<Value, Error> {
    std::process::exit(i32::try_from(input.amount).unwrap_or(1))
}
