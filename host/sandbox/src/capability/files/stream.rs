//! Files as byte streams. One operation is under way at a time; its buffer is
//! charged to the call's host memory, and the permit is rechecked at each use.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use super::Files;
use super::backend::{self, Place, READ_BYTES_MAX};
use super::fault::Fault;
use super::node::FileNode;
use super::slots::Io;
use crate::capability::Capability;
use crate::gate::{Missing, Reservation};

/// Most bytes one write takes.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What is read ahead when a guest waits without having asked for bytes.
const READ_AHEAD_BYTES: usize = 4096;

/// One operation, or what is left of it.
enum State<T> {
    Idle,
    Busy(BoxFuture<'static, Result<T, Fault>>),
    Done(T),
    Failed(Fault),
    Closed,
}

impl<T> State<T> {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Busy(work) = self {
            *self = match work.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(done)) => Self::Done(done),
                Poll::Ready(Err(fault)) => Self::Failed(fault),
            };
        }
        Poll::Ready(())
    }

    /// Starts what is due and takes up what has finished, without waiting.
    fn poke(&mut self) {
        let _ = self.step(&mut Context::from_waker(Waker::noop()));
    }

    async fn wait(&mut self) {
        std::future::poll_fn(|cx| self.step(cx)).await;
    }

    /// The failure, if there is one; the stream is closed after it.
    fn failure(&mut self) -> Option<Fault> {
        if !matches!(self, Self::Failed(_)) {
            return None;
        }
        match std::mem::replace(self, Self::Closed) {
            Self::Failed(fault) => Some(fault),
            _ => None,
        }
    }
}

impl FileNode {
    /// The stream error of a fault; a refusal is recorded.
    fn stream_error(&self, fault: Fault) -> StreamError {
        let code = match fault {
            Fault::Code(code) => code,
            Fault::Limit(limit) => return StreamError::Trap(wasmtime::Error::new(limit)),
            Fault::Refused { code, rule } => {
                let gate = self.permit.gate();
                gate.deny(Files::NAME, self.permit.op(), Missing::new(rule));
                code
            }
        };
        StreamError::LastOperationFailed(wasmtime::Error::new(code))
    }

    fn reserve(&self, bytes: u64) -> Result<Reservation, Fault> {
        Ok(self.permit.gate().budget().reserve(bytes)?)
    }
}

/// Bytes read and not yet taken.
struct Chunk {
    data: Bytes,
    _memory: Reservation,
}

/// A file read from a position on.
pub(super) struct ReadStream {
    node: Arc<FileNode>,
    io: Io,
    position: u64,
    state: State<Chunk>,
}

impl ReadStream {
    pub(super) fn new(node: Arc<FileNode>, io: Io, position: u64) -> Self {
        Self {
            node,
            io,
            position,
            state: State::Idle,
        }
    }

    fn begin(&mut self, size: usize) {
        if matches!(self.state, State::Idle) {
            self.state = match self.started(size) {
                Ok(work) => State::Busy(work),
                Err(fault) => State::Failed(fault),
            };
        }
    }

    fn started(&self, size: usize) -> Result<BoxFuture<'static, Result<Chunk, Fault>>, Fault> {
        self.node.holds()?;
        let size = READ_BYTES_MAX.min(size as u64);
        let memory = self.node.reserve(size)?;
        let read = backend::read(&self.io, &self.node, size, self.position);
        Ok(Box::pin(async move {
            let data = Bytes::from(read.await?);
            Ok(Chunk {
                data,
                _memory: memory,
            })
        }))
    }

    fn take(&mut self, size: usize) -> StreamResult<Bytes> {
        self.state.poke();
        if let Some(fault) = self.state.failure() {
            return Err(self.node.stream_error(fault));
        }
        let State::Done(chunk) = &mut self.state else {
            return match self.state {
                State::Closed => Err(StreamError::Closed),
                _ => Ok(Bytes::new()),
            };
        };
        if chunk.data.is_empty() {
            self.state = State::Closed;
            return Err(StreamError::Closed);
        }
        let data = chunk.data.split_to(size.min(chunk.data.len()));
        if chunk.data.is_empty() {
            self.state = State::Idle;
        }
        self.position += data.len() as u64;
        self.node.permit.count_in(data.len() as u64);
        Ok(data)
    }
}

#[async_trait::async_trait]
impl InputStream for ReadStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Err(fault) = self.node.holds() {
            self.state = State::Failed(fault);
        }
        if size > 0 {
            self.begin(size);
        }
        self.take(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size > 0 {
            self.begin(size);
        }
        self.state.wait().await;
        self.read(size)
    }

    async fn cancel(&mut self) {
        self.state = State::Closed;
    }
}

#[async_trait::async_trait]
impl Pollable for ReadStream {
    async fn ready(&mut self) {
        self.begin(READ_AHEAD_BYTES);
        self.state.wait().await;
    }
}

/// A file written from a position on, or at its end.
pub(super) struct WriteStream {
    node: Arc<FileNode>,
    io: Io,
    place: Place,
    state: State<u64>,
}

impl WriteStream {
    pub(super) fn new(node: Arc<FileNode>, io: Io, place: Place) -> Self {
        Self {
            node,
            io,
            place,
            state: State::Idle,
        }
    }

    fn started(&self, bytes: Bytes) -> Result<BoxFuture<'static, Result<u64, Fault>>, Fault> {
        self.node.holds()?;
        let memory = self.node.reserve(bytes.len() as u64)?;
        let (node, io, mut place) = (Arc::clone(&self.node), self.io.clone(), self.place);
        Ok(Box::pin(async move {
            let mut done = 0;
            while done < bytes.len() as u64 {
                let rest = bytes.slice(usize::try_from(done).unwrap_or(bytes.len())..);
                let wrote = backend::write(&io, &node, rest, place).await?;
                if wrote == 0 {
                    return Err(ErrorCode::InsufficientSpace.into());
                }
                node.permit.count_out(wrote);
                done += wrote;
                if let Place::At(offset) = &mut place {
                    *offset += wrote;
                }
            }
            drop(memory);
            Ok(done)
        }))
    }

    /// Takes up what has finished.
    fn settle(&mut self) -> StreamResult<()> {
        self.state.poke();
        if let State::Done(wrote) = self.state {
            if let Place::At(offset) = &mut self.place {
                *offset += wrote;
            }
            self.state = State::Idle;
        }
        match self.state.failure() {
            Some(fault) => Err(self.node.stream_error(fault)),
            None if matches!(self.state, State::Closed) => Err(StreamError::Closed),
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for WriteStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !matches!(self.state, State::Idle) || bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("write without the permit of check-write"));
        }
        self.state = match self.started(bytes) {
            Ok(work) => State::Busy(work),
            Err(fault) => State::Failed(fault),
        };
        self.state.poke();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.settle()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if let Err(fault) = self.node.holds() {
            self.state = State::Failed(fault);
        }
        self.settle()?;
        match self.state {
            State::Idle => Ok(WRITE_BYTES_MAX),
            _ => Ok(0),
        }
    }

    /// Waits for what was written: the guest was told that it is taken.
    async fn cancel(&mut self) {
        self.state.wait().await;
        self.state = State::Closed;
    }
}

#[async_trait::async_trait]
impl Pollable for WriteStream {
    async fn ready(&mut self) {
        self.state.wait().await;
    }
}
