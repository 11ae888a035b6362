//! A store over another one, of which a test holds up writes and fails reads.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use airlock_journal::decorator::Decorator;
use airlock_journal::store::{BoxFuture, Committed, Head};
use airlock_journal::{Batch, Op, Record, Store, StoreError};
use tokio::sync::Semaphore;

use super::*;

/// The store, and what happens to its users.
pub struct Gated {
    inner: Arc<MemoryStore>,
    /// The space whose next write is held up once it is durable.
    holds: Mutex<Option<&'static str>>,
    /// How large the write is that is held up.
    holds_bytes: Mutex<Option<usize>>,
    /// The event of a run that is held up once it is durable.
    holds_event: Mutex<Option<&'static str>>,
    /// One for each write that may go on.
    lets_go: Semaphore,
    /// Reads of a stream that fail.
    fails: Mutex<HashMap<String, u32>>,
    /// How long each write takes.
    takes: Mutex<Duration>,
    /// Writes that are durable.
    writes: AtomicU64,
    /// A stream that is read slowly, and the thread that takes longest.
    reads_slowly: Mutex<Option<(String, ThreadId)>>,
    /// A stream that is removed after a part of it was read.
    removes: Mutex<Option<String>>,
}

impl Gated {
    pub fn on(disk: &Disk) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::on(disk),
            holds: Mutex::default(),
            holds_bytes: Mutex::default(),
            holds_event: Mutex::default(),
            lets_go: Semaphore::new(0),
            fails: Mutex::default(),
            takes: Mutex::default(),
            writes: AtomicU64::new(0),
            reads_slowly: Mutex::default(),
            removes: Mutex::default(),
        })
    }

    /// A host over it.
    pub async fn host(self: &Arc<Self>, config: RuntimeConfig) -> Host {
        let runtime = open(config, Arc::clone(self) as Arc<dyn Store>).await;
        let runtime = runtime.expect("the runtime opens");
        runtime.take_up_runs().await.expect("they are read");
        Host {
            runtime,
            store: Arc::clone(&self.inner),
            who: Arc::new(Principal::local_admin("test")),
        }
    }

    /// Holds up the next write of that many bytes of a run's records, once it is
    /// durable.
    pub fn hold_records(&self, bytes: usize) {
        *self.holds_bytes.lock().expect("lock") = Some(bytes);
    }

    /// Holds up the next write with a run's record of that event, once it is durable.
    pub fn hold_event(&self, event: &'static str) {
        *self.holds_event.lock().expect("lock") = Some(event);
    }

    /// Holds up the next write to a space, once it is durable.
    pub fn hold(&self, space: &'static str) {
        *self.holds.lock().expect("lock") = Some(space);
    }

    /// Whether the write came.
    pub fn is_held(&self) -> bool {
        self.holds.lock().expect("lock").is_none()
            && self.holds_bytes.lock().expect("lock").is_none()
            && self.holds_event.lock().expect("lock").is_none()
    }

    /// Lets it go on.
    pub fn let_go(&self) {
        self.lets_go.add_permits(1);
    }

    /// Fails the next reads of a run's journal.
    pub fn fail_reads(&self, run: &str, times: u32) {
        let mut fails = self.fails.lock().expect("lock");
        fails.insert(format!("run/{run}"), times);
    }

    /// Reads of a run's journal that are still to fail.
    pub fn fails_left(&self, run: &str) -> u32 {
        let fails = self.fails.lock().expect("lock");
        fails.get(&format!("run/{run}")).copied().unwrap_or(0)
    }

    /// Lets each write take so long from now on.
    pub fn slow_down(&self, takes: Duration) {
        *self.takes.lock().expect("lock") = takes;
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Lets reads of a run's journal take long, and longer on this thread: it comes
    /// back with what was there long before.
    pub fn read_slowly_here(&self, run: &str) {
        let here = std::thread::current().id();
        *self.reads_slowly.lock().expect("lock") = Some((format!("run/{run}"), here));
    }

    /// Lets a run's journal be gone once somebody has read its first page.
    pub fn remove_while_it_is_read(&self, run: &str) {
        *self.removes.lock().expect("lock") = Some(format!("run/{run}"));
    }

    fn removes(&self, stream: &[u8]) -> bool {
        let removes = self.removes.lock().expect("lock");
        removes
            .as_ref()
            .is_some_and(|name| name.as_bytes() == stream)
    }

    fn holds(&self, batch: &Batch) -> bool {
        let mut holds = self.holds.lock().expect("lock");
        let writes = |op: &Op| match op {
            Op::Put { space, .. } | Op::Delete { space, .. } => *holds == Some(*space),
            _ => false,
        };
        let held = batch.ops.iter().any(writes);
        if held {
            *holds = None;
        }
        held || self.holds_much(batch)
    }

    fn holds_much(&self, batch: &Batch) -> bool {
        let of_run = batch.ops.iter().filter_map(|op| match op {
            Op::Append {
                stream, records, ..
            } if stream.starts_with(b"run/") => Some(records),
            _ => None,
        });
        let records: Vec<&Bytes> = of_run.flatten().collect();
        let bytes: usize = records.iter().map(|record| record.len()).sum();
        let is = |record: &Bytes, event: &str| {
            let record: serde_json::Value = serde_json::from_slice(record).expect("JSON");
            record["event"] == event
        };
        let has = |event: &str| records.iter().any(|record| is(record, event));
        let mut holds = self.holds_bytes.lock().expect("lock");
        let mut event = self.holds_event.lock().expect("lock");
        holds.take_if(|most| bytes >= *most).is_some()
            || event.take_if(|event| has(event)).is_some()
    }
}

impl Decorator for Gated {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let held = self.holds(&batch);
        let committed = self.inner.commit(batch);
        let takes = *self.takes.lock().expect("lock");
        Box::pin(async move {
            let committed = committed.await;
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
            if held {
                self.lets_go.acquire().await.expect("open").forget();
            }
            committed
        })
    }

    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let name = String::from_utf8_lossy(stream).into_owned();
        if let Some(left) = self.fails.lock().expect("lock").get_mut(&name)
            && *left > 0
        {
            *left -= 1;
            return Err(StoreError::io("opening a file", "too many are open"));
        }
        if from > 0 && self.removes(stream) {
            return Ok(Vec::new());
        }
        let read = self.inner.read(stream, from, limit);
        let slowly = self.reads_slowly.lock().expect("lock").clone();
        if let Some((_, longest)) = slowly.filter(|(stream, _)| *stream == name) {
            let is_longest = longest == std::thread::current().id();
            std::thread::sleep(Duration::from_millis(if is_longest { 600 } else { 200 }));
        }
        read
    }

    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        match self.removes(stream) {
            true => Ok(Head::default()),
            false => self.inner.head(stream),
        }
    }
}
