//! How many calls run, over all plugins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::admission::NotAdmitted;

/// The calls in flight. Clones share them.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Inner>);

struct Inner {
    max: u64,
    count: AtomicU64,
    none: Notify,
}

/// One of them, until dropped.
pub(crate) struct Place(Arc<Inner>);

impl InFlight {
    pub(crate) fn new(calls_max: u32) -> Self {
        Self(Arc::new(Inner {
            max: calls_max.into(),
            count: AtomicU64::new(0),
            none: Notify::new(),
        }))
    }

    /// A place for one more call.
    pub(crate) fn take(&self) -> Result<Place, NotAdmitted> {
        let fits = |count| (count < self.0.max).then_some(count + 1);
        let taken = self
            .0
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        taken.map_err(|_| NotAdmitted::Overloaded)?;
        Ok(Place(Arc::clone(&self.0)))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Resolves when there is none.
    pub(crate) async fn none(&self) {
        loop {
            let notified = self.0.none.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
