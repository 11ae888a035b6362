//! What is read of runs, where a read can fail and the next one work: a file
//! that can't be opened because too many are.
//!
//! What must stay true: a read that fails once strands no run; what is damaged is
//! not read again and again.

use std::sync::Arc;
use std::time::Duration;

use airlock_journal::StoreError;

use super::event::Block;
use super::session::Session;
use crate::runtime::Runtime;

/// The wait before something is read once more.
pub(super) const READ_AGAIN: Duration = Duration::from_millis(500);

/// Whether the same read may work the next time.
pub(super) fn may_work(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { .. })
}

/// What `read` gives of another run, which `session` needs to go on; `None`: the
/// host stops, or what is read is damaged, which blocks the run.
pub(super) async fn of_another<T>(
    session: &Arc<Session>,
    run: &str,
    read: impl Fn(&Arc<Runtime>) -> Result<T, StoreError>,
) -> Option<T> {
    loop {
        let found = read(&session.runtime.upgrade()?);
        match found {
            Ok(found) => return Some(found),
            Err(_) if session.lock().is_stopped() => return None,
            Err(error) if may_work(&error) => {
                tracing::warn!(run, %error, "a run can't be read, and is read again");
                tokio::time::sleep(READ_AGAIN).await;
            }
            Err(error) => {
                let detail = format!("that of its child {run}: {error}");
                session.block(Block::Journal { detail });
                return None;
            }
        }
    }
}
