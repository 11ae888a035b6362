//! Several things at once: wait for all, for the first, or not for longer than a
//! time. They work on futures and on what becomes one, e.g. an agent's requests,
//! of any mix.
//!
//! ```
//! use airlock_sdk::flow::{join_all, select, timeout, Either};
//! use airlock_sdk::task::{block_on, sleep};
//! use std::time::Duration;
//!
//! let ms = Duration::from_millis;
//! block_on(async {
//!     let doubled = join_all((0..3).map(|n| async move { n * 2 })).await;
//!     assert_eq!(doubled, [0, 2, 4]);
//!
//!     match select(sleep(ms(1)), std::future::pending::<()>()).await {
//!         Either::Left(()) => {}
//!         Either::Right(()) => unreachable!("it never ends"),
//!     }
//!
//!     let late = timeout(std::future::pending::<()>(), ms(1)).await;
//!     assert_eq!(late.unwrap_err().to_string(), "no answer within 1ms");
//! });
//! ```

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::{Error, task};

/// A future on the heap, where it need not be pinned to be moved.
type Running<F> = Pin<Box<<F as IntoFuture>::IntoFuture>>;

fn run<F: IntoFuture>(future: F) -> Running<F> {
    Box::pin(future.into_future())
}

/// Waits for all; gives what each gave, in their order.
pub async fn join_all<F: IntoFuture>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.into_iter().map(|one| Side::Running(run(one))).collect();
    poll_fn(|context| {
        let mut waits = false;
        for side in &mut running {
            waits |= !side.poll(context);
        }
        match waits {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
    running.into_iter().filter_map(Side::into_done).collect()
}

/// Waits for all, or until the first fails; the others are dropped then.
///
/// # Errors
/// That of the first that fails; of several that failed by then, the one that
/// stands first.
pub async fn try_join_all<F, T, E>(all: impl IntoIterator<Item = F>) -> Result<Vec<T>, E>
where
    F: IntoFuture<Output = Result<T, E>>,
{
    let mut running: Vec<_> = all.into_iter().map(|one| Side::Running(run(one))).collect();
    poll_fn(|context| {
        let mut waits = false;
        for side in &mut running {
            waits |= !side.poll(context);
            if let Side::Done(Err(_)) = side {
                return Poll::Ready(());
            }
        }
        match waits {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
    let failed = running
        .iter()
        .position(|side| matches!(side, Side::Done(Err(_))));
    match failed {
        Some(index) => running
            .drain(index..=index)
            .filter_map(Side::into_done)
            .collect(),
        None => running.into_iter().filter_map(Side::into_done).collect(),
    }
}

/// Waits for two.
pub async fn join<A: IntoFuture, B: IntoFuture>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Side::Running(run(a)), Side::Running(run(b)));
    poll_fn(|context| {
        let done = (a.poll(context), b.poll(context));
        match done {
            (true, true) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    match (a.into_done(), b.into_done()) {
        (Some(a), Some(b)) => (a, b),
        _ => unreachable!("both have ended"),
    }
}

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one.
    Left(A),
    /// The second one.
    Right(B),
}

/// Waits for the first of two and drops the other; the left one when both are
/// there.
pub async fn select<A: IntoFuture, B: IntoFuture>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a.into_future()), pin!(b.into_future()));
    poll_fn(|context| {
        if let Poll::Ready(a) = a.as_mut().poll(context) {
            return Poll::Ready(Either::Left(a));
        }
        b.as_mut().poll(context).map(Either::Right)
    })
    .await
}

/// Waits for the first of several; gives its place and what it gave. The others
/// are dropped.
///
/// # Panics
/// When there are none: that would wait for ever.
pub async fn select_all<F: IntoFuture>(all: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut running: Vec<_> = all.into_iter().map(run).collect();
    assert!(!running.is_empty(), "there is nothing to wait for");
    poll_fn(|context| {
        for (index, one) in running.iter_mut().enumerate() {
            if let Poll::Ready(output) = one.as_mut().poll(context) {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for no longer than `time`; what is not there by then is dropped. An
/// agent's request goes on when it is dropped: cancel it where that matters.
///
/// # Errors
/// [`TimedOut`], which is a [`Error::Transient`] where an [`Error`] is needed.
pub async fn timeout<F: IntoFuture>(future: F, time: Duration) -> Result<F::Output, TimedOut> {
    match select(future, task::sleep(time)).await {
        Either::Left(output) => Ok(output),
        Either::Right(()) => Err(TimedOut(time)),
    }
}

/// There was no answer in time: the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:?}", self.0)
    }
}

impl std::error::Error for TimedOut {}

impl From<TimedOut> for Error {
    fn from(timed_out: TimedOut) -> Self {
        Self::transient(timed_out.to_string(), None)
    }
}

/// A future, and then what it gave.
enum Side<F: Future> {
    Running(Pin<Box<F>>),
    Done(F::Output),
}

impl<F: Future> Side<F> {
    /// Whether it has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Self::Running(running) = self {
            match running.as_mut().poll(context) {
                Poll::Ready(output) => *self = Self::Done(output),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn into_done(self) -> Option<F::Output> {
        match self {
            Self::Done(output) => Some(output),
            Self::Running(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::task::{block_on, sleep};

    const MS: Duration = Duration::from_millis(1);

    /// Gives `n` after so many milliseconds.
    async fn after(ms: u32, n: u32) -> u32 {
        sleep(MS * ms).await;
        n
    }

    #[test]
    fn all_are_waited_for_in_their_order() {
        let times = [30, 1, 10];
        let all = join_all((0..).zip(times).map(|(n, ms)| after(ms, n)));
        assert_eq!(block_on(all), [0, 1, 2]);
        assert_eq!(block_on(join_all(Vec::<std::future::Ready<()>>::new())), []);
        assert_eq!(block_on(join(after(5, 1), after(1, 2))), (1, 2));
    }

    #[test]
    fn the_first_failure_ends_the_wait() {
        let one = |n: u32| async move {
            match n {
                2 => Err(after(1, n).await),
                1 => Ok(std::future::pending::<u32>().await),
                n => Ok(n),
            }
        };
        assert_eq!(block_on(try_join_all([0, 1, 2].map(one))), Err(2));
        assert_eq!(block_on(try_join_all([0, 3].map(one))), Ok(vec![0, 3]));
    }

    #[test]
    fn the_first_is_given_and_the_rest_dropped() {
        struct Dropped(Rc<Cell<u32>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = Rc::new(Cell::new(0));
        let one = |ms| {
            let held = Dropped(Rc::clone(&dropped));
            async move {
                let _held = held;
                after(ms, ms).await
            }
        };
        assert_eq!(block_on(select_all([60_000, 1].map(one))), (1, 1));
        assert_eq!(dropped.get(), 2);
        assert_eq!(
            block_on(select(after(1, 1), after(60_000, 2))),
            Either::Left(1)
        );
        assert_eq!(
            block_on(select(after(60_000, 1), after(1, 2))),
            Either::Right(2)
        );
        assert_eq!(block_on(timeout(one(60_000), MS)), Err(TimedOut(MS)));
        assert_eq!(dropped.get(), 3);
        assert_eq!(block_on(timeout(after(1, 7), MS * 60_000)), Ok(7));
    }
}
