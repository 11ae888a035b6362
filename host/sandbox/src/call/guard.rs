//! What the engine asks while a guest runs: may memory, a table or the number of
//! instances grow, and is there time left?
//!
//! What must stay true: sums are over the whole call, initial sizes included; a
//! refusal is remembered, so that the trap that follows is reported as that limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::left::Left;
use super::meter::Meter;
use crate::gate::LimitReached;
use crate::limits::Limits;

/// What outlives the store of a call, also when it was dropped in the middle.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// CPU time.
    pub(crate) meter: Meter,
    /// Highest sum over all linear memories, bytes.
    pub(crate) peak_memory_bytes: AtomicU64,
    /// A memory was refused to grow.
    pub(crate) memory_refused: AtomicBool,
    /// A table was refused to grow.
    pub(crate) table_refused: AtomicBool,
    /// Its tool has said how the call ended, in words that can be told.
    pub(crate) told: AtomicBool,
    /// It was interrupted by a tick.
    pub(crate) ticked: AtomicBool,
    /// It has come to a wait that may be long.
    pub(crate) waits: AtomicBool,
    /// Whether anything of the guest is left.
    pub(crate) left: Left,
}

/// Answers the engine's questions for one call.
pub(crate) struct Guard {
    vitals: Arc<Vitals>,
    limits: Arc<Limits>,
    deadline: Instant,
    wall: Duration,
    memory: Sum,
    table: Sum,
}

/// A total that an attempt to grow raises and a failed attempt lowers again.
#[derive(Default)]
struct Sum {
    held: u64,
    pending: u64,
}

impl Sum {
    fn grow(&mut self, current: usize, desired: usize, limit: u64) -> bool {
        self.pending = 0;
        let delta = (desired as u64).saturating_sub(current as u64);
        let Some(sum) = self.held.checked_add(delta).filter(|sum| *sum <= limit) else {
            return false;
        };
        self.held = sum;
        self.pending = delta;
        true
    }

    fn undo(&mut self) {
        self.held -= std::mem::take(&mut self.pending);
    }
}

impl Guard {
    pub(crate) fn new(
        vitals: Arc<Vitals>,
        limits: Arc<Limits>,
        deadline: Instant,
        wall: Duration,
    ) -> Self {
        Self {
            vitals,
            limits,
            deadline,
            wall,
            memory: Sum::default(),
            table: Sum::default(),
        }
    }

    /// CPU time up to now; only inside the guest.
    pub(crate) fn cpu(&self) -> Duration {
        self.vitals.meter.now()
    }

    /// The tool has said how the call ended.
    pub(crate) fn told(&self) {
        self.vitals.told.store(true, Ordering::Relaxed);
    }

    /// The guest waits from here on.
    pub(crate) fn waits(&self) {
        self.vitals.waits.store(true, Ordering::Relaxed);
    }

    /// Whether it may spend more than its limit, for what it has done before.
    pub(crate) fn is_granted(&self) -> bool {
        self.vitals.meter.is_granted()
    }

    /// What it does from now on is new, and counts; only inside a poll.
    pub(crate) fn ends_grant(&self) {
        self.vitals.meter.ends_grant();
    }

    /// Called at each epoch tick, inside the guest: ends it when its time is
    /// over, otherwise lets others run.
    pub(crate) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        if self.vitals.meter.counted() > self.limits.cpu.0 {
            return Err(cpu_reached(&self.limits).into());
        }
        if Instant::now() >= self.deadline {
            return Err(wall_reached(self.wall).into());
        }
        self.vitals.ticked.store(true, Ordering::Relaxed);
        let others = Box::pin(tokio::task::yield_now());
        Ok(UpdateDeadline::YieldCustom(1, others))
    }
}

/// The limit `cpu` of `limits`.
pub(crate) fn cpu_reached(limits: &Limits) -> LimitReached {
    LimitReached {
        limit: "cpu",
        value: limits.cpu.to_string(),
    }
}

/// To a millisecond, or a microsecond where it is less: what a call had left is
/// no round number.
fn rounded(time: Duration) -> Duration {
    let unit = match time {
        time if time < Duration::from_millis(1) => 1_000,
        _ => 1_000_000,
    };
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - unit);
    Duration::from_nanos((nanos + unit / 2) / unit * unit)
}

/// The limit `wall`: of the plugin, or shorter as the caller asked.
pub(crate) fn wall_reached(wall: Duration) -> LimitReached {
    LimitReached {
        limit: "wall",
        value: crate::limits::Span(rounded(wall)).to_string(),
    }
}

impl ResourceLimiter for Guard {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.memory.grow(current, desired, self.limits.memory.0);
        if allowed {
            self.vitals
                .peak_memory_bytes
                .fetch_max(self.memory.held, Ordering::Relaxed);
        } else {
            self.vitals.memory_refused.store(true, Ordering::Relaxed);
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.undo();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = u64::from(self.limits.table_elements);
        let allowed = self.table.grow(current, desired, limit);
        if !allowed {
            self.vitals.table_refused.store(true, Ordering::Relaxed);
        }
        Ok(allowed)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.limits.instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.instances as usize
    }

    fn memories(&self) -> usize {
        self.limits.instances as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_limit_is_told_in_round_numbers() {
        for (nanos, told) in [
            (199_995_814, "200ms"),
            (10_000_000_000, "10s"),
            (9_999_400_000, "9s999ms"),
            (1_499_999, "1ms"),
            (312_499, "312us"),
        ] {
            assert_eq!(wall_reached(Duration::from_nanos(nanos)).value, told);
        }
    }
}
