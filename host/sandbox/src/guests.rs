//! The guests' own threads: one runtime for calls that just began, and one of
//! low priority for calls that turned out long.
//!
//! What must stay true: a guest never runs on the runtime of the API; a call
//! leaves the first runtime at the first epoch tick after [`SHORT_CPU_MAX`], so
//! short calls do not wait behind long ones, however many there are. An agent
//! that has waited since counts as one that just began. However many long calls
//! there are, their processors are idle for a moment at each tick.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::call::guard::Vitals;
use crate::engine::EPOCH_TICK;

/// CPU time after which a call counts as long.
const SHORT_CPU_MAX: Duration = Duration::from_millis(2);

/// Niceness of the threads for long calls.
const LONG_NICENESS: i32 = 15;

/// How long a thread for long calls rests at each tick, 1 to 4 % of its time. On a
/// processor that is never idle, the kernel's own work, such as the end of a write to
/// the disk, waits for a tick or two of its scheduler, whatever the niceness.
const REST: Duration = Duration::from_micros(50);

/// Rests this thread, if it has not rested at this tick: calls that mostly wait are
/// interrupted as soon as they go on, and many of them are a thread's. Whether it did.
fn rest() -> bool {
    thread_local! {
        static RESTED: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let is_due = RESTED
        .get()
        .is_none_or(|rested| rested.elapsed() >= EPOCH_TICK / 2);
    if is_due {
        std::thread::sleep(REST);
        RESTED.set(Some(Instant::now()));
    }
    is_due
}

/// The two runtimes of the guests.
pub(crate) struct Guests {
    /// Both are there until the sandbox is dropped.
    short: Option<Runtime>,
    long: Option<Runtime>,
    alive: Arc<AtomicU64>,
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
            alive: Arc::default(),
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
        let task = Task {
            guest: Some(self.guest(vitals, work)),
            reply: Some(reply),
            short: self.short().cloned(),
            long: self.long(),
            is_away: false,
        };
        drop(self.short()?.spawn(task));
        answer.await.ok()
    }

    /// Runs `work` on the current task, which lives on the guests' threads
    /// already; only when it turns out long does it move away.
    pub(crate) async fn run_here<T: Send + 'static>(
        &self,
        vitals: Arc<Vitals>,
        work: Work<T>,
    ) -> Option<T> {
        let mut guest = self.guest(vitals, work);
        let ended = poll_fn(|cx| {
            // On a task of its own a panic would end that one alone; so it does here.
            let polled = catch_unwind(AssertUnwindSafe(|| guest.poll(cx)));
            match polled {
                Err(_) => Poll::Ready(Here::Panicked),
                Ok(Poll::Ready(ended)) => Poll::Ready(Here::Ended(ended)),
                Ok(Poll::Pending) if guest.is_long() => Poll::Ready(Here::Long),
                Ok(Poll::Pending) => Poll::Pending,
            }
        });
        match ended.await {
            Here::Panicked => return None,
            Here::Ended((answer, rest)) => {
                drop(rest);
                return Some(answer);
            }
            Here::Long => {}
        }
        let (reply, answer) = oneshot::channel();
        let task = Task {
            guest: Some(guest),
            reply: Some(reply),
            short: None,
            long: None,
            is_away: true,
        };
        drop(self.long()?.spawn(task));
        answer.await.ok()
    }

    /// The runtime on which calls begin.
    pub(crate) fn short(&self) -> Option<&Handle> {
        self.short.as_ref().map(Runtime::handle)
    }

    /// Guests that exist, including those being taken down.
    pub(crate) fn alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }

    fn long(&self) -> Option<Handle> {
        self.long.as_ref().map(|long| long.handle().clone())
    }

    fn guest<T>(&self, vitals: Arc<Vitals>, work: Work<T>) -> Guest<T> {
        Guest {
            work,
            vitals,
            _alive: Alive::new(&self.alive),
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for runtime in [self.short.take(), self.long.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// How a guest leaves the task that made its call.
enum Here<T> {
    Ended(Ended<T>),
    Long,
    Panicked,
}

/// A guest's future and the meter of its time.
struct Guest<T> {
    work: Work<T>,
    vitals: Arc<Vitals>,
    _alive: Alive,
}

impl<T> Guest<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended<T>> {
        self.vitals.meter.enter();
        let polled = self.work.as_mut().poll(cx);
        self.vitals.meter.leave();
        polled
    }

    fn is_long(&self) -> bool {
        self.vitals.meter.spent_since_rest() >= SHORT_CPU_MAX
    }

    /// Whether it was at a tick since it was asked last.
    fn was_interrupted(&self) -> bool {
        self.vitals.ticked.swap(false, Ordering::Relaxed)
    }

    /// Whether it has come to a wait since the last poll.
    fn has_waited(&self) -> bool {
        let waited = self.vitals.waits.swap(false, Ordering::Relaxed);
        if waited {
            self.vitals.meter.rest();
        }
        waited
    }
}

/// Counts a guest while it exists, however it ends.
struct Alive(Arc<AtomicU64>);

impl Alive {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A guest as a task of its own.
struct Task<T> {
    /// `None` once it ended or moved on.
    guest: Option<Guest<T>>,
    reply: Option<oneshot::Sender<T>>,
    /// Where it goes when it has waited, and when it turns out long; `None` when
    /// it stays where it is.
    short: Option<Handle>,
    long: Option<Handle>,
    /// Whether it is where the long ones are.
    is_away: bool,
}

impl<T: Send + 'static> Task<T> {
    /// Goes on where it is not now.
    fn moved(&mut self) -> Poll<()> {
        let to = match self.is_away {
            true => self.short.clone(),
            false => self.long.clone(),
        };
        let Some(to) = to else { return Poll::Pending };
        drop(to.spawn(Self {
            guest: self.guest.take(),
            reply: self.reply.take(),
            short: self.short.take(),
            long: self.long.take(),
            is_away: !self.is_away,
        }));
        Poll::Ready(())
    }
}

impl<T> Task<T> {
    fn is_abandoned(&mut self, cx: &mut Context<'_>) -> bool {
        let reply = self.reply.as_mut();
        reply.is_none_or(|reply| reply.poll_closed(cx).is_ready())
    }

    /// The reply goes out first: its waiter need not see the sandbox go down.
    fn end(&mut self, (answer, rest): Ended<T>) {
        if let Some(reply) = self.reply.take() {
            // The waiter may have gone in this very moment.
            let _ = reply.send(answer);
        }
        drop(rest);
        self.guest = None;
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_abandoned(cx) {
            self.guest = None;
        }
        let Some(guest) = &mut self.guest else {
            return Poll::Ready(());
        };
        if guest.has_waited() && self.is_away && self.short.is_some() {
            return self.moved();
        }
        let is_away = self.is_away;
        let Some(guest) = &mut self.guest else {
            return Poll::Ready(());
        };
        match guest.poll(cx) {
            Poll::Ready(ended) => {
                self.end(ended);
                Poll::Ready(())
            }
            Poll::Pending if is_away => {
                if guest.was_interrupted() {
                    rest();
                }
                Poll::Pending
            }
            Poll::Pending if !guest.is_long() => Poll::Pending,
            Poll::Pending => self.moved(),
        }
    }
}

// Nothing in a task is pinned in place: the work is boxed.
impl<T> Unpin for Task<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_rests_once_at_a_tick_however_often_it_is_interrupted() {
        const INTERRUPTS: u32 = 1_000;
        let begun = Instant::now();
        let rests = (0..INTERRUPTS).filter(|_| rest()).count();
        let ticks = begun.elapsed().div_duration_f64(EPOCH_TICK / 2);
        assert!(rests >= 1);
        assert!(
            rests as f64 <= ticks + 1.0,
            "{rests} in {ticks} halves of ticks"
        );
    }
}
