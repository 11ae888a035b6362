//! Brings a run to its end: attempt after attempt, until its agent has ended.
//!
//! What must stay true: a run goes on from its journal alone; what it had under
//! way when the host stopped is taken up, or a person is asked.

use std::sync::Arc;
use std::time::Duration;

use airlock_sandbox::CallError;
use airlock_sandbox::agent::{AgentEnd, AgentTask, Request, RequestId};

use super::event::{Block, End, Event, Start};
use super::fold::RunState;
use super::host::Host;
use super::session::{Session, Stop};
use super::{children, continued, effect, effects, park, reads, rows, talks};
use crate::runtime::Runtime;

/// The wait before an attempt that found no free sandbox is made again: one that
/// ended is still being taken down.
const NO_ROOM_WAIT: Duration = Duration::from_millis(20);

/// How often it is looked whether an agent that was ended is gone.
const GONE_LOOK: Duration = Duration::from_millis(2);

/// A run that stands still is looked at no more often.
const WARM_MIN: Duration = Duration::from_millis(50);

/// Takes up what was under way when the host stopped.
pub(crate) fn recover(session: &Arc<Session>) {
    let open: Vec<(RequestId, bool)> = {
        let inner = session.lock();
        let open = inner.state.open();
        open.map(|(id, asked)| (id, asked.cancel_asked)).collect()
    };
    for (id, cancel_asked) in open {
        match cancel_asked {
            true => effect::cancel(session, id),
            false => effects::begin(session, id, None),
        }
    }
}

/// Looks after a run until it has ended, waits for long, or the host stops.
pub(crate) async fn drive(session: Arc<Session>) {
    let Some(warm) = warm(&session) else { return };
    loop {
        let next = session.wait_for(|inner| inner.next(next));
        let Ok(next) = tokio::time::timeout(warm, next).await else {
            match park::retire(&session).await {
                true => return,
                false => continue,
            }
        };
        let goes_on = match next {
            Next::Over => break,
            Next::Stop => return,
            Next::Cancel => cancel(&session).await,
            Next::Attempt(start) => attempt(&session, start).await,
        };
        if !goes_on {
            return;
        }
    }
    if let Some(runtime) = session.runtime.upgrade() {
        runtime.runs.forget(&session.id);
    }
}

/// How long a run that stands still stays in memory.
fn warm(session: &Session) -> Option<Duration> {
    let runtime = session.runtime.upgrade()?;
    Some(runtime.config().agent_warm.max(WARM_MIN))
}

pub(crate) enum Next {
    Over,
    Stop,
    Cancel,
    Attempt(Box<Start>),
}

/// What is to be done; `None`: a person decides first.
pub(crate) fn next(state: &RunState) -> Option<Next> {
    if state.end.is_some() {
        return Some(Next::Over);
    }
    if state.cancelling {
        return Some(Next::Cancel);
    }
    if state.block().is_some() || state.paused {
        return None;
    }
    let start = state.start.clone()?;
    Some(Next::Attempt(Box::new(start)))
}

/// Ends what is under way, waits until it is gone, then ends the run.
async fn cancel(session: &Arc<Session>) -> bool {
    let open: Vec<RequestId> = {
        let inner = session.lock();
        let ends = inner
            .state
            .open()
            .filter(|(_, asked)| !children::goes_on(asked));
        ends.map(|(id, _)| id).collect()
    };
    for id in open {
        effect::cancel(session, id);
    }
    let unknown = session.wait_for(|inner| {
        if inner.is_stopped() {
            return Some(None);
        }
        let over = inner
            .state
            .open()
            .all(|(_, asked)| children::goes_on(asked));
        over.then(|| Some(inner.state.unknown.clone()))
    });
    let Some(unknown) = unknown.await else {
        return false;
    };
    children::begin_left(session);
    if !children::begun_all(session, |_| false).await {
        return false;
    }
    let given_up = session.lock().state.given_up.clone();
    let end = given_up.unwrap_or(End::Cancelled { unknown });
    session.commit([Event::ended(end)]).await
}

/// One attempt; `false`: the host stops, or the run is no longer looked after.
async fn attempt(session: &Arc<Session>, start: Box<Start>) -> bool {
    let Some(runtime) = session.runtime.upgrade() else {
        return false;
    };
    let turn = runtime.runs.slots.take((&start.agent, &start.by));
    let over = session.wait_for(|inner| (!inner.may_attempt()).then_some(()));
    let slot = tokio::select! {
        slot = turn => slot,
        () = over => return true,
    };
    if !session.durable().await {
        return false;
    }
    let records = match rows::all(runtime.store(), &session.id) {
        Ok(records) => records,
        Err(error) if reads::may_work(&error) => {
            tracing::warn!(run = session.id, %error, "a journal can't be read, and is read again");
            tokio::time::sleep(reads::READ_AGAIN).await;
            return true;
        }
        Err(error) => {
            let detail = error.to_string();
            session.block(Block::Journal { detail });
            return true;
        }
    };
    if !session.begin(records) {
        return true;
    }
    let ran = ran(session, &runtime, &start).await;
    // The agent is gone: whatever its run waits for now, others have the place.
    drop(slot);
    session.lock().waiting = false;
    let end = match ran {
        Ok(end) => end,
        Err(detail) => {
            session.block(Block::Component { detail });
            return true;
        }
    };
    session.tell_cpu();
    match session.stopped() {
        Some(Stop::Host) => false,
        Some(Stop::Parked(ids)) => {
            drop(runtime);
            parked(session, &ids).await
        }
        Some(Stop::Blocked | Stop::Cancelled) => true,
        None => match not_done(session, &end) {
            Some(why) => {
                session.block(why);
                true
            }
            None => ended(session, &runtime, &start, end).await,
        },
    }
}

/// Lets the agent work until it ends or its attempt is ended, whatever it is
/// about. What was ended is gone when this returns, unless the host stops: the
/// next attempt is alone.
async fn ran(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    start: &Start,
) -> Result<AgentEnd, String> {
    let task = AgentTask {
        goal: start.goal.clone(),
        input: start.input.clone(),
        state: start.state.clone(),
        before: Duration::from_micros(session.lock().state.spent.cpu_us),
    };
    let host = Arc::new(Host(Arc::clone(session)));
    let there = Arc::downgrade(&host);
    let limits = runtime.agent_limits(&start.agent);
    let ran = runtime.sandbox.run_agent(&start.digest, host, limits, task);
    tokio::select! {
        biased;
        ran = ran => {
            return ran.map(|report| report.end).map_err(|error| error.to_string());
        }
        () = session.ends_attempt() => {}
    }
    while there.strong_count() > 0 && session.stopped() != Some(Stop::Host) {
        tokio::time::sleep(GONE_LOOK).await;
    }
    Ok(AgentEnd::Stopped)
}

/// The agent ended before it did what its journal has next.
fn not_done(session: &Session, end: &AgentEnd) -> Option<Block> {
    if matches!(end, AgentEnd::Stopped | AgentEnd::NoRoom) {
        return None;
    }
    let inner = session.lock();
    match end {
        AgentEnd::Failed(error @ CallError::Limit { .. }) if !inner.replay.is_live() => {
            let detail = format!(
                "{error} while the run caught up with its journal: raise the limit of its plugin, then resume the run"
            );
            Some(Block::Component { detail })
        }
        AgentEnd::Failed(CallError::Limit { .. }) => None,
        _ => inner.replay.not_done(),
    }
}

/// Waits without a sandbox, and out of memory where that is possible, until there
/// is something for the agent, or for [`drive`], to do; `false`: the run is no
/// longer looked after.
async fn parked(session: &Arc<Session>, ids: &[RequestId]) -> bool {
    let Some(warm) = warm(session) else {
        return false;
    };
    loop {
        if park::retire(session).await {
            return false;
        }
        let goes_on = session.wait_for(|inner| {
            let state = &inner.state;
            let answered = ids.iter().any(|id| state.is_answered(*id));
            let over = state.cancelling || state.end.is_some() || state.block().is_some();
            (answered || over || state.paused || inner.is_stopped()).then_some(())
        });
        if tokio::time::timeout(warm, goes_on).await.is_ok() {
            return true;
        }
    }
}

/// The agent ended by itself.
async fn ended(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    start: &Start,
    end: AgentEnd,
) -> bool {
    let end = match end {
        AgentEnd::Stopped => return true,
        AgentEnd::NoRoom => {
            tokio::time::sleep(NO_ROOM_WAIT).await;
            return true;
        }
        AgentEnd::Failed(error) => failed(error),
        AgentEnd::OpenHandles(open) => open_handles(&open),
        AgentEnd::Done(output) => done(output),
        AgentEnd::ContinueAsNew(input) => match continued::checked_input(&input) {
            Ok(()) => return go_on(session, runtime, start, input).await,
            Err(error) => End::Failed {
                code: "invalid-input".to_owned(),
                detail: format!("what it goes on with: {error}"),
            },
        },
    };
    if matches!(end, End::Failed { .. }) {
        children::end_held(session);
        end_asked(session);
    }
    if !calls_ended(session).await || !children::begun_all(session, is_disturbed).await {
        return true;
    }
    session.commit([Event::ended(end)]).await
}

/// Models are asked no longer: nobody can want their answers.
fn end_asked(session: &Arc<Session>) {
    let asked: Vec<RequestId> = {
        let inner = session.lock();
        let asked = inner.state.open();
        let asked = asked.filter(|(_, asked)| talks::is_model(&asked.request));
        asked.map(|(id, _)| id).collect()
    };
    for id in asked {
        effect::cancel(session, id);
    }
}

pub(super) fn failed(error: CallError) -> End {
    match error {
        CallError::Escalate { message } => End::Escalated { reason: message },
        error => End::Failed {
            code: crate::calls::code_of(&error).to_owned(),
            detail: error.to_string(),
        },
    }
}

pub(super) fn open_handles(open: &[RequestId]) -> End {
    End::Failed {
        code: "open-handles".to_owned(),
        detail: format!(
            "the agent ended with handles that it neither awaited, cancelled nor dropped: requests {open:?}"
        ),
    }
}

pub(super) fn done(output: String) -> End {
    match serde_json::from_str::<&serde_json::value::RawValue>(&output) {
        Ok(_) => End::Succeeded { output },
        Err(error) => End::Failed {
            code: "permanent".to_owned(),
            detail: format!("the agent's result is not JSON: {error}"),
        },
    }
}

/// Whether there is something to do before a run whose agent has ended ends too.
fn is_disturbed(state: &RunState) -> bool {
    state.cancelling || state.block().is_some()
}

/// Calls that the agent let go of come to their end before the run does;
/// `false`: a person decides first.
async fn calls_ended(session: &Session) -> bool {
    session
        .wait_for(|inner| {
            let state = &inner.state;
            if is_disturbed(state) || inner.is_stopped() {
                return Some(false);
            }
            let mut open = state.open();
            let under_way = open.any(|(_, asked)| match asked.request {
                Request::Call { .. }
                | Request::Chat { .. }
                | Request::Embed { .. }
                | Request::Memory { .. } => true,
                _ => children::is_held(asked),
            });
            (!under_way).then_some(true)
        })
        .await
}

/// Ends the run and begins the one that continues it, in one write; `false`: the
/// host stops.
async fn go_on(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    start: &Start,
    input: String,
) -> bool {
    let over = calls_ended(session).await && children::begun_all(session, is_disturbed).await;
    if !over || !continued::turn(session, runtime, start).await {
        return true;
    }
    match continued::begin(session, runtime, start, input) {
        Ok(Some(next)) => {
            if !session.durable().await {
                return false;
            }
            runtime.runs.take_up(runtime, next);
        }
        Ok(None) => {}
        Err(error) => {
            let detail = error.to_string();
            session.block(Block::Journal { detail });
        }
    }
    true
}
