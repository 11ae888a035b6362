//! What a request sets going, once it is durable: a timer, a call, a wait for a
//! person.
//!
//! What must stay true: a call of a tool that may not be repeated is made at most
//! once, whatever dies; when that can't be told, a person decides.

use std::sync::Arc;
use std::time::Duration;

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::{CallError, EffectClass};

use super::approval::{self, Verdict};
use super::event::{Block, Event, Told};
use super::fold::Asked;
use super::session::Session;
use super::step;
use crate::ids;
use crate::runtime::Runtime;

/// Attempts of a call that may be repeated.
const ATTEMPTS_MAX: u32 = 5;

/// The wait before the second attempt; it doubles with each further one.
const BACKOFF_MS: u64 = 200;
const BACKOFF_MS_MAX: u64 = 30_000;

/// A request became durable, or was found open at a start.
pub(crate) fn begin(session: &Arc<Session>, id: RequestId) {
    let (Some(runtime), Some(asked)) = (session.runtime.upgrade(), asked(session, id)) else {
        return;
    };
    if asked.answer.is_some() || asked.unknown.is_some() || session.is_performing(id) {
        return;
    }
    let (own, io) = (Arc::clone(session), runtime.runs.io.clone());
    let task = match asked.request {
        Request::Timer { due_ms } => io.spawn(async move {
            until(due_ms).await;
            own.answer(id, Told::Ok("null".to_owned()), None);
        }),
        Request::Ask {
            due_ms: Some(due_ms),
            ..
        } => io.spawn(async move {
            until(due_ms).await;
            own.answer(id, Told::Error(nobody_answered()), None);
        }),
        Request::Ask { due_ms: None, .. } | Request::Signal { .. } => return,
        Request::Call { .. } => io.spawn(call(own, runtime, id)),
    };
    session.performing(id, task.abort_handle());
}

/// The agent asked for a request to end.
pub(crate) fn cancel(session: &Arc<Session>, id: RequestId) {
    let Some(asked) = asked(session, id).filter(|asked| asked.answer.is_none()) else {
        return;
    };
    let safe = match &asked.request {
        Request::Call { tool, .. } => session
            .runtime
            .upgrade()
            .is_some_and(|runtime| may_repeat(runtime.class_of(tool))),
        _ => true,
    };
    session.cancel_request(id, safe);
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
async fn until(due_ms: u64) {
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        let left = Duration::from_millis(due_ms.saturating_sub(ids::now_ms()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

async fn call(session: Arc<Session>, runtime: Arc<Runtime>, id: RequestId) {
    while let Some(asked) = asked(&session, id).filter(|asked| asked.answer.is_none()) {
        until(asked.not_before_ms).await;
        let Request::Call { tool, input } = &asked.request else {
            return;
        };
        match may_begin(&session, &runtime, id, &asked, tool, input).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                session.answer(id, Told::Error(error), None);
                return;
            }
            // A person was asked: what holds now is looked at anew.
            None => continue,
        }
        let made = step::call(&runtime, &session, id, &asked, tool, input).await;
        let Some(answer) = made else { return };
        let again = may_repeat(runtime.class_of(tool)) && asked.attempt < ATTEMPTS_MAX;
        match answer {
            Err(CallError::Transient {
                message,
                retry_after_ms,
            }) if again => retry(&session, id, asked.attempt, retry_after_ms, message),
            Err(CallError::Unknown { message }) if again => {
                retry(&session, id, asked.attempt, None, message);
            }
            Err(CallError::Unknown { message }) => {
                session.block(Block::UnknownOutcome {
                    id,
                    detail: message,
                });
                return;
            }
            answer => {
                session.answer(id, answer.into(), None);
            }
        }
    }
}

/// Whether the call may be made now; `None` after a person was waited for.
async fn may_begin(
    session: &Arc<Session>,
    runtime: &Runtime,
    id: RequestId,
    asked: &Asked,
    tool: &str,
    input: &str,
) -> Option<Result<(), CallError>> {
    match step::judge(runtime, session, tool).await {
        Err(error) => return Some(Err(error)),
        Ok((_, Verdict::Ask)) => {}
        Ok(_) => return Some(Ok(())),
    }
    let binding = approval::binding(runtime, tool, input);
    if asked.approved.as_ref() == Some(&binding) {
        return Some(Ok(()));
    }
    if asked.to_approve.as_ref() != Some(&binding) {
        session.push([Event::ApprovalAsked { id, binding }]);
    }
    session
        .wait_for(|inner| {
            let asked = inner.state.requests.get(&id)?;
            (asked.answer.is_some() || asked.to_approve.is_none()).then_some(())
        })
        .await;
    None
}

fn retry(session: &Arc<Session>, id: RequestId, attempt: u32, after: Option<u64>, why: String) {
    let doubled = BACKOFF_MS.saturating_mul(1 << (attempt - 1).min(16));
    let jitter = u64::from(ids::random::<1>()[0]) * doubled / 512;
    let wait = after.unwrap_or(doubled + jitter).min(BACKOFF_MS_MAX);
    session.push([Event::Retried {
        id,
        attempt: attempt + 1,
        after_ms: ids::now_ms() + wait,
        why,
    }]);
}
