//! A client of the HTTP API. Every command is a request; it goes to a server, or,
//! when no server owns the data directory, to the same routes in this process.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::events::{Event, Events};
use crate::exit::{Failure, problem};
use crate::local::Local;

/// Longest that a request may take; calls have their own, shorter limits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Larger bodies wait for the server to want them, so that its refusal is read
/// instead of a connection that breaks while the body is sent; bytes.
const BODY_UNASKED_BYTES_MAX: usize = 64 << 10;

/// How long they wait at most; a proxy in between may not pass the question on.
const AWAIT_100_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest body of a reply that is held at once, bytes; a tool's largest output has
/// a quarter of that.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 20;

/// Longest silence of a stream of events before it is asked for again; the
/// server says that it is there every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Takes the next part of a stream, and says whether it wants more.
pub(crate) type OnPart<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// The media type of events.
const EVENTS: &str = "text/event-stream";
/// The media type of backups.
const BACKUP: &str = "application/vnd.sqlite3";

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Path and query, e.g. `/v1/plugins`.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// It may take as long as its server says something now and then.
    follows: bool,
    /// The body of a success is taken in parts, whatever its type.
    pub(crate) in_parts: bool,
}

/// One response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
}

/// Where requests go.
pub enum Api {
    /// A server.
    Remote(Remote),
    /// The routes in this process, over a data directory that no server owns.
    Local(Box<Local>),
}

/// A server's address and a token for it.
pub struct Remote {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            follows: false,
            in_parts: false,
        }
    }

    /// With a JSON body.
    pub fn json(method: &'static str, path: impl Into<String>, body: &Value) -> Self {
        Self::bytes(
            method,
            path,
            "application/json",
            body.to_string().into_bytes(),
        )
    }

    /// With a body of any type.
    pub fn bytes(
        method: &'static str,
        path: impl Into<String>,
        media_type: &str,
        body: Vec<u8>,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            headers: vec![("content-type", media_type.to_owned())],
            body,
            follows: false,
            in_parts: false,
        }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Remote {
    /// A client of the server at `base`, e.g. `http://127.0.0.1:7480`.
    pub fn new(base: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .timeout_await_100(Some(AWAIT_100_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        }
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn send(&self, request: &Request, on_part: OnPart<'_>) -> Result<Reply> {
        let mut builder = ureq::http::Request::builder()
            .method(request.method)
            .uri(format!("{}{}", self.base, request.path))
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if request.body.len() > BODY_UNASKED_BYTES_MAX {
            builder = builder.header("expect", "100-continue");
        }
        let outgoing = builder
            .body(request.body.clone())
            .context("building the request")?;
        let outgoing = match request.follows {
            false => outgoing,
            true => {
                let config = self.agent.configure_request(outgoing);
                let config = config.timeout_global(None);
                config.timeout_per_read(Some(SILENCE_MAX)).build()
            }
        };
        let mut response = self
            .agent
            .run(outgoing)
            .map_err(|error| no_answer(request.method, &self.base, &error))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let retry_after_s = header("retry-after").and_then(|value| value.parse().ok());
        let media = header("content-type").unwrap_or_default();
        let status = response.status().as_u16();
        let in_parts =
            (request.in_parts && is_success(status)) || [EVENTS, BACKUP].contains(&media.as_str());
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut body = Vec::new();
        match in_parts {
            true => follow(&mut reader, on_part)?,
            false => body = whole(&mut reader, BODY_BYTES_MAX)?,
        }
        Ok(Reply {
            status,
            body,
            retry_after_s,
        })
    }
}

/// What a server tells of a run.
#[derive(Debug)]
pub enum Told {
    /// A record of its journal.
    Record(Value),
    /// More of what a language model answers.
    Delta(Value),
    /// That it goes on.
    Nothing,
}

fn value(event: &Event) -> Value {
    serde_json::from_slice(&event.data).unwrap_or_default()
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// A body that has an end.
fn whole(reader: &mut dyn Read, bytes_max: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut bounded = reader.take(bytes_max as u64 + 1);
    let read = bounded.read_to_end(&mut body);
    read.context("reading the response")?;
    if body.len() > bytes_max {
        let mib = bytes_max >> 20;
        anyhow::bail!("the response has more than {mib} MiB, as none of this API has");
    }
    Ok(body)
}

/// Reads to the end of the stream, or until nobody wants more.
fn follow(reader: &mut dyn Read, on_part: OnPart<'_>) -> Result<()> {
    let mut part = [0; 64 << 10];
    loop {
        match reader.read(&mut part).context("reading the response")? {
            0 => return Ok(()),
            read if !on_part(&part[..read]) => return Ok(()),
            _ => {}
        }
    }
}

impl Api {
    /// Sends a request and returns whatever came back.
    ///
    /// # Errors
    /// When there was no answer at all.
    pub fn send(&self, request: &Request) -> Result<Reply> {
        self.send_and_follow(request, &mut |_| true)
    }

    /// The same; the parts of a stream of events or of a backup go to `on_part` as
    /// they come.
    fn send_and_follow(&self, request: &Request, on_part: OnPart<'_>) -> Result<Reply> {
        match self {
            Self::Remote(remote) => remote.send(request, on_part),
            Self::Local(local) => local.send(request, on_part),
        }
    }

    /// Gives the body of a success to `take` as it comes, until that says that it is
    /// enough. It may have any length.
    ///
    /// # Errors
    /// As [`Api::ok`], or what `take` says.
    pub fn download(
        &self,
        request: Request,
        take: &mut dyn FnMut(&[u8]) -> Result<bool>,
    ) -> Result<()> {
        let request = Request {
            in_parts: true,
            ..request
        };
        let mut taken = Ok(true);
        let reply = self.send_and_follow(&request, &mut |part| {
            taken = take(part);
            matches!(taken, Ok(true))
        })?;
        if !is_success(reply.status) {
            return Err(Failure::from_reply(&reply).into());
        }
        taken.map(drop)
    }

    /// Makes a call and shows its progress to `on_progress` as it comes.
    ///
    /// # Errors
    /// As [`Api::value`], or a stream that broke off before the result.
    pub fn call(&self, request: &Request, on_progress: &mut dyn FnMut(&Value)) -> Result<Value> {
        let request = request.clone().header("accept", EVENTS);
        let mut last = None;
        let mut on_event = |event: Event| match event.name.as_str() {
            "progress" => on_progress(&serde_json::from_slice(&event.data).unwrap_or_default()),
            _ => last = Some(event),
        };
        let (mut events, mut begun) = (Events::default(), false);
        let sent = self.send_and_follow(&request, &mut |part| {
            begun = true;
            events.push(part, &mut on_event);
            true
        });
        let mut reply = match sent {
            Err(_) if begun => return Err(broken_off().into()),
            sent => sent?,
        };
        match last {
            Some(event) => {
                reply.body = event.data;
                if event.name == "problem" {
                    reply.status = status_in(&reply.body);
                }
            }
            None if begun => return Err(broken_off().into()),
            None => {}
        }
        if !is_success(reply.status) {
            return Err(Failure::from_reply(&reply).into());
        }
        serde_json::from_slice(&reply.body).context("reading the call's result")
    }

    /// Follows a run's journal from record `from` on: gives each record, and that
    /// there was none for a while, to `on_told`, until that says that it is enough,
    /// the server has no more to tell, or the connection breaks off.
    ///
    /// # Errors
    /// [`Failure`] with the problem the server described; anything else is worth
    /// another try.
    pub fn follow(
        &self,
        path: &str,
        from: u64,
        on_told: &mut dyn FnMut(Told) -> bool,
    ) -> Result<()> {
        let request = Request {
            follows: true,
            ..Request::new("GET", path).header("accept", EVENTS)
        };
        let request = match from.checked_sub(1) {
            Some(last) => request.header("last-event-id", last.to_string()),
            None => request,
        };
        let (mut events, mut more, mut problem) = (Events::default(), true, None);
        let reply = self.send_and_follow(&request, &mut |part| {
            let comments = events.comments();
            events.push(part, &mut |event| match event.name.as_str() {
                "record" if more => more = on_told(Told::Record(value(&event))),
                "delta" if more => more = on_told(Told::Delta(value(&event))),
                "problem" => problem = Some(event.data),
                _ => {}
            });
            if more && events.comments() > comments {
                more = on_told(Told::Nothing);
            }
            more && problem.is_none()
        })?;
        let reply = match problem {
            Some(body) => Reply {
                status: status_in(&body),
                body,
                ..reply
            },
            None => reply,
        };
        match is_success(reply.status) {
            true => Ok(()),
            false => Err(Failure::from_reply(&reply).into()),
        }
    }

    /// Sends a request and takes the body of a success.
    ///
    /// # Errors
    /// [`Failure`] with the problem the server described.
    pub fn ok(&self, request: &Request) -> Result<Reply> {
        let reply = self.send(request)?;
        if is_success(reply.status) {
            return Ok(reply);
        }
        Err(Failure::from_reply(&reply).into())
    }

    /// Sends a request and reads the JSON of a success.
    ///
    /// # Errors
    /// [`Failure`], or a body that is not what was expected.
    pub fn value<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let reply = self.ok(request)?;
        serde_json::from_slice(&reply.body)
            .with_context(|| format!("reading the answer to {} {}", request.method, request.path))
    }

    /// `GET path`, as JSON.
    ///
    /// # Errors
    /// As [`Api::value`].
    pub fn get(&self, path: &str) -> Result<Value> {
        self.value(&Request::new("GET", path))
    }
}

/// The status that a problem names.
fn status_in(problem: &[u8]) -> u16 {
    let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
    let status = problem["status"].as_u64();
    status.and_then(|s| s.try_into().ok()).unwrap_or(500)
}

/// A call began, and its result did not come.
fn broken_off() -> Failure {
    let detail = "the connection broke off before the result: the call may have happened";
    unanswered("unknown", detail)
}

/// A request that has no answer: the server was not reached, or may have done what
/// it was asked for.
fn no_answer(method: &str, base: &str, error: &ureq::Error) -> Failure {
    let detail = format!("asking the server at {base}: {error}");
    let reached = match error {
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => false,
        ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        _ => true,
    };
    match reached && method != "GET" {
        true => unanswered("unknown", &format!("{detail}: it may have happened")),
        false => unanswered("unreachable", &detail),
    }
}

fn unanswered(code: &str, detail: &str) -> Failure {
    Failure {
        status: 503,
        code: code.to_owned(),
        problem: problem(code, detail),
        hint: String::new(),
    }
}

/// Percent-encodes one segment of a path or one value of a query.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char)
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, Write};
    use std::net::TcpListener;

    /// What a call over a server that answers `reply` ends with, and the progress
    /// it showed.
    fn call(reply: &'static str) -> (Result<Value>, Vec<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut lines = std::io::BufReader::new(&stream).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            (&stream).write_all(reply.as_bytes()).expect("writes");
        });
        let api = Api::Remote(Remote::new(&base, "token"));
        let mut shown = Vec::new();
        let request = Request::new("POST", "/v1/tools/p/t");
        let ended = api.call(&request, &mut |progress| shown.push(progress.clone()));
        server.join().expect("no panic");
        (ended, shown)
    }

    #[test]
    fn a_request_without_an_answer_may_have_happened_or_was_not_made() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let api = Api::Remote(Remote::new(&base, "token"));
        let ends = |method: &'static str| {
            let sent = api.send(&Request::new(method, "/v1/tools/p/t"));
            let error = sent.expect_err("no answer");
            (
                crate::exit::code_of(&error),
                crate::exit::problem_of(&error)["code"].clone(),
            )
        };
        for (method, expect) in [("POST", (8, "unknown")), ("GET", (7, "unreachable"))] {
            let server = std::thread::scope(|scope| {
                // It takes the request and goes away.
                scope.spawn(|| {
                    let (stream, _) = listener.accept().expect("a client");
                    let lines = std::io::BufReader::new(&stream).lines();
                    let lines = lines.map_while(Result::ok);
                    lines.take_while(|line| !line.is_empty()).for_each(drop);
                });
                ends(method)
            });
            assert_eq!(server, (expect.0, expect.1.into()), "{method}");
        }
        drop(listener);
        assert_eq!(ends("POST"), (7, "unreachable".into()));
    }

    #[test]
    fn a_body_without_an_end_is_not_held() {
        let read = |len: u64| whole(&mut std::io::repeat(b'x').take(len), 1 << 20);
        assert_eq!(read(1 << 20).expect("as long as may be").len(), 1 << 20);
        for len in [(1 << 20) + 1, u64::MAX] {
            let error = read(len).expect_err("too long").to_string();
            let expect = "the response has more than 1 MiB, as none of this API has";
            assert_eq!(error, expect, "{len}");
        }
    }

    #[test]
    fn a_call_that_breaks_off_may_have_happened() {
        let table = [
            ("event: result\ndata: {\"output\":1}\n\n", Ok(1)),
            (
                "event: progress\ndata: 1\n\nevent: result\ndata: {\"output\":2}\n\n",
                Ok(2),
            ),
            (
                "event: problem\ndata: {\"status\":403,\"code\":\"denied\"}\n\n",
                Err("denied"),
            ),
            ("event: progress\ndata: 1\n\n", Err("unknown")),
            (": the call goes on\n\nevent: result\nda", Err("unknown")),
        ];
        for (events, expect) in table {
            let head =
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
            let (ended, shown) = call(format!("{head}{events}").leak());
            assert_eq!(shown.len(), events.matches("progress").count(), "{events}");
            let found = match &ended {
                Ok(reply) => Ok(reply["output"].as_i64().expect("a number")),
                Err(error) => Err(error
                    .downcast_ref::<Failure>()
                    .expect("a code")
                    .code
                    .as_str()),
            };
            assert_eq!(found, expect, "{events}");
        }
    }
}
