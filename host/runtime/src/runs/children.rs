//! Child agents: runs that a run starts, waits for and ends.
//!
//! What must stay true: an intent to start a child comes to exactly one child,
//! wherever the host stops; a run that is cancelled ends after the children it
//! holds; what a child used is settled with its answer.

use std::sync::Arc;
use std::time::Duration;

use airlock_journal::StoreError;
use airlock_sandbox::CallError;
use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::agents::{self, Agents};
use airlock_sandbox::gate::RunPermit;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::effect::{self, Effect};
use super::event::{End, Event, Parent, Record, Start, Told};
use super::fold::{Asked, RunState};
use super::places::Place;
use super::reads::{self, READ_AGAIN, may_work};
use super::rows;
use super::session::{Session, Stop};
use super::spending::{self, Spent};
use super::{RunError, permit, step};
use crate::calls::check_json;
use crate::ids;
use crate::problem::Failure;
use crate::record;
use crate::runtime::Runtime;

/// The wait before a child is looked for once more.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The wait before a child that may not start now is tried again, where nothing
/// says how long it is.
const NOT_NOW_WAIT: Duration = Duration::from_millis(500);

/// How many runs may stand below one another, the first one counted.
const DEPTH_MAX: u32 = 8;

/// The id of the run that a request starts: the same whenever it is asked for.
fn child_id(parent: &str, id: RequestId, at_ms: u64) -> String {
    let hash = Sha256::new()
        .chain_update(parent)
        .chain_update(id.to_le_bytes())
        .finalize();
    let time = ids::hex(&at_ms.to_be_bytes()[2..]);
    format!("run_{time}{}", ids::hex(&hash[..8]))
}

/// The children that a run started.
pub(super) fn started(
    runtime: &Runtime,
    run: &str,
    state: &RunState,
) -> Result<Vec<String>, StoreError> {
    let asked = state.children.iter();
    let ids = asked.map(|(id, at_ms)| child_id(run, *id, *at_ms));
    let there = ids.map(|id| Ok(exists(runtime, &id)?.then_some(id)));
    there.filter_map(Result::transpose).collect()
}

/// Starts the child of a request, unless it was started before, and answers for
/// it if it has ended; else its own end does, see [`report`].
pub(super) async fn begin(session: Arc<Session>, id: RequestId, effect: Arc<Effect>) {
    if let Some(child) = begun(&session, id).await {
        settle_ended(&session, id, &child).await;
    }
    session.performed(id, &effect);
}

/// The child of a request, once it is there; `None`: there is none to come, or
/// the host stops.
async fn begun(session: &Arc<Session>, id: RequestId) -> Option<String> {
    let asked = open(session, id)?;
    let child = child_id(&session.id, id, asked.at_ms);
    let is_there = |runtime: &Arc<Runtime>| exists(runtime, &child);
    if reads::of_another(session, &child, is_there).await? {
        return Some(child);
    }
    loop {
        let place = place(session)?.await;
        let started = {
            let _turn = session.children.lock().await;
            let asked = open(session, id)?;
            let runtime = session.runtime.upgrade()?;
            start(session, &runtime, id, &asked, &child).await
        };
        drop(place);
        match started {
            Ok(None) => return Some(child),
            Ok(Some(wait)) => tokio::time::sleep(wait).await,
            Err(error) => {
                session.answer(id, Told::Error(error), None, Vec::new());
                return None;
            }
        }
        if session.lock().is_stopped() {
            return None;
        }
    }
}

/// Waits for a place for a child of a run.
fn place(session: &Session) -> Option<impl Future<Output = Place> + use<>> {
    let places = Arc::clone(&session.runtime.upgrade()?.runs.places);
    let inner = session.lock();
    let start = inner.state.start.as_ref()?;
    let (root, depth) = match &start.parent {
        Some(above) => (above.root().to_owned(), above.depth + 1),
        None => (session.id.clone(), 2),
    };
    Some(async move { places.child(&root, depth).await })
}

fn open(session: &Session, id: RequestId) -> Option<Asked> {
    session.lock().state.requests.get(&id).cloned()
}

fn exists(runtime: &Runtime, run: &str) -> Result<bool, StoreError> {
    let row = runtime.store().get(rows::SPACE, run.as_bytes())?;
    Ok(row.is_some())
}

/// Starts the child of a request, unless it is there; for how long it has to wait
/// where it may not start now.
async fn start(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    id: RequestId,
    asked: &Asked,
    child: &str,
) -> Result<Option<Duration>, CallError> {
    let (permit, start) = intended(session, runtime, id, asked)?;
    if runtime.ready().is_err() || super::stands_still(runtime, session) || session.block_if_full()
    {
        return Ok(Some(NOT_NOW_WAIT));
    }
    if let Err(error) = runtime.takes_rate(&step::principal(&start), &start.agent) {
        return Ok(Some(error.retry_after().unwrap_or(NOT_NOW_WAIT)));
    }
    Ok(written(session, runtime, child, permit, start).await)
}

/// Writes and takes up the child that is permitted; for how long it has to wait where
/// the store failed.
async fn written(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    child: &str,
    permit: RunPermit<Agents>,
    start: Start,
) -> Option<Duration> {
    let agent = permit.op().agent.clone();
    let detail = json!({ "agent": agent, "parent": session.id });
    let audit = record::admin(&step::principal(&start), "run.start", child, detail);
    let first = Record {
        at_ms: ids::now_ms(),
        event: Event::Started(Start { agent, ..start }),
    };
    let run = Session::new(child.to_owned(), runtime, std::slice::from_ref(&first));
    // The journal of a child that is there already is not empty: refused.
    let mut ops = rows::begin(child, &first, &run.lock().state).to_vec();
    ops.push(record::op(&audit));
    match runtime.write(ops, true).await {
        Ok(_) => runtime.runs.take_up(runtime, run),
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => {
            tracing::error!(run = child, %error, "a child is not started");
            return Some(NOT_NOW_WAIT);
        }
    }
    None
}

/// How the child begins, and that it may.
fn intended(
    session: &Arc<Session>,
    runtime: &Runtime,
    id: RequestId,
    asked: &Asked,
) -> Result<(RunPermit<Agents>, Start), CallError> {
    let Request::Start {
        agent,
        goal,
        input,
        budget,
    } = &asked.request
    else {
        return Err(CallError::Cancelled);
    };
    let (parent, reserved, left_ms) = {
        let inner = session.lock();
        let reserved = inner.state.reserved.get(&id).copied().unwrap_or_default();
        let left_ms = spending::left_ms(&inner.state, ids::now_ms());
        (inner.state.start.clone(), reserved, left_ms)
    };
    let parent = parent.ok_or(CallError::Cancelled)?;
    let depth = parent.parent.as_ref().map_or(1, |above| above.depth) + 1;
    if depth > DEPTH_MAX {
        return Err(CallError::Limit {
            limit: "depth".to_owned(),
            value: DEPTH_MAX.to_string(),
        });
    }
    let permit = granted(session, runtime, &parent, agent)?;
    check_json(input.as_bytes()).map_err(|refused| step::refusal(&refused))?;
    if !input.trim_start().starts_with('{')
        || serde_json::from_str::<serde_json::Value>(input).is_err()
    {
        let message = "input: a JSON object is needed".to_owned();
        return Err(CallError::InvalidInput { message });
    }
    let digest = runtime.agent_digest(&step::principal(&parent), agent);
    let start = Start {
        agent: agent.clone(),
        digest: digest.map_err(|error| refused(&error))?,
        goal: goal.clone(),
        input: input.clone(),
        budget: spending::of_child(&parent, left_ms, budget, &reserved),
        parent: Some(Parent {
            run: session.id.clone(),
            request: id,
            depth,
            root: parent.parent.as_ref().map(|above| above.root().to_owned()),
        }),
        ..parent.successor()
    };
    Ok((permit, start))
}

fn refused(error: &RunError) -> CallError {
    let message = error.to_string();
    match error {
        RunError::NotAnAgent(_) => CallError::InvalidInput { message },
        _ => CallError::NotFound { message },
    }
}

/// Asks the parent's grants; a denial is on record when this returns.
fn granted(
    session: &Arc<Session>,
    runtime: &Runtime,
    parent: &Start,
    agent: &str,
) -> Result<RunPermit<Agents>, CallError> {
    let agent = agent.to_owned();
    let permit = permit::permit(runtime, &parent.agent, agents::Op { agent });
    permit.map_err(|denial| {
        let audit = permit::denied(session, &denial);
        session.push_with([], Vec::new(), audit);
        CallError::Denied(denial)
    })
}

/// Records of a run became durable: its parent has its answer when they end it.
pub(super) fn report(session: &Session, runtime: &Arc<Runtime>, records: &[Record]) {
    let ended = |record: &Record| match &record.event {
        Event::Ended { end, .. } => Some(end.clone()),
        _ => None,
    };
    let Some(end) = records.iter().rev().find_map(ended) else {
        return;
    };
    let (parent, used) = {
        let inner = session.lock();
        let start = inner.state.start.as_ref();
        let parent = start.and_then(|start| start.parent.clone());
        (parent, inner.state.used())
    };
    let Some(parent) = parent else { return };
    let Some(told) = told(end) else { return };
    if !reported(runtime, &parent, &told, used) {
        let weak = Arc::downgrade(runtime);
        runtime.runs.io.spawn(async move {
            loop {
                tokio::time::sleep(READ_AGAIN).await;
                let runtime = weak.upgrade();
                if runtime.is_none_or(|runtime| reported(&runtime, &parent, &told, used)) {
                    return;
                }
            }
        });
    }
}

/// Tells a parent its child's end; `false`: it can't be read just now.
fn reported(runtime: &Arc<Runtime>, parent: &Parent, told: &Told, used: Spent) -> bool {
    match runtime.runs.hold(runtime, &parent.run) {
        Ok(Some(above)) => {
            above.answer_for(parent.request, told.clone(), Vec::new(), used);
        }
        // It has ended, or finds its child's end when it is taken up.
        Ok(None) => {}
        Err(error) => {
            tracing::error!(run = parent.run, %error, "a parent's journal can't be read");
            return !may_work(&error);
        }
    }
    true
}

/// The answer to a child's parent; none while the child goes on as another run.
fn told(end: End) -> Option<Told> {
    Some(Told::Error(match end {
        End::Continued { .. } => return None,
        End::Succeeded { output } => return Some(Told::Ok(output)),
        End::Escalated { reason } => CallError::Escalate { message: reason },
        End::Cancelled { unknown } if unknown.is_empty() => CallError::Cancelled,
        End::Cancelled { unknown } => CallError::Unknown {
            message: format!("the child was cancelled; its requests {unknown:?} may have happened"),
        },
        End::Failed { code, detail } => failed(&code, detail),
    }))
}

fn failed(code: &str, message: String) -> CallError {
    let prefix = format!("{}: ", code.replace('-', " "));
    let message = match message.strip_prefix(&prefix) {
        Some(rest) => rest.to_owned(),
        None => message,
    };
    match code {
        "invalid-input" => CallError::InvalidInput { message },
        "not-found" => CallError::NotFound { message },
        "unknown" => CallError::Unknown { message },
        "limit" => CallError::Limit {
            limit: "child".to_owned(),
            value: message,
        },
        "permanent" => CallError::Permanent { message },
        _ => CallError::Permanent {
            message: format!("{code}: {message}"),
        },
    }
}

/// Answers for a child that has ended already.
async fn settle_ended(session: &Arc<Session>, id: RequestId, child: &str) {
    let last = reads::of_another(session, child, |runtime| last_of(runtime, child));
    let Some((_, state)) = last.await else { return };
    let used = state.used();
    if let Some(told) = state.end.and_then(told) {
        session.answer_for(id, told, Vec::new(), used);
    }
}

/// The run that a child goes on as, and what it did so far, as far as that is
/// durable.
fn last_of(runtime: &Runtime, child: &str) -> Result<(String, RunState), StoreError> {
    let mut run = child.to_owned();
    loop {
        let state = RunState::of(&rows::all(runtime.store(), &run)?);
        match &state.end {
            Some(End::Continued { run: next }) => run.clone_from(next),
            _ => return Ok((run, state)),
        }
    }
}

/// Ends the child of a request, whose end then answers it.
pub(super) async fn cancel(session: Arc<Session>, runtime: Arc<Runtime>, id: RequestId) {
    // One that is about to be started is started first, or never is.
    let turn = session.children.lock().await;
    let Some(asked) = open(&session, id) else {
        return;
    };
    let mut child = child_id(&session.id, id, asked.at_ms);
    let exists = reads::of_another(&session, &child, |runtime| exists(runtime, &child));
    match exists.await {
        Some(true) => {}
        Some(false) => {
            let block = session.lock().state.blocked.clone();
            let error = effect::ended_early(block.as_ref(), &asked, false, Some(&runtime));
            session.answer(id, Told::Error(error), None, Vec::new());
            return;
        }
        None => return,
    }
    drop((turn, runtime));
    loop {
        let last = reads::of_another(&session, &child, |runtime| last_of(runtime, &child));
        let Some((run, state)) = last.await else {
            return;
        };
        if state.end.is_some() {
            return settle_ended(&session, id, &run).await;
        }
        let live = reads::of_another(&session, &run, |runtime| runtime.runs.hold(runtime, &run));
        let Some(live) = live.await else { return };
        let goes_on = match live {
            Some(live) => end(&session.id, &live).await,
            None => {
                // It is about to be taken up, or has just ended.
                tokio::time::sleep(LOOK_AGAIN).await;
                true
            }
        };
        if !goes_on {
            return;
        }
        child = run;
    }
}

/// Ends a run for its parent; `false`: the host stops.
async fn end(parent: &str, live: &Arc<Session>) -> bool {
    let by = live
        .lock()
        .state
        .start
        .as_ref()
        .map(|start| start.by.clone());
    let event = Event::CancelRequested {
        by: by.unwrap_or_default(),
        why: format!("its parent {parent} asked for it"),
    };
    if !live.lock().state.cancelling {
        live.push([event]);
    }
    live.stop(Stop::Cancelled);
    let ended = |inner: &mut super::session::Inner| match inner.is_stopped() {
        true => Some(false),
        false => {
            let ended = inner.state.end.is_some() && inner.unwritten.is_empty();
            ended.then_some(true)
        }
    };
    live.wait_for(ended).await
}

/// Whether a request is a child.
pub(super) fn is_child(asked: &Asked) -> bool {
    matches!(asked.request, Request::Start { .. })
}

/// Whether a request is a child that goes on when its run is cancelled.
pub(super) fn goes_on(asked: &Asked) -> bool {
    is_child(asked) && asked.detached
}

/// Begins the children that a run let go of and that nobody has begun yet, before
/// it ends.
pub(super) fn begin_left(session: &Arc<Session>) {
    let left: Vec<RequestId> = {
        let inner = session.lock();
        let left = inner.state.open().filter(|(_, asked)| goes_on(asked));
        left.map(|(id, _)| id).collect()
    };
    for id in left {
        super::effects::begin(session, id, None);
    }
}

/// Resolves when each child that the run let go of has begun, so that none is lost
/// with the end of its parent; `false`: the host stops, or its parent is not to
/// end yet.
pub(super) async fn begun_all(session: &Arc<Session>, is_off: fn(&RunState) -> bool) -> bool {
    let is_one = |asked: &Asked| goes_on(asked);
    let none = !session.lock().state.open().any(|(_, asked)| is_one(asked));
    if none {
        return true;
    }
    // What is durable is begun, or has begun.
    let begun = |inner: &mut super::session::Inner| {
        let mut open = inner.state.open();
        let starts = open.any(|(id, asked)| is_one(asked) && inner.effects.contains_key(&id));
        let stopped = inner.is_stopped() || is_off(&inner.state);
        (stopped || !starts).then_some(!stopped)
    };
    session.durable().await && session.wait_for(begun).await
}

/// Whether a request is a child that its run has not let go of.
pub(super) fn is_held(asked: &Asked) -> bool {
    is_child(asked) && !asked.detached
}

/// Ends the child of a request, if it is one.
pub(super) fn cancelled(session: &Arc<Session>, id: RequestId) -> bool {
    let is_one = open(session, id).is_some_and(|asked| is_child(&asked));
    if let (true, Some(runtime)) = (is_one, session.runtime.upgrade()) {
        let (own, io) = (Arc::clone(session), runtime.runs.io.clone());
        io.spawn(cancel(own, runtime, id));
    }
    is_one
}

/// Ends the children that a run still holds.
pub(super) fn end_held(session: &Arc<Session>) {
    let held: Vec<RequestId> = {
        let inner = session.lock();
        let held = inner.state.open().filter(|(_, asked)| is_held(asked));
        held.map(|(id, _)| id).collect()
    };
    for id in held {
        cancelled(session, id);
    }
}

/// What carries over to the run that continues one.
pub(super) fn continuation(state: &RunState, id: &str, start: &Start, input: String) -> Start {
    let budget = state.start.as_ref().map(|start| start.budget.clone());
    Start {
        input,
        budget: budget.unwrap_or_default(),
        continues: Some(id.to_owned()),
        began_ms: Some(start.began_ms.unwrap_or(state.started_ms)),
        spent: state.used(),
        state: state.memory.clone(),
        signals: state.signals.all(),
        ..start.successor()
    }
}
