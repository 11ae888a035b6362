//! The Model Context Protocol between standard input and output and a server's
//! `/mcp`: each line is a message, each message a request over HTTP.
//!
//! What must stay true: nothing but messages goes to the output; each request that
//! came in has one answer; a server that was started anew is found again without
//! the client's doing.

mod http;
mod message;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use http::{Answer, Request};
pub use http::{Endpoint, Place};
use message::{Message, error};

/// Longest line, bytes; the server takes no message that long.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Messages that wait to be written.
const OUT_MAX: usize = 64;
/// Requests that are under way at once.
const REQUESTS_MAX: usize = 256;
/// How long requests go on after the input has ended, and a session's end may take.
const GRACE: Duration = Duration::from_secs(5);
/// The wait before the session's own stream is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Codes of JSON-RPC.
const PARSE_ERROR: i64 = -32_700;
const INTERNAL_ERROR: i64 = -32_603;

/// What is known of the session.
#[derive(Default)]
struct Session {
    /// Its id; `None`: the version needs none, or none has begun.
    id: Option<String>,
    /// The version that was agreed on.
    version: Option<String>,
    /// The message that it began with.
    begun_with: Option<Message>,
    /// The stream of what the server says of its own accord.
    stream: Option<AbortHandle>,
}

struct Bridge {
    endpoint: Endpoint,
    out: mpsc::Sender<Vec<u8>>,
    session: Mutex<Session>,
    /// Held while a session begins anew.
    beginning: tokio::sync::Mutex<()>,
    /// Requests under way, by their id.
    under_way: Mutex<HashMap<String, AbortHandle>>,
}

/// Passes messages on until `input` ends or `stop` resolves; the session and what
/// is under way in it end with that.
///
/// # Errors
/// The input can't be read.
pub async fn serve(
    endpoint: Endpoint,
    input: impl tokio::io::AsyncRead + Unpin,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let (out, lines) = mpsc::channel(OUT_MAX);
    let writer = tokio::spawn(write(lines, output));
    let bridge = Arc::new(Bridge {
        endpoint,
        out,
        session: Mutex::default(),
        beginning: tokio::sync::Mutex::default(),
        under_way: Mutex::default(),
    });
    let read = tokio::select! {
        read = bridge.read(input) => read,
        () = stop => Ok(()),
    };
    bridge.end().await;
    drop(bridge);
    writer.await.context("writing messages")?;
    read
}

async fn write(mut lines: mpsc::Receiver<Vec<u8>>, mut output: impl AsyncWrite + Unpin) {
    while let Some(mut line) = lines.recv().await {
        // A message is one line, whatever wrote it.
        line.retain(|byte| !matches!(byte, b'\n' | b'\r'));
        line.push(b'\n');
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        if written.await.is_err() {
            // Nobody reads any more.
            return;
        }
    }
}

impl Bridge {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn say(&self, message: Vec<u8>) {
        // Whoever left misses it.
        let _ = self.out.send(message).await;
    }

    async fn read(self: &Arc<Self>, input: impl tokio::io::AsyncRead + Unpin) -> Result<()> {
        let mut input = BufReader::new(input);
        let mut tasks = JoinSet::new();
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut input).take(LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut line).await;
            if read.context("reading a message")? == 0 {
                break;
            }
            if line.len() as u64 >= LINE_BYTES_MAX {
                anyhow::bail!("a message has more than {LINE_BYTES_MAX} bytes");
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match Message::read(&line) {
                Ok(message) => self.take(message, &mut tasks).await,
                Err(why) => self.say(error(&Value::Null, PARSE_ERROR, why, None)).await,
            }
        }
        // What was asked before the input ended is answered, if that is soon.
        let answered = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, answered).await;
        Ok(())
    }

    async fn take(self: &Arc<Self>, message: Message, tasks: &mut JoinSet<()>) {
        while tasks.try_join_next().is_some() {}
        if message.id.is_none() || message.method.is_none() {
            return self.note(message).await;
        }
        if message.is("initialize") {
            return self.begin(message).await;
        }
        if tasks.len() >= REQUESTS_MAX {
            tasks.join_next().await;
        }
        let key = message.key();
        let bridge = Arc::clone(self);
        let task = tasks.spawn(async move {
            let key = message.key();
            bridge.ask(message).await;
            bridge.under_way().remove(&key);
        });
        self.under_way().insert(key, task);
    }

    /// A message that has no answer: a notification, or the answer to a request of
    /// the server's.
    async fn note(self: &Arc<Self>, message: Message) {
        let sessionless = self.session().id.is_none();
        if message.is("notifications/cancelled") && sessionless {
            // A request of a version without sessions is taken back by leaving.
            if let Some(task) = self.under_way().remove(&message.cancels()) {
                task.abort();
            }
            return;
        }
        let begins = message.is("notifications/initialized");
        match self.send(&message).await {
            Ok(answer) if !answer.is_refused() => {}
            Ok(answer) => tracing::warn!(status = answer.status, "a message was refused"),
            Err(error) => tracing::warn!("{error:#}"),
        }
        if begins && !sessionless {
            self.listen();
        }
    }

    /// Begins a session; nothing else is taken before.
    async fn begin(self: &Arc<Self>, message: Message) {
        *self.session() = Session::default();
        if let Err(why) = self.begun(&message, true).await {
            self.say(failed(&message, &why)).await;
        }
    }

    /// Sends the message that begins a session, and notes what that is.
    async fn begun(&self, message: &Message, tell: bool) -> Result<()> {
        let mut answer = self.send(message).await?;
        let id = answer.session.take();
        let mut version = None;
        let mut refused = answer.problem().await?;
        while let Some(said) = answer.next().await? {
            let said_json: Value = serde_json::from_slice(&said).unwrap_or_default();
            version = said_json["result"]["protocolVersion"]
                .as_str()
                .map(str::to_owned)
                .or(version);
            if tell {
                self.say(said).await;
            }
        }
        if let Some(problem) = refused.take() {
            match tell {
                true => {
                    self.say(refusal(message, &problem)).await;
                    return Ok(());
                }
                false => anyhow::bail!("the session can't begin anew: {problem}"),
            }
        }
        let mut session = self.session();
        session.id = id;
        session.version = version;
        session.begun_with = Some(message.clone());
        Ok(())
    }

    /// Makes a request, and passes on what it is answered.
    async fn ask(self: &Arc<Self>, message: Message) {
        let told = async {
            let mut answer = self.send(&message).await?;
            if answer.status == 404 && self.begins_anew(&message).await? {
                answer = self.send(&message).await?;
            }
            if let Some(problem) = answer.problem().await? {
                self.say(refusal(&message, &problem)).await;
                return Ok(());
            }
            let mut answered = false;
            while let Some(said) = answer.next().await? {
                answered |= message.is_answered_by(&said);
                self.say(said).await;
            }
            match answered {
                true => Ok(()),
                false => Err(anyhow::anyhow!(
                    "the connection broke off before the answer"
                )),
            }
        };
        if let Err(why) = told.await {
            self.say(failed(&message, &why)).await;
        }
    }

    /// After a server was started anew, or the session's time was over: begins
    /// another one. False: there was none.
    async fn begins_anew(self: &Arc<Self>, message: &Message) -> Result<bool> {
        let (before, begun_with) = {
            let session = self.session();
            (session.id.clone(), session.begun_with.clone())
        };
        let Some(begun_with) = begun_with.filter(|_| before.is_some() && !message.is_sessionless())
        else {
            return Ok(false);
        };
        let _beginning = self.beginning.lock().await;
        // Another request may have done it meanwhile.
        if self.session().id == before {
            // The old id stays until there is a new one, so that what fails now is
            // tried again by the next.
            self.begun(&begun_with, false).await?;
            self.send(&Message::initialized()).await?;
            self.listen();
        }
        Ok(true)
    }

    async fn send(&self, message: &Message) -> Result<Answer> {
        let request = {
            let session = self.session();
            Request::message(message, session.id.as_deref(), session.version.as_deref())
        };
        self.endpoint.send(request).await
    }

    /// Passes on what the server says of its own accord.
    fn listen(self: &Arc<Self>) {
        let bridge = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            while let Some(bridge) = bridge.upgrade() {
                match bridge.listened().await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::debug!("{error:#}"),
                }
                drop(bridge);
                tokio::time::sleep(AGAIN).await;
            }
        });
        let before = self.session().stream.replace(task.abort_handle());
        if let Some(before) = before {
            before.abort();
        }
    }

    /// One connection's worth of it; false: the server has nothing more to say.
    async fn listened(&self) -> Result<bool> {
        let request = {
            let session = self.session();
            Request::stream(session.id.as_deref(), session.version.as_deref())
        };
        let mut answer = self.endpoint.send(request).await?;
        if answer.is_refused() {
            return Ok(answer.status >= 500);
        }
        while let Some(said) = answer.next().await? {
            self.say(said).await;
        }
        Ok(true)
    }

    /// Ends the session, so that it keeps no place.
    async fn end(&self) {
        let (id, version, stream) = {
            let mut session = self.session();
            (
                session.id.take(),
                session.version.take(),
                session.stream.take(),
            )
        };
        if let Some(stream) = stream {
            stream.abort();
        }
        if let Some(id) = id {
            let request = Request::end(&id, version.as_deref());
            match tokio::time::timeout(GRACE, self.endpoint.send(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!("{error:#}"),
                Err(_) => tracing::debug!("the session's end was not answered"),
            }
        }
    }
}

/// The answer to a request that the server refused with a problem.
fn refusal(message: &Message, problem: &Value) -> Vec<u8> {
    let code = problem["error"]["code"].as_i64().unwrap_or(INTERNAL_ERROR);
    let detail = problem["detail"]
        .as_str()
        .unwrap_or("the server refused it");
    error(&message.id_value(), code, detail, Some(problem))
}

/// The answer to a request that has none.
fn failed(message: &Message, why: &anyhow::Error) -> Vec<u8> {
    let detail = format!("{why:#}: it may have happened");
    error(&message.id_value(), INTERNAL_ERROR, &detail, None)
}
