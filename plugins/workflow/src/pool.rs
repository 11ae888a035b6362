//! What steps that run side by side share: places, and the word to stop.
//!
//! What must stay true: whoever waits is woken in the order of asking, so a run
//! does the same again; nobody waits for a place that is free.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

/// Who waits, in the order of asking.
#[derive(Default)]
struct Waiting {
    next: Cell<u64>,
    wakers: RefCell<BTreeMap<u64, Waker>>,
}

impl Waiting {
    fn wake_first(&self) {
        if let Some(waker) = self.wakers.borrow().values().next() {
            waker.wake_by_ref();
        }
    }

    fn wake_all(&self) {
        for waker in self.wakers.borrow().values() {
            waker.wake_by_ref();
        }
    }

    /// Waits until there is something. Who leaves lets the next one look where there
    /// is something `left`; to be woken for nothing costs a look at what it awaits.
    async fn until<T>(
        &self,
        left: impl Fn() -> bool,
        mut there: impl FnMut(u64) -> Option<T>,
    ) -> T {
        let number = self.next.get();
        self.next.set(number + 1);
        let _entry = Entry {
            waiting: self,
            number,
            left: &left,
        };
        poll_fn(|context| match there(number) {
            Some(found) => Poll::Ready(found),
            None => {
                let waker = context.waker().clone();
                self.wakers.borrow_mut().insert(number, waker);
                Poll::Pending
            }
        })
        .await
    }

    fn is_first(&self, number: u64) -> bool {
        let wakers = self.wakers.borrow();
        wakers.keys().next().is_none_or(|first| number <= *first)
    }
}

/// Leaves when it is dropped.
struct Entry<'a> {
    waiting: &'a Waiting,
    number: u64,
    left: &'a dyn Fn() -> bool,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waiting.wakers.borrow_mut().remove(&self.number);
        if (self.left)() {
            self.waiting.wake_first();
        }
    }
}

/// Places for so many at once.
pub(crate) struct Pool {
    free: Cell<usize>,
    waiting: Waiting,
}

/// A place that is taken.
pub(crate) struct Place<'a>(&'a Pool);

impl Pool {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: Cell::new(places),
            waiting: Waiting::default(),
        }
    }

    /// Waits for a place.
    pub(crate) async fn take(&self) -> Place<'_> {
        let left = || self.free.get() > 0;
        self.waiting
            .until(left, |number| {
                let free = self.free.get();
                let mine = free > 0 && self.waiting.is_first(number);
                mine.then(|| {
                    self.free.set(free - 1);
                    Place(self)
                })
            })
            .await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.waiting.wake_first();
    }
}

/// The word to stop, for all that runs below.
#[derive(Clone, Default)]
pub(crate) struct Stop(Rc<Word>);

#[derive(Default)]
struct Word {
    said: Cell<bool>,
    waiting: Waiting,
    below: RefCell<Vec<Weak<Word>>>,
}

impl Stop {
    /// One that is said with this one, or by itself.
    pub(crate) fn below(&self) -> Self {
        let stop = Self::default();
        stop.0.said.set(self.0.said.get());
        let mut below = self.0.below.borrow_mut();
        if below.len().is_power_of_two() {
            below.retain(|word| word.strong_count() > 0);
        }
        below.push(Rc::downgrade(&stop.0));
        stop
    }

    pub(crate) fn say(&self) {
        if !self.0.said.replace(true) {
            self.0.waiting.wake_all();
            let below: Vec<_> = self
                .0
                .below
                .borrow()
                .iter()
                .filter_map(Weak::upgrade)
                .collect();
            below.into_iter().for_each(|word| Self(word).say());
        }
    }

    pub(crate) fn is_said(&self) -> bool {
        self.0.said.get()
    }

    pub(crate) async fn said(&self) {
        let said = |_| self.is_said().then_some(());
        self.0.waiting.until(|| false, said).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn places_are_given_in_order_and_given_on() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let pool = Pool::new(1);
        let mut first = pin!(pool.take());
        let Poll::Ready(place) = first.as_mut().poll(&mut context) else {
            panic!("a place is free");
        };
        let mut third = Box::pin(pool.take());
        let mut second = Box::pin(pool.take());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(place);
        assert!(count.0.load(Ordering::Relaxed) > 0);
        assert!(
            second.as_mut().poll(&mut context).is_pending(),
            "it asked later"
        );
        // The one before it leaves, and wakes it.
        let woken = count.0.load(Ordering::Relaxed);
        drop(third);
        assert!(count.0.load(Ordering::Relaxed) > woken);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn the_word_reaches_all_below() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let above = Stop::default();
        let (one, other) = (above.below(), above.below());
        let below = one.below();
        let mut waits = pin!(below.said());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        other.say();
        assert!(!above.is_said() && !below.is_said());
        above.say();
        assert!(below.is_said() && count.0.load(Ordering::Relaxed) == 1);
        assert!(waits.as_mut().poll(&mut context).is_ready());
        assert!(above.below().is_said(), "what begins later knows it too");
    }
}
