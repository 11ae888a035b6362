//! Work of others: side by side, and kept when it ends without its goal.

use std::pin::Pin;

use airlock_sdk::agent;
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::cut_end;
use serde_json::Value;

/// Of an error that a model or another agent wrote.
pub const ERROR_BYTES_MAX: usize = 4 << 10;

/// What was begun.
pub type Started = Pin<Box<dyn Future<Output = Result<Value, Error>>>>;

/// Work of which several pieces may be under way at once.
pub trait Queue {
    /// Names a piece.
    type Key;

    /// Begins the next piece that can begin.
    fn begin(&mut self) -> Option<(Self::Key, Started)>;

    /// What came of one; others may be able to begin now.
    fn end(&mut self, key: Self::Key, ended: Result<Value, Error>);
}

/// Has all done that can be, at most so many at once.
pub async fn side_by_side(queue: &mut impl Queue, most: usize) {
    let mut running = Vec::new();
    loop {
        while running.len() < most {
            let Some(begun) = queue.begin() else {
                break;
            };
            running.push(begun);
        }
        if running.is_empty() {
            return;
        }
        let futures = running.iter_mut().map(|(_, future)| future);
        let (at, ended) = agent::select_all(futures).await;
        let (key, _) = running.swap_remove(at);
        queue.end(key, ended);
    }
}

/// The end of a goal that a model gave up.
#[must_use]
pub fn gave_up(why: &str) -> Error {
    let why = cut_end(why, ERROR_BYTES_MAX);
    Error::escalate(format!("the goal can't be reached: {why}"))
}

/// Keeps what was reached: as the state `reached`, which costs no request, and as a
/// record, which a budget may refuse.
pub async fn keep(reached: &Value) {
    let kept = agent::set_state("reached", reached);
    let recorded = agent::record(reached).await;
    if let Err(error) = kept.and(recorded.map(drop)) {
        agent::log(&format!("what was reached is in the state alone: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::task::Poll;

    use airlock_sdk::task::block_on;

    use super::*;

    /// Pieces, each of which takes a look more than the one before it.
    struct Pieces {
        left: Vec<usize>,
        /// Under way now, and at most.
        under_way: Rc<RefCell<(usize, usize)>>,
        ended: Vec<usize>,
    }

    impl Queue for Pieces {
        type Key = usize;

        fn begin(&mut self) -> Option<(usize, Started)> {
            let key = self.left.pop()?;
            let mut under_way = self.under_way.borrow_mut();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
            let mut looks = key;
            let piece = std::future::poll_fn(move |context| {
                if looks == 0 {
                    return Poll::Ready(Ok(Value::Null));
                }
                looks -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            });
            Some((key, Box::pin(piece)))
        }

        fn end(&mut self, key: usize, _ended: Result<Value, Error>) {
            self.under_way.borrow_mut().0 -= 1;
            self.ended.push(key);
            // What could not begin before.
            if key == 1 {
                self.left.push(9);
            }
        }
    }

    #[test]
    fn all_is_done_and_no_more_at_once_than_there_may_be() {
        for (most, at_once) in [(1, 1), (2, 2), (4, 4), (16, 5)] {
            let under_way = Rc::default();
            let mut pieces = Pieces {
                left: (0..5).collect(),
                under_way: Rc::clone(&under_way),
                ended: Vec::new(),
            };
            block_on(side_by_side(&mut pieces, most));
            assert_eq!(*under_way.borrow(), (0, at_once), "{most}");
            pieces.ended.sort_unstable();
            assert_eq!(pieces.ended, [0, 1, 2, 3, 4, 9], "{most}");
        }
    }
}
