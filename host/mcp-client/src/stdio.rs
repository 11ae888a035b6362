//! A server that is a program: one message a line, over its standard input and
//! output.
//!
//! What must stay true: a request is known to be written or not at each moment; a
//! line has a bound, and so has how much may come that nobody asked for; whatever
//! the program does, each request ends, and its processes are killed with it.

use std::collections::{HashMap, VecDeque};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout_at};

use crate::error::Fault;
use crate::link::{Progress, Tell};
use crate::rpc::{self, Incoming};
use crate::{MESSAGE_BYTES_MAX, Mask, Server, Surroundings, launch, text};

/// What ended a connection that this side ended.
pub(crate) const CLOSED: &str = "the connection was closed";
/// Messages that wait to be written.
const WRITES_MAX: usize = 64;
/// Requests that were taken back and may still be answered.
const TAKEN_BACK_MAX: usize = 4_096;
/// Messages that nobody asked for: so many at once, and so many a second.
const UNASKED_MAX: f64 = 2_000.0;
const UNASKED_PER_SECOND: f64 = 500.0;
/// What is told of what a program wrote to its standard error, bytes.
const STDERR_BYTES_MAX: usize = 4 << 10;
/// What is kept besides, for masking: no part of a secret whose beginning is gone
/// reaches into what is told.
pub const STDERR_BYTES_BEFORE: usize = 48 << 10;
/// How long what a program wrote is waited for once it has ended.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// A connection.
pub(crate) struct Stdio {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
    /// Once it is gone, the program is killed.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct Shared {
    mask: Option<Mask>,
    state: Mutex<State>,
    tools_changed: AtomicBool,
    stderr: Mutex<VecDeque<u8>>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    taken_back: VecDeque<u64>,
    /// Why there is no connection any more.
    closed: Option<String>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Box<RawValue>, Fault>>,
    progress: Option<Tell>,
    written: bool,
}

struct Write {
    /// The request that it is; nothing is written once nobody waits for it.
    id: Option<u64>,
    line: String,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all that wait.
    fn close(&self, why: &str) {
        let waiting = {
            let mut state = self.state();
            state.closed.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting.into_values() {
            let fault = match waiting.written {
                true => Fault::Lost(why.to_owned()),
                false => Fault::NotSent(why.to_owned()),
            };
            let _ = waiting.answer.send(Err(fault));
        }
    }

    /// Whether a request is still to be written; from then on it counts as that.
    fn begins(&self, id: u64) -> bool {
        let mut state = self.state();
        let waiting = state.waiting.get_mut(&id);
        waiting.map(|waiting| waiting.written = true).is_some()
    }

    fn answer(&self, id: u64, answer: Result<Box<RawValue>, Fault>) -> Result<(), String> {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.remove(&id) {
            let _ = waiting.answer.send(answer);
            return Ok(());
        }
        match state.taken_back.iter().position(|taken| *taken == id) {
            Some(index) => {
                state.taken_back.remove(index);
                Ok(())
            }
            None => Err(format!("it answered the request {id}, which nobody made")),
        }
    }

    fn progress(&self, id: u64, progress: Progress) {
        let state = self.state();
        let waiting = state.waiting.get(&id);
        if let Some(told) = waiting.and_then(|waiting| waiting.progress.as_ref()) {
            told(progress);
        }
    }
}

/// Takes a request back when its future is dropped before it was answered.
struct Taken<'a> {
    stdio: &'a Stdio,
    id: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.stdio.shared.state();
        let Some(waiting) = state.waiting.remove(&self.id) else {
            return;
        };
        if waiting.written {
            if state.taken_back.len() == TAKEN_BACK_MAX {
                state.taken_back.pop_front();
            }
            state.taken_back.push_back(self.id);
            drop(state);
            let line = rpc::cancel(self.id);
            let _ = self.stdio.writes.try_send(Write { id: None, line });
        }
    }
}

impl Stdio {
    pub(crate) async fn open(
        server: &Server,
        around: &Surroundings,
        mask: Option<Mask>,
    ) -> Result<Self, Fault> {
        let child = launch::start(server, around).await;
        let mut child = child.map_err(Fault::NotSent)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Fault::NotSent("the program has no pipes".to_owned()));
        };
        let shared = Arc::new(Shared {
            mask,
            ..Shared::default()
        });
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        let (stop, stopped) = oneshot::channel();
        let reader = tokio::spawn(read(stdout, Arc::clone(&shared), writes.clone()));
        let noted = tokio::spawn(note(stderr, Arc::clone(&shared)));
        let writer = tokio::spawn(write(stdin, queue, Arc::clone(&shared)));
        let tasks = Tasks {
            reader,
            noted,
            writer,
        };
        tokio::spawn(keep(child, stopped, Arc::clone(&shared), tasks));
        Ok(Self {
            shared,
            writes,
            stop: Mutex::new(Some(stop)),
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(
        &self,
        id: u64,
        line: String,
        progress: Option<Tell>,
        until: Instant,
    ) -> Result<Box<RawValue>, Fault> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if let Some(why) = &state.closed {
                return Err(Fault::NotSent(why.clone()));
            }
            let waiting = Waiting {
                answer,
                progress,
                written: false,
            };
            state.waiting.insert(id, waiting);
        }
        let _taken = Taken { stdio: self, id };
        let both = async {
            // Once nobody reads it, everything that waits has been told.
            let write = Write { id: Some(id), line };
            let _ = self.writes.send(write).await;
            (&mut answered).await
        };
        match timeout_at(until, both).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Lost("the connection ended".to_owned())),
            Err(_) => Err(self.late(id)),
        }
    }

    /// What became of a request that is not waited for any longer. One that was not
    /// written is not from now on: that is decided under one lock.
    fn late(&self, id: u64) -> Fault {
        let why = "it did not answer in time".to_owned();
        let mut state = self.shared.state();
        let waiting = state.waiting.get(&id);
        if waiting.is_some_and(|waiting| !waiting.written) {
            state.waiting.remove(&id);
            return Fault::NotSent(why);
        }
        Fault::Lost(why)
    }

    pub(crate) async fn notify(&self, line: String) -> Result<(), Fault> {
        let sent = self.writes.send(Write { id: None, line }).await;
        sent.map_err(|_| Fault::NotSent("the connection ended".to_owned()))
    }

    pub(crate) fn close(&self) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(stop);
        self.shared.close(CLOSED);
    }

    /// Why there is no connection any more.
    pub(crate) fn closed(&self) -> Option<String> {
        self.shared.state().closed.clone()
    }

    /// Whether the server said that its tools changed, since this was last asked.
    pub(crate) fn take_changed(&self) -> bool {
        self.shared.tools_changed.swap(false, Ordering::AcqRel)
    }

    /// The last that the program wrote to its standard error, one line.
    pub(crate) fn last_words(&self) -> String {
        let kept = self
            .shared
            .stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        drop(kept);
        let masked = self.shared.mask.as_ref().and_then(|mask| mask(&bytes));
        let bytes = masked.unwrap_or(bytes);
        let told = &bytes[bytes.len().saturating_sub(STDERR_BYTES_MAX)..];
        text::bounded(String::from_utf8_lossy(told).trim(), STDERR_BYTES_MAX)
    }
}

/// Kills what is left of the program's processes.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What reads and writes a program's pipes.
struct Tasks {
    reader: JoinHandle<()>,
    noted: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// Looks after the program: until it ends, stops talking, or nobody wants it any
/// more.
async fn keep(
    mut child: Child,
    stopped: oneshot::Receiver<()>,
    shared: Arc<Shared>,
    mut tasks: Tasks,
) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let id = id.and_then(Pid::from_raw);
    let group = Group(id);
    let (wanted, over, read) = tokio::select! {
        _ = stopped => (false, false, false),
        () = exited(id, &mut child) => (true, true, false),
        _ = &mut tasks.reader => (true, soon(exited(id, &mut child)).await.is_some(), true),
    };
    // Whatever else holds its pipes goes first, or what it wrote would not end; and
    // before the program is waited for, after which its id may be another's.
    drop(group);
    let why = match wanted {
        false => CLOSED.to_owned(),
        true if over => end_of(child.wait().await.ok()),
        true => end_of(None),
    };
    let _ = child.start_kill();
    if !read && soon(&mut tasks.reader).await.is_none() {
        tasks.reader.abort();
    }
    if soon(&mut tasks.noted).await.is_none() {
        tasks.noted.abort();
    }
    shared.close(&why);
    // It may wait for ever for one that left the group and reads no more.
    tasks.writer.abort();
    let _ = child.wait().await;
}

/// Waits until the program has ended; it is still there to be waited for, so that
/// its id is nobody else's.
async fn exited(id: Option<Pid>, child: &mut Child) {
    let told = signal(SignalKind::child());
    let (Some(id), Ok(mut told)) = (id, told) else {
        return drop(child.wait().await);
    };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while let Ok(None) = waitid(WaitId::Pid(id), look) {
        if told.recv().await.is_none() {
            return drop(child.wait().await);
        }
    }
}

fn end_of(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("the server's program ended ({status})"),
        None => "the server's program says nothing more".to_owned(),
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(LAST_WORDS_WAIT, future).await.ok()
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Write>, shared: Arc<Shared>) {
    while let Some(write) = queue.recv().await {
        if write.id.is_some_and(|id| !shared.begins(id)) {
            continue;
        }
        let line = format!("{}\n", write.line);
        let written = stdin.write_all(line.as_bytes()).await;
        if written.is_err() || stdin.flush().await.is_err() {
            // Why is told by whoever sees its output end.
            break;
        }
    }
}

async fn note(mut stderr: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut buffer = [0; 1_024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let mut kept = shared.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..count]);
        let most = STDERR_BYTES_BEFORE + STDERR_BYTES_MAX;
        let over = kept.len().saturating_sub(most);
        kept.drain(..over);
    }
}

async fn read(stdout: impl AsyncRead + Unpin, shared: Arc<Shared>, writes: mpsc::Sender<Write>) {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let mut unasked = Unasked::new();
    let mut line = Vec::new();
    let why = loop {
        line.clear();
        match next_line(&mut stdout, &mut line).await {
            Ok(true) => {}
            // Why is told by whoever sees the program end.
            Ok(false) => return,
            Err(why) => break why,
        }
        let message = match std::str::from_utf8(&line) {
            Ok(message) => message.trim(),
            Err(_) => break "it wrote what is no UTF-8".to_owned(),
        };
        if message.is_empty() {
            continue;
        }
        let message = text::masked_message(shared.mask.as_ref(), message);
        if let Err(why) = take(&message, &shared, &writes, &mut unasked) {
            break why;
        }
    };
    shared.close(&why);
}

/// Reads a line; `false` at the end.
async fn next_line(
    from: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> Result<bool, String> {
    let most = (MESSAGE_BYTES_MAX + 1) as u64;
    let read = from.take(most).read_until(b'\n', line).await;
    match read {
        Ok(0) | Err(_) => Ok(false),
        Ok(_) if line.last() == Some(&b'\n') => Ok(true),
        Ok(count) if count as u64 == most => Err(format!(
            "it wrote a message of more than {MESSAGE_BYTES_MAX} bytes"
        )),
        // The rest of a message that breaks off.
        Ok(_) => Ok(false),
    }
}

fn take(
    message: &str,
    shared: &Shared,
    writes: &mpsc::Sender<Write>,
    unasked: &mut Unasked,
) -> Result<(), String> {
    match rpc::read(message)? {
        Incoming::Answer(id, answer) => return shared.answer(id, answer),
        Incoming::Asked { id, ping } => {
            let line = rpc::reply(&id, ping);
            if writes.try_send(Write { id: None, line }).is_err() {
                return Err("it asks more than it reads answers to".to_owned());
            }
        }
        Incoming::Progress(id, progress) => shared.progress(id, progress),
        Incoming::ToolsChanged => shared.tools_changed.store(true, Ordering::Release),
        Incoming::Other => {}
    }
    match unasked.admit(Instant::now()) {
        true => Ok(()),
        false => Err("it floods with messages that nobody asked for".to_owned()),
    }
}

/// How much more may come that nobody asked for.
pub(crate) struct Unasked {
    left: f64,
    at: Instant,
}

impl Unasked {
    pub(crate) fn new() -> Self {
        Self {
            left: UNASKED_MAX,
            at: Instant::now(),
        }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + since * UNASKED_PER_SECOND).min(UNASKED_MAX) - 1.0;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_as_not_written_is_not_written_later() {
        for (written, lost) in [(false, false), (true, true)] {
            let (writes, _queue) = mpsc::channel(1);
            let stdio = Stdio {
                shared: Arc::default(),
                writes,
                stop: Mutex::default(),
            };
            let (answer, _answered) = oneshot::channel();
            let waiting = Waiting {
                answer,
                progress: None,
                written,
            };
            stdio.shared.state().waiting.insert(1, waiting);
            let fault = stdio.late(1);
            assert_eq!(matches!(fault, Fault::Lost(_)), lost, "{fault:?}");
            // The writer's turn comes after that.
            assert_eq!(stdio.shared.begins(1), lost, "{fault:?}");
        }
    }
}
