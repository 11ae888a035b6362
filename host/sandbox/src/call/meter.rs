//! CPU time of one call, read from the clock of the thread it runs on.
//!
//! What must stay true: whoever polls the call's future enters before and leaves
//! after, on the same thread, so that time is charged to exactly one call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Counts the CPU time of one call over all threads it ran on.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of finished polls, nanoseconds.
    spent_ns: AtomicU64,
    /// The thread's clock when the current poll began.
    entered_ns: AtomicU64,
}

impl Meter {
    /// A poll begins on this thread.
    pub(crate) fn enter(&self) {
        self.entered_ns.store(thread_cpu_ns(), Ordering::Relaxed);
    }

    /// The poll ends.
    pub(crate) fn leave(&self) {
        let spent = self.during_poll();
        self.spent_ns.store(spent, Ordering::Relaxed);
    }

    /// CPU time up to now; only inside a poll.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.during_poll())
    }

    /// CPU time of all finished polls.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    fn during_poll(&self) -> u64 {
        let since = thread_cpu_ns().saturating_sub(self.entered_ns.load(Ordering::Relaxed));
        self.spent_ns.load(Ordering::Relaxed) + since
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
