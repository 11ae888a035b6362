//! A small executor, so that a tool may be an `async fn`: futures wait for the
//! host's pollables (natively: for timers), and `block_on` asks the host for all
//! of them at once. One thread, no spawning.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::backend::{self, Source};

thread_local! {
    /// Who waits for what. A dropped future leaves a dead entry, which the next
    /// round removes.
    static WAITING: RefCell<Vec<(Weak<Awaited>, Waker)>> = const { RefCell::new(Vec::new()) };
    /// How often the host was asked for all of them.
    static ROUND: Cell<u64> = const { Cell::new(0) };
}

/// A source that a future waits for.
struct Awaited {
    source: Source,
    /// The host has reported it.
    ready: Cell<bool>,
    /// Its place in [`WAITING`].
    place: Cell<Option<usize>>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future to its end.
///
/// # Panics
/// When the future waits for something that is not of this SDK, which nothing
/// could ever wake.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if woken.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        } else {
            wait();
        }
    }
}

/// Waits for any source and wakes whom it concerns.
fn wait() {
    ROUND.set(ROUND.get() + 1);
    let waiting = WAITING.take();
    let alive: Vec<(Rc<Awaited>, Waker)> = waiting
        .into_iter()
        .filter_map(|(awaited, waker)| Some((awaited.upgrade()?, waker)))
        .collect();
    assert!(
        !alive.is_empty(),
        "the future waits for nothing that the host could report"
    );
    let sources: Vec<&Source> = alive.iter().map(|(awaited, _)| &awaited.source).collect();
    for index in backend::wait_any(&sources) {
        if let Some((awaited, waker)) = alive.get(index) {
            awaited.ready.set(true);
            waker.wake_by_ref();
        }
    }
    for (awaited, waker) in alive {
        awaited.place.set(None);
        if !awaited.ready.get() {
            awaited.register(waker);
        }
    }
}

impl Awaited {
    /// One entry, however often its future is polled.
    fn register(self: &Rc<Self>, waker: Waker) {
        WAITING.with_borrow_mut(|waiting| {
            let known = self.place.get().and_then(|place| waiting.get_mut(place));
            match known {
                Some((_, registered)) => *registered = waker,
                None => {
                    self.place.set(Some(waiting.len()));
                    waiting.push((Rc::downgrade(self), waker));
                }
            }
        });
    }
}

/// Waits without holding up what runs beside it.
pub async fn sleep(duration: Duration) {
    ready(backend::timer(duration)).await;
}

/// Is done when the source is ready.
pub(crate) async fn ready(source: Source) {
    Ready {
        awaited: Rc::new(Awaited {
            source,
            ready: Cell::new(false),
            place: Cell::new(None),
        }),
        round: None,
    }
    .await;
}

struct Ready {
    awaited: Rc<Awaited>,
    /// When it was polled last.
    round: Option<u64>,
}

impl Future for Ready {
    type Output = ();

    /// The host is asked for all sources at once when nothing else goes on; about
    /// this one alone only where its future is polled again before that.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let round = Some(ROUND.get());
        let again = std::mem::replace(&mut self.round, round) == round;
        if self.awaited.ready.get() || (again && backend::is_ready(&self.awaited.source)) {
            return Poll::Ready(());
        }
        self.awaited.register(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use super::*;

    /// Waits for both at once; gives whether the left one was done before.
    async fn left_first(left: impl Future<Output = ()>, right: impl Future<Output = ()>) -> bool {
        let (mut left, mut right) = (pin!(left), pin!(right));
        let mut done = (false, false);
        let mut left_first = false;
        poll_fn(|context| {
            done.0 = done.0 || left.as_mut().poll(context).is_ready();
            left_first = left_first || (done.0 && !done.1);
            done.1 = done.1 || right.as_mut().poll(context).is_ready();
            if done == (true, true) {
                Poll::Ready(left_first)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    #[test]
    fn futures_wait_side_by_side() {
        let (short, long) = (Duration::from_millis(20), Duration::from_millis(300));
        let start = Instant::now();
        assert!(block_on(left_first(sleep(short), sleep(long))));
        assert!(!block_on(left_first(sleep(long), sleep(short))));
        assert!(
            start.elapsed() >= long * 2,
            "each waited for its longer side"
        );
    }

    #[test]
    fn a_future_that_is_polled_often_is_registered_once() {
        let mut polls = 0;
        let mut sleeping = pin!(sleep(Duration::from_secs(3600)));
        block_on(poll_fn(|context| {
            polls += 1;
            if polls < 1_000 {
                context.waker().wake_by_ref();
            }
            let _ = sleeping.as_mut().poll(context);
            assert!(WAITING.with_borrow(Vec::len) <= 1);
            if polls < 1_000 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }));
    }

    #[test]
    #[should_panic(expected = "waits for nothing")]
    fn a_future_that_nothing_wakes_is_a_panic_and_no_hang() {
        block_on(std::future::pending::<()>());
    }
}
