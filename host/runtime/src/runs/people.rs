//! Questions to people: who decides, until when, what happens then, and what a
//! decision comes to.
//!
//! What must stay true: a question has one outcome, whoever decides and whenever
//! its time is over; a person counts once, and only one who may decide it; what
//! was decided is on record in the same write.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_journal::audit::AuditRecord;
use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::tools::{Approver, Rule};
use airlock_sandbox::{CallError, Denial};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::RunError;
use super::approval;
use super::effects::until;
use super::event::{Event, Record, Told};
use super::fold::{Asked, RunState};
use super::loops;
use super::session::{Inner, Session, Settled};
use super::spending::Spent;
use super::types::{ApprovalView, Decide};

use crate::principal::{Principal, Role};
use crate::record;

/// Open questions of one run.
pub(super) const QUESTIONS_MAX: usize = 64;

/// How a call is approved, as its grant says when it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Terms {
    /// How many people, each another one.
    pub(crate) approvers: u32,
    /// Whose tokens.
    pub(crate) role: Role,
    /// Whether whoever started the run counts.
    pub(crate) own: bool,
    /// Until when, milliseconds since 1970; then it is denied, or others decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) escalate: Option<Escalate>,
}

/// Who decides once the time is over, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Escalate {
    pub(crate) to: Role,
    pub(crate) within_ms: u64,
}

/// A person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// What the person added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            approvers: 1,
            role: Role::Approver,
            own: false,
            due_ms: None,
            escalate: None,
        }
    }
}

fn role(approver: Approver) -> Role {
    match approver {
        Approver::Approver => Role::Approver,
        Approver::Operator => Role::Operator,
        Approver::Admin => Role::Admin,
    }
}

impl Terms {
    /// Of a question that is asked at `now_ms` under a rule.
    pub(crate) fn of(rule: &Rule, now_ms: u64) -> Self {
        let within_ms = rule
            .due
            .map(|due| u64::try_from(due.0.as_millis()).unwrap_or(u64::MAX));
        let escalate = |to: Approver| Escalate {
            to: role(to),
            within_ms: within_ms.unwrap_or(u64::MAX),
        };
        Self {
            approvers: rule.approvers,
            role: role(rule.approver_role),
            own: rule.own_approval,
            due_ms: within_ms.map(|within| now_ms.saturating_add(within)),
            escalate: rule.escalate_to.map(escalate),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Asked {
    /// Whether people are asked about it, or by it, and the agent hears of it.
    pub(super) fn is_question(&self) -> bool {
        match &self.request {
            Request::Ask { .. } => !self.detached,
            _ => self.to_approve.is_some(),
        }
    }

    /// A person has to approve the call before it is made.
    pub(super) fn ask(&mut self, binding: &str, terms: &Terms) {
        self.to_approve = Some(binding.to_owned());
        self.terms = terms.clone();
        self.approvals.clear();
    }

    /// A person approved it; the last one that is needed lets it be made.
    pub(super) fn approve(&mut self, binding: &str, approval: Approval) {
        self.approvals.push(approval);
        if self.approvals.len() >= self.terms.approvers as usize {
            self.approved = Some(binding.to_owned());
            self.to_approve = None;
        }
    }

    /// Nobody is asked about what is made or looked at anew.
    pub(super) fn not_asked(&mut self) {
        self.to_approve = None;
        self.approvals.clear();
    }

    /// Others decide, all of them anew.
    pub(super) fn escalate(&mut self, to: Role, due_ms: u64) {
        self.terms.role = to;
        self.terms.due_ms = Some(due_ms);
        self.terms.escalate = None;
        self.approvals.clear();
    }
}

/// Goes on by a record about people, or about what none of them decides.
pub(super) fn apply(state: &mut RunState, record: &Record) {
    match &record.event {
        Event::ApprovalAsked { id, binding, terms } => {
            state.with(*id, |asked| asked.ask(binding, terms));
        }
        Event::Approved {
            id,
            binding,
            by,
            note,
        } => {
            let approval = Approval {
                by: by.clone(),
                at_ms: record.at_ms,
                note: note.clone(),
            };
            state.with(*id, |asked| asked.approve(binding, approval));
        }
        Event::QuestionEscalated { id, role, due_ms } => {
            state.with(*id, |asked| asked.escalate(*role, *due_ms));
        }
        Event::GivenUp { end } => {
            state.cancelling = true;
            state.given_up = Some(end.clone());
        }
        // The answer that comes with it says all.
        _ => {}
    }
}

/// Keeps count of the questions that are open, after `event`.
pub(super) fn count(state: &mut RunState, event: &Event) {
    let id = match event {
        Event::Requested {
            id,
            request: Request::Ask { .. },
            ..
        }
        | Event::ApprovalAsked { id, .. }
        | Event::Approved { id, .. }
        | Event::Begun { id, .. }
        | Event::Retried { id, .. }
        | Event::Detached { id, .. }
        | Event::Answered { id, .. } => *id,
        _ => return,
    };
    let is_open = state.requests.get(&id).is_some_and(Asked::is_question);
    match is_open {
        true => state.questions.insert(id),
        false => state.questions.remove(&id),
    };
}

/// Whether `who` may give a decision, whatever it is.
fn check(
    who: &Principal,
    asked: &Asked,
    view: &ApprovalView,
    decide: &Decide,
) -> Result<(), RunError> {
    is_theirs(who, view)?;
    if !view.choices.contains(&decide.decision) {
        let choices = view.choices.join("`, `");
        return Err(RunError::Invalid(format!("decision: one of `{choices}`")));
    }
    if decide.binding.is_some() && decide.binding != view.binding {
        return Err(RunError::ApprovalChanged(view.id.clone()));
    }
    is_anothers(who, asked, view)?;
    match approved_by(who, asked) && decide.decision == approval::APPROVE {
        true => Err(RunError::ApprovedAlready(view.id.clone())),
        false => Ok(()),
    }
}

/// The role that decides.
fn is_theirs(who: &Principal, view: &ApprovalView) -> Result<(), RunError> {
    match who.has_one_of(&[view.role]) {
        true => Ok(()),
        false => Err(RunError::NotTheirs(view.role)),
    }
}

/// A call that somebody else's run makes, or that its starter may approve.
fn is_anothers(who: &Principal, asked: &Asked, view: &ApprovalView) -> Result<(), RunError> {
    let call = matches!(asked.request, Request::Call { .. });
    match call && who.name == view.by && !asked.terms.own {
        true => Err(RunError::OwnApproval),
        false => Ok(()),
    }
}

fn approved_by(who: &Principal, asked: &Asked) -> bool {
    asked.approvals.iter().any(|earlier| earlier.by == who.name)
}

/// Whether any decision on a question is `who`'s to make now, and has not been
/// made.
pub(super) fn may_decide(who: &Principal, asked: &Asked, view: &ApprovalView, now_ms: u64) -> bool {
    let in_time = view.due_ms.is_none_or(|due_ms| now_ms < due_ms);
    let theirs = is_theirs(who, view).and_then(|()| is_anothers(who, asked, view));
    in_time && theirs.is_ok() && !approved_by(who, asked)
}

impl Inner {
    /// Whether there is room for one more question, or this one is open.
    fn may_ask(&self, id: RequestId) -> bool {
        let asked = &self.state.questions;
        asked.len() < QUESTIONS_MAX || asked.contains(&id)
    }

    /// The question of a request that is open, if there is one.
    fn question(&self, run: &str, id: RequestId) -> Option<(Asked, ApprovalView)> {
        let asked = self.state.requests.get(&id);
        let asked = asked.filter(|_| !self.is_closed())?;
        let start = self.state.start.as_ref()?;
        let view = approval::question(run, start, id, asked)?;
        Some((asked.clone(), view))
    }
}

impl Session {
    /// Takes a person's decision, once.
    pub(super) fn decide_question(
        self: &Arc<Self>,
        who: &Principal,
        id: RequestId,
        decide: &Decide,
    ) -> Result<(), RunError> {
        let mut inner = self.lock();
        let none = || RunError::NoQuestion(format!("{}.{id}", self.id));
        let (asked, view) = inner.question(&self.id, id).ok_or_else(none)?;
        // Whoever waits for that moment sees to the rest.
        if view.due_ms.is_some_and(|due_ms| due_ms <= inner.now_ms()) {
            return Err(none());
        }
        check(who, &asked, &view, decide)?;
        let event = approval::decided(id, &asked, decide, &who.name).ok_or_else(none)?;
        let detail = json!({
            "run": view.run, "decision": decide.decision, "note": decide.note,
            "binding": view.binding, "role": view.role,
            "of": view.approvers, "so_far": view.approvals.len(),
        });
        let audit = record::op(&record::admin(who, "approval.decide", &view.id, detail));
        if let (Request::Ask { .. }, Some(effect)) = (&asked.request, inner.effects.remove(&id)) {
            // Nobody waits for its time any more.
            effect.abort();
        }
        inner.push(event);
        inner.unwritten.audit.push(audit);
        drop(inner);
        self.kick();
        Ok(())
    }

    /// Asks people about a call; `false`: its run asks them as much as it may.
    pub(super) fn ask(self: &Arc<Self>, question: Event) -> bool {
        let mut inner = self.lock();
        if inner.retired {
            // It left memory as one that asks, and is asked for by whoever loads it.
            return true;
        }
        let asks = match &question {
            Event::ApprovalAsked { id, .. } => inner.may_ask(*id),
            _ => false,
        };
        if asks {
            inner.push(question);
        }
        drop(inner);
        self.kick();
        asks
    }

    /// Takes back what people are asked about a call, unless they have decided it;
    /// `false`: the run is no longer looked after here.
    pub(super) fn withdraw(self: &Arc<Self>, id: RequestId, retried: Event) -> bool {
        let mut inner = self.lock();
        if inner.is_closed() {
            return false;
        }
        if inner.question(&self.id, id).is_some() {
            inner.push(retried);
        }
        drop(inner);
        self.kick();
        true
    }

    /// Resolves when people may be asked about a call, or it has its answer.
    pub(super) async fn room_to_ask(&self, id: RequestId) {
        let room = |inner: &mut Inner| {
            let gone = !inner.state.requests.contains_key(&id);
            (gone || inner.may_ask(id)).then_some(())
        };
        self.wait_for(room).await;
    }

    /// Resolves when a call no longer waits for a person; sees to it that the
    /// time of its question is kept.
    pub(super) async fn decided(self: &Arc<Self>, id: RequestId) {
        let waits = |inner: &Inner| {
            let asked = inner.state.requests.get(&id);
            let asked = asked.filter(|asked| asked.to_approve.is_some());
            asked.map(|asked| asked.terms.due_ms)
        };
        loop {
            let Some(due_ms) = waits(&self.lock()) else {
                return;
            };
            let changed = self.wait_for(|inner| (waits(inner) != Some(due_ms)).then_some(()));
            tokio::select! {
                () = changed => {}
                () = until(due_ms.unwrap_or(u64::MAX)) => self.expire(id),
            }
        }
    }

    /// The time of a call's question is over, if it is: it is denied, or others
    /// decide.
    fn expire(self: &Arc<Self>, id: RequestId) {
        let mut inner = self.lock();
        let now_ms = inner.now_ms();
        let Some((asked, view)) = inner.question(&self.id, id) else {
            return;
        };
        let over = asked.terms.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let Request::Call { tool, .. } = asked.request else {
            return;
        };
        if !over || asked.to_approve.is_none() {
            return;
        }
        let (event, outcome) = match &asked.terms.escalate {
            Some(Escalate { to, within_ms }) => {
                let (role, due_ms) = (*to, now_ms.saturating_add(*within_ms));
                (Event::QuestionEscalated { id, role, due_ms }, "escalated")
            }
            None => {
                let answer = Told::Error(CallError::Denied(Denial {
                    capability: "approval".to_owned(),
                    operation: format!("call {}", tool.escape_debug()),
                    rule: "nobody decided in time".to_owned(),
                }));
                (
                    Event::Answered {
                        id,
                        answer,
                        by: None,
                        used: Spent::default(),
                    },
                    "denied",
                )
            }
        };
        let audit = AuditRecord::now(&*view.by, "approval.due", &*view.id)
            .outcome(outcome)
            .detail(json!({ "run": view.run, "binding": view.binding }));
        inner.push(event);
        inner.unwritten.audit.push(record::op(&audit));
        drop(inner);
        self.kick();
    }

    /// Adds all that becomes of a request that has no answer yet, in one write;
    /// `false`: it has one, and only `audit` goes on record.
    pub(super) fn settle_all(
        self: &Arc<Self>,
        id: RequestId,
        events: impl IntoIterator<Item = Event>,
        audit: Vec<Op>,
    ) -> bool {
        let settled = self.lock().settle_all(id, events, audit);
        self.settled(settled)
    }
}

impl Inner {
    /// As [`Session::settle_all`]; what it did is seen to by [`Session::settled`].
    pub(super) fn settle_all(
        &mut self,
        id: RequestId,
        events: impl IntoIterator<Item = Event>,
        audit: Vec<Op>,
    ) -> Settled {
        let inner = self;
        if inner.is_closed() || !inner.state.requests.contains_key(&id) {
            inner.unwritten.audit.extend(audit);
            return Settled {
                is_new: false,
                looped: None,
            };
        }
        inner.effects.remove(&id);
        for event in events {
            inner.push(event);
        }
        inner.unwritten.audit.extend(audit);
        let goes_on = !inner.state.cancelling;
        let looped = goes_on.then(|| loops::found(&inner.state)).flatten();
        Settled {
            is_new: true,
            looped,
        }
    }
}

/// A question's run and request.
pub(super) fn named(id: &str) -> Option<(&str, RequestId)> {
    let (run, request) = id.rsplit_once('.')?;
    Some((run, request.parse().ok()?))
}
