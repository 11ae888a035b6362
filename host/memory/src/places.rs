//! How many work with the memory at once. Others wait for their turn, so that those who
//! ask much take neither all of the host's threads nor each other's turns.
//!
//! What must stay true: a place is taken until the work in it has ended, whether
//! anybody still waits for it or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::MemoryError;

/// How many there are.
const PLACES: usize = 32;
/// How many of them one may have.
pub(crate) const SHARE: usize = 8;

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Of those who have or wait for one.
    shares: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_share: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(PLACES)),
            shares: Mutex::default(),
        }
    }
}

impl Places {
    /// A place for `who`, once there is one.
    pub(crate) async fn take(&self, who: &str) -> Result<Place, MemoryError> {
        let stopping = |_| MemoryError::busy("the host is stopping");
        // Who has its share waits for itself alone.
        let share = self.share(who).acquire_owned().await.map_err(stopping)?;
        let all = Arc::clone(&self.all).acquire_owned();
        Ok(Place {
            _of_all: all.await.map_err(stopping)?,
            _of_share: share,
        })
    }

    fn share(&self, who: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = shares.entry(who.to_owned());
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(SHARE))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_has_more_than_its_share() {
        let places = Places::default();
        let mut taken = Vec::new();
        for who in 0..PLACES / SHARE - 1 {
            for _ in 0..SHARE {
                taken.push(places.take(&who.to_string()).await.expect("a place"));
            }
        }
        let brief = std::time::Duration::from_millis(20);
        let more = tokio::time::timeout(brief, places.take("0")).await;
        assert!(more.is_err(), "there are others, but not for it");
        taken.push(places.take("other").await.expect("a place"));
        assert_eq!(places.shares.lock().expect("a lock").len(), PLACES / SHARE);
        taken.drain(..1);
        taken.push(places.take("0").await.expect("its own again"));
        // Nothing is kept of who is gone.
        taken.clear();
        drop(places.take("last").await);
        assert_eq!(places.shares.lock().expect("a lock").len(), 1);
    }
}
