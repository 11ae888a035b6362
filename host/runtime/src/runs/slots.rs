//! Who may have a sandbox for its agent: a bounded number of runs at once, in
//! turns by agent and principal.
//!
//! What must stay true: a slot is given back however its attempt ends; runs that
//! only wait give way to runs that can work, so waiting for each other never
//! blocks all of them; nobody's runs keep another's from their turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::turns::Turns;

/// Whose turn it is: agent and principal.
type Key = (String, String);

/// The sandboxes of agents.
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes one who only waits in its sandbox, the longest first.
    wanted: Notify,
}

struct State {
    free: u32,
    waiting: Turns<Key, oneshot::Sender<Slot>>,
    /// When one got its turn last, or began to wait where nobody did.
    moved: Instant,
}

/// The right to a sandbox, until dropped.
pub(crate) struct Slot(Option<Arc<Shared>>);

impl Slots {
    pub(crate) fn new(max: u32) -> Self {
        let state = State {
            free: max,
            waiting: Turns::default(),
            moved: Instant::now(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            wanted: Notify::new(),
        }))
    }

    /// Waits for its turn.
    pub(crate) async fn take(&self, (agent, by): (&str, &str)) -> Slot {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Slot(Some(Arc::clone(&self.0)));
            }
            let (sender, turn) = oneshot::channel();
            state
                .waiting
                .push((agent.to_owned(), by.to_owned()), sender);
            turn
        };
        self.0.wanted.notify_one();
        match turn.await {
            Ok(slot) => slot,
            // The queue lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether some wait, and none of them got its turn for so long.
    pub(crate) fn is_stuck(&self, limit: Duration) -> bool {
        let state = self.0.lock();
        state.is_wanted() && state.moved.elapsed() >= limit
    }

    /// Resolves when whoever calls it, waiting in a sandbox, is to give way.
    pub(crate) async fn wanted(&self) {
        while !self.0.lock().is_wanted() {
            self.0.wanted.notified().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_wanted(&self) -> bool {
        self.waiting.iter().any(|turn| !turn.is_closed())
    }

    /// The next one who still waits.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        let next = self.waiting.next(|_| true, |turn| !turn.is_closed());
        if next.is_some() {
            self.moved = Instant::now();
        }
        next.map(|(_, turn)| turn)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut state = shared.lock();
        match state.next() {
            Some(turn) => {
                drop(state);
                // One that is not taken any more is given back once more.
                drop(turn.send(Slot(Some(shared))));
            }
            None => state.free += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    async fn is_pending<F: Future>(future: F) -> bool {
        tokio::time::timeout(Duration::from_millis(20), future)
            .await
            .is_err()
    }

    #[tokio::test]
    async fn nobodys_queue_keeps_another_from_its_turn() {
        let slots = Arc::new(Slots::new(1));
        let first = slots.take(("a", "me")).await;
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (agent, by) in [
            ("a", "me"),
            ("a", "me"),
            ("a", "me"),
            ("b", "me"),
            ("a", "you"),
        ] {
            let (slots, told) = (Arc::clone(&slots), told.clone());
            let waiting = slots.0.lock().waiting.iter().count();
            tokio::spawn({
                let slots = Arc::clone(&slots);
                async move {
                    let slot = slots.take((agent, by)).await;
                    told.send((agent, by)).expect("heard");
                    drop(slot);
                }
            });
            while slots.0.lock().waiting.iter().count() == waiting {
                tokio::task::yield_now().await;
            }
        }
        drop(first);
        let mut got = Vec::new();
        for _ in 0..5 {
            got.push(order.recv().await.expect("a turn"));
        }
        assert_eq!(
            got,
            [
                ("a", "me"),
                ("b", "me"),
                ("a", "you"),
                ("a", "me"),
                ("a", "me")
            ]
        );
    }

    #[tokio::test]
    async fn who_only_waits_gives_way_when_another_asks() {
        let slots = Slots::new(1);
        let held = slots.take(("a", "me")).await;
        assert!(is_pending(slots.wanted()).await, "nobody asked");
        let mut asks = pin!(slots.take(("b", "me")));
        assert!(is_pending(&mut asks).await, "there is one slot");
        slots.wanted().await;
        drop(held);
        drop(asks.await);
        assert!(is_pending(slots.wanted()).await, "nobody asks any more");
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_is_given_on() {
        let slots = Slots::new(1);
        let held = slots.take(("a", "me")).await;
        {
            let mut gone = pin!(slots.take(("b", "me")));
            assert!(is_pending(&mut gone).await);
        }
        let mut stays = pin!(slots.take(("c", "me")));
        assert!(is_pending(&mut stays).await);
        drop(held);
        drop(stays.await);
        assert_eq!(slots.0.lock().free, 1);
    }
}
