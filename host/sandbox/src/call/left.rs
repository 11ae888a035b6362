//! Tells whoever waits when nothing of a guest is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::guard::Vitals;

/// Whether a guest has left, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct Left {
    left: AtomicBool,
    waiting: Notify,
}

impl Left {
    /// Resolves once the guest has left.
    pub(crate) async fn wait(&self) {
        let notified = self.waiting.notified();
        tokio::pin!(notified);
        // From here on no notice is missed.
        notified.as_mut().enable();
        if !self.left.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// A guest that may still be there; dropped after everything of it.
pub(crate) struct Present(Arc<Vitals>);

impl Present {
    /// The guest of `vitals`; there is one of it.
    pub(crate) fn new(vitals: &Arc<Vitals>) -> Self {
        Self(Arc::clone(vitals))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let left = &self.0.left;
        left.left.store(true, Ordering::Release);
        left.waiting.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_before_and_after() {
        let vitals = Arc::new(Vitals::default());
        let present = Present::new(&vitals);
        let mut early = Box::pin(vitals.left.wait());
        assert!((&mut early).now_or_never().is_none());
        drop(present);
        let soon = Duration::from_secs(60);
        tokio::time::timeout(soon, early).await.expect("is told");
        let late = tokio::time::timeout(soon, vitals.left.wait()).await;
        late.expect("is told too");
    }

    #[test]
    fn no_notice_is_missed_between_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        for _ in 0..1_000 {
            let vitals = Arc::new(Vitals::default());
            let present = Present::new(&vitals);
            let leaves = std::thread::spawn(move || drop(present));
            runtime.block_on(vitals.left.wait());
            leaves.join().expect("no panic");
        }
    }
}
