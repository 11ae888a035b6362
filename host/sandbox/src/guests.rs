//! The guests' own threads: one runtime for calls that just began, and one of
//! low priority for calls that turned out long.
//!
//! What must stay true: a guest never runs on the runtime of the API; a call
//! leaves the first runtime at the first epoch tick after [`SHORT_CPU_MAX`], so
//! short calls do not wait behind long ones, however many there are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::call::guard::Vitals;

/// CPU time after which a call counts as long.
const SHORT_CPU_MAX: Duration = Duration::from_millis(2);

/// Niceness of the threads for long calls.
const LONG_NICENESS: i32 = 15;

/// The two runtimes of the guests.
pub(crate) struct Guests {
    short: Option<Runtime>,
    long: Option<Runtime>,
}

/// What a guest's future ends with: the answer, and what is taken down after the
/// answer is out.
pub(crate) type Ended<T> = (T, Box<dyn Send>);

/// A guest's future.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Ended<T>> + Send>>;

impl Guests {
    /// Starts `workers` threads for short and as many for long calls.
    pub(crate) fn new(workers: usize) -> std::io::Result<Self> {
        let build = |name: &str| {
            let mut builder = Builder::new_multi_thread();
            builder
                .worker_threads(workers)
                .thread_name(name)
                .enable_all();
            builder
        };
        let short = build("airlock-guest").build()?;
        let long = build("airlock-long")
            .on_thread_start(|| {
                if let Err(error) = rustix::process::nice(LONG_NICENESS) {
                    tracing::warn!(%error, "a thread for long calls keeps its priority");
                }
            })
            .build()?;
        Ok(Self {
            short: Some(short),
            long: Some(long),
        })
    }

    /// Runs `work` on the guests' threads. Dropping the future ends the guest at
    /// its next epoch tick or host call. `None`: the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        vitals: Arc<Vitals>,
        work: Work<T>,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let (Some(short), Some(long)) = (&self.short, &self.long) else {
            return None;
        };
        let task = Task(Some(Guest {
            vitals,
            work,
            reply,
            long: Some(long.handle().clone()),
        }));
        drop(short.spawn(task));
        answer.await.ok()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for runtime in [self.short.take(), self.long.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

struct Guest<T> {
    vitals: Arc<Vitals>,
    work: Work<T>,
    reply: oneshot::Sender<T>,
    /// Where it goes when it turns out long; `None` when it is there.
    long: Option<Handle>,
}

/// A guest as a task; empty once it ended or moved on.
struct Task<T>(Option<Guest<T>>);

impl<T> Guest<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
        if self.reply.poll_closed(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.vitals.meter.enter();
        let polled = self.work.as_mut().poll(cx);
        self.vitals.meter.leave();
        Poll::Ready(Some(ready!(polled)))
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(guest) = &mut self.0 else {
            return Poll::Ready(());
        };
        match guest.poll(cx) {
            Poll::Ready(ended) => {
                let guest = self.0.take();
                if let (Some(guest), Some((answer, rest))) = (guest, ended) {
                    // The caller may be gone; taking down comes after the reply.
                    let _ = guest.reply.send(answer);
                    drop(rest);
                }
                Poll::Ready(())
            }
            Poll::Pending if guest.vitals.meter.spent() < SHORT_CPU_MAX => Poll::Pending,
            Poll::Pending => match guest.long.take() {
                Some(long) => {
                    drop(long.spawn(Task(self.0.take())));
                    Poll::Ready(())
                }
                None => Poll::Pending,
            },
        }
    }
}
