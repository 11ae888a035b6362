//! How many runs are in memory: of each depth below a run that somebody started,
//! of each agent and principal, and below each such run.
//!
//! What must stay true: each depth has places of its own, so that runs that wait
//! for their children to start never keep them from it; nobody's runs keep the
//! timers of another's from firing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fold::RunState;

/// An agent and a principal.
pub(super) type Key = (String, String);

/// Of which kind a run is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// Whose it is; `None`: that does not count.
    pub(super) of: Option<Key>,
    /// The run that it stands below, if any, and how deep; from 2.
    pub(super) below: Option<(String, u32)>,
}

impl Kind {
    pub(super) fn of(state: &RunState) -> Self {
        let Some(start) = &state.start else {
            return Self::default();
        };
        let below = start
            .parent
            .as_ref()
            .map(|parent| (parent.root().to_owned(), parent.depth));
        Self {
            of: Some((start.agent.clone(), start.by.clone())),
            below,
        }
    }

    fn depth(&self) -> u32 {
        self.below.as_ref().map_or(1, |(_, depth)| *depth)
    }
}

/// The runs in memory, as far as they are counted.
pub(super) struct Places {
    /// Runs that somebody started at most.
    max: usize,
    counts: Mutex<Counts>,
    /// Changes when there is one less.
    freed: watch::Sender<()>,
}

#[derive(Default)]
struct Counts {
    of: HashMap<Key, usize>,
    below: HashMap<(String, u32), usize>,
    depths: HashMap<u32, usize>,
}

/// One that is counted, until dropped.
pub(super) struct Place {
    places: Arc<Places>,
    kind: Kind,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            counts: Mutex::default(),
            freed: watch::Sender::new(()),
        })
    }

    /// Counts a run, whether or not there is room for it.
    pub(super) fn take(self: &Arc<Self>, kind: Kind) -> Place {
        self.lock().add(&kind);
        Place {
            places: Arc::clone(self),
            kind,
        }
    }

    /// Waits for a place for a child that is about to start below `root`.
    pub(super) async fn child(self: &Arc<Self>, root: &str, depth: u32) -> Place {
        let mut freed = self.freed.subscribe();
        loop {
            freed.mark_unchanged();
            if let Some(place) = self.take_child(root, depth) {
                return place;
            }
            // The sender lives as long as this.
            let _ = freed.changed().await;
        }
    }

    fn take_child(self: &Arc<Self>, root: &str, depth: u32) -> Option<Place> {
        let below = (root.to_owned(), depth);
        let mut counts = self.lock();
        let siblings = counts.below.get(&below).copied().unwrap_or_default();
        let deep = counts.depths.get(&depth).copied().unwrap_or_default();
        if siblings >= part(self.max, 40) || deep >= part(self.max, 4) {
            return None;
        }
        let kind = Kind {
            of: None,
            below: Some(below),
        };
        counts.add(&kind);
        Some(Place {
            places: Arc::clone(self),
            kind,
        })
    }

    /// How many runs that somebody started there are, where that is as many as
    /// there may be.
    pub(super) fn full(&self) -> Option<usize> {
        let first = self.lock().depths.get(&1).copied().unwrap_or_default();
        (first >= self.max).then_some(first)
    }

    /// Whether any run is taken up whose time has come, with `live` in memory.
    pub(super) fn has_room(&self, live: usize) -> bool {
        live < self.few()
    }

    /// Whether so few runs are theirs that one more is taken up where there is no
    /// room for any.
    pub(super) fn has_few(&self, of: &Key) -> bool {
        let own = self.lock().of.get(of).copied().unwrap_or_default();
        own < part(self.few(), 16)
    }

    fn few(&self) -> usize {
        (self.max * 2 / 5).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of `all`, at least one.
fn part(all: usize, parts: usize) -> usize {
    (all / parts).max(1)
}

impl Counts {
    fn add(&mut self, kind: &Kind) {
        *self.depths.entry(kind.depth()).or_default() += 1;
        if let Some(of) = &kind.of {
            *self.of.entry(of.clone()).or_default() += 1;
        }
        if let Some(below) = &kind.below {
            *self.below.entry(below.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, kind: &Kind) {
        less(&mut self.depths, &kind.depth());
        if let Some(of) = &kind.of {
            less(&mut self.of, of);
        }
        if let Some(below) = &kind.below {
            less(&mut self.below, below);
        }
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.kind);
        self.places.freed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(agent: &str, below: Option<(&str, u32)>) -> Kind {
        Kind {
            of: Some((agent.to_owned(), "me".to_owned())),
            below: below.map(|(root, depth)| (root.to_owned(), depth)),
        }
    }

    #[test]
    fn each_depth_and_each_root_has_places_of_its_own() {
        // Four roots, one child of each root and depth, one of each depth.
        let places = Places::new(4);
        let roots: Vec<Place> = (0..4).map(|_| places.take(kind("a", None))).collect();
        assert_eq!(places.full(), Some(4));
        let child = places.take_child("r", 2).expect("one");
        assert!(places.take_child("r", 2).is_none(), "one below a root");
        assert!(places.take_child("other", 2).is_none(), "one of a depth");
        let deeper = places
            .take_child("r", 3)
            .expect("it does not wait for its parent");
        drop((child, roots));
        assert!(places.full().is_none() && places.take_child("r", 3).is_none());
        drop(deeper);
        assert!(places.take_child("r", 3).is_some());
        let counts = places.lock();
        assert!(counts.of.is_empty() && counts.below.is_empty() && counts.depths.is_empty());
    }

    #[test]
    fn who_has_few_runs_is_woken_beside_one_who_has_many() {
        let places = Places::new(100);
        let busy: Vec<Place> = (0..50).map(|_| places.take(kind("busy", None))).collect();
        let key = |agent: &str| (agent.to_owned(), "me".to_owned());
        assert!(places.has_room(39) && !places.has_room(busy.len()));
        assert!(!places.has_few(&key("busy")) && places.has_few(&key("calm")));
        let _calm: Vec<Place> = (0..2).map(|_| places.take(kind("calm", None))).collect();
        assert!(!places.has_few(&key("calm")), "it has its share");
    }
}
