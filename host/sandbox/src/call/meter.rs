//! CPU time of one call, read from the clock of the thread it runs on.
//!
//! What must stay true: whoever polls the call's future enters before and leaves
//! after, on the same thread; what is charged is at least the CPU time of the
//! poll, and never more than the poll took.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    /// This thread's CPU clock when it was last read, nanoseconds; 0: never.
    /// Reading it is a system call, a fiftieth of a short call, so a poll does it
    /// once: what the thread did since then and before the poll is charged only
    /// as far as the poll itself took that long.
    static LAST_READ_NS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the CPU time of one call over all threads it ran on.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of finished polls, nanoseconds.
    spent_ns: AtomicU64,
    /// The monotonic clock when the current poll began, nanoseconds.
    entered_ns: AtomicU64,
}

impl Meter {
    /// A poll begins on this thread.
    pub(crate) fn enter(&self) {
        LAST_READ_NS.with(|last| {
            if last.get() == 0 {
                last.set(thread_cpu_ns());
            }
        });
        self.entered_ns.store(monotonic_ns(), Ordering::Relaxed);
    }

    /// The poll ends.
    pub(crate) fn leave(&self) {
        let read = thread_cpu_ns();
        self.spent_ns.store(self.until(read), Ordering::Relaxed);
        LAST_READ_NS.set(read);
    }

    /// CPU time up to now; only inside a poll.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.until(thread_cpu_ns()))
    }

    /// CPU time of all finished polls.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    fn until(&self, thread_cpu_ns: u64) -> u64 {
        let cpu = thread_cpu_ns.saturating_sub(LAST_READ_NS.get());
        let wall = monotonic_ns().saturating_sub(self.entered_ns.load(Ordering::Relaxed));
        self.spent_ns.load(Ordering::Relaxed) + cpu.min(wall)
    }
}

fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses `span` of this thread's CPU time.
    fn burn(span: Duration) {
        let until = thread_cpu_ns() + u64::try_from(span.as_nanos()).expect("short");
        while thread_cpu_ns() < until {}
    }

    const SLICE: Duration = Duration::from_millis(20);

    #[test]
    fn polls_are_charged_and_waiting_is_not() {
        let meter = Meter::default();
        for round in 1..=3 {
            meter.enter();
            burn(SLICE);
            std::thread::sleep(SLICE);
            assert!(meter.now() >= SLICE * round, "{:?}", meter.now());
            meter.leave();
            std::thread::sleep(SLICE);
        }
        let spent = meter.spent();
        assert!(spent >= SLICE * 3, "{spent:?}");
        assert!(spent < SLICE * 5, "{spent:?}");
    }

    #[test]
    fn what_the_thread_did_before_is_charged_as_far_as_the_poll_took_that_long() {
        let meter = Meter::default();
        meter.enter();
        meter.leave();
        burn(SLICE * 5);
        meter.enter();
        let entered = std::time::Instant::now();
        meter.leave();
        let took = entered.elapsed() + Duration::from_millis(1);
        assert!(meter.spent() <= took, "{:?} of {took:?}", meter.spent());
    }

    #[test]
    fn a_call_on_several_threads_is_charged_for_all() {
        let meter = Meter::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    burn(SLICE);
                    meter.enter();
                    burn(SLICE);
                    meter.leave();
                });
            });
        }
        let spent = meter.spent();
        assert!(spent >= SLICE * 3, "{spent:?}");
        assert!(spent < SLICE * 6, "{spent:?}");
    }
}
