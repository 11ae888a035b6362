//! Runs as listings show them, and how they went: by the views, in a time that
//! does not depend on how many there are.
//!
//! What must stay true: what is shown of a run comes from its durable row; the
//! views only say which runs to look at.

use airlock_journal::StoreError;
use airlock_journal::views::{AgentStats, RUN_OPEN, RunEntry, RunFilter, RunList, Views};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::{READERS, view};
use super::rows::{self, Row};
use super::types::{RunStatus, RunView};
use crate::principal::Principal;
use crate::runtime::Runtime;
use crate::views::ViewError;

/// Most runs of one page.
const LIMIT_MAX: usize = 1_000;

/// Which runs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsQuery {
    /// Of this agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// That stand so.
    #[serde(default)]
    pub status: Option<RunStatus>,
    /// Started by them.
    #[serde(default)]
    pub by: Option<String>,
    /// Those before this one: `next_before` of the page before.
    #[serde(default)]
    pub before: Option<String>,
    /// At most 1,000; 100 unless given.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunsPage {
    /// The runs. Where few fit the query, a page may hold fewer than asked for
    /// and not be the last.
    pub runs: Vec<RunView>,
    /// Pass as `before` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
}

/// How the runs of one agent went, pruned ones included.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AgentStatsView {
    /// The agent.
    pub agent: String,
    /// Runs that were started.
    pub started: u64,
    /// Of these, those that have not ended.
    pub open: u64,
    /// How many ended how.
    pub ended: std::collections::BTreeMap<String, u64>,
    /// From start to end, milliseconds, waiting included; absent when none has
    /// ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<Took>,
    /// When one last started or ended, milliseconds since 1970.
    pub last_ms: u64,
}

/// How long ended runs took, milliseconds. The quantiles are within 10 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Took {
    /// On average.
    pub mean_ms: u64,
    /// Half of them at most.
    pub p50_ms: u64,
    /// Nine of ten at most.
    pub p90_ms: u64,
    /// 99 of 100 at most.
    pub p99_ms: u64,
}

impl From<AgentStats> for AgentStatsView {
    fn from(stats: AgentStats) -> Self {
        let ended = stats.ended_count();
        let quantile = |part| stats.quantile_ms(part).unwrap_or_default();
        Self {
            open: stats.started.saturating_sub(ended),
            took: stats.took_ms.checked_div(ended).map(|mean_ms| Took {
                mean_ms,
                p50_ms: quantile(0.5),
                p90_ms: quantile(0.9),
                p99_ms: quantile(0.99),
            }),
            started: stats.started,
            last_ms: stats.last_ms,
            agent: stats.agent,
            ended: stats.ended,
        }
    }
}

impl Runtime {
    /// Runs that `who` may see, newest first.
    ///
    /// # Errors
    /// The query makes no sense, or the store failed.
    pub async fn runs(&self, who: &Principal, query: RunsQuery) -> Result<RunsPage, ViewError> {
        let limit = query.limit.unwrap_or(100);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ViewError::BadRequest("`limit` is 1 to 1000"));
        }
        let Some(filter) = filter(who, &query) else {
            return Ok(RunsPage {
                runs: Vec::new(),
                next_before: None,
            });
        };
        let ask = move |views: &Views| views.runs(&filter, limit);
        let list: RunList = self.views.ask(ask).await?;
        let mut runs = Vec::with_capacity(list.runs.len());
        for run in list.runs {
            let seen = self.listed(run)?;
            let fits = |run: &RunView| query.status.is_none_or(|status| status == run.status);
            runs.extend(seen.filter(fits));
        }
        Ok(RunsPage {
            runs,
            next_before: list.next,
        })
    }

    /// A run of the list as its row says; `None`: it was pruned since.
    fn listed(&self, run: RunEntry) -> Result<Option<RunView>, StoreError> {
        let found = self.store().get(rows::SPACE, run.id.as_bytes())?;
        let Some(bytes) = found else { return Ok(None) };
        let row: Row = crate::rows::decode(rows::SPACE, run.id.as_bytes(), &bytes)?;
        let live = self.live_status(&row)?;
        Ok(Some(view(&row, live)))
    }

    /// How the runs of each agent went.
    ///
    /// # Errors
    /// The audit could not be read.
    pub async fn run_stats(&self, who: &Principal) -> Result<Vec<AgentStatsView>, ViewError> {
        let mut stats = self.views.ask(Views::agent_stats).await?;
        stats.retain(|stats| who.may_see(&stats.agent));
        Ok(stats.into_iter().map(AgentStatsView::from).collect())
    }
}

/// What of it the token may see; `None`: nothing. Callers see their own runs
/// alone.
fn filter(who: &Principal, query: &RunsQuery) -> Option<RunFilter> {
    let by = match who.has_one_of(READERS) {
        true => query.by.clone(),
        false => {
            let own = query.by.as_ref().is_none_or(|by| *by == who.name);
            own.then(|| Some(who.name.clone()))?
        }
    };
    let state = query.status.map(|status| match status {
        RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Blocked
        | RunStatus::Cancelling => RUN_OPEN.to_owned(),
        RunStatus::Succeeded => "succeeded".to_owned(),
        RunStatus::Failed => "failed".to_owned(),
        RunStatus::Escalated => "escalated".to_owned(),
        RunStatus::Cancelled => "cancelled".to_owned(),
        RunStatus::Continued => "continued".to_owned(),
    });
    Some(RunFilter {
        agent: query.agent.clone(),
        agents: who.plugins.clone(),
        by,
        state,
        before: query.before.clone(),
    })
}
