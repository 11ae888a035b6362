//! CPU time of one call, by the clocks of the thread it runs on.
//!
//! What must stay true: whoever polls the call's future enters before and leaves
//! after, on the same thread; what is charged is never less than the CPU time of
//! the poll, and never more than the poll took.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A poll that took less wall time than this is charged that instead of its CPU
/// time, which is at most as much: asking for CPU time is a system call, a tenth
/// of what Airlock adds to a short call. However many short polls a guest makes,
/// they are charged all the time they take, that of being preempted included.
const SHORT_NS: u64 = 50_000;

/// A reading older than this is taken anew when a poll begins, so that a longer
/// poll is charged at most this much of what the thread did before it.
const STALE_NS: u64 = 1_000_000;

/// A thread's CPU clock, and the monotonic clock when it was read, nanoseconds.
#[derive(Clone, Copy)]
struct Reading {
    cpu_ns: u64,
    at_ns: u64,
}

thread_local! {
    /// Of this thread, the last one.
    static LAST_READING: Cell<Option<Reading>> = const { Cell::new(None) };
}

/// Counts the CPU time of one call over all threads it ran on.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of finished polls, nanoseconds.
    spent_ns: AtomicU64,
    /// The monotonic clock when the current poll began, nanoseconds.
    entered_ns: AtomicU64,
    /// What was spent when it rested last, nanoseconds.
    rested_ns: AtomicU64,
    /// What it may spend on top until it rests, nanoseconds.
    granted_ns: AtomicU64,
}

impl Meter {
    /// A poll begins on this thread.
    pub(crate) fn enter(&self) {
        let now = monotonic_ns();
        let fresh = |last: Reading| now.saturating_sub(last.at_ns) < STALE_NS;
        if !LAST_READING.get().is_some_and(fresh) {
            LAST_READING.set(Some(Reading::taken(now)));
        }
        self.entered_ns.store(now, Ordering::Relaxed);
    }

    /// The poll ends.
    pub(crate) fn leave(&self) {
        let (spent_ns, reading) = self.until_now();
        self.spent_ns.store(spent_ns, Ordering::Relaxed);
        if reading.is_some() {
            LAST_READING.set(reading);
        }
    }

    /// CPU time up to now; only inside a poll.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.until_now().0)
    }

    /// CPU time of all finished polls.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    /// It rests: see [`Meter::spent_since_rest`] and [`Meter::counted`].
    pub(crate) fn rest(&self) {
        let spent = self.spent_ns.load(Ordering::Relaxed);
        self.rested_ns.store(spent, Ordering::Relaxed);
        self.granted_ns.store(0, Ordering::Relaxed);
    }

    /// It may spend this on top until it rests.
    pub(crate) fn grant(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.granted_ns.store(nanos, Ordering::Relaxed);
    }

    /// Whether anything is granted.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted_ns.load(Ordering::Relaxed) > 0
    }

    /// What was granted is over, and what counts begins anew; only inside a poll.
    pub(crate) fn ends_grant(&self) {
        self.rested_ns.store(self.until_now().0, Ordering::Relaxed);
        self.granted_ns.store(0, Ordering::Relaxed);
    }

    /// CPU time up to now that counts against its limit: since it rested last,
    /// without what it was granted; only inside a poll.
    pub(crate) fn counted(&self) -> Duration {
        let free = self
            .rested_ns
            .load(Ordering::Relaxed)
            .saturating_add(self.granted_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.until_now().0.saturating_sub(free))
    }

    /// CPU time of the polls that finished since it rested last.
    pub(crate) fn spent_since_rest(&self) -> Duration {
        let spent = self.spent_ns.load(Ordering::Relaxed);
        Duration::from_nanos(spent.saturating_sub(self.rested_ns.load(Ordering::Relaxed)))
    }

    /// CPU time up to now, and the reading it took to know, if it took one.
    fn until_now(&self) -> (u64, Option<Reading>) {
        let now = monotonic_ns();
        let wall_ns = now.saturating_sub(self.entered_ns.load(Ordering::Relaxed));
        let spent_ns = self.spent_ns.load(Ordering::Relaxed);
        let Some(last) = LAST_READING.get().filter(|_| wall_ns >= SHORT_NS) else {
            return (spent_ns + wall_ns, None);
        };
        let reading = Reading::taken(now);
        let cpu_ns = reading.cpu_ns.saturating_sub(last.cpu_ns);
        (spent_ns + cpu_ns.min(wall_ns), Some(reading))
    }
}

impl Reading {
    fn taken(at_ns: u64) -> Self {
        Self {
            cpu_ns: thread_cpu_ns(),
            at_ns,
        }
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
    fn what_counts_begins_anew_with_each_rest() {
        let meter = Meter::default();
        meter.grant(SLICE * 2);
        meter.enter();
        burn(SLICE);
        assert_eq!(meter.counted(), Duration::ZERO, "it was granted");
        burn(SLICE * 2);
        assert!(meter.counted() >= SLICE, "{:?}", meter.counted());
        meter.leave();
        assert!(meter.spent_since_rest() >= SLICE * 3);
        meter.rest();
        assert_eq!(meter.spent_since_rest(), Duration::ZERO);
        meter.enter();
        burn(SLICE);
        assert!(meter.counted() >= SLICE, "the grant is over");
        assert!(meter.now() >= SLICE * 4, "{:?}", meter.now());
        meter.leave();
    }

    /// However it divides its work, a guest is charged at least what it used.
    #[test]
    fn many_polls_of_any_length_are_charged_all_their_cpu_time() {
        let micros = Duration::from_micros;
        for pattern in [
            &[1][..],
            &[10, 20, 40],
            &[49, 51],
            &[5, 5, 5, 5, 400],
            &[100, 1, 1_500, 30],
        ] {
            let (meter, mut used) = (Meter::default(), 0);
            for span in pattern.iter().cycle().take(2_000 / pattern.len()) {
                meter.enter();
                let before = thread_cpu_ns();
                burn(micros(*span));
                used += thread_cpu_ns() - before;
                meter.leave();
                burn(micros(3));
            }
            let spent = meter.spent();
            assert!(
                spent >= Duration::from_nanos(used),
                "{pattern:?}: {spent:?} of {used} ns"
            );
        }
    }

    #[test]
    fn a_long_poll_is_charged_little_of_what_the_thread_did_before_it() {
        let meter = Meter::default();
        meter.enter();
        meter.leave();
        burn(SLICE * 5);
        meter.enter();
        std::thread::sleep(SLICE * 5);
        meter.leave();
        assert!(meter.spent() < SLICE, "{:?}", meter.spent());
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
