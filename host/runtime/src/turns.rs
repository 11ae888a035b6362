//! Those who wait for something, in turns: by whom they are of, then in the order
//! they came.
//!
//! What must stay true: nobody's queue keeps another's from its turn.

use std::collections::{BTreeMap, VecDeque};

/// Those who wait, of each `K` in the order they came.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    waiting: BTreeMap<K, VecDeque<T>>,
    /// Those of `waiting`, the next first.
    order: VecDeque<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Ord + Clone, T> Turns<K, T> {
    pub(crate) fn push(&mut self, of: K, one: T) {
        let queue = self.waiting.entry(of.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(of);
        }
        queue.push_back(one);
    }

    /// The next one who is still there, of those whose turn it `may` be; its kind
    /// goes to the end of the turns.
    pub(crate) fn next(
        &mut self,
        may: impl Fn(&K) -> bool,
        is_there: impl Fn(&T) -> bool,
    ) -> Option<(K, T)> {
        let mut place = 0;
        while let Some(of) = self.order.get(place) {
            if !may(of) {
                place += 1;
                continue;
            }
            let of = self.order.remove(place)?;
            let queue = self.waiting.get_mut(&of)?;
            let next = std::iter::from_fn(|| queue.pop_front()).find(|one| is_there(one));
            match queue.is_empty() {
                true => drop(self.waiting.remove(&of)),
                false => self.order.push_back(of.clone()),
            }
            if let Some(next) = next {
                return Some((of, next));
            }
        }
        None
    }

    /// Forgets those of one who are gone; gives how many are left of it.
    pub(crate) fn left(&mut self, of: &K, is_there: impl Fn(&T) -> bool) -> usize {
        let Some(queue) = self.waiting.get_mut(of) else {
            return 0;
        };
        queue.retain(is_there);
        let left = queue.len();
        if left == 0 {
            self.waiting.remove(of);
            self.order.retain(|other| other != of);
        }
        left
    }

    /// All who wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_those_who_left_have_none() {
        let mut turns = Turns::default();
        for (of, one) in [('a', 1), ('a', 2), ('b', 3), ('a', 4), ('c', 5), ('c', 6)] {
            turns.push(of, one);
        }
        let mut next = |may: fn(&char) -> bool| turns.next(may, |one| one % 2 == 0 || *one == 3);
        assert_eq!(next(|_| true), Some(('a', 2)), "the first of it has left");
        assert_eq!(next(|of| *of != 'b'), Some(('c', 6)), "not yet");
        assert_eq!(next(|_| true), Some(('b', 3)), "it kept its place");
        turns.push('b', 7);
        assert_eq!((turns.left(&'b', |_| false), turns.iter().count()), (0, 1));
        turns.push('b', 8);
        let rest: Vec<_> = std::iter::from_fn(|| turns.next(|_| true, |_| true)).collect();
        assert_eq!(rest, [('a', 4), ('b', 8)], "once each");
    }
}
