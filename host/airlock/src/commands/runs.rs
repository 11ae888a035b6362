//! `airlock run`, `airlock runs`, `airlock signal`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::follow::{Until, follow};
use super::halt::holds;
use super::{Session, history, read_input, replays, resume};
use crate::cli::{Run, Runs, Signal};
use crate::client::{Api, BODY_BYTES_MAX, Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, json_escaped, json_text, one_line, print, print_error, time};
use crate::timeline::{Timeline, way_on};

/// Records that are asked for at once.
const PAGE: usize = 1_000;

/// Longest text of a record, characters.
const SHOWN_CHARS_MAX: usize = 160;

/// What is said of a run that goes on when a server does.
pub(super) const NO_SERVER: &str =
    "no server looks after this run: start `airlock serve`, and it goes on";

/// What is said where a run is told something that it takes up later.
pub(super) const KEPT: &str = "no server looks after this run: what it was told is kept, and the next `airlock serve` takes it up";

pub(super) fn start(session: &Session, command: &Run) -> Result<ExitCode> {
    let input = input(&command.input)?;
    let mut body = json!({
        "agent": command.agent, "goal": command.goal, "input": input,
        "autonomy": command.autonomy,
    });
    if let Some(budget) = command.budget.json() {
        body["budget"] = budget;
    }
    let run: Value = session
        .api
        .value(&Request::json("POST", "/v1/runs", &body))?;
    let id = cell(&run, "id");
    if !command.follow {
        session.format.show(&run, |run| {
            format!(
                "{}: airlock runs show {}",
                cell(run, "status"),
                cell(run, "id")
            )
        })?;
        say_without_server(session, NO_SERVER);
        return Ok(ExitCode::SUCCESS);
    }
    match session.format {
        Format::Text => print(&one_line(&id))?,
        Format::Json => print(&json_escaped(run.to_string()))?,
    }
    follow(session, &id, Until::Asked)
}

/// Prints a run's records.
fn events(session: &Session, id: &str) -> Result<()> {
    each_record(session, id, &mut |record, _| match session.format {
        Format::Json => print(&json_escaped(record.to_string())),
        Format::Text => print(&line(&record)),
    })
}

/// Gives each of a run's records so far, and the bytes of those so far, to `each`.
///
/// # Errors
/// As [`Api::value`], what `each` says, or pages that don't go on where they say.
pub(super) fn each_record(
    session: &Session,
    id: &str,
    each: &mut dyn FnMut(Value, usize) -> Result<()>,
) -> Result<()> {
    let (mut from, mut bytes) = (0_u64, 0);
    loop {
        let target = format!("{}/events?from={from}&limit={PAGE}", path(id));
        let reply = session.api.ok(&Request::new("GET", target))?;
        bytes += reply.body.len();
        let page: Page = serde_json::from_slice(&reply.body).context("reading the records")?;
        let read = page.events.len() as u64;
        for (seq, record) in (from..).zip(page.events) {
            if record["seq"] != seq {
                bail!("the server gave record {} for {seq}", record["seq"]);
            }
            each(record, bytes)?;
        }
        match page.next {
            None => return Ok(()),
            // No more so far.
            Some(_) if read == 0 => return Ok(()),
            Some(next) if next == from + read => from = next,
            Some(next) => bail!(
                "the server goes on with record {next} after {}",
                from + read
            ),
        }
    }
}

/// A page of a run's journal, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    events: Vec<Value>,
    #[serde(default)]
    next: Option<u64>,
}

/// A run's records so far.
fn records(session: &Session, id: &str) -> Result<Vec<Value>> {
    let mut records = Vec::new();
    each_record(session, id, &mut |record, bytes| {
        if bytes > BODY_BYTES_MAX {
            bail!("its journal is too long to show at once: airlock runs events {id}");
        }
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

pub(super) fn run(session: &Session, command: Runs) -> Result<ExitCode> {
    match command {
        Runs::Events { id, follow: true } => follow(session, &id, Until::Ended),
        other => at_once(session, other).map(|()| ExitCode::SUCCESS),
    }
}

fn at_once(session: &Session, command: Runs) -> Result<()> {
    match command {
        Runs::List(args) => history::list(session, &args),
        Runs::Stats => history::stats(session),
        Runs::Prune {
            older_than,
            agent,
            dry_run,
            why,
        } => {
            let body = json!({
                "older_than_s": history::seconds(&older_than)?, "agent": agent,
                "dry_run": dry_run, "why": why,
            });
            history::prune(session, &body)
        }
        Runs::Export { id } => history::export(session, &id),
        Runs::Show { id } => show(session, &id),
        Runs::Events { id, .. } => events(session, &id),
        Runs::Cancel { id, why } => act(session, &id, "cancel", &json!({ "why": why })),
        Runs::Fork {
            id,
            at,
            input,
            agent,
        } => replays::fork(session, &id, at, input.as_deref(), agent.as_deref()),
        Runs::Replay { id, agent } => replays::replay(session, &id, agent.as_deref()),
        Runs::Pause { id } => {
            let request = Request::new("POST", format!("{}/pause", path(&id)));
            let run: Value = session.api.value(&request)?;
            session.format.show(&run, |run| cell(run, "status"))
        }
        Runs::Resume(args) => resume::resume(session, &args),
    }
}

fn show(session: &Session, id: &str) -> Result<()> {
    let run = session.api.get(&path(id))?;
    if session.format == Format::Json {
        return print(&json_text(&run)?);
    }
    print(&Timeline::of(&records(session, id)?).text(&run))?;
    let mut lines = way_on(&run, airlock_runtime::now_ms());
    if run.get("end").is_none() {
        lines.extend(holds(session, id));
    }
    lines.iter().try_for_each(|line| print(line))
}

pub(super) fn signal(session: &Session, command: &Signal) -> Result<()> {
    if command.name.is_empty() {
        return Err(Misuse("the signal's name is empty".to_owned()).into());
    }
    let payload = parse(&command.payload, "the payload")?;
    let action = format!("signals/{}", encode(&command.name));
    act(
        session,
        &command.id,
        &action,
        &json!({ "payload": payload }),
    )
}

pub(super) fn path(id: &str) -> String {
    format!("/v1/runs/{}", encode(id))
}

pub(super) fn act(session: &Session, id: &str, action: &str, body: &Value) -> Result<()> {
    let path = format!("{}/{action}", path(id));
    let run: Value = session.api.value(&Request::json("POST", &path, body))?;
    session.format.show(&run, |run| cell(run, "status"))?;
    if action != "pause" {
        say_without_server(session, KEPT);
    }
    Ok(())
}

/// Says on standard error what becomes of a run where no server looks after it.
pub(super) fn say_without_server(session: &Session, says: &str) {
    if let Api::Local(_) = session.api {
        print_error(says);
    }
}

/// An agent's input as it was typed.
pub(super) fn input(typed: &str) -> Result<Value> {
    let input = match typed {
        "-" => read_input(std::path::Path::new("-"))?,
        text => text.as_bytes().to_vec(),
    };
    parse(&String::from_utf8_lossy(&input), "the input")
}

pub(super) fn parse(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Misuse(format!("{what} is not JSON: {error}")).into())
}

/// One record in a line that a person can read.
fn line(record: &Value) -> String {
    let at = record["at_ms"].as_u64().map(time).unwrap_or_default();
    // The kinds are the server's words.
    let what = shown(&one_line(&cell(record, "event")), SHOWN_CHARS_MAX);
    let mut rest = record.clone();
    if let Some(members) = rest.as_object_mut() {
        for known in ["seq", "at_ms", "event"] {
            members.remove(known);
        }
    }
    let rest = shown(&rest.to_string(), SHOWN_CHARS_MAX);
    format!("{at}  {what:<16} {rest}")
}

/// Safe for a terminal, and cut.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    let text = airlock_sandbox::inspect::text::escape(text).into_owned();
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Remote;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Where a server is asked that gives these pages, the last one again and again,
    /// and the records that were read.
    fn asked(pages: &[Value]) -> (Result<()>, Vec<String>, Vec<u64>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let pages: Vec<String> = pages.iter().map(Value::to_string).collect();
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for page in pages.iter().chain(pages.last().into_iter().cycle().take(5)) {
                let (stream, _) = listener.accept().expect("a client");
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                if first.is_empty() {
                    break;
                }
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let from = first.split(['=', '&']).nth(1).unwrap_or_default();
                asked.push(from.to_owned());
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
                let length = page.len();
                let reply = format!("{head}\r\ncontent-length: {length}\r\n\r\n{page}");
                (&stream).write_all(reply.as_bytes()).expect("writes");
            }
            asked
        });
        let session = Session {
            api: Api::Remote(Remote::new(&base, "token")),
            format: Format::Json,
        };
        let mut read = Vec::new();
        let ended = each_record(&session, "run_1", &mut |record, _| {
            read.push(record["seq"].as_u64().expect("a number"));
            Ok(())
        });
        // Nobody asks any more.
        drop(std::net::TcpStream::connect(&base["http://".len()..]));
        (ended, server.join().expect("no panic"), read)
    }

    fn page(seqs: std::ops::Range<u64>, next: Option<u64>) -> Value {
        let events: Vec<Value> = seqs.map(|seq| json!({ "seq": seq })).collect();
        match next {
            Some(next) => json!({ "events": events, "next": next }),
            None => json!({ "events": events }),
        }
    }

    /// Its name, its pages, where it is asked from, the records, the error.
    type Case = (
        &'static str,
        Vec<Value>,
        &'static [&'static str],
        u64,
        &'static str,
    );

    /// Also those of a server that means no good.
    #[test]
    fn pages_are_read_as_long_as_they_go_on_and_no_longer() {
        let table: [Case; 7] = [
            ("one that ended", vec![page(0..3, None)], &["0"], 3, ""),
            (
                "short pages, since they have many bytes",
                vec![page(0..2, Some(2)), page(2..3, Some(3)), page(3..9, None)],
                &["0", "2", "3"],
                9,
                "",
            ),
            (
                "one that goes on",
                vec![page(0..2, Some(2)), page(2..2, Some(2))],
                &["0", "2"],
                2,
                "",
            ),
            (
                "a page that ends with the run",
                vec![page(0..1_000, Some(1_000)), page(0..0, None)],
                &["0", "1000"],
                1_000,
                "",
            ),
            (
                "the same page again and again",
                vec![page(0..1_000, Some(1_000))],
                &["0", "1000"],
                1_000,
                "the server gave record 0 for 1000",
            ),
            (
                "one that goes back",
                vec![page(0..2, Some(0))],
                &["0"],
                2,
                "the server goes on with record 0 after 2",
            ),
            (
                "one that leaves some out",
                vec![page(0..2, Some(9))],
                &["0"],
                2,
                "the server goes on with record 9 after 2",
            ),
        ];
        for (name, pages, from, count, error) in table {
            let (ended, asked, read) = asked(&pages);
            assert_eq!(asked, from, "{name}");
            assert_eq!(read, (0..count).collect::<Vec<_>>(), "{name}");
            let said = ended.err().map(|error| error.to_string());
            assert_eq!(said.unwrap_or_default(), error, "{name}");
        }
    }

    #[test]
    fn a_line_of_a_record_has_nothing_that_a_terminal_acts_on() {
        let hostile = "a\u{1b}]0;x\u{7}\u{202e}b\nc\td";
        let text = line(&json!({ "seq": 0, "at_ms": 0, "event": hostile, hostile: hostile }));
        assert!(
            text.contains("a\\u{1b}]0;x\\u{7}\\u{202e}b\\nc d"),
            "{text}"
        );
        let acts = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
        let long = line(&json!({ "event": "e".repeat(10_000) }));
        assert!(long.chars().count() < 400, "{}", long.len());
    }
}
