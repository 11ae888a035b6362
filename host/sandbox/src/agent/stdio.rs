//! An agent's stdout and stderr: the run's log.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::waits::View;
use super::{AgentHost, Note};
use crate::capability::log::escape;

/// Bytes that one write may bring, and at which a line without an end is told.
const WRITE_BYTES_MAX: usize = 8 << 10;

impl View<'_> {
    fn stream(&mut self, level: &'static str) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Lines {
            host: Arc::clone(&self.0.host),
            level,
            line: Vec::new(),
        });
        Ok(self.0.table.push(stream)?)
    }
}

impl stdout::Host for View<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.stream("stdout")
    }
}

impl stderr::Host for View<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        self.stream("stderr")
    }
}

/// Tells whole lines; always ready.
struct Lines {
    host: Arc<dyn AgentHost>,
    level: &'static str,
    line: Vec<u8>,
}

impl Lines {
    fn tell(&mut self) -> StreamResult<()> {
        let line = std::mem::take(&mut self.line);
        let note = Note::Log {
            level: self.level.to_owned(),
            message: escape(&String::from_utf8_lossy(&line)),
        };
        let told = self.host.note(note);
        told.map_err(|stopped| StreamError::Trap(stopped.into()))
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for byte in bytes {
            match byte {
                b'\n' => self.tell()?,
                byte => self.line.push(byte),
            }
            if self.line.len() >= WRITE_BYTES_MAX {
                self.tell()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
