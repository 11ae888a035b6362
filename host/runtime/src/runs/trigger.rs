//! What a schedule or a webhook sets going: a run that starts, or a signal for
//! one, in the name of whoever made it.
//!
//! What must stay true: what was set going and the note that it was are one
//! write.

use std::collections::BTreeSet;
use std::sync::Arc;

use airlock_journal::{Batch, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::event::{End, Event};
use super::fold::RunState;
use super::prune::gone;
use super::rows::{self, Row};
use super::types::StartRun;
use super::{RunError, admin, spending};
use crate::principal::{Principal, Role};
use crate::record;
use crate::runtime::Runtime;

/// Runs that go on one in the other, followed at most.
const CONTINUED_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 160;
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Signals that a run keeps until its agent waits for them, and their bytes.
const SIGNALS_MAX: usize = 1_000;
const SIGNAL_BYTES_MAX: usize = 4 << 20;
/// Records behind a run's end, in journals of earlier versions.
const BEHIND_END_MAX: usize = 100;
/// How often a signal follows its run to the next one.
const FOLLOWED_MAX: usize = 10;

/// A signal that is given by a schedule or a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalTarget {
    /// The run; when it goes on as another one, that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Of a webhook: where in its body the run's id is, a JSON pointer (RFC 6901),
    /// e.g. `/data/run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// With `run_at`: whose runs alone get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The signal's name.
    pub name: String,
    /// Of a schedule: what the agent gets; of a webhook that is its body.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// In whose name something is set going.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    pub(crate) by: String,
    roles: BTreeSet<Role>,
    scope: Option<BTreeSet<String>>,
    /// The token; absent for the local administrator, and for what was made
    /// before tokens were noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Maker {
    pub(crate) fn of(who: &Principal) -> Self {
        Self {
            by: who.name.clone(),
            roles: who.roles.clone(),
            scope: who.plugins.clone(),
            token: who.token_id.clone(),
        }
    }

    /// Whether it was made with this token.
    pub(crate) fn is_of(&self, token: &str) -> bool {
        self.token.as_deref() == Some(token)
    }

    /// With the roles and the scope of the token it was made with.
    pub(crate) fn principal(&self) -> Principal {
        Principal {
            name: self.by.clone(),
            token_id: None,
            roles: self.roles.clone(),
            plugins: self.scope.clone(),
        }
    }
}

/// Refuses a signal that no run can get; gives its payload's text.
pub(crate) fn check_signal(name: &str, payload: &Value) -> Result<String, RunError> {
    admin::bounded("the signal's name", name.len(), NAME_BYTES_MAX)?;
    let payload = payload.to_string();
    admin::bounded("the payload", payload.len(), PAYLOAD_BYTES_MAX)?;
    Ok(payload)
}

/// Whether a run may get one more signal.
pub(super) fn room(id: &str, state: &RunState) -> Result<(), RunError> {
    let (held, bytes) = state.signals.held();
    let fits = held < SIGNALS_MAX && bytes < SIGNAL_BYTES_MAX;
    match fits && spending::outgrown(state).is_none() {
        true => Ok(()),
        false => Err(RunError::InboxFull(id.to_owned())),
    }
}

/// The record of a signal.
pub(super) fn signal(who: &Principal, name: &str, payload: &Value) -> Result<Event, RunError> {
    Ok(Event::Signalled {
        name: name.to_owned(),
        payload: check_signal(name, payload)?,
        by: who.name.clone(),
    })
}

impl Runtime {
    /// Whether the token of whoever made something was revoked.
    pub(crate) fn is_revoked(&self, maker: &Maker) -> bool {
        let token = maker.token.as_ref();
        token.is_some_and(|token| self.tokens.is_revoked(token))
    }

    /// A run that is to be started later, checked now.
    pub(crate) fn checked_start(
        &self,
        who: &Principal,
        request: &Value,
    ) -> Result<StartRun, RunError> {
        let request: StartRun = serde_json::from_value(request.clone())
            .map_err(|error| RunError::Invalid(format!("start: {error}")))?;
        self.agent_digest(who, &request.agent)?;
        super::start::checked_input(&request)?;
        Ok(request)
    }

    /// The agent of a run that `who` may signal.
    pub(crate) fn checked_signal(&self, who: &Principal, run: &str) -> Result<String, RunError> {
        let row = self.row(who, run, &[Role::Operator])?;
        Ok(row.agent)
    }

    /// Whether a signal may be for any run of an agent.
    pub(crate) fn checked_agent(&self, who: &Principal, agent: &str) -> Result<(), RunError> {
        self.agent_digest(who, agent).map(drop)
    }

    /// Refuses a run, or the one that goes on in its place, that is none of an
    /// agent's, as if there were none.
    pub(crate) fn is_of(&self, run: &str, agent: Option<&str>) -> Result<(), RunError> {
        let current = self.current_run(run)?;
        let its = current.is_some_and(|row| Some(row.agent.as_str()) == agent);
        match its {
            true => Ok(()),
            false => Err(RunError::NotFound(run.to_owned())),
        }
    }

    /// The run itself, or the one that goes on in its place.
    pub(crate) fn current_run(&self, run: &str) -> Result<Option<Row>, StoreError> {
        let head = rows::chain_head(self.store(), run)?;
        let mut id = head.unwrap_or_else(|| run.to_owned());
        for _ in 0..CONTINUED_MAX {
            let Some(bytes) = self.store().get(rows::SPACE, id.as_bytes())? else {
                match gone(self.store(), &id)?.and_then(|gone| gone.next) {
                    Some(next) => id = next,
                    None => return Ok(None),
                }
                continue;
            };
            let row: Row = crate::rows::decode(rows::SPACE, id.as_bytes(), &bytes)?;
            match self.successor(&row)? {
                Some(next) => id = next,
                None => return Ok(Some(row)),
            }
        }
        Ok(None)
    }

    /// The first of those that a run continues.
    pub(crate) fn first_run(&self, run: &str) -> Result<String, StoreError> {
        rows::chain_first(self.store(), run)
    }

    /// The run that goes on in the place of one that has ended.
    pub(super) fn successor(&self, row: &Row) -> Result<Option<String>, StoreError> {
        if row.state != "continued" {
            return Ok(None);
        }
        let len = self.store().head(&rows::stream(&row.id))?.len;
        let from = len.saturating_sub(BEHIND_END_MAX as u64);
        let last = rows::page(self.store(), &row.id, from, BEHIND_END_MAX)?;
        let mut ends = last.into_iter().rev().map(|(_, record)| record.event);
        Ok(ends.find_map(|event| match event {
            Event::Ended {
                end: End::Continued { run },
                ..
            } => Some(run),
            _ => None,
        }))
    }

    /// Gives a run a signal, and writes `beside` with it. Callers see to it that
    /// `beside` has no condition that may fail.
    pub(crate) async fn signal_with(
        self: &Arc<Self>,
        who: &Principal,
        run: &str,
        name: &str,
        payload: &Value,
        detail: Value,
        beside: Batch,
    ) -> Result<String, RunError> {
        let mut detail = detail;
        detail["signal"] = json!(name);
        for _ in 0..FOLLOWED_MAX {
            let current = self.current_run(run)?;
            let id = current.map_or_else(|| run.to_owned(), |row| row.id);
            let event = signal(who, name, payload)?;
            let session = self.open_run(who, &id, &[Role::Operator]).await?;
            let audit = self.act_of(who, "run.signal", &id, detail.clone())?;
            let (beside, audit) = (beside.ops.clone(), vec![record::op(&audit)]);
            let given = session.decide([event], beside, audit, |state| room(&id, state));
            match given {
                // Just now: where it goes on shows when that is durable.
                Err(RunError::Ended(_)) if session.durable().await => {}
                given => {
                    given?;
                    admin::kept(&session).await?;
                    return Ok(id);
                }
            }
        }
        Err(RunError::Ended(run.to_owned()))
    }
}
