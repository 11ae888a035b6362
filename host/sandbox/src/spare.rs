//! Room for components that need more memories and tables than most do.
//!
//! What must stay true: each call has one place for itself, whatever others
//! need; a component that needs more takes further places, and no plugin holds
//! more of these than its share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The further places of one engine.
pub(crate) struct Spare {
    max: u32,
    share: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by: HashMap<String, u32>,
}

/// Further places of one call; given back when dropped.
pub(crate) struct Places {
    _held: Option<Held>,
}

struct Held {
    spare: Arc<Spare>,
    whose: String,
    count: u32,
}

impl Spare {
    /// `max` places, of which each plugin may hold a quarter, and at least
    /// `share_min`.
    pub(crate) fn new(max: u32, share_min: u32) -> Arc<Self> {
        Arc::new(Self {
            max,
            share: (max / 4).max(share_min),
            taken: Mutex::default(),
        })
    }

    /// Takes `count` places for a call of `whose`; `None` while too many are taken.
    pub(crate) fn take(self: &Arc<Self>, whose: &str, count: u32) -> Option<Places> {
        if count == 0 {
            return Some(Places { _held: None });
        }
        let mut taken = self.taken();
        let own = taken.by.get(whose).copied().unwrap_or(0);
        if own + count > self.share || taken.all + count > self.max {
            return None;
        }
        taken.all += count;
        taken.by.insert(whose.to_owned(), own + count);
        let held = Held {
            spare: Arc::clone(self),
            whose: whose.to_owned(),
            count,
        };
        Some(Places { _held: Some(held) })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.spare.taken();
        taken.all -= self.count;
        if let Some(own) = taken.by.get_mut(&self.whose) {
            *own -= self.count;
        }
        taken.by.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holds_its_share_and_all_together_no_more_than_there_are() {
        let spare = Spare::new(10, 4);
        let cases = [
            ("a", 0, true),
            ("a", 3, true),
            ("a", 2, false),
            ("a", 1, true),
            ("b", 5, false),
            ("b", 4, true),
            ("c", 3, false),
            ("c", 2, true),
            ("d", 1, false),
            ("d", 0, true),
        ];
        let mut held = Vec::new();
        for (whose, count, fits) in cases {
            let places = spare.take(whose, count);
            assert_eq!(places.is_some(), fits, "{whose} {count}");
            held.extend(places);
        }
        drop(held);
        assert!(spare.taken().by.is_empty());
        assert!(spare.take("d", 4).is_some());
    }
}
