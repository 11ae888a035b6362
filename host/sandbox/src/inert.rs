//! What every component may import because its language's standard library
//! does, and what reaches nothing: `wasi:io` (streams and pollables that other
//! rooms made), an empty stdin, terminals that are not there, `exit`, and
//! sockets.
//!
//! What must stay true: no grant changes anything here; a socket is refused
//! before it exists, and each attempt is in the call's denials.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::p2::bindings::cli;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynInputStream, DynPollable};
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::call::CallError;
use crate::gate::LimitReached;
use crate::grants::EffectClass;
use crate::sockets::{Refuses, SocketsView};
use crate::state::CallState;

/// Most pollables in one `poll`.
pub const POLLABLES_MAX: usize = 10_000;

/// WIT interfaces linked here, with the accepted versions, as
/// [`crate::capability::Capability::INTERFACES`].
pub const INTERFACES: &[(&str, &[&str])] = &[
    ("wasi:io/error", &["0.2"]),
    ("wasi:io/poll", &["0.2"]),
    ("wasi:io/streams", &["0.2"]),
    ("wasi:cli/exit", &["0.2"]),
    ("wasi:cli/stdin", &["0.2"]),
    ("wasi:cli/terminal-input", &["0.2"]),
    ("wasi:cli/terminal-output", &["0.2"]),
    ("wasi:cli/terminal-stdin", &["0.2"]),
    ("wasi:cli/terminal-stdout", &["0.2"]),
    ("wasi:cli/terminal-stderr", &["0.2"]),
    ("wasi:sockets/network", &["0.2"]),
    ("wasi:sockets/instance-network", &["0.2"]),
    ("wasi:sockets/ip-name-lookup", &["0.2"]),
    ("wasi:sockets/tcp", &["0.2"]),
    ("wasi:sockets/tcp-create-socket", &["0.2"]),
    ("wasi:sockets/udp", &["0.2"]),
    ("wasi:sockets/udp-create-socket", &["0.2"]),
];

/// What the inert interfaces keep per call: contexts that allow nothing.
#[derive(Default)]
pub struct State {
    /// Made when first asked for, as the other: most calls ask for neither.
    cli: Option<Box<WasiCliCtx>>,
    sockets: Option<Box<WasiSocketsCtx>>,
}

impl State {
    fn cli(&mut self) -> &mut WasiCliCtx {
        self.cli.get_or_insert_default()
    }

    fn sockets(&mut self) -> &mut WasiSocketsCtx {
        self.sockets.get_or_insert_default()
    }
}

/// The guest called `wasi:cli/exit`. As a wasmtime error it ends the call; a tool
/// answers by returning, so whatever the status, the call has no result. Only a
/// program's `main` (`wasi:cli/run`) says by its status all it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tool exited with status {status} instead of answering")]
pub struct GuestExit {
    /// The exit status; 0 claims success.
    pub status: u8,
}

impl GuestExit {
    /// What became of the call. A tool that claims success and gives no result
    /// may have done its work, unless it could not change anything.
    pub(crate) fn outcome(self, class: EffectClass) -> CallError {
        let message = match (self.status, class) {
            (0, EffectClass::ReadOnly) => format!("{self}: there is no result"),
            (0, _) => {
                let message = format!("{self}: there is no result, and its work may be done");
                return CallError::Unknown { message };
            }
            _ => format!("{self}: it says that it failed"),
        };
        CallError::Permanent { message }
    }
}

/// Links the interfaces, each by its own function.
///
/// # Errors
/// A name that is linked already.
pub fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    link_io(linker)?;
    link_cli(linker)?;
    crate::sockets::link(linker, denied, sockets)
}

fn link_io(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<_, Errors>(linker, |state| ErrorsView(&mut state.table))?;
    io::poll::add_to_linker::<_, Polls>(linker, |state| PollsView(&mut state.table))?;
    io::streams::add_to_linker::<_, Table>(linker, |state| &mut state.table)
}

fn link_cli(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    cli::exit::add_to_linker::<_, Cli>(linker, cli_view)?;
    cli::stdin::add_to_linker::<_, Cli>(linker, cli_view)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, terminal)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, terminal)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, terminal)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, terminal)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, terminal)
}

fn terminal(state: &mut CallState) -> WasiCliCtxView<'_> {
    WasiCliCtxView {
        ctx: state.inert.cli(),
        table: &mut state.table,
    }
}

fn cli_view(state: &mut CallState) -> CliView<'_> {
    CliView(&mut state.table)
}

fn denied(state: &mut CallState) -> WasiSocketsCtxView<'_> {
    WasiSocketsCtxView {
        ctx: state.inert.sockets(),
        table: &mut state.table,
    }
}

fn sockets(state: &mut CallState) -> SocketsView<'_> {
    SocketsView {
        refuses: Refuses::Call(&state.gate),
        inner: WasiSocketsCtxView {
            ctx: state.inert.sockets(),
            table: &mut state.table,
        },
    }
}

struct Table;
impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

struct Errors;
struct ErrorsView<'a>(&'a mut ResourceTable);
impl HasData for Errors {
    type Data<'a> = ErrorsView<'a>;
}

impl io::error::Host for ErrorsView<'_> {}
impl io::error::HostError for ErrorsView<'_> {
    fn drop(&mut self, error: Resource<io::error::Error>) -> wasmtime::Result<()> {
        io::error::HostError::drop(self.0, error)
    }

    /// The error's own line only: its `Debug` form could show host paths and
    /// backtraces.
    fn to_debug_string(&mut self, error: Resource<io::error::Error>) -> wasmtime::Result<String> {
        Ok(self.0.get(&error)?.to_string())
    }
}

struct Polls;
struct PollsView<'a>(&'a mut ResourceTable);
impl HasData for Polls {
    type Data<'a> = PollsView<'a>;
}

impl io::poll::Host for PollsView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.len() > POLLABLES_MAX {
            return Err(LimitReached {
                limit: "handles",
                value: format!("{POLLABLES_MAX} pollables in one poll"),
            }
            .into());
        }
        io::poll::Host::poll(self.0, pollables).await
    }
}

impl io::poll::HostPollable for PollsView<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        io::poll::HostPollable::block(self.0, pollable).await
    }
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        io::poll::HostPollable::ready(self.0, pollable).await
    }
    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        io::poll::HostPollable::drop(self.0, pollable)
    }
}

struct Cli;
struct CliView<'a>(&'a mut ResourceTable);
impl HasData for Cli {
    type Data<'a> = CliView<'a>;
}

impl cli::exit::Host for CliView<'_> {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, status: u8) -> wasmtime::Result<()> {
        Err(GuestExit { status }.into())
    }
}

impl cli::stdin::Host for CliView<'_> {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.0.push(stream)?)
    }
}
