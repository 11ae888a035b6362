//! Waits for a run: tells what happens in it, asks the person in front of the
//! client what it asks, until it has ended or the time is over.
//!
//! What must stay true: only what the token may see of the run is told, for as
//! long as the token holds; leaving the run ends nothing of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{End, Follower, Principal, RunError, RunEvents, Runtime};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ElicitResult, ProgressNotificationParam, ProgressToken,
    ProtocolVersion,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ask::{self, ANSWER_WITHIN, Answered, Asking, Question, can_ask};
use crate::{agents, outcome};

/// Records that are read at once.
const PAGE: usize = 64;

/// Somebody who waits for a run.
pub(crate) struct Following<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) who: &'a Arc<Principal>,
    pub(crate) asking: Asking<'a>,
    pub(crate) context: &'a RequestContext<RoleServer>,
    pub(crate) run: String,
    pub(crate) until: Instant,
    /// Questions that the person left open.
    pub(crate) left_open: HashSet<String>,
    /// Records that were told.
    pub(crate) told: u32,
}

/// What a look at the run gave.
enum Look {
    /// It goes on.
    Open,
    Ended,
    /// It goes on as this one.
    As(String),
    /// The client is asked, by its result.
    Asks(Box<CallToolResponse>),
}

/// Where a run is told from.
struct Place {
    follower: Follower,
    from: u64,
    tokens: watch::Receiver<()>,
}

impl Following<'_> {
    /// Waits, and answers where the run stands then.
    pub(crate) async fn waited(mut self) -> Result<CallToolResponse, ErrorData> {
        loop {
            match self.followed().await? {
                Ok(Look::Asks(response)) => return Ok(*response),
                Ok(Look::As(next)) => self.run = next,
                Ok(Look::Open | Look::Ended) => {
                    // It may have expired meanwhile.
                    if !self.runtime.still_holds(self.who) {
                        return Err(outcome::not_valid_any_more());
                    }
                    return Ok(self.stands().await.into());
                }
                Err(error) => return Ok(outcome::refused(&error).into()),
            }
        }
    }

    async fn stands(&self) -> CallToolResult {
        agents::shown(self.runtime, self.who, &self.run, true).await
    }

    /// Follows one run until it has ended or the time is over.
    async fn followed(&mut self) -> Result<Result<Look, RunError>, ErrorData> {
        let mut place = match self.runtime.follow_run(self.who, &self.run, 0) {
            Ok(follower) => Place {
                follower,
                from: 0,
                tokens: self.runtime.token_changes(),
            },
            Err(error) => return Ok(Err(error)),
        };
        loop {
            if !self.runtime.still_holds(self.who) {
                return Err(outcome::not_valid_any_more());
            }
            match self.look(&mut place).await {
                Ok(Look::Open) => {}
                ended => return Ok(ended),
            }
            tokio::select! {
                () = place.follower.grown() => {}
                _ = place.tokens.changed() => {}
                () = tokio::time::sleep_until(self.until) => return Ok(Ok(Look::Open)),
                () = self.context.ct.cancelled() => return Ok(Ok(Look::Open)),
                () = self.runtime.stopping() => return Ok(Ok(Look::Open)),
            }
        }
    }

    /// Reads what there is, tells it, and asks what the run asks.
    async fn look(&mut self, place: &mut Place) -> Result<Look, RunError> {
        loop {
            let page = place
                .follower
                .read(self.runtime, self.who, place.from, PAGE)?;
            self.tell(&page).await;
            match page.next {
                None => return self.ended().await,
                // A page ends by bytes too: only an empty one is the last so far.
                Some(_) if page.events.is_empty() => break,
                Some(next) => {
                    place.from = next;
                    // A long journal is others' time too.
                    tokio::task::yield_now().await;
                }
            }
        }
        self.ask().await
    }

    async fn ended(&self) -> Result<Look, RunError> {
        let detail = agents::detail(self.runtime, self.who, &self.run).await?;
        Ok(match detail.end {
            Some(End::Continued { run }) => Look::As(run),
            _ => Look::Ended,
        })
    }

    /// Where the journal is, as progress, to a client that asked for it.
    async fn tell(&mut self, page: &RunEvents) {
        let (Some(token), Some(last)) =
            (self.context.meta.get_progress_token(), page.events.last())
        else {
            return;
        };
        self.told += u32::try_from(page.events.len()).unwrap_or(u32::MAX);
        // A record came from JSON.
        let record = serde_json::to_value(last).unwrap_or_default();
        let told = progress(token, self.told, &record);
        // Whoever left misses it.
        let _ = self.context.peer.notify_progress(told).await;
    }

    /// Asks the person in front of the client, where the run asks and this token
    /// may answer.
    async fn ask(&mut self) -> Result<Look, RunError> {
        if !can_ask(self.context.client_capabilities().as_ref()) {
            return Ok(Look::Open);
        }
        let (who, run) = (Arc::clone(self.who), self.run.clone());
        let looked = self
            .runtime
            .looking(move |runtime| runtime.question_for(&who, &run));
        let view = looked.await??;
        let new = view.filter(|view| !self.left_open.contains(&view.id));
        let Some(question) = new.and_then(Question::of) else {
            return Ok(Look::Open);
        };
        let version = self.context.protocol_version();
        if version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28) {
            let required = question.required(&self.asking);
            return Ok(Look::Asks(Box::new(required.into())));
        }
        let Some(result) = self.shown(&question).await else {
            self.left_open.insert(question.view.id);
            return Ok(Look::Open);
        };
        let (id, binding) = (question.view.id, question.view.binding);
        if !self.runtime.still_holds(self.who) {
            return Ok(Look::Open);
        }
        match ask::decide(self.runtime, self.who, &id, binding, result).await {
            Ok(Answered::Decided) => {}
            Ok(Answered::LeftOpen) => drop(self.left_open.insert(id)),
            // Filled in otherwise than the form says: nothing is decided.
            Err(RunError::Invalid(why)) => {
                tracing::debug!(why, "a question was answered with what is no answer");
                self.left_open.insert(id);
            }
            Err(error) => return Err(error),
        }
        Ok(Look::Open)
    }

    /// Shows a question to the person; the time that takes does not count.
    async fn shown(&mut self, question: &Question) -> Option<ElicitResult> {
        let began = Instant::now();
        let asked = self
            .context
            .peer
            .create_elicitation_with_timeout(question.params(), Some(ANSWER_WITHIN));
        let answered = tokio::select! {
            answered = asked => answered,
            () = self.context.ct.cancelled() => return None,
            () = self.runtime.stopping() => return None,
        };
        self.until += began.elapsed();
        answered
            .inspect_err(|error| tracing::debug!(%error, "a question was not answered"))
            .ok()
    }
}

/// The newest record as progress, which grows over the runs that a run goes on as;
/// the agent's own report where it is one.
fn progress(token: ProgressToken, records: u32, record: &Value) -> ProgressNotificationParam {
    let mut told = ProgressNotificationParam::new(token, f64::from(records));
    let message = record["message"].as_str().filter(|text| !text.is_empty());
    told.message = message
        .or_else(|| record["event"].as_str())
        .map(str::to_owned);
    told
}

/// When waiting ends.
pub(crate) fn until(wait: Duration) -> Instant {
    Instant::now() + wait
}
