//! Whether work is taken, and how the runtime stops.
//!
//! What must stay true: stopping takes a bounded time, whatever guests do; what
//! they did is on record.

use std::time::Duration;

use crate::runtime::Runtime;

/// Why no work is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// Somebody halted it.
    #[error("halted: `airlock halt --lift` lets it go on")]
    Halted,
    /// The store acknowledges nothing any more.
    #[error("the store failed: restart, and look at the disk")]
    Store,
    /// Another process took the runs over.
    #[error("another process looks after the runs: stop this one")]
    Lease,
    /// Runs wait for a sandbox, and none of them has got one for a while.
    #[error("runs wait for a sandbox, and none gets one: see `airlock runs list`")]
    Stuck,
}

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Working.
    No,
    /// The kill switch: calls are refused, those in flight end.
    Halted,
    /// New calls are refused.
    Draining,
    /// Calls in flight end now.
    Now,
}

impl Runtime {
    /// Whether it takes work.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), NotReady> {
        match *self.stop.borrow() {
            Stop::No => {}
            Stop::Halted => return Err(NotReady::Halted),
            Stop::Draining | Stop::Now => return Err(NotReady::ShuttingDown),
        }
        self.store().health().map_err(|_| NotReady::Store)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow() >= Stop::Draining
    }

    /// Resolves when it begins to stop.
    pub async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as this runtime.
        let _ = stop.wait_for(|stop| *stop >= Stop::Draining).await;
    }

    /// Refuses new calls and installs from now on; [`Runtime::ready`] fails.
    pub fn drain(&self) {
        self.stop.send_if_modified(|stop| {
            let changed = *stop < Stop::Draining;
            *stop = (*stop).max(Stop::Draining);
            changed
        });
    }

    /// Drains, waits for calls in flight, at most `within`, ends the rest, and
    /// signs the audit. Returns how many calls were ended.
    pub async fn shutdown(&self, within: Duration) -> u64 {
        self.drain();
        self.runs.stop();
        self.install_turns.close();
        let none = async { tokio::join!(self.in_flight.none(), self.models.asking.none()) };
        let rest = match tokio::time::timeout(within, none).await {
            Ok(_) => 0,
            Err(_) => self.in_flight.count(),
        };
        self.stop.send_replace(Stop::Now);
        // Their records are still written; a call can't hold this up, because
        // its future is dropped, guest and all.
        let none = async { tokio::join!(self.in_flight.none(), self.models.asking.none()) };
        if tokio::time::timeout(Duration::from_secs(10), none)
            .await
            .is_err()
        {
            tracing::error!("calls did not end");
        }
        self.runs.durable().await;
        self.runs.let_go();
        self.close_memory().await;
        if let Err(error) = self.audit.checkpoint().await {
            tracing::error!(%error, "no last checkpoint of the audit");
        }
        rest
    }
}
