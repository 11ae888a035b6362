//! What people say of a run that stands still: it is paused, blocked, or nobody
//! knows what became of a call.
//!
//! What must stay true: a word is taken once, and lifts what it was said about
//! and nothing else; it is on record in the same write.

use std::sync::Arc;

use airlock_sandbox::CallError;
use airlock_sandbox::agent::RequestId;
use serde_json::{Value, json};

use super::RunError;
use super::admin::kept;
use super::effects;
use super::event::{Block, Event, Told};
use super::fold::RunState;
use super::session::Session;
use super::spending::{self, Spent};
use super::types::{Outcome, Resume};
use crate::ids;
use crate::principal::{Principal, Role};
use crate::record;
use crate::runtime::Runtime;

/// What a person's word comes to.
#[derive(Debug, PartialEq)]
struct Word {
    /// For the record.
    detail: Value,
    events: Vec<Event>,
    /// The request to make again.
    again: Option<RequestId>,
}

impl Runtime {
    /// Lets a blocked or paused run go on. Whoever started it lets it go on where
    /// nobody else paused it; the rest is an operator's.
    ///
    /// # Errors
    /// It is neither, what is said of it does not belong to how it stands, it is
    /// somebody else's to say, or the store failed.
    pub async fn resume_run(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        resume: Resume,
    ) -> Result<(), RunError> {
        let session = self.open_run(who, id, &[Role::Operator]).await?;
        self.check_holds(who)?;
        let again = session.resume(who, &resume)?;
        kept(&session).await?;
        session.take_up_calls();
        if let Some(request) = again {
            effects::begin(&session, request, None);
        }
        Ok(())
    }
}

impl Session {
    /// Takes a person's word, once; gives the request to make again.
    fn resume(
        self: &Arc<Self>,
        who: &Principal,
        resume: &Resume,
    ) -> Result<Option<RequestId>, RunError> {
        let mut inner = self.lock();
        if inner.state.end.is_some() {
            return Err(RunError::Ended(self.id.clone()));
        }
        let word = word(&self.id, &inner.state, who, resume)?;
        let audit = record::admin(who, "run.resume", &self.id, word.detail);
        inner.push_all(word.events);
        inner.unwritten.audit.push(record::op(&audit));
        drop(inner);
        self.kick();
        Ok(word.again)
    }
}

fn word(id: &str, state: &RunState, who: &Principal, resume: &Resume) -> Result<Word, RunError> {
    let Some(block) = state.block() else {
        return paused(id, state, who, resume);
    };
    if !who.has_one_of(&[Role::Operator]) {
        return Err(RunError::NeedsOperator("the run is blocked"));
    }
    fits(&block, resume)?;
    let by = who.name.clone();
    let outcome = resume.outcome.as_ref().map(Outcome::name);
    let detail = json!({ "because": block, "outcome": outcome });
    let (events, again) = match block {
        Block::Budget { .. } | Block::Spent { .. } => {
            let now = state.start.as_ref().map(|start| start.budget.clone());
            let change = resume.budget.unwrap_or_default();
            let budget = change.of(&now.unwrap_or_default());
            spending::suffices(&block, &budget).map_err(RunError::Invalid)?;
            let budgeted = Event::Budgeted {
                budget,
                by: by.clone(),
            };
            (vec![budgeted, Event::Unblocked { by }], None)
        }
        Block::UnknownOutcome { id, .. } => {
            let (event, again) = cleared_up(state, id, resume, by)?;
            (vec![event], again)
        }
        Block::Nondeterminism { .. }
        | Block::Restored { .. }
        | Block::Journal { .. }
        | Block::Loop { .. }
        | Block::Component { .. } => (vec![Event::Unblocked { by }], None),
    };
    Ok(Word {
        detail,
        events,
        again,
    })
}

/// A run that is not blocked goes on, if it is paused.
fn paused(id: &str, state: &RunState, who: &Principal, resume: &Resume) -> Result<Word, RunError> {
    if !state.paused {
        return Err(RunError::NotBlocked(id.to_owned()));
    }
    let others = state.paused_by.iter().any(|by| *by != who.name);
    if others && !who.has_one_of(&[Role::Operator]) {
        return Err(RunError::NeedsOperator("somebody else paused it"));
    }
    if let Some(member) = given(resume).first() {
        return Err(RunError::Invalid(format!(
            "{member}: the run is only paused, which takes none"
        )));
    }
    Ok(Word {
        detail: json!({}),
        events: vec![Event::Unpaused {
            by: who.name.clone(),
        }],
        again: None,
    })
}

/// The members that are there.
fn given(resume: &Resume) -> Vec<&'static str> {
    let all = [
        ("budget", resume.budget.is_some()),
        ("request", resume.request.is_some()),
        ("outcome", resume.outcome.is_some()),
    ];
    let there = all.into_iter().filter(|(_, there)| *there);
    there.map(|(member, _)| member).collect()
}

/// Refuses what is said of another block than the one there is: it was looked at
/// before it became this one.
fn fits(block: &Block, resume: &Resume) -> Result<(), RunError> {
    let takes: &[&str] = match block {
        Block::Budget { .. } | Block::Spent { .. } => &["budget"],
        Block::UnknownOutcome { .. } => &["request", "outcome"],
        _ => &[],
    };
    let given = given(resume);
    let Some(stray) = given.iter().find(|member| !takes.contains(member)) else {
        return Ok(());
    };
    let because = json!(block)["because"].clone();
    Err(RunError::Invalid(format!(
        "{stray}: the run is blocked by {}, which takes {}",
        because.as_str().unwrap_or_default(),
        match takes {
            [] => "none".to_owned(),
            takes => takes.join(" and "),
        }
    )))
}

/// What became of a call that may have happened, and whether it is made again.
/// `first` is the first of them.
fn cleared_up(
    state: &RunState,
    first: RequestId,
    resume: &Resume,
    by: String,
) -> Result<(Event, Option<RequestId>), RunError> {
    let unclear = |id: &RequestId| {
        let asked = state.requests.get(id);
        asked.filter(|asked| asked.unknown.is_some())
    };
    let request = resume.request.and_then(|id| Some((id, unclear(&id)?)));
    let (Some((id, asked)), Some(outcome)) = (request, &resume.outcome) else {
        return Err(RunError::Invalid(format!(
            "request and outcome: say `\"request\": {first}` and what became of it: \"retry\", \"fail\" or {{\"record\": OUTPUT}}"
        )));
    };
    let answered = |answer| Event::Answered {
        id,
        answer,
        by: Some(by.clone()),
        used: Spent::default(),
    };
    Ok(match outcome {
        Outcome::Retry => {
            let retried = Event::Retried {
                id,
                attempt: asked.attempt + 1,
                after_ms: ids::now_ms(),
                why: format!("{by} says that it did not happen"),
                lost: false,
            };
            (retried, Some(id))
        }
        Outcome::Fail => {
            let message = "whether it happened is not known".to_owned();
            (answered(Told::Error(CallError::Unknown { message })), None)
        }
        Outcome::Record(output) => (answered(Told::Ok(output.to_string())), None),
    })
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Record(_) => "record",
        }
    }
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
