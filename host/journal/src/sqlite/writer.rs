//! The one writer. It drains its queue into one transaction, so that one sync
//! pays for every caller that waited; a refused batch is rolled back alone. Any
//! failed write, commit, sync or checkpoint poisons the store for good.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::rows::{Heads, SqlRows, sql};
use super::schema::{self, Mode};
use crate::rows::{self, Done, Work};
use crate::store::{Op, StoreError};

/// Requests that share one sync at most.
const GROUP_MAX: usize = 1024;
/// Written pages after which the log is copied into the database in the
/// background, and after which the writer itself must do it.
const CHECKPOINT_PAGES: u64 = 1_000;
const CHECKPOINT_PAGES_MAX: u64 = 16_000;

/// One request with the way back to its caller.
#[derive(Debug)]
pub(super) struct Request {
    pub work: Work,
    pub reply: oneshot::Sender<Result<Done, StoreError>>,
}

/// The first failure, shared by everybody who must know.
#[derive(Debug, Clone, Default)]
pub(super) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.0.get() {
            None => Ok(()),
            Some(_) => Err(self.error()),
        }
    }

    /// What everybody gets who asks a poisoned store for a commit.
    pub(super) fn error(&self) -> StoreError {
        let cause = self.0.get().map_or("unknown", String::as_str);
        StoreError::Poisoned {
            cause: cause.to_owned(),
        }
    }

    pub(super) fn set(&self, error: &dyn std::error::Error) {
        let cause = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        if self.0.set(cause.clone()).is_ok() {
            tracing::error!(
                cause,
                "the store is poisoned: nothing is acknowledged any more"
            );
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    conn: Connection,
    queue: mpsc::UnboundedReceiver<Request>,
    poison: Poison,
    checkpointer: Checkpointer,
    pages: u64,
    heads: Heads,
}

/// What each request of a group gets.
type Outcomes = Vec<Result<Done, StoreError>>;

impl Writer {
    pub(super) fn spawn(
        conn: Connection,
        file: &Path,
        queue: mpsc::UnboundedReceiver<Request>,
        poison: Poison,
    ) -> Result<JoinHandle<()>, StoreError> {
        let checkpointer = Checkpointer::spawn(file, poison.clone())?;
        let mut writer = Self {
            conn,
            queue,
            poison,
            checkpointer,
            pages: 0,
            heads: Heads::default(),
        };
        std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::io("starting the writer thread", source))
    }

    /// Serves until every sender is gone, then leaves an empty log behind.
    fn run(&mut self) {
        let mut group = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            group.push(first);
            while group.len() < GROUP_MAX
                && let Ok(next) = self.queue.try_recv()
            {
                group.push(next);
            }
            self.serve(&mut group);
            self.checkpoint_if_due();
        }
        self.checkpointer.stop();
        if self.poison.check().is_ok()
            && let Err(error) = checkpoint(&self.conn, "TRUNCATE")
        {
            self.poison.set(&error);
        }
    }

    fn serve(&mut self, group: &mut Vec<Request>) {
        let outcomes = self.poison.check().and_then(|()| {
            self.transaction(group).inspect_err(|error| {
                self.poison.set(error);
                // It may be that nothing is open any more; the store is unusable either way.
                let _ = self.conn.execute_batch("ROLLBACK");
            })
        });
        match outcomes {
            Ok(outcomes) => {
                for (request, outcome) in group.drain(..).zip(outcomes) {
                    // A caller that stopped waiting is no failure.
                    let _ = request.reply.send(outcome);
                }
            }
            Err(_) => {
                for request in group.drain(..) {
                    let _ = request.reply.send(Err(self.poison.error()));
                }
            }
        }
    }

    /// Runs the group in one transaction. Returns what each request gets once
    /// all is durable, or the failure that poisons the store.
    fn transaction(&mut self, group: &[Request]) -> Result<Outcomes, StoreError> {
        // Few are refused, and most of those before they changed a row.
        match self.attempt(group, group.len() == 1)? {
            Some(outcomes) => Ok(outcomes),
            None => {
                let outcomes = self.attempt(group, true)?;
                outcomes.ok_or_else(lost)
            }
        }
    }

    /// One transaction. Unless each can be undone alone (`apart`), it is given up
    /// where a request was refused that had changed rows: `None`, and nothing
    /// happened.
    fn attempt(&mut self, group: &[Request], apart: bool) -> Result<Option<Outcomes>, StoreError> {
        self.statement("BEGIN IMMEDIATE")?;
        let mut rows = SqlRows::new(&self.conn, &self.heads);
        let mut outcomes = Vec::with_capacity(group.len());
        let savepoints = apart && group.len() > 1;
        for request in group {
            let outcome = self.batch(&mut rows, &request.work, savepoints)?;
            if outcome.is_err() && rows.has_changed() && !apart {
                drop(rows);
                self.statement("ROLLBACK")?;
                return Ok(None);
            }
            rows.settle(outcome.is_ok());
            outcomes.push(outcome);
        }
        if outcomes.iter().any(Result::is_ok) {
            let heads = rows.write_heads()?;
            self.statement("COMMIT")?;
            self.heads.became(heads);
            let done = group.iter().zip(&outcomes);
            let done = done.filter(|(_, outcome)| outcome.is_ok());
            self.pages += done.map(|(request, _)| pages(&request.work)).sum::<u64>();
        } else {
            self.statement("ROLLBACK")?;
        }
        Ok(Some(outcomes))
    }

    /// One request of a group. Refused, it leaves nothing behind where it has a
    /// savepoint; the outer error is everybody's.
    fn batch(
        &self,
        rows: &mut SqlRows<'_>,
        work: &Work,
        savepoint: bool,
    ) -> Result<Result<Done, StoreError>, StoreError> {
        if savepoint {
            self.statement("SAVEPOINT batch")?;
        }
        let outcome = rows::perform(rows, work);
        if let Err(error) = &outcome
            && !is_of_this_batch(error)
        {
            return Err(outcome.err().unwrap_or_else(lost));
        }
        if savepoint {
            if outcome.is_err() {
                self.statement("ROLLBACK TO batch")?;
            }
            self.statement("RELEASE batch")?;
        }
        Ok(outcome)
    }

    fn statement(&self, text: &'static str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(text)
            .and_then(|mut statement| statement.execute(()))
            .map(drop)
            .map_err(|source| sql(text, source))
    }

    /// The bulk of the log is copied in the background. When that is done, the
    /// writer copies the little that came since, which lets SQLite begin the log
    /// anew: otherwise it would grow for as long as commits keep coming.
    fn checkpoint_if_due(&mut self) {
        if self.poison.check().is_err() {
            return;
        }
        let ready = self.checkpointer.take_finished();
        if ready || self.pages >= CHECKPOINT_PAGES_MAX {
            self.pages = 0;
            if let Err(error) = checkpoint(&self.conn, "PASSIVE") {
                self.poison.set(&error);
            }
        } else if self.pages >= CHECKPOINT_PAGES {
            self.checkpointer.request();
        }
    }
}

/// Whether the failure is the batch's own: damage that it met stops it, not
/// everybody else. What SQLite reports as damage is the whole database's.
fn is_of_this_batch(error: &StoreError) -> bool {
    error.is_refusal()
        || matches!(error, StoreError::Corrupt { place } if !place.starts_with("the database"))
}

fn lost() -> StoreError {
    StoreError::corrupt("the database: a failure without a cause")
}

/// About how many pages of the log a piece of work takes.
fn pages(work: &Work) -> u64 {
    let Work::Batch(batch) = work else { return 1 };
    let bytes = |op: &Op| match op {
        Op::Put { value, .. } => value.len(),
        // Its pages are written again; how many shows only there.
        Op::DropStream { .. } => 64 << 10,
        Op::Append { records, .. } => records.iter().map(bytes::Bytes::len).sum(),
        _ => 0,
    };
    let each = |op: &Op| 2 + bytes(op) as u64 / 4096;
    batch.ops.iter().map(each).sum()
}

/// Copies the log into the database and syncs both.
pub(super) fn checkpoint(conn: &Connection, mode: &str) -> Result<(), StoreError> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |_| Ok(()))
        .map_err(|source| StoreError::io("copying the log into the database", source))
}

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const FINISHED: u8 = 2;

/// Copies the log in the background, on a connection of its own.
#[derive(Debug)]
struct Checkpointer {
    go: Option<SyncSender<()>>,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    fn spawn(file: &Path, poison: Poison) -> Result<Self, StoreError> {
        let (go, requests) = sync_channel(1);
        let state = Arc::new(AtomicU8::new(IDLE));
        let (file, shared) = (file.to_owned(), Arc::clone(&state));
        let thread = std::thread::Builder::new()
            .name("journal-checkpoint".to_owned())
            .spawn(move || Self::serve(&file, &requests, &shared, &poison))
            .map_err(|source| StoreError::io("starting the checkpoint thread", source))?;
        Ok(Self {
            go: Some(go),
            state,
            thread: Some(thread),
        })
    }

    fn serve(file: &Path, requests: &Receiver<()>, state: &AtomicU8, poison: &Poison) {
        let mut conn = None;
        while requests.recv().is_ok() {
            let result = match &conn {
                Some(conn) => checkpoint(conn, "PASSIVE"),
                None => schema::connect(file, Mode::Write)
                    .and_then(|fresh| checkpoint(conn.insert(fresh), "PASSIVE")),
            };
            if let Err(error) = result {
                poison.set(&error);
                return;
            }
            state.store(FINISHED, Ordering::Release);
        }
    }

    fn request(&self) {
        let idle = self
            .state
            .compare_exchange(IDLE, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        if let (Ok(_), Some(go)) = (idle, &self.go) {
            // Full or gone: the thread is busy or has poisoned the store.
            let _ = go.try_send(());
        }
    }

    fn take_finished(&self) -> bool {
        self.state
            .compare_exchange(FINISHED, IDLE, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn stop(&mut self) {
        self.go = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}
