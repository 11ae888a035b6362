//! A run that goes on as another one, with a journal of its own.
//!
//! What must stay true: the end of the one and the beginning of the other are one
//! write, of the state as it is at that moment: nothing that was acknowledged is
//! left behind; going on is no way around a budget, a rate or a person's word.

use std::sync::Arc;
use std::time::Duration;

use airlock_journal::StoreError;

use super::event::{End, Event, Record, Start};
use super::session::Session;
use super::{RunError, children, rows, spending, start};
use crate::problem::Failure;
use crate::runtime::Runtime;
use crate::{ids, json};

/// A run is at least this old before it goes on as another one.
const AGE_MIN: Duration = Duration::from_millis(100);

/// What the next run is given: a JSON object, as for any run.
pub(super) fn checked_input(input: &str) -> Result<(), RunError> {
    if let Some(name) = json::member_twice(input) {
        let twice = format!("input: the member {name:?} is there twice in one object");
        return Err(RunError::Invalid(twice));
    }
    let input = serde_json::from_str(input)
        .map_err(|error| RunError::Invalid(format!("input: {error}")))?;
    start::input(&input).map(drop)
}

/// Waits until the agent's rate allows another run; `false`: there is something
/// else to do first.
pub(super) async fn turn(session: &Arc<Session>, runtime: &Runtime, start: &Start) -> bool {
    let age = ids::now_ms().saturating_sub(session.lock().state.started_ms);
    let mut wait = AGE_MIN.saturating_sub(Duration::from_millis(age));
    loop {
        let other = session.wait_for(|inner| (!inner.may_go_on()).then_some(()));
        if tokio::time::timeout(wait, other).await.is_ok() {
            return false;
        }
        let agent = runtime.registry.get(&start.agent);
        match agent.map(|(slot, _)| slot.admission.take_rate()) {
            Some(Err(error)) => wait = error.retry_after().unwrap_or(AGE_MIN).max(AGE_MIN),
            _ => return true,
        }
    }
}

/// Ends the run and begins the next, which is durable when the first is; `None`:
/// there is something else to do first.
pub(super) fn begin(
    session: &Arc<Session>,
    runtime: &Arc<Runtime>,
    start: &Start,
    input: String,
) -> Result<Option<Arc<Session>>, StoreError> {
    let id = super::new_id();
    let chain = rows::chain(runtime.store(), &session.id, &id)?;
    let mut inner = session.lock();
    if !inner.may_go_on() {
        return Ok(None);
    }
    if let Some(why) = spending::over(&inner.state, ids::now_ms()) {
        drop(inner);
        session.block(why);
        return Ok(None);
    }
    let mut next = children::continuation(&inner.state, &session.id, start, input);
    next.spent.steps += 1;
    next.spent.cpu_us += inner.meter.take();
    let first = Record {
        at_ms: inner.now_ms(),
        event: Event::Started(next),
    };
    let run = Session::of(
        id.clone(),
        session.first.clone(),
        Arc::downgrade(runtime),
        std::slice::from_ref(&first),
    );
    {
        let begun = run.lock();
        let beside = &mut inner.unwritten.beside;
        beside.extend(rows::begin(&id, &first, &begun.state));
        beside.extend(chain);
        let announced = rows::announced(&id, &begun.state);
        inner.unwritten.audit.push(announced);
    }
    let end = End::Continued { run: id };
    inner.push(Event::ended(end));
    drop(inner);
    session.kick();
    Ok(Some(run))
}
