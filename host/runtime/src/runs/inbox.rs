//! The inbox: questions that wait for a person, over all runs, whether or not
//! they are in memory.
//!
//! What must stay true: a row is written and removed in the same write as the
//! records it follows from, and is a function of them; it decides nothing: the
//! run's journal does, and a row that does not fit it is left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::agent::{Request, RequestId};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunError;
use super::admin::{NOTE_BYTES_MAX, bounded, kept};
use super::approval;
use super::event::{Event, Record};
use super::fold::{Asked, RunState};
use super::people::{QUESTIONS_MAX, may_decide, named};
use super::rows;
use super::types::{ApprovalView, Decide};
use crate::principal::{Principal, Role};
use crate::rows::{decode, encode};
use crate::runtime::Runtime;

/// The space of the rows, by question.
pub(crate) const SPACE: &str = "approvals";

/// The most of one listing.
const LISTED_MAX: usize = 1_000;

/// Largest payload of a row, bytes; a larger one is shown with its question
/// alone.
const PAYLOAD_BYTES_MAX: usize = 4 << 10;

/// What is said of a call that is made outside of any sandbox.
const NOT_SANDBOXED: &str = " It is a tool of an MCP server, which is not sandboxed.";

/// Who may open a run to answer its questions; each question says who decides it.
const DECIDERS: &[Role] = &[Role::Approver, Role::Operator];

/// Questions of one run that have a row, or may have one.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    rows: BTreeSet<RequestId>,
    /// Whose row may have to change: records that are written tell of them.
    touched: BTreeSet<RequestId>,
}

impl Listed {
    /// Of a run of which the store has this state.
    pub(crate) fn new(run: &str, state: &RunState) -> Self {
        let Some(start) = &state.start else {
            return Self::default();
        };
        // A journal of before may have begun a call and left its question.
        let has_row = |id, asked: &Asked| {
            let call = matches!(asked.request, Request::Call { .. });
            call || approval::question(run, start, id, asked).is_some()
        };
        let asked = state.open().filter(|(id, asked)| has_row(*id, asked));
        Self {
            rows: asked.map(|(id, _)| id).collect(),
            touched: BTreeSet::new(),
        }
    }

    /// Of a run that begins in this state: the store has no row yet, and is to have
    /// one for each question.
    pub(crate) fn beginning(run: &str, state: &RunState) -> Self {
        Self {
            rows: BTreeSet::new(),
            touched: Self::new(run, state).rows,
        }
    }

    /// These are about to be written.
    pub(crate) fn told(&mut self, records: &[Record]) {
        for record in records {
            match &record.event {
                Event::Requested {
                    id,
                    request: Request::Ask { .. },
                    ..
                }
                | Event::ApprovalAsked { id, .. }
                | Event::Approved { id, .. }
                | Event::QuestionEscalated { id, .. }
                | Event::Begun { id, .. }
                | Event::Retried { id, .. }
                | Event::Detached { id, .. }
                | Event::Answered { id, .. } => {
                    self.touched.insert(*id);
                }
                Event::Ended { .. } => self.touched.extend(self.rows.iter().copied()),
                _ => {}
            }
        }
    }

    /// What is to change with the record that led to `state`.
    pub(crate) fn ops(&mut self, run: &str, state: &RunState) -> Vec<Op> {
        let touched = std::mem::take(&mut self.touched);
        let ops = touched.into_iter().filter_map(|id| self.op(run, state, id));
        ops.collect()
    }

    fn op(&mut self, run: &str, state: &RunState, id: RequestId) -> Option<Op> {
        let open = state.requests.get(&id).filter(|_| state.end.is_none());
        let view = open
            .zip(state.start.as_ref())
            .and_then(|(asked, start)| approval::question(run, start, id, asked));
        let key = Bytes::from(format!("{run}.{id}"));
        match view {
            Some(view) => {
                self.rows.insert(id);
                Some(Op::Put {
                    space: SPACE,
                    key,
                    value: encode(&listed(view)),
                })
            }
            None => self
                .rows
                .remove(&id)
                .then_some(Op::Delete { space: SPACE, key }),
        }
    }
}

/// As it is listed: without a large payload.
fn listed(mut view: ApprovalView) -> ApprovalView {
    let bytes = view
        .payload
        .as_ref()
        .map_or(0, |payload| payload.to_string().len());
    if bytes > PAYLOAD_BYTES_MAX {
        view.payload = None;
        view.payload_bytes = Some(bytes as u64);
    }
    view
}

/// A question is shown to those who may decide it, and to viewers.
fn is_shown(who: &Principal, view: &ApprovalView) -> bool {
    who.may_see(&view.agent) && who.has_one_of(&[view.role, Role::Viewer])
}

/// Which questions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalsQuery {
    /// Of this agent's runs.
    #[serde(default)]
    pub agent: Option<String>,
    /// Of runs after this one: `next_after` of the page before.
    #[serde(default)]
    pub after: Option<String>,
}

impl ApprovalsQuery {
    fn fits(&self, view: &ApprovalView) -> bool {
        self.agent.as_ref().is_none_or(|agent| *agent == view.agent)
    }
}

/// A page of questions that wait for a person.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovalsPage {
    /// At most 1,000, oldest first.
    pub approvals: Vec<ApprovalView>,
    /// Pass as `after` for questions of further runs; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Questions of runs that take turns: while there are many, each run has a few.
struct Turns {
    /// As many of each run at most.
    each: usize,
    listed: usize,
    runs: Vec<(String, Vec<ApprovalView>)>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            each: QUESTIONS_MAX,
            listed: 0,
            runs: Vec::new(),
        }
    }
}

impl Turns {
    fn last(&self) -> Option<&str> {
        self.runs.last().map(|(run, _)| run.as_str())
    }

    /// Whether there is no turn left for a run.
    fn are_taken(&self, run: &str) -> bool {
        self.runs.len() >= LISTED_MAX && self.last() != Some(run)
    }

    /// Whether a run may have one more.
    fn wants(&self, run: &str) -> bool {
        let last = self.runs.last().filter(|(last, _)| last == run);
        last.is_none_or(|(_, views)| views.len() < self.each)
    }

    fn add(&mut self, run: &str, view: ApprovalView) {
        if !self.wants(run) {
            return;
        }
        match self.runs.last_mut().filter(|(last, _)| last == run) {
            Some((_, views)) => views.push(view),
            None => self.runs.push((run.to_owned(), vec![view])),
        }
        self.listed += 1;
        if self.listed > 2 * LISTED_MAX {
            self.each = (LISTED_MAX / self.runs.len()).max(1);
            for (_, views) in &mut self.runs {
                views.truncate(self.each);
            }
            self.listed = self.runs.iter().map(|(_, views)| views.len()).sum();
        }
    }

    /// Those that are listed: the first of each run, then the second, and so on.
    fn taken(self) -> Vec<ApprovalView> {
        let each = self.runs.into_iter();
        let mut turns: Vec<(usize, ApprovalView)> = each
            .flat_map(|(_, views)| views.into_iter().enumerate())
            .collect();
        turns.sort_by_key(|(turn, _)| *turn);
        turns.truncate(LISTED_MAX);
        let mut all: Vec<ApprovalView> = turns.into_iter().map(|(_, view)| view).collect();
        all.sort_by(|a, b| a.at_ms.cmp(&b.at_ms).then_with(|| a.id.cmp(&b.id)));
        all
    }
}

/// The run of a row's key, `run.request`.
fn run_of(key: &[u8]) -> Option<&str> {
    let (run, _) = std::str::from_utf8(key).ok()?.rsplit_once('.')?;
    Some(run)
}

/// The key after all rows of a run.
fn past(run: &str) -> Vec<u8> {
    format!("{run}/").into_bytes()
}

fn following(key: &[u8]) -> Vec<u8> {
    [key, &b"\0"[..]].concat()
}

impl Runtime {
    /// Questions that wait for a person and that `who` may decide or view, at most
    /// 1,000, oldest first. Where there are more, runs take turns: each has as many
    /// listed as the others.
    ///
    /// # Errors
    /// The store failed.
    pub fn approvals(
        &self,
        who: &Principal,
        query: &ApprovalsQuery,
    ) -> Result<ApprovalsPage, RunError> {
        let mut turns = Turns::default();
        let mut from = query.after.as_deref().map_or_else(Vec::new, past);
        let next_after = loop {
            let page = self.store().range(SPACE, &from, None, turns.each)?;
            let Some((first, _)) = page.first() else {
                break None;
            };
            let Some(run) = run_of(first) else {
                from = following(first);
                continue;
            };
            if turns.are_taken(run) {
                break turns.last().map(str::to_owned);
            }
            let own = page.iter().take_while(|(key, _)| run_of(key) == Some(run));
            let own: Vec<_> = own.collect();
            let open = self.is_open(run)?;
            if open {
                for (key, value) in &own {
                    match decode::<ApprovalView>(SPACE, key, value) {
                        Ok(view) if is_shown(who, &view) && query.fits(&view) => {
                            turns.add(run, view);
                        }
                        Ok(_) => {}
                        Err(error) => tracing::warn!(%error, "a question is not listed"),
                    }
                }
            }
            let more = open && own.len() == page.len() && turns.wants(run);
            from = match own.last().filter(|_| more) {
                Some((key, _)) => following(key),
                None => past(run),
            };
        };
        let mut approvals = turns.taken();
        approvals.iter_mut().for_each(|view| self.mark(view));
        Ok(ApprovalsPage {
            approvals,
            next_after,
        })
    }

    /// Says of a call which class its tool has, and that it is made outside of any
    /// sandbox: whoever decides need not be one who may list tools.
    fn mark(&self, view: &mut ApprovalView) {
        let Some((plugin, tool)) = view.tool.as_deref().and_then(|tool| tool.split_once('/'))
        else {
            return;
        };
        let Some((_, active)) = self.registry.get(plugin) else {
            return;
        };
        view.tool_class = active.tool(tool).map(|terms| terms.class);
        if active.remote.is_some() {
            view.sandboxed = false;
            view.text.push_str(NOT_SANDBOXED);
        }
    }

    /// What the tool of a call does; in the administrator's words where there are
    /// some.
    fn described(&self, view: &ApprovalView) -> Option<String> {
        let (plugin, name) = view.tool.as_deref()?.split_once('/')?;
        let (_, active) = self.registry.get(plugin)?;
        let mut tools = active.manifest.tools.iter();
        let tool = tools.find(|tool| tool.name == name)?;
        let written = active.grants.descriptions.get(name);
        Some(written.unwrap_or(&tool.description).clone())
    }

    fn is_open(&self, run: &str) -> Result<bool, RunError> {
        Ok(rows::open_row(self.store(), run)?.is_some())
    }

    /// One question, whole.
    ///
    /// # Errors
    /// It is not open or not for `who`, its run only observes, or the store
    /// failed.
    pub fn approval(&self, who: &Principal, id: &str) -> Result<ApprovalView, RunError> {
        let none = || RunError::NoQuestion(id.to_owned());
        let (run, request) = named(id).ok_or_else(none)?;
        let view = match self.records_of(who, run, &[Role::Viewer, Role::Approver, Role::Operator])
        {
            Ok(records) => question_of(run, request, &records),
            Err(RunError::NotFound(_)) => return Err(none()),
            Err(error) => return Err(error),
        };
        let mut view = view?.filter(|view| is_shown(who, view)).ok_or_else(none)?;
        self.mark(&mut view);
        view.tool_description = self.described(&view);
        Ok(view)
    }

    /// The oldest open question of a run that is `who`'s to decide now, whole;
    /// `None`: it asks nothing, or asks others.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub fn question_for(
        &self,
        who: &Principal,
        run: &str,
    ) -> Result<Option<ApprovalView>, RunError> {
        if !who.has_one_of(DECIDERS) {
            return Ok(None);
        }
        let records = self.records_of(who, run, DECIDERS)?;
        let state = RunState::of(&records);
        let (Some(start), None) = (&state.start, &state.end) else {
            return Ok(None);
        };
        let now_ms = crate::ids::now_ms();
        let mut theirs = state.open().filter_map(|(id, asked)| {
            let view = approval::question(run, start, id, asked)?;
            may_decide(who, asked, &view, now_ms).then_some(view)
        });
        Ok(theirs.next().map(|mut view| {
            self.mark(&mut view);
            view
        }))
    }

    /// Answers a question; once.
    ///
    /// # Errors
    /// It is not open, somebody else decides it, the decision is none of its
    /// choices, its run only observes, or the store failed.
    pub async fn decide_approval(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        decide: Decide,
    ) -> Result<(), RunError> {
        let none = || RunError::NoQuestion(id.to_owned());
        let note = decide.note.as_deref().map_or(0, str::len);
        bounded("the note", note, NOTE_BYTES_MAX)?;
        let (run, request) = named(id).ok_or_else(none)?;
        let session = match self.open_run(who, run, DECIDERS).await {
            Ok(session) => session,
            Err(RunError::NotFound(_)) => return Err(none()),
            Err(RunError::Ended(_)) => return Err(self.gone(who, run, request, none())),
            Err(error) => return Err(error),
        };
        self.check_holds(who)?;
        match session.decide_question(who, request, &decide) {
            Ok(()) => kept(&session).await,
            Err(error @ RunError::NoQuestion(_)) => Err(self.gone(who, run, request, error)),
            Err(error) => Err(error),
        }
    }

    /// Why a question is not open, as far as its run's journal says.
    fn gone(&self, who: &Principal, run: &str, id: RequestId, error: RunError) -> RunError {
        let records = self.records_of(who, run, DECIDERS);
        match records.and_then(|records| question_of(run, id, &records)) {
            Err(why @ RunError::OnlyObserved(_)) => why,
            _ => error,
        }
    }

    fn records_of(
        &self,
        who: &Principal,
        run: &str,
        others: &[Role],
    ) -> Result<Vec<Record>, RunError> {
        self.row(who, run, others)?;
        Ok(rows::all(self.store(), run)?)
    }
}

/// The question of a request, by the journal.
fn question_of(
    run: &str,
    id: RequestId,
    records: &[Record],
) -> Result<Option<ApprovalView>, RunError> {
    let mut state = RunState::default();
    for record in records {
        if matches!(record.event, Event::Withheld { id: withheld } if withheld == id) {
            return Err(RunError::OnlyObserved(format!("{run}.{id}")));
        }
        state.apply(record);
    }
    let open = state.requests.get(&id).filter(|_| state.end.is_none());
    let start = state.start.as_ref();
    let asked = open.zip(start);
    Ok(asked.and_then(|(asked, start)| approval::question(run, start, id, asked)))
}
