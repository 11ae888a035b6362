//! What people do with schedules: make, list, look, change, pause, remove.

use std::sync::Arc;

use airlock_journal::{Batch, StoreError};
use serde_json::{Value, json};

use super::due::CatchUp;
use super::room::COUNT_MAX;
use super::types::{Overlap, Row, ScheduleRequest, ScheduleView};
use super::when::When;
use super::{SPACE, ScheduleError};
use crate::principal::{Principal, Role};
use crate::record;
use crate::rows::{decode, encode};
use crate::runs::{Maker, RunError};
use crate::runtime::Runtime;
use crate::{ids, names};

const CATCH_UP_MAX: usize = 100;
/// Who sees what others made. Callers see their own alone.
const READERS: &[Role] = &[Role::Viewer, Role::Operator];

fn reaches(who: &Principal, row: &Row, others: &[Role]) -> bool {
    who.may_see(&row.agent) && (row.maker.by == who.name || who.has_one_of(others))
}

impl Runtime {
    /// The schedules that `who` may see, by name, without long inputs. Reads them
    /// on this thread, see [`Runtime::looking`].
    ///
    /// # Errors
    /// The store failed.
    pub fn schedules(&self, who: &Principal) -> Result<Vec<ScheduleView>, ScheduleError> {
        let mut views = Vec::new();
        // One at a time: an input may be long.
        for key in self.store().keys(SPACE, b"", None, COUNT_MAX)? {
            let Some(value) = self.store().get(SPACE, &key)? else {
                continue;
            };
            let row: Row = crate::rows::decode(SPACE, &key, &value)?;
            if reaches(who, &row, READERS) {
                views.push(self.shown(&row).in_a_list());
            }
        }
        Ok(views)
    }

    /// One schedule.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub fn schedule(&self, who: &Principal, name: &str) -> Result<ScheduleView, ScheduleError> {
        let row = self.schedule_row(who, name, READERS)?;
        Ok(self.shown(&row))
    }

    /// Names of the schedules that were made or changed last with a token.
    pub(crate) fn schedules_of_token(&self, token: &str) -> Result<Vec<String>, StoreError> {
        let rows: Vec<Row> = crate::rows::all(self.store(), SPACE)?;
        let own = rows.into_iter().filter(|row| row.maker.is_of(token));
        Ok(own.map(|row| row.schedule.name).collect())
    }

    fn shown(&self, row: &Row) -> ScheduleView {
        row.view(ids::now_ms(), self.is_revoked(&row.maker))
    }

    /// Makes a schedule; with `replace` it may be there already. Nothing that was
    /// due before is made up for.
    ///
    /// # Errors
    /// The request makes no sense, the name is taken, or the store failed.
    pub async fn set_schedule(
        self: &Arc<Self>,
        who: &Principal,
        request: ScheduleRequest,
        replace: bool,
    ) -> Result<ScheduleView, ScheduleError> {
        names::schedule_name(&request.name)?;
        let name = request.name.clone();
        let agent = self.checked_schedule(who, &request)?;
        let _turn = self.schedules.turn.lock().await;
        let before = find(self, &name)?;
        match &before {
            Some(row) if !replace || !reaches(who, row, &[Role::Operator]) => {
                return Err(ScheduleError::Exists(name));
            }
            before => self.check_room(who, &request, before.as_ref()).await?,
        }
        let now_ms = ids::now_ms();
        let row = Row {
            schedule: request,
            id: before
                .as_ref()
                .map_or_else(|| ids::new_id("sch_"), |row| row.id.clone()),
            maker: Maker::of(who),
            agent,
            changed_ms: now_ms,
            paused: before.as_ref().is_some_and(|row| row.paused),
            decided_ms: now_ms,
            queued_ms: None,
            run: before.and_then(|row| row.run),
            last: None,
        };
        self.write_schedule(who, "schedule.set", &row, json!(row.schedule))
            .await
    }

    /// Makes a schedule stand still, or lets it go on. What comes due while it
    /// stands still is not made up for.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn pause_schedule(
        self: &Arc<Self>,
        who: &Principal,
        name: &str,
        paused: bool,
    ) -> Result<ScheduleView, ScheduleError> {
        let _turn = self.schedules.turn.lock().await;
        let before = self.schedule_row(who, name, &[Role::Operator])?;
        let now_ms = ids::now_ms();
        let row = Row {
            paused,
            queued_ms: None,
            decided_ms: match before.paused == paused {
                true => before.decided_ms,
                false => before.decided_ms.max(now_ms),
            },
            ..before
        };
        let action = if paused {
            "schedule.pause"
        } else {
            "schedule.resume"
        };
        self.write_schedule(who, action, &row, json!({})).await
    }

    /// Removes a schedule. Runs that it started go on.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn remove_schedule(
        self: &Arc<Self>,
        who: &Principal,
        name: &str,
    ) -> Result<(), ScheduleError> {
        let _turn = self.schedules.turn.lock().await;
        self.schedule_row(who, name, &[Role::Operator])?;
        let record = self.act_of(who, "schedule.remove", name, json!({}))?;
        let batch = Batch::new()
            .delete(SPACE, name.to_owned())
            .op(record::op(&record));
        self.store().commit(batch).await?;
        Ok(())
    }

    async fn write_schedule(
        &self,
        who: &Principal,
        action: &str,
        row: &Row,
        detail: Value,
    ) -> Result<ScheduleView, ScheduleError> {
        let name = row.schedule.name.clone();
        let record = self.act_of(who, action, &name, detail)?;
        let batch = Batch::new()
            .put(SPACE, name, encode(row))
            .op(record::op(&record));
        self.store().commit(batch).await?;
        self.schedules.changed.notify_one();
        Ok(self.shown(row))
    }

    fn schedule_row(
        &self,
        who: &Principal,
        name: &str,
        others: &[Role],
    ) -> Result<Row, ScheduleError> {
        let found = find(self, name)?.filter(|row| reaches(who, row, others));
        found.ok_or_else(|| ScheduleError::NotFound(name.to_owned()))
    }

    /// Refuses what could never be done; gives the agent it is about.
    fn checked_schedule(
        &self,
        who: &Principal,
        request: &ScheduleRequest,
    ) -> Result<String, ScheduleError> {
        let invalid = |text: &str| Err(ScheduleError::Invalid(text.to_owned()));
        When::parse(&request.cron, &request.zone).map_err(ScheduleError::Invalid)?;
        if !(1..=CATCH_UP_MAX).contains(&request.catch_up_max) {
            return invalid("catch_up_max: 1 to 100");
        }
        if request.catch_up != CatchUp::All && request.catch_up_max != 10 {
            return invalid("catch_up_max: it belongs to `\"catch_up\": \"all\"`");
        }
        match (&request.start, &request.signal) {
            (Some(start), None) => Ok(self.checked_start(who, start)?.agent),
            (None, Some(signal)) => {
                let by_id = signal.run_at.is_none() && signal.agent.is_none();
                let Some(run) = signal.run.as_ref().filter(|_| by_id) else {
                    return invalid("signal: a schedule's signal is for a `run`, named by its id");
                };
                if request.overlap != Overlap::default() {
                    return invalid("overlap: it is about runs that are started");
                }
                let payload = crate::runs::check_signal(&signal.name, &signal.payload);
                payload.map_err(ScheduleError::Run)?;
                Ok(self.checked_signal(who, run)?)
            }
            _ => invalid("give either `start` or `signal`"),
        }
    }
}

/// The row of a schedule.
pub(super) fn find(runtime: &Runtime, name: &str) -> Result<Option<Row>, StoreError> {
    let found = runtime.store().get(SPACE, name.as_bytes())?;
    found
        .map(|bytes| decode(SPACE, name.as_bytes(), &bytes))
        .transpose()
}

/// Whether a failure is the request's and stays: not the host's, and not that of a
/// run that is just being taken up.
pub(super) fn is_final(error: &RunError) -> bool {
    !matches!(
        error,
        RunError::Store(_)
            | RunError::NotKept
            | RunError::NotAdmitted(_)
            | RunError::Overloaded(_)
            | RunError::NotTakenUp(_)
    )
}
