//! Follows a run as it goes: lines for what happens and, on a terminal, one
//! more below them that says what it is at.
//!
//! What must stay true: a connection that breaks off is made again, and no record
//! is shown twice or left out.

use std::collections::VecDeque;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::Session;
use super::halt::{LIFTED, holds};
use super::runs::{NO_SERVER, each_record, path};
use crate::client::{Api, Told};
use crate::exit::{Failure, LATER, PERSON, code_of_end};
use crate::output::{Format, json_escaped, one_line, print, print_error, print_to_reader, time};
use crate::timeline::{Happening, Timeline, way_on, why_blocked};

/// How long a server that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(300);

/// The waits between two tries; they double.
const WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest line that is written over, characters: one that wraps would not be.
const STATUS_CHARS_MAX: usize = 100;

/// What is written beyond the terminal's edge goes to the next line, or nowhere.
const WRAP: &str = "\x1b[?7h";
const NO_WRAP: &str = "\x1b[?7l";

/// Most runs below one that are looked at, those that have ended too, and of those that
/// have not.
const BELOW_MAX: usize = 1_000;
const LIVE_BELOW_MAX: usize = 64;

/// Takes back the line that the cursor is in.
const CLEAR: &str = "\r\x1b[2K";

/// When to leave a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Once it has ended or waits for a person.
    Asked,
    /// Once it has ended.
    Ended,
}

/// Shows what happens in a run from its beginning, and in those that continue it.
/// Ends as the run does; with [`PERSON`] where it waits for one, with [`LATER`]
/// where nobody looks after it.
pub(super) fn follow(session: &Session, id: &str, until: Until) -> Result<ExitCode> {
    let mut id = id.to_owned();
    loop {
        let mut view = View::new(session.format);
        // Nothing else writes to a directory that this process has opened.
        match (&session.api, until) {
            (Api::Local(_), Until::Ended) => so_far(session, &id, &mut view)?,
            _ => {
                view.tell_halts(session, &id)?;
                one(session, &id, until, &mut view)?;
            }
        }
        let next = view.timeline.end().and_then(|end| end["run"].as_str());
        match next.filter(|_| view.read) {
            Some(next) => id = next.to_owned(),
            None => {
                view.last(session, &id)?;
                return Ok(ExitCode::from(view.code(until)));
            }
        }
    }
}

fn so_far(session: &Session, id: &str, view: &mut View) -> Result<()> {
    each_record(session, id, &mut |record, _| view.show(&record))?;
    if view.timeline.end().is_none() {
        view.clear()?;
        print_error(NO_SERVER);
    }
    Ok(())
}

/// One run, over as many connections as it takes.
fn one(session: &Session, id: &str, until: Until, view: &mut View) -> Result<()> {
    let deltas = if view.terminal { "?deltas=true" } else { "" };
    let events = format!("{}/events{deltas}", path(id));
    let (mut silent, mut wait) = (Instant::now(), WAIT);
    loop {
        let (mut left, seen, mut shown) = (Left::BrokenOff, view.next, Ok(()));
        let mut heard = false;
        let followed = session.api.follow(&events, seen, &mut |told| {
            match told {
                Told::Record(record) => shown = view.show(&record),
                Told::Delta(delta) => {
                    heard = true;
                    shown = view.hear(&delta);
                }
                Told::Nothing => left = Left::Idle,
            }
            if until == Until::Asked && view.timeline.asks() {
                left = Left::Asked;
            }
            shown.is_ok() && left == Left::BrokenOff && view.goes_on()
        });
        shown?;
        if !view.goes_on() || (left == Left::Asked && waits(session, id, view)?) {
            return Ok(());
        }
        if view.next > seen || heard {
            (silent, wait) = (Instant::now(), WAIT);
        }
        match followed {
            Ok(()) if left == Left::Asked => continue,
            Ok(()) if left == Left::Idle => {
                (silent, wait) = (Instant::now(), WAIT);
                view.tell_halts(session, id)?;
                if until == Until::Asked && view.asked_below(session, id) {
                    return Ok(());
                }
                continue;
            }
            Err(error) if !is_passing(&error) || silent.elapsed() > PATIENCE => {
                view.clear()?;
                return Err(error);
            }
            _ => {}
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Why a connection was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It was not.
    BrokenOff,
    /// Nothing happened for a while.
    Idle,
    /// A person may be needed.
    Asked,
}

/// Whether asking again may help.
fn is_passing(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_none_or(|failure| matches!(failure.status, 429 | 502..=504))
}

/// Whether the run waits for a person now, and all that led to it is shown.
fn waits(session: &Session, id: &str, view: &View) -> Result<bool> {
    let run = session.api.get(&path(id))?;
    let all = run["events"].as_u64().is_some_and(|all| all <= view.next);
    Ok(all && (asks(&run).next().is_some() || run.get("blocked").is_some()))
}

/// The requests of a run that wait for a person.
fn asks(run: &Value) -> impl Iterator<Item = &Value> {
    let open = run["waits_for"].as_array().into_iter().flatten();
    open.filter(|open| open["request"]["kind"] == "ask" || open["to_approve"] == true)
        .map(|open| &open["id"])
}

/// What waits for a person among the runs that `id` started, and those that they
/// started: the commands that look at it.
fn below(session: &Session, id: &str) -> Vec<String> {
    let mut look = VecDeque::from([id.to_owned()]);
    let (mut found, mut live, mut first) = (Vec::new(), 0, true);
    for _ in 0..BELOW_MAX {
        let Some(id) = look.pop_front().filter(|_| live < LIVE_BELOW_MAX) else {
            break;
        };
        // One that this token does not see is somebody else's to look at.
        let Ok(run) = session.api.get(&path(&id)) else {
            continue;
        };
        let runs = run["children"].as_array().into_iter().flatten();
        let runs = runs.chain(run["end"].get("run")).filter_map(Value::as_str);
        look.extend(runs.map(str::to_owned));
        live += usize::from(run.get("end").is_none());
        if std::mem::take(&mut first) {
            continue;
        }
        found.extend(asks(&run).map(|ask| format!("airlock approvals show {id}.{ask}")));
        if run.get("blocked").is_some() {
            found.push(format!("airlock runs show {id}"));
        }
    }
    found
}

/// What is on the screen.
struct View {
    format: Format,
    /// The last line is written over.
    terminal: bool,
    timeline: Timeline,
    /// Number of the record that comes next.
    next: u64,
    /// Whether anybody still reads.
    read: bool,
    /// What the kill switch holds of it, as it was told last.
    halts: Vec<String>,
    /// The commands that look at what waits for a person in runs that it started.
    below: Vec<String>,
    /// The step that a language model answers, and the end of what it said so far.
    says: Option<(u64, String)>,
}

impl View {
    fn new(format: Format) -> Self {
        Self {
            format,
            terminal: format == Format::Text && stdout().is_terminal(),
            timeline: Timeline::default(),
            next: 0,
            read: true,
            halts: Vec::new(),
            below: Vec::new(),
            says: None,
        }
    }

    fn goes_on(&self) -> bool {
        self.read && self.timeline.end().is_none()
    }

    /// How the command ends that was left here.
    fn code(&self, until: Until) -> u8 {
        match (self.timeline.end(), until) {
            _ if !self.read => 0,
            (Some(end), _) => code_of_end(end),
            (None, Until::Asked) => PERSON,
            (None, Until::Ended) => LATER,
        }
    }

    /// Says that the run stands still, or no longer does. No record does: the run
    /// itself has no part in it.
    fn tell_halts(&mut self, session: &Session, id: &str) -> Result<()> {
        let halts = holds(session, id);
        if halts != self.halts {
            self.clear()?;
            halts.iter().for_each(|line| print_error(line));
            if halts.is_empty() {
                print_error(LIFTED);
            }
            self.halts = halts;
        }
        Ok(())
    }

    /// Whether a run that this one started waits for a person: nothing of that is in
    /// its own journal.
    fn asked_below(&mut self, session: &Session, id: &str) -> bool {
        self.below = below(session, id);
        !self.below.is_empty()
    }

    /// Shows a record that was not shown yet.
    fn show(&mut self, record: &Value) -> Result<()> {
        let Some(seq) = record["seq"].as_u64().filter(|seq| *seq >= self.next) else {
            return Ok(());
        };
        self.next = seq + 1;
        if self.says.as_ref().map(|says| says.0) == record["id"].as_u64() {
            self.says = None;
        }
        let happenings = self.timeline.apply(record);
        let text = match self.format {
            Format::Json => json_escaped(record.to_string()) + "\n",
            Format::Text => self.lines(&happenings),
        };
        self.read &= print_to_reader(text.as_bytes())?;
        Ok(())
    }

    /// Shows that a language model said more, where that can be written over.
    fn hear(&mut self, delta: &Value) -> Result<()> {
        let Some(id) = delta["id"].as_u64().filter(|_| self.terminal) else {
            return Ok(());
        };
        let said = match &mut self.says {
            Some((of, said)) if *of == id && delta["delta"] != "started" => said,
            says => &mut says.insert((id, String::new())).1,
        };
        said.push_str(delta["text"].as_str().unwrap_or_default());
        if let Some((cut, _)) = said.char_indices().nth_back(STATUS_CHARS_MAX) {
            said.drain(..cut);
        }
        let text = self.lines(&[]);
        self.read &= print_to_reader(text.as_bytes())?;
        Ok(())
    }

    /// One line on what it is at: the end of what a model says, or its open steps.
    fn status(&self) -> String {
        let Some((id, said)) = &self.says else {
            let status = self.timeline.status();
            return status.chars().take(STATUS_CHARS_MAX).collect();
        };
        let said = one_line(said);
        let begin = format!("#{id} says: ");
        let room = STATUS_CHARS_MAX.saturating_sub(begin.len());
        let from = said.chars().count().saturating_sub(room);
        begin + &said.chars().skip(from).collect::<String>()
    }

    fn lines(&self, happenings: &[Happening]) -> String {
        let mut text = String::new();
        if self.terminal {
            text.push_str(CLEAR);
        }
        for happening in happenings {
            text.push_str(&line(happening));
            text.push('\n');
        }
        if self.terminal && self.timeline.end().is_none() {
            // One that does not fit ends at the edge: a second line would stay.
            text.push_str(NO_WRAP);
            text.push_str("… ");
            text.push_str(&self.status());
            text.push_str(WRAP);
        }
        text
    }

    /// Takes the line that is written over away.
    fn clear(&self) -> Result<()> {
        match self.terminal {
            true => print_to_reader(CLEAR.as_bytes()).map(drop),
            false => Ok(()),
        }
    }

    /// What is left to say.
    fn last(&self, session: &Session, id: &str) -> Result<()> {
        self.clear()?;
        if self.format == Format::Json {
            return Ok(());
        }
        print(&format!("used {}", self.timeline.spent()))?;
        if self.timeline.end().is_some() {
            return Ok(());
        }
        let run = session.api.get(&path(id))?;
        if let Some(why) = run.get("blocked") {
            print(&format!("blocked: {}", why_blocked(why)))?;
            let lines = way_on(&run, airlock_runtime::now_ms());
            return lines.iter().try_for_each(|line| print(line));
        }
        let asked = asks(&run).map(|ask| format!("airlock approvals show {id}.{ask}"));
        for look in asked {
            print(&format!("waits for a person: {look}"))?;
        }
        for look in &self.below {
            print(&format!("a run that it started waits for a person: {look}"))?;
        }
        Ok(())
    }
}

/// E.g. `2026-11-21 13:00:00Z  #3 → {"count":1} (1.2 s)`.
fn line(happening: &Happening) -> String {
    let step = happening
        .step
        .map(|step| format!("#{step} "))
        .unwrap_or_default();
    format!("{}  {step}{}", time(happening.at_ms), happening.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Remote;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    fn record(seq: u64, event: &str) -> String {
        format!("id: {seq}\nevent: record\ndata: {{\"seq\":{seq},\"at_ms\":1,{event}}}\n\n")
    }

    /// What a follower asks a server for that breaks off after each of `replies`.
    fn asked(replies: &[(&str, String)]) -> (Result<()>, Vec<Option<String>>, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let replies: Vec<String> = replies
            .iter()
            .map(|(head, body)| {
                format!(
                    "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n{body}"
                )
            })
            .collect();
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for reply in replies {
                let (stream, _) = listener.accept().expect("a client");
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let last = head
                    .iter()
                    .find_map(|line| line.strip_prefix("last-event-id: "));
                asked.push(last.map(str::to_owned));
                (&stream).write_all(reply.as_bytes()).expect("writes");
            }
            asked
        });
        let session = Session {
            api: Api::Remote(Remote::new(&base, "token")),
            format: Format::Json,
        };
        let mut view = View::new(Format::Json);
        let ended = one(&session, "run_1", Until::Ended, &mut view);
        (ended, server.join().expect("no panic"), view.next)
    }

    #[test]
    fn a_connection_that_breaks_off_is_made_again_where_it_was() {
        const OK: &str = "200 OK\r\ncontent-type: text/event-stream";
        let (ended, asked, next) = asked(&[
            (
                OK,
                record(0, "\"event\":\"woke\"") + &record(1, "\"event\":\"woke\"") + "id: 2\nev",
            ),
            ("503 Service Unavailable", String::new()),
            // What was seen is not shown again.
            (
                OK,
                record(1, "\"event\":\"woke\"") + &record(2, "\"event\":\"woke\""),
            ),
            (
                OK,
                record(3, "\"event\":\"ended\",\"end\":{\"state\":\"succeeded\"}"),
            ),
        ]);
        ended.expect("it ended");
        let last = |id: &str| Some(id.to_owned());
        assert_eq!(asked, [None, last("1"), last("1"), last("2")]);
        assert_eq!(next, 4);
    }

    #[test]
    fn what_a_model_says_is_the_line_that_is_written_over() {
        let mut view = View {
            terminal: true,
            ..View::new(Format::Text)
        };
        let text = |id: u64, text: &str| json!({ "id": id, "delta": "text", "text": text });
        let started = json!({ "id": 4, "delta": "started", "model": "small" });
        let answered = json!({ "seq": 0, "at_ms": 1, "event": "answered", "id": 4 });
        let table = [
            (started.clone(), "#4 says: "),
            (text(4, "It is\n\u{1b}[2J"), "#4 says: It is\\n\\u{1b}[2J"),
            (started, "#4 says: "),
            (text(5, "no"), "#5 says: no"),
            (text(5, "w"), "#5 says: now"),
        ];
        for (delta, line) in table {
            view.hear(&delta).expect("shows");
            assert_eq!(view.status(), line);
        }
        view.hear(&text(4, &"é".repeat(1_000))).expect("shows");
        assert_eq!(view.status().chars().count(), STATUS_CHARS_MAX);
        view.show(&answered).expect("shows");
        assert_eq!(view.says, None);
    }

    #[test]
    fn what_asking_again_does_not_mend_is_told() {
        let problem = "event: problem\ndata: {\"status\":401,\"code\":\"unauthenticated\"}\n\n";
        let (ended, _, next) = asked(&[(
            "200 OK\r\ncontent-type: text/event-stream",
            record(0, "\"event\":\"woke\"") + problem,
        )]);
        let error = ended.expect_err("no token");
        let failure = error.downcast_ref::<Failure>().expect("a problem");
        assert_eq!((failure.code.as_str(), next), ("unauthenticated", 1));
    }
}
