//! A small executor, so that a tool may be an `async fn`: futures wait for the
//! host's pollables (natively: for timers), and `block_on` asks the host for all
//! of them at once. One thread, no spawning.

use std::cell::RefCell;
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
    static WAITING: RefCell<Vec<(Weak<Source>, Waker)>> = const { RefCell::new(Vec::new()) };
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
    let waiting = WAITING.take();
    let alive: Vec<(Rc<Source>, Waker)> = waiting
        .into_iter()
        .filter_map(|(source, waker)| Some((source.upgrade()?, waker)))
        .collect();
    assert!(
        !alive.is_empty(),
        "the future waits for nothing that the host could report"
    );
    let sources: Vec<&Source> = alive.iter().map(|(source, _)| &**source).collect();
    let ready = backend::wait_any(&sources);
    for (index, (source, waker)) in alive.iter().enumerate() {
        if ready.contains(&index) {
            waker.wake_by_ref();
        } else {
            register(source, waker.clone());
        }
    }
}

fn register(source: &Rc<Source>, waker: Waker) {
    WAITING.with_borrow_mut(|waiting| waiting.push((Rc::downgrade(source), waker)));
}

/// Waits without holding up what runs beside it.
pub async fn sleep(duration: Duration) {
    ready(backend::timer(duration)).await;
}

/// Is done when the source is ready.
pub(crate) async fn ready(source: Source) {
    Ready {
        source: Rc::new(source),
    }
    .await;
}

struct Ready {
    source: Rc<Source>,
}

impl Future for Ready {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if backend::is_ready(&self.source) {
            return Poll::Ready(());
        }
        register(&self.source, context.waker().clone());
        Poll::Pending
    }
}
