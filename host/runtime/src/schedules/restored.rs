//! Schedules of a backup that was restored: the host that was lost may have fired
//! since the backup was made, and the backup does not say.
//!
//! What must stay true: what came due before the restore is not made up for, and
//! that is on record.

use airlock_journal::audit::AuditRecord;
use airlock_journal::{Batch, Store, StoreError};
use serde_json::json;

use super::SPACE;
use super::fire::{advanced, key};
use super::types::{Did, Fired, Row};
use crate::record;
use crate::rows::{all, encode};

/// What decides every due time up to `now_ms` as missed, where there was one.
///
/// # Errors
/// The schedules can't be read.
pub(crate) fn passed_over(
    store: &dyn Store,
    made_at_ms: u64,
    now_ms: u64,
) -> Result<Batch, StoreError> {
    let rows: Vec<Row> = all(store, SPACE)?;
    let came_due = |row: &Row| {
        let next = row.when().ok().and_then(|when| when.next(row.decided_ms));
        let due = next.is_some_and(|next| next <= now_ms);
        !row.paused && (due || row.queued_ms.is_some())
    };
    Ok(rows
        .into_iter()
        .filter(came_due)
        .fold(Batch::new(), |batch, row| {
            let queued_ms = row.queued_ms;
            let fired = Fired {
                due_ms: now_ms,
                at_ms: now_ms,
                what: Did::Missed,
                run: None,
                detail: Some("all that came due since the backup that was restored".to_owned()),
            };
            let none = Row {
                queued_ms: None,
                ..row
            };
            let row = advanced(none, fired);
            let detail = json!({ "restored": made_at_ms, "queued_ms": queued_ms });
            let record = AuditRecord::now(&*row.maker.by, "schedule.missed", &*row.schedule.name);
            let record = record.detail(detail);
            let batch = batch.put(SPACE, key(&row), encode(&row));
            batch.op(record::op(&record))
        }))
}
