//! What is set aside for a request to a model, and the wait for it.
//!
//! What must stay true: a request waits only for requests that hold a part, each of
//! which settles by itself, so that no two wait for each other; one that waits has
//! nothing set aside and was not sent; of those of one run that wait, the first goes
//! first.

use airlock_journal::Op;
use airlock_sandbox::{CallError, EffectClass};
use tokio::sync::watch;

use super::{Asked, Event, Goes, InForce, ModelStep, Permitted, RequestId, Spent, error_of};
use crate::ids;
use crate::models::{Bounds, DayBounds, Took, day_of};
use crate::runs::exchange::{Fits, reserved, under_way};
use crate::runs::fold::RunState;
use crate::runs::session::Inner;

/// What is set aside for an attempt, and where it is counted.
#[derive(Clone, Copy)]
pub(super) struct Reserve {
    pub(super) took: Took,
    pub(super) day: u64,
}

/// A part that is set aside for what was not sent yet: given back where somebody
/// else answered meanwhile.
pub(super) struct Unsent<'a> {
    step: &'a ModelStep,
    part: Option<Reserve>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        let Some(part) = self.part.take() else { return };
        let work = &self.step.work;
        let is_open = work.session.lock().state.requests.contains_key(&work.id);
        if !is_open {
            self.step.give_back(part);
        }
    }
}

impl<'a> Unsent<'a> {
    pub(super) fn new(step: &'a ModelStep, part: Reserve) -> Self {
        let part = Some(part);
        Self { step, part }
    }

    /// Somebody sees to its part.
    pub(super) fn is_settled(&mut self) {
        self.part = None;
    }
}

/// What came of setting a part aside.
pub(super) enum Reserved {
    Part(Reserve),
    /// Others have to settle first.
    Later(Short),
    /// The request was ended meanwhile.
    Over,
}

/// The same, as it was decided.
enum Pushed {
    Part(Took),
    Later { seen: Seen, of_day: bool },
    Over,
}

/// What a request that does not fit now has seen, and what tells it of other runs.
pub(super) struct Short {
    seen: Seen,
    settled: Option<watch::Receiver<()>>,
}

/// What has to change in its run before a request can fit.
#[derive(PartialEq, Eq)]
struct Seen {
    left: Spent,
    spent: Spent,
    /// What is set aside: what is left may be none, before and after.
    aside: Took,
    is_ahead: bool,
}

impl Inner {
    /// Whether one waits that was asked for before.
    fn is_ahead(&self, id: RequestId) -> bool {
        let mut before = self.short.range(..id);
        before.any(|id| self.effects.contains_key(id))
    }

    fn seen(&self, id: RequestId) -> Seen {
        Seen {
            left: self.state.left_now(),
            spent: self.state.spent,
            aside: under_way(&self.state),
            is_ahead: self.is_ahead(id),
        }
    }
}

impl ModelStep {
    /// Sets aside what the request may use.
    pub(super) fn reserve(
        &self,
        now: &InForce,
        permitted: &Permitted,
        attempt: u32,
    ) -> Result<Reserved, CallError> {
        let bound = permitted.bound(now).map_err(error_of)?;
        let rule = permitted.rule();
        let agent = self.agent();
        let of_agent = Bounds {
            tokens: rule.day_tokens,
            micros: rule.day_cost.map(|cost| cost.micros),
        };
        let bounds = DayBounds {
            agent: of_agent,
            host: now.bounds(),
        };
        let day = day_of(ids::now_ms());
        let (days, of) = (
            &self.work.runtime.models.days,
            (&*agent, &*self.work.session.id),
        );
        // What settles from here on is seen by whoever waits.
        let settled = days.settled();
        let reserved = days.reserve(day, of, bounds, |left, count| {
            let fits = |state: &RunState| reserved(state, rule, bound, left);
            self.push_reserved(attempt, fits, count)
        });
        // Others wait for the days, not for what is written here.
        self.work.session.kick();
        match reserved {
            Ok(pushed) => Ok(match pushed? {
                Pushed::Over => Reserved::Over,
                Pushed::Part(took) => Reserved::Part(Reserve { took, day }),
                Pushed::Later { seen, of_day } => Reserved::Later(Short {
                    seen,
                    settled: of_day.then_some(settled),
                }),
            }),
            Err(error) => {
                tracing::error!(%error, "what models may be used can't be read");
                Err(CallError::Transient {
                    message: "the host's store failed".to_owned(),
                    retry_after_ms: None,
                })
            }
        }
    }

    /// The intent, decided and pushed in one.
    fn push_reserved(
        &self,
        attempt: u32,
        fits: impl FnOnce(&RunState) -> Result<Fits, CallError>,
        count: &mut dyn FnMut(Took) -> Op,
    ) -> Result<Pushed, CallError> {
        let mut inner = self.work.session.lock();
        let open = inner.state.requests.contains_key(&self.work.id);
        if !open || inner.is_closed() {
            return Ok(Pushed::Over);
        }
        let fits = fits(&inner.state)?;
        let ahead = inner.is_ahead(self.work.id);
        let took = match fits {
            Fits::Now(took) if !ahead => took,
            Fits::Now(_) => {
                let why = "it waits for requests that waited before".to_owned();
                return Ok(self.push_short(&mut inner, attempt, why, false));
            }
            Fits::Later { bound, of_day } => {
                let why = format!("it waits: {bound} is set aside for requests under way");
                return Ok(self.push_short(&mut inner, attempt, why, of_day));
            }
        };
        inner.short.remove(&self.work.id);
        let (id, class) = (self.work.id, EffectClass::ReadOnly);
        let spent = took.spent();
        inner.push_all([Event::Reserved { id, spent }, Event::Begun { id, class }]);
        inner.intended.insert(id);
        inner.unwritten.beside.push(count(took));
        Ok(Pushed::Part(took))
    }

    /// It has to wait; what for is told once.
    fn push_short(&self, inner: &mut Inner, attempt: u32, why: String, of_day: bool) -> Pushed {
        if inner.short.insert(self.work.id) {
            inner.push(self.retried(attempt, 0, why));
        }
        let seen = inner.seen(self.work.id);
        Pushed::Later { seen, of_day }
    }

    /// Waits until it may fit, or stands still.
    pub(super) async fn waits(&self, short: Short) -> Goes {
        let Short { seen, settled } = short;
        let changed = self
            .work
            .session
            .wait_for(|inner| (inner.is_kept() || inner.seen(self.work.id) != seen).then_some(()));
        let of_others = async {
            match settled {
                // Whoever tells lives as long as this runtime.
                Some(mut settled) => drop(settled.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = of_others => {}
        }
        Goes::On
    }

    /// The kill switch came before a byte was sent: as if nothing had been.
    pub(super) fn not_sent(&self, asked: &Asked, part: Reserve) -> Goes {
        self.counted(part, &Spent::default(), |row| {
            let again = self.retried(asked.attempt, 0, "halted".to_owned());
            let row = row.into_iter().collect();
            self.work.session.lock().add([again], row, Vec::new());
        });
        Goes::PutOff
    }

    /// A part of which nothing was used.
    fn give_back(&self, part: Reserve) {
        let (agent, days) = (self.agent(), &self.work.runtime.models.days);
        let of = (agent.as_str(), self.work.session.id.as_str());
        days.settle(part.day, of, part.took, Took::default(), |row| {
            let row = row.into_iter().collect();
            self.work.session.lock().add([], row, Vec::new());
        });
        self.work.session.kick();
    }

    /// Counts what was used of a part in the agent's day, in one with what `write`
    /// adds to the run.
    pub(super) fn counted(&self, part: Reserve, used: &Spent, write: impl FnOnce(Option<Op>)) {
        let took = Took {
            tokens: used.model_tokens,
            micros: used.model_micros,
        };
        let agent = self.agent();
        let of = (agent.as_str(), self.work.session.id.as_str());
        self.work
            .runtime
            .models
            .days
            .settle(part.day, of, part.took, took, write);
        self.work.session.kick();
    }
}

#[cfg(test)]
mod tests {
    use airlock_sandbox::agent::Request;
    use bytes::Bytes;

    use super::*;
    use crate::runs::under_way::tests::{open, work};

    const PART: Took = Took {
        tokens: 7,
        micros: 3,
    };

    fn asked() -> Event {
        Event::Requested {
            id: 0,
            request: Request::Timer { due_ms: 1 },
            begun: None,
        }
    }

    /// Each by itself: it is answered, its run is another session's.
    #[tokio::test]
    async fn nothing_is_set_aside_for_what_is_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = open(&dir).await;
        let pushed = |events: Option<Event>, retired: bool| {
            let step = ModelStep::new(work(&runtime, events));
            step.work.session.lock().retired = retired;
            let mut counted = 0;
            let pushed = step.push_reserved(1, |_| Ok(Fits::Now(PART)), &mut |_| {
                counted += 1;
                let (space, key) = ("s", Bytes::new());
                Op::Delete { space, key }
            });
            (matches!(pushed, Ok(Pushed::Part(_))), counted)
        };
        assert_eq!(pushed(Some(asked()), false), (true, 1));
        assert_eq!(pushed(None, false), (false, 0), "answered");
        assert_eq!(pushed(Some(asked()), true), (false, 0), "another's");
    }

    #[tokio::test]
    async fn what_is_answered_before_it_is_sent_gives_its_part_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = open(&dir).await;
        let days = &runtime.models.days;
        let hundred = Bounds {
            tokens: Some(100),
            micros: None,
        };
        let bounds = DayBounds {
            agent: hundred,
            host: hundred,
        };
        let table = [
            (Some(asked()), false, 93),
            (None, false, 100),
            (None, true, 93),
        ];
        for (day, (events, is_settled, left)) in (1..).zip(table) {
            let step = ModelStep::new(work(&runtime, events));
            let of = ("a", "run_1");
            let count = days.reserve(day, of, bounds, |_, count| drop(count(PART)));
            count.expect("a store");
            let mut unsent = Unsent::new(&step, Reserve { took: PART, day });
            if is_settled {
                unsent.is_settled();
            }
            drop(unsent);
            let found = days.reserve(day, of, bounds, |left, _| left.now.agent.tokens);
            assert_eq!(found.expect("a store"), Some(left), "day {day}");
        }
    }
}
