//! `wasi:cli/stdout`, `wasi:cli/stderr` and `airlock:tool/host`.

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamResult};

use super::LogBuffer;
use super::backend::Source;
use crate::contract::host::{self, Level};
use crate::contract::types::Denial;
use crate::gate::Gate;
use crate::state::CallState;

/// Bytes that one write may bring.
const WRITE_BYTES_MAX: usize = 64 << 10;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    stdout::add_to_linker::<_, Logs>(linker, view)?;
    stderr::add_to_linker::<_, Logs>(linker, view)?;
    host::add_to_linker::<_, Logs>(linker, view)
}

fn view(state: &mut CallState) -> LogView<'_> {
    LogView {
        log: state.rooms.log(),
        gate: &state.gate,
        table: &mut state.table,
    }
}

struct Logs;
struct LogView<'a> {
    log: &'a LogBuffer,
    gate: &'a Gate,
    table: &'a mut ResourceTable,
}
impl HasData for Logs {
    type Data<'a> = LogView<'a>;
}

impl LogView<'_> {
    fn stream(&mut self, source: Source) -> wasmtime::Result<Resource<DynOutputStream>> {
        let log = self.log.clone();
        let stream: DynOutputStream = Box::new(Stream { log, source });
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for LogView<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.stream(Source::Stdout)
    }
}

impl stderr::Host for LogView<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.stream(Source::Stderr)
    }
}

impl host::Host for LogView<'_> {
    fn progress(&mut self, done: f64, total: Option<f64>, message: String) -> wasmtime::Result<()> {
        self.log.report(done, total, &message);
        Ok(())
    }

    fn log(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.log.record(level, &message, &fields);
        Ok(())
    }

    fn last_denial(&mut self) -> wasmtime::Result<Option<Denial>> {
        let denial = self.gate.last_denial();
        Ok(denial.map(|denial| Denial {
            capability: denial.capability,
            operation: denial.operation,
            rule: denial.rule,
        }))
    }
}

/// Always ready: what does not fit is dropped, not waited for.
struct Stream {
    log: LogBuffer,
    source: Source,
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
