//! Whose turn it is at a model.
//!
//! What must stay true: never more at once than it may have; callers that wait take
//! turns, however many requests one of them has; the queue is bounded; whoever gives
//! up leaves it at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Places at one model, and who waits for one.
#[derive(Debug)]
pub(crate) struct Turns {
    queue_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: u32,
    waiting: usize,
    next_ticket: u64,
    /// By caller; the front one is next.
    lanes: VecDeque<Lane>,
}

#[derive(Debug)]
struct Lane {
    caller: String,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    tell: oneshot::Sender<Place>,
}

/// A place; dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Place {
    /// `None` once it was handed on.
    turns: Option<Arc<Turns>>,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Turns {
    pub(crate) fn new(places: u32, queue_max: u32) -> Arc<Self> {
        Arc::new(Self {
            queue_max: queue_max as usize,
            state: Mutex::new(State {
                free: places,
                waiting: 0,
                next_ticket: 0,
                lanes: VecDeque::new(),
            }),
        })
    }

    /// A place, when it is this caller's turn.
    pub(crate) async fn place(self: &Arc<Self>, caller: &str) -> Result<Place, Full> {
        let (ticket, told) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Place {
                    turns: Some(Arc::clone(self)),
                });
            }
            if state.waiting >= self.queue_max {
                return Err(Full);
            }
            state.wait(caller)
        };
        let _leave = Leave {
            turns: self,
            caller,
            ticket,
        };
        // The sender goes only by being used.
        told.await.map_err(|_| Full)
    }

    /// A place is free: whoever is next has it.
    fn hand_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(waiter) = next else { return };
            let place = Place {
                turns: Some(Arc::clone(self)),
            };
            match waiter.tell.send(place) {
                Ok(()) => return,
                // Whoever waited is gone: the place goes on, here and not by its drop.
                Err(mut place) => place.turns = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, caller: &str) -> (u64, oneshot::Receiver<Place>) {
        let (tell, told) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let waiter = Waiter { ticket, tell };
        match self.lanes.iter_mut().find(|lane| lane.caller == caller) {
            Some(lane) => lane.waiters.push_back(waiter),
            None => self.lanes.push_back(Lane {
                caller: caller.to_owned(),
                waiters: VecDeque::from([waiter]),
            }),
        }
        (ticket, told)
    }

    fn next(&mut self) -> Option<Waiter> {
        let mut lane = self.lanes.pop_front()?;
        let waiter = lane.waiters.pop_front()?;
        self.waiting -= 1;
        if !lane.waiters.is_empty() {
            self.lanes.push_back(lane);
        }
        Some(waiter)
    }

    fn leave(&mut self, caller: &str, ticket: u64) {
        let Some(at) = self.lanes.iter().position(|lane| lane.caller == caller) else {
            return;
        };
        let waiters = &mut self.lanes[at].waiters;
        let before = waiters.len();
        waiters.retain(|waiter| waiter.ticket != ticket);
        self.waiting -= before - waiters.len();
        if waiters.is_empty() {
            self.lanes.remove(at);
        }
    }
}

/// Takes a waiter out of the queue, whether it was told or gave up.
struct Leave<'a> {
    turns: &'a Arc<Turns>,
    caller: &'a str,
    ticket: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.turns.lock().leave(self.caller, self.ticket);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.hand_on();
        }
    }
}
