//! What an agent may import, interface by interface: the host of agents, time
//! and randomness from the journal, and what languages' standard libraries
//! import besides, which reaches nothing.

use wasmtime::Engine;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::{cli, filesystem};
use wasmtime_wasi_io::bindings::wasi::io;

use super::contract::host;
use super::state::AgentState;
use super::waits::View;
use crate::inert::GuestExit;

/// WIT interfaces linked here, with the accepted versions, as
/// [`crate::capability::Capability::INTERFACES`].
pub const INTERFACES: &[(&str, &[&str])] = &[
    ("airlock:agent/host", &["0.1.0"]),
    ("airlock:agent/types", &["0.1.0"]),
    ("airlock:tool/types", &["1.0.0"]),
    ("wasi:cli/environment", &["0.2"]),
    ("wasi:cli/exit", &["0.2"]),
    ("wasi:cli/stderr", &["0.2"]),
    ("wasi:cli/stdin", &["0.2"]),
    ("wasi:cli/stdout", &["0.2"]),
    ("wasi:cli/terminal-input", &["0.2"]),
    ("wasi:cli/terminal-output", &["0.2"]),
    ("wasi:cli/terminal-stderr", &["0.2"]),
    ("wasi:cli/terminal-stdin", &["0.2"]),
    ("wasi:cli/terminal-stdout", &["0.2"]),
    ("wasi:clocks/monotonic-clock", &["0.2"]),
    ("wasi:clocks/wall-clock", &["0.2"]),
    ("wasi:filesystem/preopens", &["0.2"]),
    ("wasi:filesystem/types", &["0.2"]),
    ("wasi:io/error", &["0.2"]),
    ("wasi:io/poll", &["0.2"]),
    ("wasi:io/streams", &["0.2"]),
    ("wasi:random/insecure", &["0.2"]),
    ("wasi:random/insecure-seed", &["0.2"]),
    ("wasi:random/random", &["0.2"]),
    ("wasi:sockets/instance-network", &["0.2"]),
    ("wasi:sockets/ip-name-lookup", &["0.2"]),
    ("wasi:sockets/network", &["0.2"]),
    ("wasi:sockets/tcp", &["0.2"]),
    ("wasi:sockets/tcp-create-socket", &["0.2"]),
    ("wasi:sockets/udp", &["0.2"]),
    ("wasi:sockets/udp-create-socket", &["0.2"]),
];

/// The linker of everything an agent may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<AgentState>> {
    let mut linker = Linker::new(engine);
    let to = &mut linker;
    host::add_to_linker::<_, Agent>(to, view)?;
    io::poll::add_to_linker::<_, Agent>(to, view)?;
    monotonic_clock::add_to_linker::<_, Agent>(to, view)?;
    wall_clock::add_to_linker::<_, Agent>(to, view)?;
    random::add_to_linker::<_, Agent>(to, view)?;
    insecure::add_to_linker::<_, Agent>(to, view)?;
    insecure_seed::add_to_linker::<_, Agent>(to, view)?;
    cli::stdout::add_to_linker::<_, Agent>(to, view)?;
    cli::stderr::add_to_linker::<_, Agent>(to, view)?;
    cli::exit::add_to_linker::<_, Agent>(to, view)?;
    link_empty(to)?;
    Ok(linker)
}

/// What is there and has nothing in it.
fn link_empty(to: &mut Linker<AgentState>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<_, Table>(to, |state| &mut state.table)?;
    io::streams::add_to_linker::<_, Table>(to, |state| &mut state.table)?;
    cli::environment::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::stdin::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(to, cli_view)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(to, cli_view)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(to, AgentState::files)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(to, AgentState::files)?;
    crate::sockets::link(to, AgentState::no_sockets, AgentState::refused_sockets)
}

fn view(state: &mut AgentState) -> View<'_> {
    View(state)
}

fn cli_view(state: &mut AgentState) -> WasiCliCtxView<'_> {
    state.cli()
}

struct Agent;
impl HasData for Agent {
    type Data<'a> = View<'a>;
}

struct Table;
impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

impl cli::exit::Host for View<'_> {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, status: u8) -> wasmtime::Result<()> {
        Err(GuestExit { status }.into())
    }
}
