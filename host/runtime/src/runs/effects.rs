//! What a request sets going, once it is durable: a timer, a call, a wait for a
//! person.
//!
//! What must stay true: a call of a tool that may not be repeated is made at most
//! once, whatever dies; when that can't be told, a person decides.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::{CallError, EffectClass};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::approval::{self, Verdict};
use super::children;
use super::event::{Block, Event, Told};
use super::fold::Asked;
use super::session::Session;
use super::spending::Spent;
use super::step::{self, Came};
use crate::ids;
use crate::runtime::Runtime;

/// Attempts of a call that may be repeated.
const ATTEMPTS_MAX: u32 = 5;

/// The wait before the second attempt; it doubles with each further one.
const BACKOFF_MS: u64 = 200;
const BACKOFF_MS_MAX: u64 = 30_000;

/// What performs a request.
#[derive(Default)]
pub(crate) struct Effect {
    task: OnceLock<AbortHandle>,
    /// Told to end a call under way; it then answers itself.
    cancel: Notify,
    phase: AtomicU8,
}

/// Nothing of it happens now.
const IDLE: u8 = 0;
/// A call is under way: it may have its effect.
const UNDER_WAY: u8 = 1;
/// As that, and it is to end.
const ENDING: u8 = 2;
/// It was ended while nothing of it happened.
const CANCELLED: u8 = 3;

impl Effect {
    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        let turned = self
            .phase
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok()
    }
}

/// A request became durable, or was found open. `begun`: the class of a call
/// whose intent was made durable just now.
pub(crate) fn begin(session: &Arc<Session>, id: RequestId, begun: Option<EffectClass>) {
    let (Some(runtime), Some(asked)) = (session.runtime.upgrade(), asked(session, id)) else {
        return;
    };
    if let Request::Ask { due_ms: None, .. } | Request::Signal { .. } = asked.request {
        return;
    }
    let effect = Arc::new(Effect::default());
    if !session.performing(id, &effect) {
        return;
    }
    let (own, io) = (Arc::clone(session), runtime.runs.io.clone());
    let task = match asked.request {
        Request::Timer { due_ms } => io.spawn(async move {
            until(due_ms).await;
            own.answer(id, Told::Ok("null".to_owned()), None, Vec::new());
        }),
        Request::Ask { due_ms, .. } => io.spawn(async move {
            until(due_ms.unwrap_or(u64::MAX)).await;
            own.answer(id, Told::Error(nobody_answered()), None, Vec::new());
        }),
        Request::Signal { .. } | Request::Record { .. } => return,
        Request::Start { .. } => io.spawn(children::begin(own, runtime, id)),
        Request::Call { .. } => {
            let call = Call {
                session: own,
                runtime,
                id,
                effect: Arc::clone(&effect),
            };
            io.spawn(call.perform(begun))
        }
    };
    let _ = effect.task.set(task.abort_handle());
}

/// Ends a request: at once where nothing is under way. A call under way is ended
/// and answers when its tool is gone.
pub(crate) fn cancel(session: &Arc<Session>, id: RequestId) {
    if children::cancelled(session, id) {
        return;
    }
    let effect = session.lock().effects.get(&id).cloned();
    if let Some(effect) = effect {
        if !effect.turn(IDLE, CANCELLED) {
            if effect.turn(UNDER_WAY, ENDING) {
                effect.cancel.notify_one();
            }
            return;
        }
        effect.abort();
    }
    let Some(asked) = asked(session, id) else {
        return;
    };
    let error = match asked.begun {
        Some(class) if !may_repeat(Some(class)) => cut_off(),
        _ => CallError::Cancelled,
    };
    session.answer(id, Told::Error(error), None, Vec::new());
}

fn cut_off() -> CallError {
    CallError::Unknown {
        message: "the call was cancelled while it ran".to_owned(),
    }
}

/// Whether a call of this class may be made again when nobody knows what became
/// of it.
pub(crate) fn may_repeat(class: Option<EffectClass>) -> bool {
    matches!(class, Some(EffectClass::ReadOnly | EffectClass::Idempotent))
}

fn asked(session: &Session, id: RequestId) -> Option<Asked> {
    session.lock().state.requests.get(&id).cloned()
}

fn nobody_answered() -> CallError {
    CallError::Transient {
        message: "nobody answered in time".to_owned(),
        retry_after_ms: None,
    }
}

/// Sleeps until a moment of the wall clock, looking at it now and then: it may
/// be set.
pub(crate) async fn until(due_ms: u64) {
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        let left = Duration::from_millis(due_ms.saturating_sub(ids::now_ms()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// A call that is brought to its answer.
pub(super) struct Call {
    pub(super) session: Arc<Session>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) id: RequestId,
    effect: Arc<Effect>,
}

/// What is next for a call.
enum Goes {
    On,
    /// It has its answer, or a person gives it.
    Over,
    /// The kill switch keeps it.
    PutOff,
}

impl Call {
    async fn perform(self, mut begun: Option<EffectClass>) {
        while let Some(asked) = asked(&self.session, self.id) {
            let Request::Call { tool, input } = &asked.request else {
                break;
            };
            until(asked.not_before_ms).await;
            match self.attempt(&asked, tool, input, begun.take()).await {
                Goes::On => {}
                Goes::Over => break,
                Goes::PutOff => {
                    self.session.performed(self.id);
                    return self.wait_for_lift(&asked);
                }
            }
        }
        self.session.performed(self.id);
    }

    async fn attempt(
        &self,
        asked: &Asked,
        tool: &str,
        input: &str,
        begun: Option<EffectClass>,
    ) -> Goes {
        if self.stands_still(tool) {
            // What may have happened is looked at when it goes on.
            return match begun {
                Some(_) => self.put_off(asked, "halted"),
                None => Goes::PutOff,
            };
        }
        let now = self.runtime.class_of(tool);
        if begun.is_none() && asked.begun.is_some() {
            // Begun by a host that is gone.
            if !(may_repeat(asked.begun) && may_repeat(now)) {
                return self.unknown("the host stopped while the call was under way");
            }
        }
        match step::judge(&self.runtime, &self.session, tool) {
            Err(denial) => {
                let audit = step::denied(&self.session, &denial);
                return self.answered(Err(CallError::Denied(denial)), audit, Spent::default());
            }
            Ok((_, Verdict::Ask)) if asked.begun.is_none() => {
                if !self.is_approved(asked, tool, input).await {
                    return Goes::On;
                }
            }
            Ok(_) => {}
        }
        if asked.begun.is_none() {
            let (id, class) = (self.id, now.unwrap_or_default());
            if !self.session.commit([Event::Begun { id, class }]).await {
                return Goes::Over;
            }
        }
        if !self.effect.turn(IDLE, UNDER_WAY) {
            return Goes::Over;
        }
        let came = step::made(self, asked, tool, input, &self.effect.cancel).await;
        self.came(asked, may_repeat(now), came)
    }

    /// Whether a person approved this very call; waits for the decision.
    async fn is_approved(&self, asked: &Asked, tool: &str, input: &str) -> bool {
        let (session, id) = (&self.session, self.id);
        let binding = approval::binding(&self.runtime, tool, input);
        if asked.approved.as_ref() == Some(&binding) {
            return true;
        }
        if asked.to_approve.as_ref() != Some(&binding) {
            session.push([Event::ApprovalAsked { id, binding }]);
        }
        session
            .wait_for(|inner| {
                let asked = inner.state.requests.get(&id);
                let waits = asked.is_some_and(|asked| asked.to_approve.is_some());
                (!waits).then_some(())
            })
            .await;
        false
    }

    fn came(&self, asked: &Asked, may_repeat: bool, came: Came) -> Goes {
        let goes_on = self.effect.turn(UNDER_WAY, IDLE);
        let again = goes_on && asked.attempt < ATTEMPTS_MAX;
        match came {
            Came::CutByHost { audit } => {
                self.session.push_with([], Vec::new(), audit);
                Goes::PutOff
            }
            Came::NotMade(error) => self.not_made(asked, again, error),
            Came::Cancelled { audit, used } => {
                let error = match may_repeat {
                    true => CallError::Cancelled,
                    false => cut_off(),
                };
                self.answered(Err(error), audit, used)
            }
            Came::Answer {
                answer,
                audit,
                used,
            } => match answer {
                Err(CallError::Transient {
                    message,
                    retry_after_ms,
                }) if again && may_repeat => {
                    self.used(used);
                    let wait = backoff(asked.attempt, retry_after_ms);
                    self.retry(asked, wait, message, audit)
                }
                Err(CallError::Unknown { message }) if again && may_repeat => {
                    self.used(used);
                    self.retry(asked, backoff(asked.attempt, None), message, audit)
                }
                Err(CallError::Unknown { message }) => {
                    self.session.push_with(told(used), Vec::new(), audit);
                    self.unknown(&message)
                }
                answer => self.answered(answer, audit, used),
            },
        }
    }

    /// Whether the kill switch keeps the call from being made.
    fn stands_still(&self, tool: &str) -> bool {
        let plugin = tool.split_once('/').map_or(tool, |(plugin, _)| plugin);
        self.session.lock().is_halted() || self.runtime.halts.plugin(plugin)
    }

    /// Made when the host goes on, as if nothing had been.
    fn put_off(&self, asked: &Asked, why: &str) -> Goes {
        self.session.push([Event::Retried {
            id: self.id,
            attempt: asked.attempt,
            after_ms: ids::now_ms(),
            why: why.to_owned(),
        }]);
        Goes::PutOff
    }

    /// Begun again when the kill switch is lifted, which may have been just now.
    fn wait_for_lift(&self, asked: &Asked) {
        self.session.put_off(self.id);
        let tool = match &asked.request {
            Request::Call { tool, .. } => tool.as_str(),
            _ => "",
        };
        if self.runtime.ready().is_ok() && !self.stands_still(tool) {
            self.session.take_up_calls();
        }
    }

    /// The call was refused before anything of it happened.
    fn not_made(&self, asked: &Asked, again: bool, error: CallError) -> Goes {
        let tool = match &asked.request {
            Request::Call { tool, .. } => tool.as_str(),
            _ => "",
        };
        if self.runtime.ready().is_err() || self.stands_still(tool) {
            return self.put_off(asked, &error.to_string());
        }
        match error {
            CallError::Transient {
                message,
                retry_after_ms,
            } if again => {
                let wait = backoff(asked.attempt, retry_after_ms);
                self.retry(asked, wait, message, Vec::new())
            }
            error => self.answered(Err(error), Vec::new(), Spent::default()),
        }
    }

    fn answered(
        &self,
        answer: Result<String, CallError>,
        audit: Vec<airlock_journal::Op>,
        used: Spent,
    ) -> Goes {
        self.session.answer_for(self.id, answer.into(), audit, used);
        Goes::Over
    }

    /// An attempt took this, and did not come to an answer.
    fn used(&self, used: Spent) {
        self.session.lock().push_all(told(used));
    }

    fn unknown(&self, detail: &str) -> Goes {
        self.session.block(Block::UnknownOutcome {
            id: self.id,
            detail: detail.to_owned(),
        });
        Goes::Over
    }

    fn retry(
        &self,
        asked: &Asked,
        wait_ms: u64,
        why: String,
        audit: Vec<airlock_journal::Op>,
    ) -> Goes {
        let retried = Event::Retried {
            id: self.id,
            attempt: asked.attempt + 1,
            after_ms: ids::now_ms() + wait_ms,
            why,
        };
        self.session.push_with([retried], Vec::new(), audit);
        Goes::On
    }
}

fn told(used: Spent) -> Option<Event> {
    (!used.is_nothing()).then_some(Event::Used { used })
}

/// Milliseconds before the next attempt: doubled with each, and a random part
/// more, unless the tool says how long.
fn backoff(attempt: u32, after_ms: Option<u64>) -> u64 {
    let doubled = BACKOFF_MS.saturating_mul(1 << (attempt - 1).min(16));
    let jitter = u64::from(ids::random::<1>()[0]) * doubled / 512;
    after_ms.unwrap_or(doubled + jitter).min(BACKOFF_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_attempts_double_and_are_bounded() {
        for (attempt, least) in [(1, 200), (2, 400), (3, 800), (4, 1_600)] {
            let waits: std::collections::BTreeSet<u64> =
                (0..200).map(|_| backoff(attempt, None)).collect();
            let bounds = least..least * 3 / 2;
            assert!(waits.iter().all(|wait| bounds.contains(wait)), "{waits:?}");
            assert!(waits.len() > 20, "they differ: {waits:?}");
        }
        assert_eq!(backoff(30, None), BACKOFF_MS_MAX);
        assert_eq!(backoff(1, Some(7)), 7, "the tool says how long");
        assert_eq!(backoff(1, Some(u64::MAX)), BACKOFF_MS_MAX);
    }
}
