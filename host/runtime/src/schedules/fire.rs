//! Fires what is due, for as long as this process looks after the runs.
//!
//! What must stay true: a due time has its effect once, whatever crashes: the
//! run, under an id that the due time gives, or the signal is one write with the
//! schedule moving on. What failed for a reason of its own is on record, and is
//! not tried again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use airlock_journal::audit::AuditRecord;
use airlock_journal::{Batch, StoreError};
use serde_json::{Value, json};

use super::admin::{find, is_final};
use super::due::due;
use super::interval;
use super::types::{Did, Fired, Overlap, Row};
use super::{SPACE, ScheduleError};
use crate::ids;
use crate::record;
use crate::rows::encode;
use crate::runs::RunError;
use crate::runtime::Runtime;
use crate::stop::NotReady;

/// Looked at least this often: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);
/// Looked this often while something waits for a run to end, or for a halt to
/// be lifted.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// Fires what is due until the runtime is gone or stops.
pub(crate) async fn follow(weak: Weak<Runtime>) {
    loop {
        let Some(runtime) = weak.upgrade() else {
            return;
        };
        let wait = match runtime.ready() {
            Ok(()) => runtime.fire_schedules(ids::now_ms()).await,
            Err(NotReady::Halted) => LOOK_SOON,
            Err(_) => return,
        };
        let schedules = Arc::clone(&runtime.schedules);
        drop(runtime);
        let _ = tokio::time::timeout(wait, schedules.changed.notified()).await;
    }
}

impl Runtime {
    /// Fires what is due at `now_ms`, and gives how long nothing more is. The
    /// server does it by itself; for tests, which set the time.
    pub async fn fire_schedules(self: &Arc<Self>, now_ms: u64) -> Duration {
        let names = match self.store().range(SPACE, b"", None, usize::MAX) {
            Ok(rows) => rows.into_iter().map(|(name, _)| name),
            Err(error) => {
                tracing::error!(%error, "schedules can't be read");
                return LOOK;
            }
        };
        let mut wait = LOOK;
        for name in names {
            let name = String::from_utf8_lossy(&name).into_owned();
            match self.fire_schedule(&name, now_ms).await {
                Ok(again) => wait = wait.min(again),
                Err(error) => {
                    match &error {
                        // It is tried again, and fires late.
                        ScheduleError::Run(RunError::NotAdmitted(_) | RunError::Overloaded(_)) => {
                            tracing::debug!(schedule = name, %error, "a schedule waits");
                        }
                        _ => tracing::error!(schedule = name, %error, "a schedule did not fire"),
                    }
                    wait = wait.min(LOOK_SOON);
                }
            }
        }
        wait
    }

    async fn fire_schedule(
        self: &Arc<Self>,
        name: &str,
        now_ms: u64,
    ) -> Result<Duration, ScheduleError> {
        let _turn = self.schedules.turn.lock().await;
        let Some(mut row) = find(self, name)?.filter(|row| !row.paused) else {
            return Ok(LOOK);
        };
        let when = row.when().map_err(ScheduleError::Invalid)?;
        if let Some(queued) = row.queued_ms
            && !self.is_under_way(&row)?
        {
            row = self.act(row, queued, now_ms).await?;
        }
        let request = &row.schedule;
        let due = due(
            &when,
            request.catch_up,
            request.catch_up_max,
            row.decided_ms,
            now_ms,
        );
        if due.passed_over > 0 {
            let decided_ms = due.fire.first().map_or(due.decided_ms, |first| first - 1);
            row = self
                .passed_over(row, due.passed_over, decided_ms, now_ms)
                .await?;
        }
        for due_ms in due.fire {
            row = self.fire(row, due_ms, now_ms).await?;
        }
        if row.queued_ms.is_some() {
            return Ok(LOOK_SOON);
        }
        let next = when.next(row.decided_ms.max(now_ms));
        let wait = next.map_or(LOOK, |next| Duration::from_millis(next - now_ms));
        Ok(wait.min(LOOK))
    }

    /// Decides one due time.
    async fn fire(
        self: &Arc<Self>,
        row: Row,
        due_ms: u64,
        now_ms: u64,
    ) -> Result<Row, ScheduleError> {
        let overlap = row.schedule.overlap;
        let waits = row.queued_ms.is_some() || self.is_under_way(&row)?;
        if overlap == Overlap::Allow || !waits || self.is_revoked(&row.maker) {
            return self.act(row, due_ms, now_ms).await;
        }
        let queue = match overlap {
            Overlap::Queue => row.queued_ms.is_none(),
            Overlap::CancelPrevious => true,
            Overlap::Skip | Overlap::Allow => false,
        };
        if overlap == Overlap::CancelPrevious {
            self.cancel_previous(&row).await?;
        }
        let queued_ms = if queue { Some(due_ms) } else { row.queued_ms };
        let did = if queue { Did::Queued } else { Did::Skipped };
        let fired = Fired {
            due_ms,
            at_ms: now_ms,
            what: did,
            run: None,
            detail: None,
        };
        self.move_on(Row { queued_ms, ..row }, fired).await
    }

    /// Starts the run or gives the signal for a due time.
    async fn act(
        self: &Arc<Self>,
        row: Row,
        due_ms: u64,
        now_ms: u64,
    ) -> Result<Row, ScheduleError> {
        let next = Row {
            queued_ms: row.queued_ms.filter(|queued| *queued != due_ms),
            ..row.clone()
        };
        let fired = |what, run, detail| Fired {
            due_ms,
            at_ms: now_ms,
            what,
            run,
            detail,
        };
        if self.is_revoked(&row.maker) {
            let why = "the token that made it, or changed it last, was revoked".to_owned();
            return self
                .move_on(next, fired(Did::Failed, None, Some(why)))
                .await;
        }
        let acted = match &row.schedule.signal {
            Some(_) => {
                let fired = fired(Did::Signalled, None, None);
                self.give_signal(&row, advanced(next.clone(), fired)).await
            }
            None => {
                let run = row.run_id(due_ms);
                let fired = fired(Did::Started, Some(run.clone()), None);
                let next = Row {
                    run: Some(run.clone()),
                    ..advanced(next.clone(), fired)
                };
                self.start_due(&row, next, run, due_ms).await
            }
        };
        match acted {
            Ok(row) => Ok(row),
            Err(error) if is_final(&error) => {
                let fired = fired(Did::Failed, None, Some(error.to_string()));
                self.move_on(next, fired).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn start_due(
        self: &Arc<Self>,
        row: &Row,
        next: Row,
        run: String,
        due_ms: u64,
    ) -> Result<Row, RunError> {
        let who = row.maker.principal();
        let start = row.schedule.start.clone().unwrap_or_default();
        let mut request = self.checked_start(&who, &start)?;
        if let Ok(when) = row.when() {
            let agent = self.registry.get(&request.agent);
            let agent = agent
                .as_ref()
                .and_then(|(_, now)| now.manifest.agent.as_ref());
            let schema = agent.map(|agent| &agent.input_schema);
            interval::fill(&mut request.input, schema, &when, due_ms);
        }
        let beside = Batch::new().check(SPACE, key(row), Some(encode(row))).put(
            SPACE,
            key(row),
            encode(&next),
        );
        let detail = json!({ "schedule": row.schedule.name, "due_ms": due_ms });
        let started = self.start_run_as(&who, run.clone(), request, detail, beside);
        match started.await {
            Ok(_) => Ok(next),
            // The clock was set back and the schedule changed: it was started.
            Err(RunError::Store(StoreError::Conflict { .. })) if self.has_run(&run)? => {
                let batch = Batch::new().put(SPACE, key(row), encode(&next));
                self.store().commit(batch).await?;
                Ok(next)
            }
            Err(error) => Err(error),
        }
    }

    async fn give_signal(self: &Arc<Self>, row: &Row, next: Row) -> Result<Row, RunError> {
        let Some(signal) = &row.schedule.signal else {
            return Ok(next);
        };
        let run = signal.run.as_deref().unwrap_or_default();
        let who = row.maker.principal();
        let detail = json!({ "schedule": row.schedule.name });
        let beside = Batch::new().put(SPACE, key(row), encode(&next));
        self.signal_with(&who, run, &signal.name, &signal.payload, detail, beside)
            .await?;
        Ok(next)
    }

    /// Writes down that nothing was set going.
    async fn move_on(&self, row: Row, fired: Fired) -> Result<Row, ScheduleError> {
        let detail = json!({ "due_ms": fired.due_ms, "detail": fired.detail });
        let action = format!("schedule.{}", fired.what.name());
        let row = advanced(row, fired);
        self.note(&row, &action, detail).await?;
        Ok(row)
    }

    async fn passed_over(
        &self,
        row: Row,
        count: u64,
        decided_ms: u64,
        now_ms: u64,
    ) -> Result<Row, ScheduleError> {
        let fired = Fired {
            due_ms: decided_ms,
            at_ms: now_ms,
            what: Did::Missed,
            run: None,
            detail: Some(format!("{count} due times")),
        };
        let row = advanced(row, fired);
        self.note(&row, "schedule.missed", json!({ "count": count }))
            .await?;
        Ok(row)
    }

    async fn note(&self, row: &Row, action: &str, detail: Value) -> Result<(), StoreError> {
        let record = AuditRecord::now(&*row.maker.by, action, &*row.schedule.name).detail(detail);
        let batch = Batch::new()
            .put(SPACE, key(row), encode(row))
            .op(record::op(&record));
        self.store().commit(batch).await.map(drop)
    }

    /// Whether the run that the schedule started last, or the one that goes on in
    /// its place, has not ended.
    fn is_under_way(&self, row: &Row) -> Result<bool, StoreError> {
        let Some(run) = &row.run else {
            return Ok(false);
        };
        let run = self.current_run(run)?;
        Ok(run.is_some_and(|run| run.is_open()))
    }

    pub(crate) fn has_run(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.current_run(id)?.is_some())
    }

    async fn cancel_previous(self: &Arc<Self>, row: &Row) -> Result<(), ScheduleError> {
        let previous = row.run.as_ref().map(|run| self.current_run(run));
        let Some(run) = previous.transpose()?.flatten() else {
            return Ok(());
        };
        let why = format!("schedule {}: the next one is due", row.schedule.name);
        match self.cancel_run(&row.maker.principal(), &run.id, &why).await {
            Err(error) if !is_final(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

pub(super) fn key(row: &Row) -> String {
    row.schedule.name.clone()
}

pub(super) fn advanced(row: Row, fired: Fired) -> Row {
    Row {
        decided_ms: row.decided_ms.max(fired.due_ms),
        last: Some(fired),
        ..row
    }
}
