//! Retention: ended runs are removed, by a person or by time.
//!
//! What must stay true: a run that has not ended is never touched, nor a child of
//! one, which its parent may look for; what is removed is gone with its journal
//! and its id for good, and on record.

use std::sync::Arc;
use std::time::Duration;

use airlock_journal::audit::AuditRecord;
use airlock_journal::{Batch, Store, StoreError};
use airlock_memory::MemoryError;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RunError;
use super::event::End;
use super::reads;
use super::rows::{self, Row};
use super::types::RunDetail;
use crate::principal::{Principal, Role};
use crate::rows::{decode, encode};
use crate::runtime::Runtime;
use crate::{ids, names};

/// What is left of a pruned run: its id, which no other run gets.
pub(super) const PRUNED: &str = "runs-pruned";

/// Rows that are read at once.
const PAGE: usize = 500;
/// Records, and runs, that one write removes.
const BATCH_RECORDS: u64 = 5_000;
const BATCH_RUNS: usize = 100;

/// Which ended runs are removed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Those that ended so long ago, seconds, at least 60.
    pub older_than_s: u64,
    /// Of this agent alone.
    #[serde(default)]
    pub agent: Option<String>,
    /// Only say how many.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the record.
    #[serde(default)]
    pub why: String,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PrunedRuns {
    /// Runs.
    pub runs: u64,
    /// Records of their journals.
    pub records: u64,
    /// Nothing was removed.
    pub dry_run: bool,
}

/// The note of a run that was removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) agent: String,
    pub(super) by: String,
    pub(super) pruned_ms: u64,
    /// The run that goes on in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// One write.
#[derive(Default)]
struct Removal {
    batch: Batch,
    ids: Vec<String>,
    /// Runs of which the notes go, with the last of those that continued them.
    notes: Vec<String>,
    records: u64,
}

impl Removal {
    fn is_full(&self) -> bool {
        self.ids.len() >= BATCH_RUNS || self.records >= BATCH_RECORDS
    }

    fn add(&mut self, row: Row, value: Bytes, records: u64, gone: &Gone) {
        let batch = std::mem::take(&mut self.batch)
            .check(rows::SPACE, row.id.clone(), Some(value))
            .delete(rows::SPACE, row.id.clone())
            .drop_stream(rows::stream(&row.id));
        self.batch = batch.put(PRUNED, row.id.clone(), encode(gone));
        self.ids.push(row.id);
        self.records += records;
    }
}

impl Runtime {
    /// Removes ended runs.
    ///
    /// # Errors
    /// The request makes no sense, or the store failed: what was removed until
    /// then is gone and on record.
    pub async fn prune_runs(
        self: &Arc<Self>,
        who: &Principal,
        request: PruneRequest,
    ) -> Result<PrunedRuns, RunError> {
        names::why(&request.why).map_err(|error| RunError::Invalid(error.to_string()))?;
        if request.older_than_s < 60 {
            let detail = "older_than_s: at least 60".to_owned();
            return Err(RunError::Invalid(detail));
        }
        let detail = json!({
            "older_than_s": request.older_than_s, "agent": request.agent, "why": request.why,
        });
        if !request.dry_run {
            let record = self.act_of(who, "runs.prune", "runs", detail)?;
            self.audit.append(&record).await?;
        }
        self.prune(who, &request).await
    }

    /// Removes the runs whose time is over, if they are not kept for ever. The
    /// server does it by itself; for tests, which don't wait.
    pub async fn prune_by_time(self: &Arc<Self>) {
        let Some(keep) = self.config().runs_keep else {
            return;
        };
        // Another process may look after the runs of this store.
        if !self.runs.is_owner() {
            return;
        }
        let request = PruneRequest {
            older_than_s: keep.max(Duration::from_secs(60)).as_secs(),
            agent: None,
            dry_run: false,
            why: String::new(),
        };
        let who = Principal::local_admin("runs_keep");
        match self.prune(&who, &request).await {
            Ok(pruned) if pruned.runs > 0 => {
                tracing::info!(pruned.runs, pruned.records, "old runs were removed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old runs were not removed"),
        }
    }

    async fn prune(
        self: &Arc<Self>,
        who: &Principal,
        request: &PruneRequest,
    ) -> Result<PrunedRuns, RunError> {
        let now_ms = ids::now_ms();
        let until_ms = now_ms.saturating_sub(request.older_than_s.saturating_mul(1_000));
        let mut pruned = PrunedRuns {
            runs: 0,
            records: 0,
            dry_run: request.dry_run,
        };
        let _turn = self.runs.prune_turn.lock().await;
        let (mut removal, mut from) = (Removal::default(), Vec::new());
        loop {
            let page = self.store().range(rows::SPACE, &from, None, PAGE)?;
            let last = page.len() < PAGE;
            for (key, value) in page {
                from = [&key[..], b"\0"].concat();
                let found = decode(rows::SPACE, &key, &value).and_then(|row| {
                    let goes = is_over(&row, who, request, until_ms) && !self.is_needed(&row)?;
                    goes.then(|| self.going(row, now_ms)).transpose()
                });
                let (row, records, gone) = match found {
                    Ok(Some(found)) => found,
                    Ok(None) => continue,
                    // It stays, and keeps no other.
                    Err(error) if !reads::may_work(&error) => {
                        tracing::error!(%error, "a run can't be read, and is not removed");
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                pruned.runs += 1;
                pruned.records += records;
                if !request.dry_run {
                    if gone.next.is_none() {
                        let first = rows::chain_first(self.store(), &row.id)?;
                        removal.notes.push(first);
                    }
                    removal.add(row, value, records, &gone);
                }
                if removal.is_full() {
                    self.remove(who, std::mem::take(&mut removal)).await?;
                }
            }
            if last {
                self.remove(who, removal).await?;
                return Ok(pruned);
            }
        }
    }

    /// Removes what runs wrote down for themselves. Before they go themselves, so that
    /// whatever fails leaves no notes without their run.
    async fn remove_notes(&self, removal: &Removal) -> Result<(), StoreError> {
        let forgotten = self.forget_runs(&removal.ids, &removal.notes).await;
        forgotten.map_err(|error| match error {
            MemoryError::Store(error) => error,
            error => StoreError::io("removing notes of runs", std::io::Error::other(error)),
        })
    }

    /// A run that is to go: how many records it has, and what stays of it.
    fn going(&self, row: Row, now_ms: u64) -> Result<(Row, u64, Gone), StoreError> {
        let records = self.store().head(&rows::stream(&row.id))?.len;
        let gone = Gone {
            agent: row.agent.clone(),
            by: row.by.clone(),
            pruned_ms: now_ms,
            next: self.successor(&row)?,
        };
        Ok((row, records, gone))
    }

    /// Whether it is the child of a run that has not ended.
    fn is_needed(&self, row: &Row) -> Result<bool, StoreError> {
        let first = self.store().read(&rows::stream(&row.id), 0, 1)?.pop();
        let first: Option<Value> = first
            .map(|record| decode(rows::SPACE, row.id.as_bytes(), &record.payload))
            .transpose()?;
        let parent = first
            .as_ref()
            .and_then(|first| first["parent"]["run"].as_str());
        let parent = parent.map(|parent| self.current_run(parent)).transpose()?;
        Ok(parent.flatten().is_some_and(|parent| parent.is_open()))
    }

    async fn remove(&self, who: &Principal, removal: Removal) -> Result<(), RunError> {
        if removal.ids.is_empty() {
            return Ok(());
        }
        // Others may have had the turn before, and runs are many.
        self.check_holds(who)?;
        self.remove_notes(&removal).await?;
        let detail = json!({ "runs": removal.ids, "records": removal.records });
        let record = AuditRecord::now(&*who.name, "run.prune", "runs").detail(detail);
        self.audit.commit(removal.batch, &record).await?;
        Ok(())
    }

    /// Why there is no run: it was removed, or there never was one that `who` may
    /// see.
    pub(super) fn no_run(
        &self,
        who: &Principal,
        id: &str,
        others: &[Role],
    ) -> Result<RunError, StoreError> {
        let gone = gone(self.store(), id)?;
        let seen = gone.is_some_and(|gone| {
            who.may_see(&gone.agent) && (gone.by == who.name || who.has_one_of(others))
        });
        Ok(match seen {
            true => RunError::Pruned(id.to_owned()),
            false => RunError::NotFound(id.to_owned()),
        })
    }

    /// The agent of a run, of one that was removed too.
    pub(crate) fn agent_of(&self, id: &str) -> Result<Option<String>, StoreError> {
        let key = id.as_bytes();
        if let Some(row) = self.store().get(rows::SPACE, key)? {
            let row: Row = decode(rows::SPACE, key, &row)?;
            return Ok(Some(row.agent));
        }
        Ok(gone(self.store(), id)?.map(|gone| gone.agent))
    }

    /// Of the runs before, after and above this one, those that were removed.
    pub(super) fn pruned_links(&self, run: &RunDetail) -> Result<Vec<String>, StoreError> {
        let next = match &run.end {
            Some(End::Continued { run }) => Some(run),
            _ => None,
        };
        let mut pruned = Vec::new();
        let from = run.forked_from.as_ref().map(|from| &from.run);
        let before = run.continues.iter().chain(from).chain(&run.parent);
        for link in before.chain(next) {
            if gone(self.store(), link)?.is_some() {
                pruned.push(link.clone());
            }
        }
        Ok(pruned)
    }
}

pub(super) fn gone(store: &dyn Store, id: &str) -> Result<Option<Gone>, StoreError> {
    let found = store.get(PRUNED, id.as_bytes())?;
    found
        .map(|value| decode(PRUNED, id.as_bytes(), &value))
        .transpose()
}

fn is_over(row: &Row, who: &Principal, request: &PruneRequest, until_ms: u64) -> bool {
    let wanted = request
        .agent
        .as_ref()
        .is_none_or(|agent| *agent == row.agent);
    !row.is_open() && row.updated_ms <= until_ms && wanted && who.may_see(&row.agent)
}
