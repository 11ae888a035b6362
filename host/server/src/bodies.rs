//! Request bodies: read as they come, and held within a budget.
//!
//! What must stay true: a body takes of the budget what came of it, not what might
//! still come; no principal takes what all others need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::reply::Refusal;

/// One permit of the budget, bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Bytes that one principal may hold, however small the budget is: one of the largest
/// bodies.
const SHARE_BYTES_MIN: usize = (64 << 20) + UNIT_BYTES;

/// The budget of all bodies.
pub(crate) struct Bodies {
    all: Arc<Semaphore>,
    share_units: usize,
    /// Of the principals that hold some of it.
    shares: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// What a body takes of the budget, until it is dropped.
pub(crate) struct Room {
    all: Budget,
    share: Budget,
    units: usize,
}

struct Budget {
    left: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

/// A body that is to be read.
pub(crate) struct Incoming {
    /// Its length, where it is told before.
    pub(crate) length: Option<usize>,
    pub(crate) bytes_max: usize,
    /// How long it may take, and a second more for each 64 KiB.
    pub(crate) patience: Duration,
    pub(crate) body: Body,
}

impl Bodies {
    /// Of so many bytes, of which one principal has a quarter.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self::with_share(bytes_max, (bytes_max / 4).max(SHARE_BYTES_MIN))
    }

    fn with_share(bytes_max: usize, share_bytes_max: usize) -> Self {
        let units = |bytes: usize| (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(units(bytes_max))),
            share_units: units(share_bytes_max),
            shares: Mutex::default(),
        }
    }

    /// Room for nothing yet.
    fn room(&self, who: &str) -> Room {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = shares.entry(who.to_owned());
        let share = share.or_insert_with(|| Arc::new(Semaphore::new(self.share_units)));
        Room {
            all: Budget::of(&self.all),
            share: Budget::of(share),
            units: 0,
        }
    }

    /// The whole body of `who`'s request.
    pub(crate) async fn read(&self, who: &str, from: Incoming) -> Result<(Bytes, Room), Refusal> {
        let mut room = self.room(who);
        room.has_left(from.length.unwrap_or_default())?;
        let (mut body, mut read) = (from.body, BytesMut::new());
        let begun = Instant::now();
        loop {
            let seconds = from.length.unwrap_or(read.len()) >> 16;
            let until = begun + from.patience + Duration::from_secs(seconds as u64);
            let frame = timeout_at(until, body.frame()).await;
            let frame =
                frame.map_err(|_| Refusal::new(408, "body-timeout", "the body came too slowly"))?;
            let frame = match frame {
                None => return Ok((read.freeze(), room)),
                Some(frame) => frame.map_err(|error| {
                    tracing::debug!(%error, "a body was not read");
                    let detail = "the body ended early or is malformed";
                    Refusal::new(400, "body-broken", detail)
                })?,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if read.len() + data.len() > from.bytes_max {
                return Err(too_large(from.bytes_max));
            }
            room.grow_to(read.len() + data.len())?;
            read.extend_from_slice(&data);
        }
    }
}

/// The refusal of a body of more than `bytes_max`.
pub(crate) fn too_large(bytes_max: usize) -> Refusal {
    let detail = format!("the body may have {bytes_max} bytes");
    Refusal::new(413, "body-too-large", detail).with("bytes_max", bytes_max)
}

impl Room {
    fn budgets(&mut self) -> [(&mut Budget, &'static str); 2] {
        [
            (
                &mut self.share,
                "your requests hold as many bytes of bodies as one token's may",
            ),
            (
                &mut self.all,
                "the host holds as many request bodies as it may",
            ),
        ]
    }

    /// Refuses what would not fit now, before anything of it is read.
    fn has_left(&mut self, bytes: usize) -> Result<(), Refusal> {
        for (budget, why) in self.budgets() {
            if budget.left.available_permits() < units_of(bytes) {
                return Err(overloaded(why));
            }
        }
        Ok(())
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let units = units_of(bytes);
        let more = u32::try_from(units.saturating_sub(self.units)).unwrap_or(u32::MAX);
        if more > 0 {
            for (budget, why) in self.budgets() {
                budget.take(more).ok_or_else(|| overloaded(why))?;
            }
            self.units = units;
        }
        Ok(())
    }
}

impl Budget {
    fn of(left: &Arc<Semaphore>) -> Self {
        Self {
            left: Arc::clone(left),
            taken: None,
        }
    }

    fn take(&mut self, units: u32) -> Option<()> {
        let more = Arc::clone(&self.left).try_acquire_many_owned(units).ok()?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        Some(())
    }
}

/// Also a small body takes some room.
fn units_of(bytes: usize) -> usize {
    bytes / UNIT_BYTES + 1
}

fn overloaded(why: &str) -> Refusal {
    Refusal::new(503, "overloaded", why).retry_after_s(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn refused(result: Result<(), Refusal>) -> Option<String> {
        let refusal = result.err()?;
        assert_eq!((refusal.0.status, &*refusal.0.code), (503, "overloaded"));
        Some(refusal.0.detail.clone())
    }

    #[test]
    fn a_body_takes_what_came_and_nobody_takes_it_all() {
        let bodies = Bodies::with_share(100 * KIB, 40 * KIB);
        let mut rooms: Vec<Room> = (0..2).map(|_| bodies.room("anna")).collect();
        for room in &mut rooms {
            assert!(room.grow_to(10 * KIB).is_ok());
            assert!(room.grow_to(10 * KIB + 1).is_ok());
        }
        assert_eq!(bodies.all.available_permits(), 100 - 22);
        let mut more = bodies.room("anna");
        assert!(more.has_left(17 * KIB).is_ok());
        for refused in [
            refused(more.has_left(18 * KIB)),
            refused(more.grow_to(18 * KIB)),
        ] {
            assert!(refused.expect("refused").contains("one token's"));
        }
        let mut others: Vec<Room> = ["ben", "cleo"].map(|who| bodies.room(who)).into();
        for room in &mut others {
            assert!(room.grow_to(38 * KIB).is_ok());
        }
        assert_eq!(bodies.all.available_permits(), 0);
        assert!(
            refused(bodies.room("dora").grow_to(1))
                .expect("refused")
                .contains("the host")
        );
        // All of it is given back, and nothing is kept of who is gone.
        drop((rooms, more, others));
        assert_eq!(bodies.all.available_permits(), 100);
        drop(bodies.room("dora"));
        assert_eq!(bodies.shares.lock().expect("a lock").len(), 1);
    }
}
