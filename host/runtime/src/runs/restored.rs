//! Runs of a backup that was restored: what they did after it was made may have
//! happened, and their journals don't say.
//!
//! What must stay true: none of them goes on before a person looked at it.

use airlock_journal::StoreError;

use super::event::{Block, Event, Record};
use super::fold::RunState;
use super::rows::{self, OpenRow, Parked};
use super::types::RunStatus;
use crate::ids;
use crate::runtime::Runtime;

/// Blocks every run that has not ended.
pub(crate) async fn block_all(runtime: &Runtime, made_at_ms: u64) -> Result<(), StoreError> {
    let mut open = Vec::new();
    rows::each_open(runtime.store(), |id, _| open.push(id))?;
    for id in open {
        let records = match rows::all(runtime.store(), &id) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(run = id, %error, "a run's journal can't be read");
                continue;
            }
        };
        let mut state = RunState::default();
        for record in &records {
            state.apply(record);
        }
        let why = Block::Restored { made_at_ms };
        if state.blocked.as_ref() != Some(&why) {
            block(runtime, &id, state, why).await?;
        }
    }
    Ok(())
}

async fn block(
    runtime: &Runtime,
    id: &str,
    mut state: RunState,
    why: Block,
) -> Result<(), StoreError> {
    let blocked = Record {
        at_ms: ids::now_ms().max(state.last_ms),
        event: Event::Blocked { why },
    };
    let append = rows::append(id, state.len, std::slice::from_ref(&blocked));
    state.apply(&blocked);
    let parked = Parked {
        has_children: false,
        halted: false,
        wake_ms: None,
        status: RunStatus::Blocked,
    };
    let row = OpenRow {
        parked: Some(parked),
    };
    let open = rows::put_open(id, Some(&row));
    runtime
        .commit(vec![append, rows::put(&rows::row(id, &state)), open])
        .await
}
