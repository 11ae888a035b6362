//! How far what performs a request is, and its end before its time.
//!
//! What must stay true: a request that is ended is answered by whoever ends it or
//! by whoever performs it, never by neither; what did not happen is not said to
//! be able to have.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::{CallError, EffectClass};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::children;
use super::event::{Block, Event, Told};
use super::fold::Asked;
use super::memory::what_happened;
use super::session::{Inner, Session, Settled, Stop};
use super::spending::Spent;
use super::talks;
use crate::runtime::Runtime;

/// What performs a request.
#[derive(Default)]
pub(crate) struct Effect {
    task: OnceLock<AbortHandle>,
    /// Told to end a call under way; it then answers itself.
    pub(super) cancel: Notify,
    phase: AtomicU8,
}

/// Nothing of it happens now.
const IDLE: u8 = 0;
/// A call is under way: it may have its effect.
const UNDER_WAY: u8 = 1;
/// The call has ended, and what becomes of the request is being settled.
const DONE: u8 = 2;
/// Under way or done, and the request is to end.
const ENDING: u8 = 3;
/// It was ended while nothing of it happened.
const CANCELLED: u8 = 4;

impl Effect {
    pub(super) fn performed_by(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// The call is made from here on; `false`: it was ended before.
    pub(super) fn begins(&self) -> bool {
        self.turn(IDLE, UNDER_WAY)
    }

    /// The call has ended; `false`: the request is to end.
    pub(super) fn is_done(&self) -> bool {
        self.turn(UNDER_WAY, DONE)
    }

    /// Whether the request is to end, and whoever performs it answers.
    pub(super) fn is_ending(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ENDING
    }

    /// Nothing of it happens any more, for now; `false`: it was ended meanwhile,
    /// and whoever performs it answers.
    pub(super) fn rests(&self) -> bool {
        self.turn(DONE, IDLE) || !self.is_ending()
    }

    /// Ends it; `false`: whoever performs it answers.
    fn end(&self) -> bool {
        loop {
            let now = self.phase.load(Ordering::Acquire);
            let next = match now {
                IDLE => CANCELLED,
                UNDER_WAY | DONE => ENDING,
                _ => return false,
            };
            if !self.turn(now, next) {
                continue;
            }
            if now == UNDER_WAY {
                self.cancel.notify_one();
            }
            return next == CANCELLED;
        }
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        let turned = self
            .phase
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok()
    }
}

/// Ends a request: at once where nothing is under way. A call under way is ended
/// and answers when its tool is gone.
pub(crate) fn cancel(session: &Arc<Session>, id: RequestId) {
    if children::cancelled(session, id) {
        return;
    }
    let runtime = session.runtime.upgrade();
    let mut inner = session.lock();
    let effect = inner.effects.get(&id).cloned();
    if effect.as_ref().is_some_and(|effect| !effect.end()) {
        return;
    }
    // Under the same lock: nobody begins it any more.
    let settled = inner.cancelled(&session.id, id, runtime.as_deref());
    drop(inner);
    if let Some(effect) = effect {
        effect.abort();
    }
    session.settled(settled);
}

/// As [`Effect::rests`]; what was ended meanwhile has its answer then.
pub(super) fn rests(session: &Arc<Session>, id: RequestId, effect: &Effect) -> bool {
    if effect.rests() {
        return true;
    }
    let runtime = session.runtime.upgrade();
    let settled = session
        .lock()
        .cancelled(&session.id, id, runtime.as_deref());
    session.settled(settled);
    false
}

/// A person says what became of a request; `false`: it is to end, and nobody is asked.
pub(super) fn asks(
    session: &Arc<Session>,
    id: RequestId,
    effect: &Arc<Effect>,
    why: Block,
) -> bool {
    let asks = session.lock().asks(id, effect, why);
    if asks {
        session.kick();
        session.stop(Stop::Blocked);
    }
    asks
}

/// The agent let go of a request; what waits for its time or for somebody is
/// over, and a model is asked no longer: nobody else can want its answer.
pub(super) fn let_go(session: &Arc<Session>, id: RequestId) {
    let mut inner = session.lock();
    inner.answers.remove(&id);
    let open = inner.state.requests.get(&id);
    match open.map(|asked| talks::is_model(&asked.request)) {
        Some(true) => {
            drop(inner);
            cancel(session, id);
        }
        Some(false) => {}
        None => {
            if let Some(effect) = inner.effects.remove(&id) {
                effect.abort();
            }
        }
    }
}

impl Inner {
    /// As [`asks`]: from then on nothing performs it, so that whoever has it made again
    /// finds nothing in its place.
    fn asks(&mut self, id: RequestId, effect: &Arc<Effect>, why: Block) -> bool {
        // Whoever ends it holds this lock.
        if effect.is_ending() {
            return false;
        }
        self.push(Event::Blocked { why });
        self.performed(id, effect);
        true
    }

    /// This performs a request no more; what was begun for it since does.
    pub(super) fn performed(&mut self, id: RequestId, effect: &Arc<Effect>) {
        let now = self.effects.get(&id);
        if now.is_some_and(|now| Arc::ptr_eq(now, effect)) {
            self.effects.remove(&id);
        }
    }

    /// Answers for a request of which nothing happens any more.
    fn cancelled(&mut self, run: &str, id: RequestId, runtime: Option<&Runtime>) -> Settled {
        let intended = self.intended.contains(&id);
        let asked = self.state.requests.get(&id);
        let answer = asked.map(|asked| {
            let block = self.state.blocked.as_ref();
            // A store that failed does not say what is durable.
            let sound = runtime.filter(|runtime| runtime.store().health().is_ok());
            let known = sound.and_then(|runtime| what_happened(&runtime.memory, run, id, asked));
            known.unwrap_or_else(|| Told::Error(ended_early(block, asked, intended, runtime)))
        });
        let answer = answer.unwrap_or(Told::Error(CallError::Cancelled));
        let used = match intended {
            true => Spent::default(),
            false => super::model::lost(&self.state, id),
        };
        let answered = Event::Answered {
            id,
            answer,
            by: None,
            used,
        };
        self.settle(answered, Vec::new())
    }
}

/// What the agent is told of a request that is ended while nothing of it goes on
/// here: by another host, or before a backup was made, it may have happened. Of a
/// call that was `intended` here and not made, nothing did. That it may be repeated
/// is the host's to use, under its key: the agent would do it under another one.
pub(super) fn ended_early(
    block: Option<&Block>,
    asked: &Asked,
    intended: bool,
    runtime: Option<&Runtime>,
) -> CallError {
    let restored = matches!(block, Some(Block::Restored { .. }));
    let class = match (&asked.request, runtime) {
        (Request::Call { tool, .. }, Some(runtime)) if restored => {
            Some(runtime.class_of(tool).unwrap_or_default())
        }
        (Request::Start { .. }, _) if restored => Some(EffectClass::default()),
        _ => None,
    };
    let begun = asked.begun.filter(|_| !intended);
    let class = begun.or(class);
    let nothing = class.is_none_or(|class| class == EffectClass::ReadOnly);
    if asked.unknown.is_none() && !asked.lost && nothing {
        return CallError::Cancelled;
    }
    match (begun, restored) {
        (Some(_), _) => cut_off(begun),
        (None, true) => unknown("it was cancelled, and may have happened after the backup"),
        (None, false) => unknown("it was cancelled, and nobody knows whether it happened"),
    }
}

fn unknown(message: &str) -> CallError {
    CallError::Unknown {
        message: message.to_owned(),
    }
}

/// What the agent is told of a call that was ended while it ran.
pub(super) fn cut_off(class: Option<EffectClass>) -> CallError {
    match class {
        Some(EffectClass::ReadOnly) => CallError::Cancelled,
        _ => unknown("the call was cancelled while it ran"),
    }
}

#[cfg(test)]
mod tests {
    use airlock_sandbox::EffectClass;
    use airlock_sandbox::agent::Request;

    use super::*;
    use crate::runs::event::Record;

    fn call() -> Request {
        Request::Call {
            tool: "p/t".to_owned(),
            input: "{}".to_owned(),
        }
    }

    /// A call that is asked for and cancelled at once did not happen; one that
    /// another host began may have.
    #[test]
    fn what_did_not_begin_here_is_cancelled() {
        let start = crate::runs::tests::begins();
        let begun = Some(EffectClass::Plain);
        let asked = |id| Event::Requested {
            id,
            request: call(),
            begun,
        };
        let events = [Event::Started(start), asked(0)];
        let records = events.map(|event| Record { at_ms: 1, event });
        let id = "run_1".to_owned();
        let session = Session::of(id.clone(), id, std::sync::Weak::new(), &records);
        session.lock().request(1, call(), begun);
        for id in [1, 0] {
            cancel(&session, id);
            let inner = session.lock();
            let told = inner.answers.get(&id).expect("an answer");
            let cancelled = *told == Told::Error(CallError::Cancelled);
            assert_eq!((cancelled, inner.state.is_answered(id)), (id == 1, true));
            drop(inner);
            // There is no runtime to write it.
            session.lock().dead = false;
        }
    }

    /// It was put off once, and its intent written anew: an attempt of the agent that
    /// begins meanwhile over that journal does not make it one of another host's.
    #[test]
    fn what_is_intended_here_stays_so_for_the_agents_next_attempt() {
        let start = crate::runs::tests::begins();
        let requested = Event::Requested {
            id: 0,
            request: call(),
            begun: None,
        };
        let retried = Event::Retried {
            id: 0,
            attempt: 1,
            after_ms: 1,
            why: "it waits for its turn".to_owned(),
            lost: false,
        };
        let class = EffectClass::Plain;
        let begun = Event::Begun { id: 0, class };
        let events = [Event::Started(start), requested, retried, begun];
        let records = events.map(|event| Record { at_ms: 1, event });
        let id = "run_1".to_owned();
        let session = Session::of(id.clone(), id, std::sync::Weak::new(), &records);
        session.lock().intended.insert(0);
        assert!(session.begin(records.into()), "it may begin");
        cancel(&session, 0);
        let told = session.lock().answers.get(&0).cloned();
        assert_eq!(told, Some(Told::Error(CallError::Cancelled)));
    }

    /// A person has it made again at once, before what performed it is gone.
    #[test]
    fn what_is_asked_about_can_be_made_again_from_then_on() {
        let requested = Event::Requested {
            id: 0,
            request: call(),
            begun: Some(EffectClass::Plain),
        };
        let events = [Event::Started(crate::runs::tests::begins()), requested];
        let records = events.map(|event| Record { at_ms: 1, event });
        let id = "run_1".to_owned();
        let session = Session::of(id.clone(), id, std::sync::Weak::new(), &records);
        let [first, second] = [(); 2].map(|()| Arc::new(Effect::default()));
        assert!(session.performing(0, &first));
        assert!(first.begins() && first.is_done());
        let detail = "lost".to_owned();
        let why = Block::UnknownOutcome { id: 0, detail };
        assert!(session.lock().asks(0, &first, why.clone()));
        session.lock().push(Event::Retried {
            id: 0,
            attempt: 2,
            after_ms: 1,
            why: "a person says so".to_owned(),
            lost: false,
        });
        assert!(session.performing(0, &second), "nothing is in its place");
        session.performed(0, &first);
        let now = session.lock().effects.get(&0).cloned();
        assert!(now.is_some_and(|now| Arc::ptr_eq(&now, &second)));
        // One that is to end is not asked about.
        second.begins();
        cancel(&session, 0);
        assert!(!session.lock().asks(0, &second, why));
        assert_eq!(session.lock().state.block(), None);
    }

    /// Its attempt came to nothing that answers it: whoever performs it does.
    #[test]
    fn what_is_ended_between_two_attempts_is_answered_once() {
        let requested = Event::Requested {
            id: 0,
            request: call(),
            begun: Some(EffectClass::ReadOnly),
        };
        let events = [Event::Started(crate::runs::tests::begins()), requested];
        let records = events.map(|event| Record { at_ms: 1, event });
        for ended in [false, true] {
            let id = "run_1".to_owned();
            let session = Session::of(id.clone(), id, std::sync::Weak::new(), &records);
            let effect = Arc::new(Effect::default());
            assert!(session.performing(0, &effect));
            assert!(effect.begins() && effect.is_done());
            if ended {
                cancel(&session, 0);
            }
            assert!(session.lock().answers.is_empty(), "nobody answered yet");
            assert_eq!(rests(&session, 0, &effect), !ended);
            let told = session.lock().answers.get(&0).cloned();
            let cancelled = Told::Error(CallError::Cancelled);
            assert_eq!(told, ended.then_some(cancelled));
        }
    }

    /// What a backup knows nothing of may have happened after it was made.
    #[test]
    fn what_is_cancelled_after_a_restore_may_have_happened() {
        let restored = Block::Restored { made_at_ms: 1 };
        let start = Request::Start {
            agent: "checker".to_owned(),
            goal: String::new(),
            input: "{}".to_owned(),
            budget: Default::default(),
        };
        let mut state = crate::runs::fold::RunState::default();
        for (id, request) in [(0, start), (1, Request::Timer { due_ms: 1 })] {
            let event = Event::Requested {
                id,
                request,
                begun: None,
            };
            state.apply(&Record { at_ms: 1, event });
        }
        for (id, block, cancelled) in [
            (0, None, true),
            (0, Some(&restored), false),
            (1, Some(&restored), true),
        ] {
            let told = ended_early(block, &state.requests[&id], false, None);
            assert_eq!(told == CallError::Cancelled, cancelled, "{id}: {told:?}");
        }
    }

    /// Of a call that was begun and cut off, by its class: what the agent is told.
    #[test]
    fn what_was_begun_and_cut_off_may_have_happened_unless_it_only_reads() {
        use EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
        for (class, cancelled) in [
            (ReadOnly, true),
            (Idempotent, false),
            (Plain, false),
            (Destructive, false),
        ] {
            let mut state = crate::runs::fold::RunState::default();
            let event = Event::Requested {
                id: 0,
                request: call(),
                begun: Some(class),
            };
            state.apply(&Record { at_ms: 1, event });
            let asked = &state.requests[&0];
            // By a host that is gone; here; intended here, and not made.
            for (told, cancelled) in [
                (ended_early(None, asked, false, None), cancelled),
                (cut_off(Some(class)), cancelled),
                (ended_early(None, asked, true, None), true),
            ] {
                let said = told == CallError::Cancelled;
                assert_eq!(said, cancelled, "{class:?}: {told:?}");
            }
        }
        assert_ne!(
            cut_off(None),
            CallError::Cancelled,
            "nobody knows its class"
        );
    }

    /// An attempt that may have happened is remembered in those after it, until a
    /// person says what became of it.
    #[test]
    fn an_attempt_that_may_have_happened_stays_so_for_those_after_it() {
        let retried = |attempt, lost| Event::Retried {
            id: 0,
            attempt,
            after_ms: 1,
            why: String::new(),
            lost,
        };
        let why = || Block::UnknownOutcome {
            id: 0,
            detail: String::new(),
        };
        let asked = |since: &[Event]| {
            let requested = Event::Requested {
                id: 0,
                request: call(),
                begun: Some(EffectClass::Idempotent),
            };
            let mut state = crate::runs::fold::RunState::default();
            for event in [std::slice::from_ref(&requested), since].concat() {
                state.apply(&Record { at_ms: 1, event });
            }
            state.requests[&0].clone()
        };
        let blocked = Event::Blocked { why: why() };
        for (since, cancelled) in [
            (vec![retried(2, false)], true),
            (vec![retried(2, true)], false),
            (vec![retried(2, true), retried(3, false)], false),
            (vec![retried(2, true), blocked.clone()], false),
            (vec![retried(2, true), blocked, retried(3, false)], true),
        ] {
            let told = ended_early(None, &asked(&since), false, None);
            let said = told == CallError::Cancelled;
            assert_eq!(said, cancelled, "{since:?}: {told:?}");
        }
    }

    /// What a cancel does at each point of a call, and who answers.
    #[test]
    fn whoever_ends_a_call_or_performs_it_answers() {
        type Goes = fn(&Effect);
        let table: [(&str, Goes, bool); 5] = [
            ("before it", |_| {}, true),
            (
                "while it runs",
                |effect| {
                    effect.begins();
                },
                false,
            ),
            (
                "while its answer is settled",
                |effect| {
                    effect.begins();
                    effect.is_done();
                },
                false,
            ),
            (
                "between two attempts",
                |effect| {
                    effect.begins();
                    effect.is_done();
                    assert!(effect.rests());
                },
                true,
            ),
            (
                "twice",
                |effect| {
                    effect.begins();
                    effect.end();
                },
                false,
            ),
        ];
        for (when, goes, ended) in table {
            let effect = Effect::default();
            goes(&effect);
            assert_eq!(effect.end(), ended, "{when}: whoever ends it answers");
            assert_eq!(effect.is_ending(), !ended, "{when}");
            let _ = effect.is_done();
            assert_eq!(effect.rests(), ended, "{when}: whoever performs it answers");
            assert!(!effect.begins(), "{when}: nothing of it begins");
        }
    }
}
