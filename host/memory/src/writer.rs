//! The one thread that changes the store. Writes of many callers are one batch;
//! each is whole in it or refused.
//!
//! What must stay true: a write is acknowledged when it is durable and every search
//! that begins then sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use airlock_journal::StoreError;
use tokio::sync::oneshot;

use crate::draft::Draft;
use crate::error::MemoryError;
use crate::memory::Shared;
use crate::model::{Namespace, Written};
use crate::prepare::PreparedWrite;
use crate::sweep::{self, Swept};
use crate::wait::wait;

/// Requests that may wait.
const QUEUE_MAX: usize = 1024;
/// Bytes of writes that may wait.
const QUEUE_BYTES_MAX: u64 = 128 << 20;
/// Requests in one batch.
pub(crate) const BATCH_MAX: usize = 256;
/// Bytes of writes after which a batch takes no further one.
pub(crate) const BATCH_BYTES_MAX: u64 = 8 << 20;

type Reply<T> = oneshot::Sender<Result<T, MemoryError>>;

enum Request {
    Write(PreparedWrite, Reply<Vec<Written>>),
    Drop(Namespace, Reply<bool>),
    Sweep(Reply<Swept>),
}

/// An answer that waits until the batch is durable.
type Answer = Box<dyn FnOnce(Result<(), MemoryError>) + Send>;

/// Callers' end of the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<SyncSender<Request>>,
    waiting_bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn spawn(shared: Arc<Shared>) -> Result<Self, MemoryError> {
        let (queue, requests) = sync_channel(QUEUE_MAX);
        let waiting_bytes = Arc::new(AtomicU64::new(0));
        let mut serving = Serving {
            shared,
            requests,
            waiting_bytes: Arc::clone(&waiting_bytes),
        };
        let thread = std::thread::Builder::new()
            .name("memory-writer".to_owned())
            .spawn(move || serving.serve())
            .map_err(|source| StoreError::io("starting the memory's writer", source))?;
        Ok(Self {
            queue: Some(queue),
            waiting_bytes,
            thread: Some(thread),
        })
    }

    /// Queues the write at once; the future only waits.
    pub(crate) fn write(
        &self,
        write: PreparedWrite,
    ) -> impl Future<Output = Result<Vec<Written>, MemoryError>> + Send + use<> {
        let bytes = write.bytes;
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let fits = waiting <= QUEUE_BYTES_MAX;
        let sent = match fits {
            true => self.send(|reply| Request::Write(write, reply)),
            false => Err(MemoryError::busy("too many bytes wait to be written")),
        };
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        answer(sent)
    }

    pub(crate) fn drop_namespace(
        &self,
        namespace: &Namespace,
    ) -> impl Future<Output = Result<bool, MemoryError>> + Send + use<> {
        answer(self.send(|reply| Request::Drop(namespace.clone(), reply)))
    }

    pub(crate) fn sweep(&self) -> impl Future<Output = Result<Swept, MemoryError>> + Send + use<> {
        answer(self.send(Request::Sweep))
    }

    fn send<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, MemoryError>>, MemoryError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        match queue.try_send(request(reply)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(MemoryError::busy("too many writes wait")),
            Err(TrySendError::Disconnected(_)) => Err(ended()),
        }
    }

    /// Ends the thread after what is queued.
    pub(crate) fn stop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the memory's writer panicked");
        }
    }
}

async fn answer<T: Send>(
    sent: Result<oneshot::Receiver<Result<T, MemoryError>>, MemoryError>,
) -> Result<T, MemoryError> {
    sent?.await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> MemoryError {
    MemoryError::busy("its writer has ended")
}

/// The thread's end.
struct Serving {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    waiting_bytes: Arc<AtomicU64>,
}

impl Serving {
    fn serve(&mut self) {
        let mut sweep_at = self.next_sweep();
        loop {
            let left = sweep_at.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(left) {
                Ok(first) => self.batch(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also where there is always something to write.
            if sweep_at <= Instant::now() {
                if self.shared.options.background {
                    self.tidy();
                }
                sweep_at = self.next_sweep();
            }
        }
    }

    fn next_sweep(&self) -> Instant {
        Instant::now() + self.shared.options.sweep_every
    }

    /// Removes what is over, one step; what fails is tried again.
    fn tidy(&self) {
        let (reply, mut answer) = oneshot::channel();
        self.perform(vec![Request::Sweep(reply)]);
        if let Ok(Err(error)) = answer.try_recv() {
            tracing::warn!(%error, "what is over in the memory was not removed");
        }
    }

    /// The request with those that came meanwhile.
    fn batch(&mut self, first: Request) {
        let (mut requests, mut bytes) = (vec![first], 0);
        loop {
            if let Some(Request::Write(write, _)) = requests.last() {
                self.waiting_bytes.fetch_sub(write.bytes, Ordering::AcqRel);
                bytes += write.bytes;
            }
            if requests.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            match self.requests.try_recv() {
                Ok(request) => requests.push(request),
                Err(_) => break,
            }
        }
        self.perform(requests);
    }

    fn perform(&self, requests: Vec<Request>) {
        let mut draft = match self.begin() {
            Ok(draft) => draft,
            Err(error) => {
                requests
                    .into_iter()
                    .for_each(|request| request.refuse(same(&error)));
                return;
            }
        };
        let taken = self.shared.text.taken();
        let answers: Vec<Answer> = requests
            .into_iter()
            .filter_map(|request| request.draft(&mut draft, taken))
            .collect();
        let outcome = self.commit(draft);
        for answer in answers {
            answer(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(same(error)),
            });
        }
    }

    fn begin(&self) -> Result<Draft<'_>, MemoryError> {
        let shared = &self.shared;
        shared.text.make_room()?;
        let (store, now_ms) = (&*shared.store, shared.clock.now_ms());
        Draft::new(store, now_ms, shared.opened, &shared.options)
    }

    /// Makes the draft durable and shows it to searches.
    fn commit(&self, draft: Draft<'_>) -> Result<(), MemoryError> {
        let Some((batch, effects)) = draft.finish()? else {
            return Ok(());
        };
        wait(self.shared.store.commit(batch))?;
        self.shared.recent.apply(&effects);
        self.shared.vectors.apply(&effects);
        self.shared.text.apply(effects);
        Ok(())
    }
}

impl Request {
    /// Adds the request to the draft. What is refused is answered now.
    fn draft(self, draft: &mut Draft<'_>, taken: u64) -> Option<Answer> {
        match self {
            Self::Write(write, reply) => later(reply, draft.whole(|draft| draft.write(&write))),
            Self::Drop(namespace, reply) => {
                later(reply, draft.whole(|draft| draft.drop_namespace(&namespace)))
            }
            Self::Sweep(reply) => later(reply, draft.whole(|draft| sweep::step(draft, taken))),
        }
    }

    fn refuse(self, error: MemoryError) {
        // Whoever asked may be gone.
        match self {
            Self::Write(_, reply) => drop(reply.send(Err(error))),
            Self::Drop(_, reply) => drop(reply.send(Err(error))),
            Self::Sweep(reply) => drop(reply.send(Err(error))),
        }
    }
}

fn later<T: Send + 'static>(reply: Reply<T>, drafted: Result<T, MemoryError>) -> Option<Answer> {
    match drafted {
        Err(error) => {
            // Whoever asked may be gone.
            let _ = reply.send(Err(error));
            None
        }
        Ok(value) => Some(Box::new(move |outcome| {
            let _ = reply.send(outcome.map(|()| value));
        })),
    }
}

/// A failure of the batch, for each of its callers.
fn same(error: &MemoryError) -> MemoryError {
    match error {
        MemoryError::Store(StoreError::Poisoned { cause }) => {
            let cause = cause.clone();
            MemoryError::Store(StoreError::Poisoned { cause })
        }
        MemoryError::Store(error) if error.is_refusal() => {
            MemoryError::busy(format!("the store refused the batch ({error})"))
        }
        MemoryError::Busy { why } => MemoryError::busy(why.as_str()),
        MemoryError::Corrupt { place } => MemoryError::corrupt(place.as_str()),
        error => MemoryError::Store(StoreError::Poisoned {
            cause: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is told that the memory is busy may ask again.
    #[test]
    fn only_what_the_store_refused_is_told_as_busy() {
        let too_large = StoreError::TooLarge {
            what: "the value".to_owned(),
            bytes: 2,
            bytes_max: 1,
        };
        for (error, is_busy) in [
            (MemoryError::Store(too_large), true),
            (
                MemoryError::Store(StoreError::io("writing", "no space")),
                false,
            ),
            (MemoryError::busy("a queue is full"), true),
        ] {
            let told = same(&error);
            let tells_busy = matches!(told, MemoryError::Busy { .. });
            assert_eq!(tells_busy, is_busy, "{told}");
        }
    }
}
