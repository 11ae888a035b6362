//! One bounded buffer for all a call logs, and its latest progress report.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::escape::escape_into;
use super::{Log, Op};
use crate::call::LogRecord;
use crate::gate::{Gate, Permit};
use crate::limits::ByteSize;

/// Longest line of stdout or stderr, bytes; a longer one becomes several records.
pub const LINE_BYTES_MAX: usize = 8 << 10;

/// What a record costs of the `log` limit beside its text, bytes, so that a flood
/// of empty lines is bounded too.
pub const RECORD_OVERHEAD_BYTES: usize = 32;

/// Longest progress message, bytes; a longer one is cut.
const PROGRESS_BYTES_MAX: usize = 1 << 10;

/// At most 100 progress reports per second reach watchers.
const PROGRESS_EVERY: Duration = Duration::from_millis(10);

/// The log of one call. Clones share it, so that it can be read whatever became
/// of the call.
#[derive(Clone)]
pub struct LogBuffer {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Made when somebody watches.
    watched: OnceLock<watch::Sender<Option<Progress>>>,
}

/// What a call has logged, see [`LogBuffer::finish`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogOutput {
    /// The records, in the order they were completed. When some were lost, the
    /// last one says so.
    pub records: Vec<LogRecord>,
    /// Records dropped or cut short.
    pub lost_records: u64,
    /// Bytes of the guest's text that were dropped.
    pub lost_bytes: u64,
    /// The latest progress report.
    pub progress: Option<Progress>,
}

/// How far a call is, by its own account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Done so far, in units of the tool's own choosing.
    pub done: f64,
    /// All there is to do, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What is being done; control characters are escaped.
    pub message: String,
}

/// Where unstructured text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn level(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

struct Inner {
    gate: Gate,
    permit: Option<Permit<Log>>,
    started: Instant,
    bytes_left: usize,
    bytes_max: u64,
    records: Vec<LogRecord>,
    partial: [Vec<u8>; 2],
    lost_records: u64,
    lost_bytes: u64,
    progress: Option<Progress>,
    published: Option<Instant>,
}

impl LogBuffer {
    /// An empty log for the call of `gate`, which began at `started`, that holds
    /// up to `bytes_max`.
    pub fn new(gate: Gate, started: Instant, bytes_max: u64) -> Self {
        let inner = Inner {
            gate,
            permit: None,
            started,
            bytes_left: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            bytes_max,
            records: Vec::new(),
            partial: Default::default(),
            lost_records: 0,
            lost_bytes: 0,
            progress: None,
            published: None,
        };
        let shared = Shared {
            inner: Mutex::new(inner),
            watched: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Progress reports as they come: at most 100 per second, a later one
    /// replacing an earlier one that nobody has seen.
    pub fn progress(&self) -> watch::Receiver<Option<Progress>> {
        let latest = self.lock().progress.clone();
        let watched = &self.shared.watched;
        watched
            .get_or_init(|| watch::Sender::new(latest))
            .subscribe()
    }

    /// Ends unfinished lines and takes what was logged; the buffer is empty
    /// afterwards.
    pub fn finish(&self) -> LogOutput {
        let mut inner = self.lock();
        for source in [Source::Stdout, Source::Stderr] {
            inner.end_line(source);
        }
        inner.note_loss();
        self.publish(inner.progress.clone());
        LogOutput {
            records: std::mem::take(&mut inner.records),
            lost_records: inner.lost_records,
            lost_bytes: inner.lost_bytes,
            progress: inner.progress.clone(),
        }
    }

    pub(super) fn write(&self, source: Source, bytes: &[u8]) {
        let mut inner = self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            inner.push(source, piece);
        }
    }

    pub(super) fn record(&self, level: &str, message: &str, fields: &[(String, String)]) {
        self.lock().record(level, message, fields);
    }

    pub(super) fn report(&self, done: f64, total: Option<f64>, message: &str) {
        if !done.is_finite() {
            return;
        }
        let mut text = String::new();
        escape_into(&mut text, message, PROGRESS_BYTES_MAX);
        let report = Progress {
            done,
            total: total.filter(|total| total.is_finite()),
            message: text,
        };
        let mut inner = self.lock();
        inner.progress = Some(report.clone());
        let now = Instant::now();
        let due = |at: Instant| now.duration_since(at) >= PROGRESS_EVERY;
        if inner.published.is_none_or(due) {
            inner.published = Some(now);
            self.publish(Some(report));
        }
    }

    fn publish(&self, progress: Option<Progress>) {
        if let Some(watched) = self.shared.watched.get() {
            watched.send_replace(progress);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let inner = &self.shared.inner;
        inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes text that has no newline but perhaps a last one.
    fn push(&mut self, source: Source, piece: &[u8]) {
        let (mut text, ends) = match piece.split_last() {
            Some((b'\n', text)) => (text, true),
            _ => (piece, false),
        };
        if self.bytes_left == 0 {
            self.lost_bytes += text.len() as u64;
            self.lost_records += u64::from(ends);
            return;
        }
        while !text.is_empty() {
            let room = LINE_BYTES_MAX - self.partial[source as usize].len();
            let (now, later) = text.split_at(text.len().min(room));
            self.partial[source as usize].extend_from_slice(now);
            text = later;
            if !text.is_empty() {
                self.break_line(source);
            }
        }
        if ends {
            self.finish_line(source);
        }
    }

    /// Ends a line that is too long, between two characters.
    fn break_line(&mut self, source: Source) {
        let partial = &mut self.partial[source as usize];
        let cut = character_start(partial);
        let rest = partial.split_off(cut);
        self.finish_line(source);
        self.partial[source as usize] = rest;
    }

    fn end_line(&mut self, source: Source) {
        if !self.partial[source as usize].is_empty() {
            self.finish_line(source);
        }
    }

    fn finish_line(&mut self, source: Source) {
        let line = std::mem::take(&mut self.partial[source as usize]);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.record(source.level(), &String::from_utf8_lossy(line), &[]);
    }

    fn record(&mut self, level: &str, message: &str, fields: &[(String, String)]) {
        let given = message.len() + fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        let Some(room) = self.bytes_left.checked_sub(RECORD_OVERHEAD_BYTES) else {
            self.bytes_left = 0;
            self.lost_records += 1;
            self.lost_bytes += given as u64;
            return;
        };
        let mut record = LogRecord {
            at_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            level: level.to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        let taken = fill(&mut record, message, fields, room);
        if taken < given {
            self.bytes_left = 0;
            self.lost_records += 1;
            self.lost_bytes += (given - taken) as u64;
        } else {
            self.bytes_left = room - text_bytes(&record);
        }
        self.count(taken as u64);
        forward(&self.gate, &record);
        self.records.push(record);
    }

    fn count(&mut self, bytes: u64) {
        if self.permit.is_none() {
            self.permit = self.gate.permit::<Log>(Op::Write).ok();
        }
        if let Some(permit) = &self.permit {
            permit.count_out(bytes);
        }
    }

    fn note_loss(&mut self) {
        if self.lost_records == 0 && self.lost_bytes == 0 {
            return;
        }
        let record = LogRecord {
            at_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            level: "warn".to_owned(),
            message: format!(
                "limit log reached ({}): the rest was dropped",
                ByteSize(self.bytes_max)
            ),
            fields: vec![
                ("lost_records".to_owned(), self.lost_records.to_string()),
                ("lost_bytes".to_owned(), self.lost_bytes.to_string()),
            ],
        };
        forward(&self.gate, &record);
        self.records.push(record);
    }
}

/// Fills the record with escaped text up to `room` bytes, and gives the bytes of
/// the guest's text that went in. A field goes in whole or not at all.
fn fill(record: &mut LogRecord, message: &str, fields: &[(String, String)], room: usize) -> usize {
    let mut taken = escape_into(&mut record.message, message, room);
    if taken < message.len() {
        return taken;
    }
    let mut left = room - record.message.len();
    for (key, value) in fields {
        let (mut safe_key, mut safe_value) = (String::new(), String::new());
        let whole = escape_into(&mut safe_key, key, left) == key.len()
            && escape_into(&mut safe_value, value, left - safe_key.len()) == value.len();
        if !whole || left < safe_key.len() + safe_value.len() + RECORD_OVERHEAD_BYTES {
            return taken;
        }
        left -= safe_key.len() + safe_value.len() + RECORD_OVERHEAD_BYTES;
        taken += key.len() + value.len();
        record.fields.push((safe_key, safe_value));
    }
    taken
}

fn text_bytes(record: &LogRecord) -> usize {
    let field = |(key, value): &(String, String)| key.len() + value.len() + RECORD_OVERHEAD_BYTES;
    record.message.len() + record.fields.iter().map(field).sum::<usize>()
}

fn forward(gate: &Gate, record: &LogRecord) {
    let info = gate.info();
    tracing::debug!(
        target: "airlock::guest",
        plugin = &*info.plugin, tool = &*info.tool, call_id = info.call_id, level = record.level,
        at_us = record.at_us, fields = ?record.fields, "{}", record.message,
    );
}

/// Where the last character of `bytes` begins if it is incomplete, else the end.
fn character_start(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let incomplete = (tail..bytes.len()).rev().find(|at| bytes[*at] >= 0xc0);
    match incomplete {
        Some(at) if std::str::from_utf8(&bytes[at..]).is_err() && at > 0 => at,
        _ => bytes.len(),
    }
}
