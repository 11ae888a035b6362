//! What can be computed from the audit, for listings.

use std::path::PathBuf;
use std::sync::Arc;

use airlock_journal::views::{CallEntry, GrantUsage, ToolStats, Views};
use airlock_journal::{Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::principal::Principal;
use crate::problem::Failure;
use crate::runtime::Runtime;

/// Most calls of one page.
pub const CALLS_PAGE_MAX: usize = 1_000;

/// Which calls.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallsQuery {
    /// Those before the one with this number; absent: from the newest.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most 1,000; 100 unless given.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of recent calls, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CallsPage {
    /// The calls.
    #[schemars(with = "Vec<Value>")]
    pub calls: Vec<CallEntry>,
    /// Pass as `before` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// Why a listing could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The query makes no sense.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The token's scope does not reach it.
    #[error("the token does not reach the plugin `{0}`")]
    OutsideScope(String),
    /// The audit could not be read.
    #[error("reading the audit")]
    Store(#[from] StoreError),
    /// The work was interrupted.
    #[error("the work was interrupted")]
    Interrupted,
}

impl Failure for ViewError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::OutsideScope(_) => "outside-scope",
            Self::Store(_) => "store-failed",
            Self::Interrupted => "interrupted",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::OutsideScope(_) => 403,
            Self::Store(_) | Self::Interrupted => 503,
        }
    }
}

/// The views; asked off the async threads.
pub(crate) struct ViewsHandle(Arc<Views>);

impl ViewsHandle {
    pub(crate) fn open(dir: PathBuf, store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Views::open(dir, store)))
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Views) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let views = Arc::clone(&self.0);
        let answer = tokio::task::spawn_blocking(move || question(&views)).await;
        Ok(answer.map_err(|_| ViewError::Interrupted)??)
    }
}

impl Runtime {
    /// What plugins used of their grants.
    ///
    /// # Errors
    /// Outside the token's scope, or the audit could not be read.
    pub async fn usage(
        &self,
        who: &Principal,
        plugin: Option<String>,
    ) -> Result<Vec<GrantUsage>, ViewError> {
        if let Some(plugin) = plugin.as_ref().filter(|plugin| !who.may_see(plugin)) {
            return Err(ViewError::OutsideScope(plugin.clone()));
        }
        let mut usage = self
            .views
            .ask(move |views| views.usage(plugin.as_deref()))
            .await?;
        usage.retain(|usage| who.may_see(&usage.plugin));
        Ok(usage)
    }

    /// How the calls of each tool went.
    ///
    /// # Errors
    /// The audit could not be read.
    pub async fn call_stats(&self, who: &Principal) -> Result<Vec<ToolStats>, ViewError> {
        let mut stats = self.views.ask(Views::stats).await?;
        stats.retain(|stats| who.may_see(&stats.plugin));
        Ok(stats)
    }

    /// Recent calls, of a token with a scope those within it.
    ///
    /// # Errors
    /// The query makes no sense, or the audit could not be read.
    pub async fn calls(&self, who: &Principal, query: CallsQuery) -> Result<CallsPage, ViewError> {
        let limit = query.limit.unwrap_or(100);
        if !(1..=CALLS_PAGE_MAX).contains(&limit) {
            return Err(ViewError::BadRequest("`limit` is 1 to 1000"));
        }
        let (before, who) = (query.before, who.clone());
        let calls = self
            .views
            .ask(move |views| visible_calls(views, &who, before, limit))
            .await?;
        let full = calls.len() == limit;
        let next_before = calls
            .last()
            .map(|call| call.number)
            .filter(|last| full && *last > 0);
        Ok(CallsPage { calls, next_before })
    }

    /// Throws the views away and computes them again; returns from how many
    /// audit records.
    ///
    /// # Errors
    /// The audit could not be read.
    pub async fn rebuild_views(&self) -> Result<u64, ViewError> {
        self.views.ask(Views::rebuild).await
    }
}

/// Up to `limit` calls that the token may see, however many others lie between.
fn visible_calls(
    views: &Views,
    who: &Principal,
    mut before: Option<u64>,
    limit: usize,
) -> Result<Vec<CallEntry>, StoreError> {
    let mut visible = Vec::new();
    let mut page_max = limit;
    loop {
        let page = views.calls(before, page_max)?;
        let last = page.last().map(|call| call.number);
        let more = page.len() == page_max;
        visible.extend(page.into_iter().filter(|call| who.may_see(&call.plugin)));
        visible.truncate(limit);
        if visible.len() == limit || !more {
            return Ok(visible);
        }
        (before, page_max) = (last, CALLS_PAGE_MAX);
    }
}
