//! Journals of earlier versions: each record is read whole, the state is the one
//! that it was, and an agent that does what it did is given what it was given.
//!
//! They lie in `tests/golden`: a line that says what the journal comes to, then a
//! line for each record. `AIRLOCK_GOLDEN=record` adds those that are not there yet
//! (`golden_journals_are_recorded`); none is ever written again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use airlock_sandbox::CallError;
use airlock_sandbox::agent::{AgentEnd, Answer, Request, RequestId, Stopped};
use serde_json::{Value, json};

use super::compare::{Comparison, Recorded, ReplayVerdict};
use super::event::{End, Event, Record};
use super::fold::RunState;

fn journals() -> Vec<(PathBuf, Vec<String>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("tests/golden") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.push((path, text.lines().map(str::to_owned).collect()));
        }
    }
    found
}

fn read(lines: &[String]) -> Vec<Record> {
    let record = |line: &String| serde_json::from_str(line).expect(line);
    lines.iter().map(record).collect()
}

/// Whether all that was `kept` is in `found`, where later versions may have more.
fn holds(found: &Value, kept: &Value) -> bool {
    match (found, kept) {
        (Value::Object(found), Value::Object(kept)) => kept.iter().all(|(name, kept)| {
            let found = found.get(name);
            found.is_some_and(|found| holds(found, kept))
        }),
        (found, kept) => found == kept,
    }
}

/// What a journal comes to, in the words of its first line.
fn summary(records: &[Record]) -> Value {
    let state = RunState::of(records);
    json!({
        "records": state.len,
        "requests": state.asked,
        "calls": state.spent.calls,
        "open": state.open().map(|(id, _)| id).collect::<Vec<_>>(),
        "blocked": state.block(),
        "paused": state.paused,
        "unknown": state.unknown,
        "end": state.end,
    })
}

/// What the agent was given for a request.
fn given(records: &[Record], id: RequestId) -> Option<Answer> {
    records.iter().find_map(|record| match &record.event {
        Event::Answered {
            id: known, answer, ..
        } if *known == id => Some(answer.clone().into()),
        Event::Recorded { id: known, value } if *known == id => Some(Ok(value.clone())),
        _ => None,
    })
}

/// An agent that does what the records say it did.
fn again(comparison: &mut Comparison, records: &[Record]) -> Result<(), Stopped> {
    let (mut polls, mut told) = (0, Vec::new());
    for record in records.iter().filter(|record| record.event.is_the_agents()) {
        match record.event.clone() {
            Event::Requested { id, request, .. } => {
                assert_eq!(comparison.request(request)?, id);
            }
            Event::Recorded { id, value } => {
                assert_eq!(comparison.request(Request::Record { value })?, id);
            }
            Event::ToolsTold { tools } => {
                told = tools.unwrap_or(told);
                assert_eq!(comparison.tools()?, told);
            }
            Event::Woke { poll, ready, .. } => {
                // Looks that found nothing are not in the journal.
                for _ in polls..poll {
                    assert_eq!(comparison.poll(&[u64::MAX], false)?, Vec::<u64>::new());
                }
                assert_eq!(comparison.poll(&ready, true)?, ready);
                // What it let go of after that, it had not read.
                let read = |id: &&u64| {
                    let is_it = |event: &Event| matches!(event, Event::Detached { id: known, .. } if known == *id);
                    !records.iter().any(|record| is_it(&record.event))
                };
                for id in ready.iter().filter(read) {
                    let given = given(records, *id);
                    assert!(given.is_some(), "{id} has an answer");
                    assert_eq!(comparison.answer(*id), given);
                }
                assert_eq!(comparison.now_ms(), record.at_ms);
                polls = poll + 1;
            }
            event => comparison.does(event)?,
        }
    }
    Ok(())
}

fn is_given_up(record: &Record) -> bool {
    matches!(record.event, Event::GivenUp { .. })
}

/// How the agent ended, as far as the end is its own.
fn ends(records: &[Record]) -> AgentEnd {
    match records.last().map(|record| &record.event) {
        Some(Event::Ended {
            end: End::Succeeded { output },
            ..
        }) => AgentEnd::Done(output.clone()),
        Some(Event::Ended {
            end: End::Continued { .. },
            ..
        }) => AgentEnd::ContinueAsNew(String::new()),
        Some(Event::Ended {
            end: End::Escalated { reason },
            ..
        }) if !records.iter().any(is_given_up) => AgentEnd::Failed(CallError::Escalate {
            message: reason.clone(),
        }),
        _ => AgentEnd::Stopped,
    }
}

#[test]
fn journals_of_earlier_versions_are_read_folded_and_replayed() {
    let mut kinds = BTreeSet::new();
    let journals = journals();
    assert!(journals.len() >= 11, "only {} journals", journals.len());
    for (path, lines) in journals {
        let name = path.display();
        let records = read(&lines[1..]);
        for (record, line) in records.iter().zip(&lines[1..]) {
            let kept: Value = serde_json::from_str(line).expect("JSON");
            assert!(
                holds(&json!(record), &kept),
                "{name}: of {line}: {record:?}"
            );
            kinds.insert(kept["event"].as_str().expect("a kind").to_owned());
        }
        let expect: Value = serde_json::from_str(&lines[0]).expect("JSON");
        let found = summary(&records);
        for (member, value) in expect.as_object().expect("an object") {
            assert_eq!(&found[member], value, "{name}: {member}");
        }
        let recorded = Recorded::of(records.clone(), |_| Ok::<_, ()>(None));
        let mut comparison = Comparison::new(recorded.expect("reads"));
        again(&mut comparison, &records).unwrap_or_else(|Stopped| panic!("{name}: it differs"));
        assert!(comparison.is_used_up(), "{name}: not all was compared");
        let replay = comparison.finish(ends(&records));
        assert!(replay.differences.is_empty(), "{name}: {replay:?}");
        assert_ne!(replay.verdict, ReplayVerdict::Differs, "{name}");
        assert_eq!(replay.same, replay.steps, "{name}");
    }
    let schema = known_kinds();
    let missing: Vec<&String> = schema.difference(&kinds).collect();
    assert!(
        missing.is_empty(),
        "record a journal with the new kinds: {missing:?}"
    );
}

/// The names of all kinds of records, from the error that an unknown one gets.
fn known_kinds() -> BTreeSet<String> {
    let error = serde_json::from_str::<Record>(r#"{"at_ms":1,"event":"?"}"#);
    let text = error.expect_err("there is none of this name").to_string();
    let names = text.split('`').skip(3).step_by(2);
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(
        names.contains("started") && names.contains("ended"),
        "{text}"
    );
    names
}
