//! The clocks of one call.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wasmtime_wasi::p2::Pollable;

use super::{Clocks, Op};
use crate::gate::{Gate, Permit};

/// Step of the clocks: finer than any tool needs, coarser than the
/// host's.
pub(super) const RESOLUTION: Duration = Duration::from_micros(1);

/// The clocks as one call sees them; the monotonic one starts at 0 with it.
pub struct CallClocks {
    gate: Gate,
    read: Option<Permit<Clocks>>,
    sleep: Option<Permit<Clocks>>,
    started: Instant,
    deadline: Instant,
}

impl CallClocks {
    /// Clocks of a call that began at `started` and ends at `deadline`.
    pub fn new(gate: Gate, started: Instant, deadline: Instant) -> Self {
        Self {
            gate,
            read: None,
            sleep: None,
            started,
            deadline,
        }
    }

    /// The permit for `op`, asked for once per call and then rechecked.
    pub(super) fn permit(&mut self, op: Op) -> wasmtime::Result<&Permit<Clocks>> {
        let slot = match op {
            Op::Read => &mut self.read,
            Op::Sleep => &mut self.sleep,
        };
        let permit = match slot.take() {
            Some(permit) => permit.recheck().map(|()| permit)?,
            None => self.gate.permit::<Clocks>(op)?,
        };
        Ok(slot.insert(permit))
    }

    /// Time since 1970 in steps of [`RESOLUTION`]; 0 where the host's clock is
    /// before that.
    pub(super) fn wall(&mut self) -> wasmtime::Result<Duration> {
        self.permit(Op::Read)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        Ok(Duration::new(now.as_secs(), now.subsec_micros() * 1_000))
    }

    /// Nanoseconds since the call began, in steps of [`RESOLUTION`].
    pub(super) fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        self.permit(Op::Read)?;
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(micros.saturating_mul(1_000))
    }

    /// A sleep until the monotonic clock shows `when_ns`.
    pub(super) fn sleep_until(&mut self, when_ns: u64) -> wasmtime::Result<Sleep> {
        let started = self.started;
        self.sleep_to(started.checked_add(Duration::from_nanos(when_ns)))
    }

    /// A sleep of `duration_ns` from now.
    pub(super) fn sleep_for(&mut self, duration_ns: u64) -> wasmtime::Result<Sleep> {
        self.sleep_to(Instant::now().checked_add(Duration::from_nanos(duration_ns)))
    }

    fn sleep_to(&mut self, until: Option<Instant>) -> wasmtime::Result<Sleep> {
        self.permit(Op::Sleep)?;
        let until = until.map_or(self.deadline, |until| until.min(self.deadline));
        Ok(Sleep {
            until,
            yielded: false,
        })
    }
}

/// Ready when its time has come.
pub(super) struct Sleep {
    until: Instant,
    yielded: bool,
}

#[async_trait::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        // A guest that polls with a timeout of 0 in a loop must still let the
        // runtime see to its I/O.
        if self.until <= Instant::now() && !self.yielded {
            self.yielded = true;
            tokio::task::yield_now().await;
        }
        tokio::time::sleep_until(self.until).await;
    }
}

#[cfg(test)]
impl Sleep {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}
