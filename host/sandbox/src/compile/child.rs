//! The child process that compiles: reads an order and a component from stdin,
//! writes the code to stdout.
//!
//! What must stay true: it limits itself before it looks at the component, and
//! compiles only when its engine is the parent's.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

#[cfg(any(test, feature = "testing"))]
use super::CompileError;
use super::cache::compatible;
use crate::engine;

/// The component is at fault.
pub(super) const EXIT_REFUSED: i32 = 3;

/// This program or its parent is at fault.
const EXIT_FAILED: u8 = 4;

/// Niceness of the compiler: calls go first.
const NICENESS: i32 = 5;

/// What the parent tells its child before the component's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// CPU time over all threads, seconds.
    pub(super) cpu_seconds: u64,
    /// Address space, bytes.
    pub(super) memory_bytes: u64,
    /// The parent's engine.
    pub(super) compatible: [u8; 32],
}

impl Order {
    pub(super) const BYTES: usize = 48;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.cpu_seconds.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.memory_bytes.to_le_bytes());
        bytes[16..].copy_from_slice(&self.compatible);
        bytes
    }

    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let (mut cpu, mut memory, mut compatible) = ([0; 8], [0; 8], [0; 32]);
        from.read_exact(&mut cpu)?;
        from.read_exact(&mut memory)?;
        from.read_exact(&mut compatible)?;
        Ok(Self {
            cpu_seconds: u64::from_le_bytes(cpu),
            memory_bytes: u64::from_le_bytes(memory),
            compatible,
        })
    }
}

/// Compiles what stdin holds, for [`super::Compiler`]; the whole of the child's
/// `main`.
pub fn child_main() -> ExitCode {
    match serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, reason }) => {
            // Nobody is left to tell when stderr is gone too.
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::from(status)
        }
    }
}

struct Failure {
    status: u8,
    reason: String,
}

fn failed(step: &str, error: impl std::fmt::Display) -> Failure {
    Failure {
        status: EXIT_FAILED,
        reason: format!("{step}: {error}"),
    }
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> Result<(), Failure> {
    let order = Order::read(input).map_err(|e| failed("reading the order", e))?;
    limit(&order).map_err(|e| failed("limiting the compiler", e))?;
    let engine = asked_for(&order)?;
    let mut component = Vec::new();
    let read = input.read_to_end(&mut component);
    read.map_err(|e| failed("reading the component", e))?;
    let code = engine
        .precompile_component(&component)
        .map_err(|e| Failure {
            status: EXIT_REFUSED as u8,
            reason: format!("{e:#}"),
        })?;
    let written = output.write_all(&code).and_then(|()| output.flush());
    written.map_err(|e| failed("writing the code", e))
}

/// The engine that is compatible with the parent's.
fn asked_for(order: &Order) -> Result<wasmtime::Engine, Failure> {
    for what_for in engine::Use::ALL {
        let engine = engine::compiler(what_for).map_err(|e| failed("starting the engine", e))?;
        if compatible(&engine) == order.compatible {
            return Ok(engine);
        }
    }
    Err(failed(
        "comparing engines",
        "the compiler is of another build",
    ))
}

fn limit(order: &Order) -> std::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        let (current, maximum) = (Some(soft), Some(hard));
        setrlimit(resource, Rlimit { current, maximum })
    };
    set(Resource::Core, 0, 0)?;
    set(Resource::Fsize, 0, 0)?;
    set(Resource::Cpu, order.cpu_seconds, order.cpu_seconds + 1)?;
    set(Resource::As, order.memory_bytes, order.memory_bytes)?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}

/// Compiles in this process: for tests that have no program to start.
#[cfg(any(test, feature = "testing"))]
pub(super) fn compile_here(
    component: &[u8],
    for_engine: &[u8; 32],
) -> Result<Vec<u8>, CompileError> {
    let order = Order {
        cpu_seconds: 0,
        memory_bytes: 0,
        compatible: *for_engine,
    };
    let engine = asked_for(&order).map_err(|failure| CompileError::Refused {
        reason: failure.reason,
    })?;
    engine
        .precompile_component(component)
        .map_err(|error| CompileError::Refused {
            reason: format!("{error:#}"),
        })
}
