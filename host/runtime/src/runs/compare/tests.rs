//! A scripted agent against journals: what is the same, what is not, and how.

use airlock_sandbox::agent::{AgentEnd, AgentTool, ChildBudget, Note, Request, Stopped};
use airlock_sandbox::{CallError, EffectClass};

use super::Recorded;
use super::matching::Comparison;
use super::types::{DifferenceKind, ReplayVerdict, RunReplay};
use crate::runs::event::{End, Event, Record, Told};
use crate::runs::spending::Spent;
use crate::runs::tests::begins;

fn call(tool: &str) -> Request {
    Request::Call {
        tool: format!("p/{tool}"),
        input: "{}".to_owned(),
    }
}

fn start() -> Event {
    Event::Started(begins())
}

fn log() -> Note {
    Note::Log {
        level: "info".to_owned(),
        message: "x".to_owned(),
    }
}

/// What an agent does next.
#[derive(Clone)]
enum Do {
    Ask(Request),
    /// Waits until one of these has an answer.
    Wait(&'static [u64]),
    Note,
    Cancel(u64),
    LetGo(u64),
    Set(&'static str, &'static str),
    /// Looks which tools there are: this one.
    Tools(&'static str),
}
use Do::{Ask, Cancel, LetGo, Note as Tell, Set, Tools, Wait};

fn record(value: &str) -> Request {
    Request::Record {
        value: value.to_owned(),
    }
}

fn child(agent: &str) -> Request {
    Request::Start {
        agent: agent.to_owned(),
        goal: String::new(),
        input: "{}".to_owned(),
        budget: ChildBudget::default(),
    }
}

fn set(key: &str, value: &str) -> Event {
    Event::StateSet {
        key: key.to_owned(),
        value: Some(value.to_owned()),
    }
}

fn tool(name: &str) -> AgentTool {
    AgentTool {
        name: name.to_owned(),
        description: String::new(),
        input_schema: "{}".to_owned(),
        output_schema: None,
        class: EffectClass::Plain,
    }
}

/// The journal of an agent that did this, each wait ended by the answer to the
/// first request that it is for.
fn journal(script: &[Do], end: Option<&str>) -> Vec<Record> {
    let (mut events, mut asked, mut polls) = (vec![start()], 0, 0);
    for step in script {
        match step.clone() {
            Ask(Request::Record { value }) => {
                events.push(Event::Recorded { id: asked, value });
                asked += 1;
            }
            Ask(request) => {
                let begun = None;
                events.push(Event::Requested {
                    id: asked,
                    request,
                    begun,
                });
                asked += 1;
            }
            Wait(ids) => {
                let answer = Told::Ok(format!("\"{}\"", ids[0]));
                let (id, by, used) = (ids[0], None, Spent::default());
                let kept = |event: &Event| matches!(event, Event::Recorded { id: kept, .. } if *kept == id);
                let answered = Event::Answered {
                    id,
                    answer,
                    by,
                    used,
                };
                if !events.iter().any(kept) {
                    events.push(answered);
                }
                let (poll, ready, cpu_us) = (polls, vec![id], 0);
                events.push(Event::Woke {
                    poll,
                    ready,
                    cpu_us,
                });
                polls += 1;
            }
            Tell => events.push(Event::Noted(log())),
            Cancel(id) => events.push(Event::CancelAsked { id }),
            LetGo(id) => events.push(Event::detached(id, None)),
            Set(key, value) => events.push(set(key, value)),
            Tools(name) => events.push(Event::ToolsTold {
                tools: Some(vec![tool(name)]),
            }),
        }
    }
    let end = end.map(|output| End::Succeeded {
        output: output.to_owned(),
    });
    events.extend(end.map(Event::ended));
    let record = |(at_ms, event)| Record { at_ms, event };
    (1_000..).zip(events).map(record).collect()
}

fn comparison(records: Vec<Record>) -> Comparison {
    let recorded = Recorded::of(records, |_| Ok::<_, ()>(None));
    Comparison::new(recorded.expect("reads"))
}

/// An agent that does this, over the journal.
fn replayed(records: Vec<Record>, script: &[Do], output: &str) -> RunReplay {
    let mut comparison = comparison(records);
    let mut run = || -> Result<(), Stopped> {
        for step in script {
            match step.clone() {
                Ask(request) => drop(comparison.request(request)?),
                Wait(ids) => drop(comparison.poll(ids, true)?),
                Tell => comparison.does(Event::Noted(log()))?,
                Cancel(id) => comparison.does(Event::CancelAsked { id })?,
                LetGo(id) => comparison.does(Event::detached(id, None))?,
                Set(key, value) => comparison.does(set(key, value))?,
                Tools(name) => assert_eq!(comparison.tools()?, [tool(name)]),
            }
        }
        Ok(())
    };
    let end = match run() {
        Ok(()) => AgentEnd::Done(output.to_owned()),
        Err(Stopped) => AgentEnd::Stopped,
    };
    comparison.finish(end)
}

/// What the differences come to, in a line.
fn told(replay: &RunReplay) -> String {
    let one = |difference: &super::Difference| {
        let step = difference
            .replayed
            .as_ref()
            .or(difference.recorded.as_ref());
        let what = step.map_or("", |step| &*step.what);
        let what = what.trim_start_matches("call p/").trim_end_matches(" {}");
        format!("{:?} {what}", difference.kind)
    };
    let all: Vec<String> = replay.differences.iter().map(one).collect();
    all.join(", ")
}

fn abc() -> Vec<Do> {
    ["a", "b", "c"].map(|tool| Ask(call(tool))).to_vec()
}

fn with(changes: impl FnOnce(&mut Vec<Do>)) -> Vec<Do> {
    let mut script = abc();
    changes(&mut script);
    script
}

#[test]
fn each_difference_has_its_kind() {
    let other = || Request::Call {
        tool: "p/b".to_owned(),
        input: "[]".to_owned(),
    };
    let cases: [(&str, Vec<Do>, &str, &str); 10] = [
        ("the same", abc(), "1", ""),
        ("another result", abc(), "2", "OtherOutcome succeeded: 2"),
        (
            "other arguments",
            with(|s| s[1] = Ask(other())),
            "1",
            "ChangedArguments b []",
        ),
        (
            "one more",
            with(|s| s.insert(1, Ask(call("x")))),
            "1",
            "Inserted x",
        ),
        (
            "one more at the end",
            with(|s| s.push(Ask(call("x")))),
            "1",
            "Inserted x",
        ),
        (
            "one less",
            with(|s| drop(s.remove(1))),
            "1",
            "OtherOrder c, Removed b",
        ),
        ("none at the end", with(|s| drop(s.pop())), "1", "Removed c"),
        (
            "another order",
            with(|s| s.swap(0, 1)),
            "1",
            "OtherOrder b, OtherOrder a",
        ),
        (
            "another tool",
            with(|s| s[1] = Ask(call("x"))),
            "1",
            "Inserted x, Removed b",
        ),
        (
            "a note",
            with(|s| s.insert(0, Tell)),
            "1",
            "Inserted {\"event\":\"noted\",\"note\":\"log\",\"level\":\"info\",\"message\":\"x\"}",
        ),
    ];
    for (name, script, output, expect) in cases {
        let replay = replayed(journal(&abc(), Some("1")), &script, output);
        assert_eq!(told(&replay), expect, "{name}");
        let verdict = match expect {
            "" => ReplayVerdict::Same,
            _ => ReplayVerdict::Differs,
        };
        assert_eq!(replay.verdict, verdict, "{name}");
        assert_eq!(replay.steps, 3, "{name}");
    }
}

#[test]
fn after_a_difference_answers_are_found_by_what_is_asked_for() {
    let waits = [Ask(call("a")), Wait(&[0]), Ask(call("b")), Wait(&[1])];
    let records = || journal(&waits, Some("1"));
    // Another request first: both are found, with their answers.
    let script = [Ask(call("b")), Ask(call("a")), Wait(&[0]), Wait(&[1])];
    let replay = replayed(records(), &script, "1");
    assert_eq!(replay.stopped, None);
    assert_eq!(replay.replayed_end, replay.recorded_end);
    let kinds: Vec<DifferenceKind> = replay.differences.iter().map(|d| d.kind).collect();
    assert!(kinds.contains(&DifferenceKind::OtherOrder), "{replay:?}");
    // What nobody ever answered ends the replay, not before it is waited for.
    let script = [Ask(call("x")), Ask(call("a")), Wait(&[1]), Wait(&[0]), Tell];
    let replay = replayed(records(), &script, "1");
    let why = replay.stopped.as_deref().expect("it stops");
    assert!(why.contains("[0]"), "{why}");
    assert_eq!(told(&replay), "Inserted x");
    assert_eq!((replay.same, replay.not_reached), (1, 1), "{replay:?}");
    // Only the wait has another place.
    let script = [Ask(call("a")), Ask(call("b")), Wait(&[0]), Wait(&[1])];
    assert_eq!(told(&replayed(records(), &script, "1")), "OtherOrder b");
    let script = [
        Ask(call("a")),
        Wait(&[0]),
        Wait(&[0]),
        Ask(call("b")),
        Wait(&[1]),
    ];
    assert_eq!(
        told(&replayed(records(), &script, "1")),
        "",
        "what it knows already"
    );
}

#[test]
fn the_answers_are_those_of_the_journal() {
    let recorded = [Ask(call("a")), Ask(call("b")), Wait(&[1]), Wait(&[0])];
    let mut comparison = comparison(journal(&recorded, None));
    let first = comparison.request(call("b")).expect("goes on");
    comparison.request(call("nobody")).expect("goes on");
    let third = comparison.request(call("a")).expect("goes on");
    assert_eq!(comparison.answer(first), None, "not before a wait");
    let ready = comparison.poll(&[third, first], true);
    assert_eq!(ready, Ok(vec![first]), "the one that came first");
    assert_eq!(comparison.now_ms(), 1_004, "when it reached the agent");
    assert_eq!(comparison.answer(first), Some(Ok("\"1\"".to_owned())));
    assert_eq!(comparison.poll(&[third], true), Ok(vec![third]));
    assert_eq!(comparison.answer(third), Some(Ok("\"0\"".to_owned())));
    assert_eq!(
        comparison.poll(&[1], false),
        Ok(vec![]),
        "a look does not wait"
    );
    assert_eq!(comparison.poll(&[1], true), Err(Stopped));
    assert_eq!(comparison.request(call("a")), Err(Stopped), "it is over");
}

#[test]
fn a_journal_that_goes_on_is_the_same_so_far() {
    let recorded = [Ask(call("a")), Wait(&[0]), Ask(call("b"))];
    let script = [&recorded[..], &[Wait(&[1]), Ask(call("c"))]].concat();
    let replay = replayed(journal(&recorded, None), &script, "1");
    assert_eq!(replay.verdict, ReplayVerdict::SameSoFar, "{replay:?}");
    assert_eq!((replay.same, replay.steps), (2, 2));
    let less = [Ask(call("a")), Wait(&[0])];
    let replay = replayed(journal(&recorded, None), &less, "1");
    assert_eq!(told(&replay), "Removed b");
}

/// Values, state, children and tools: an agent that does the same, and one that
/// does it otherwise.
#[test]
fn what_is_kept_set_started_and_told_is_compared_too() {
    let all = [
        Ask(record("1")),
        Wait(&[0]),
        Set("a", "1"),
        Tools("p/t"),
        Ask(child("checker")),
        Wait(&[1]),
        Ask(call("a")),
    ];
    let same = replayed(journal(&all, Some("1")), &all, "1");
    assert_eq!(
        (same.verdict, same.same),
        (ReplayVerdict::Same, 5),
        "{same:?}"
    );
    let with = |at: usize, step: Do| {
        let mut script = all.to_vec();
        script[at] = step;
        script
    };
    // What it does instead, and whether the replay comes to its end all the same.
    let cases = [
        (
            with(0, Ask(record("2"))),
            "ChangedArguments keeps 2",
            true,
            "a value is its own answer",
        ),
        (
            with(2, Set("a", "2")),
            "ChangedArguments sets the state `a` to 2",
            true,
            "another value",
        ),
        (
            with(2, Set("b", "1")),
            "Inserted sets the state `b` to 1, Removed sets the state `a` to 1",
            true,
            "another key",
        ),
        (
            with(4, Ask(child("other"))),
            "Inserted starts other",
            false,
            "nobody knows what that child would say",
        ),
    ];
    for (script, expect, ends, name) in cases {
        let replay = replayed(journal(&all, Some("1")), &script, "1");
        assert_eq!(told(&replay), expect, "{name}: {replay:?}");
        assert_eq!(replay.stopped.is_none(), ends, "{name}: {replay:?}");
    }
    // After a difference, the tools are those that the journal tells of.
    let first = [[Ask(call("x"))].as_slice(), &all[2..4], &[Tools("p/t")]].concat();
    let replay = replayed(journal(&all, Some("1")), &first, "1");
    assert_eq!(replay.stopped, None, "{replay:?}");
}

/// A run that its grant ended: its agent may go on in a replay, and is not other
/// for that.
#[test]
fn a_run_that_its_grant_ended_has_no_end_of_its_agents() {
    let recorded = [Ask(call("a"))];
    let mut records = journal(&recorded, None);
    let end = End::Failed {
        code: "permanent".to_owned(),
        detail: "no".to_owned(),
    };
    for event in [Event::GivenUp { end: end.clone() }, Event::ended(end)] {
        records.push(Record {
            at_ms: 2_000,
            event,
        });
    }
    let replay = replayed(records, &[Ask(call("a")), Wait(&[0])], "1");
    assert_eq!(replay.verdict, ReplayVerdict::SameSoFar, "{replay:?}");
    assert_eq!(replay.recorded_end, None);
}

#[test]
fn timers_are_compared_by_how_long_they_are() {
    let timer = |due_ms| Ask(Request::Timer { due_ms });
    let recorded = [Ask(call("a")), Wait(&[0]), timer(1_013), Wait(&[1])];
    // One request more, and the clock stands elsewhere: the timer is the same.
    let later = [
        Ask(call("a")),
        Ask(call("x")),
        Wait(&[0]),
        timer(1_013),
        Wait(&[2]),
    ];
    let replay = replayed(journal(&recorded, Some("1")), &later, "1");
    assert_eq!(told(&replay), "Inserted x");
    let longer = [Ask(call("a")), Wait(&[0]), timer(1_014), Wait(&[1])];
    let replay = replayed(journal(&recorded, Some("1")), &longer, "1");
    assert_eq!(replay.differences.len(), 1, "{replay:?}");
    assert_eq!(replay.differences[0].kind, DifferenceKind::ChangedArguments);
    assert_eq!(replay.stopped, None);
}

#[test]
fn what_is_cancelled_and_let_go_is_compared_too() {
    let recorded = [Ask(call("a")), Ask(call("b")), Cancel(0), LetGo(1)];
    let same = replayed(journal(&recorded, Some("1")), &recorded, "1");
    assert_eq!((same.verdict, same.same), (ReplayVerdict::Same, 4));
    let script = [Ask(call("a")), Ask(call("b")), Cancel(1), LetGo(0)];
    let replay = replayed(journal(&recorded, Some("1")), &script, "1");
    let kinds: Vec<DifferenceKind> = replay.differences.iter().map(|d| d.kind).collect();
    assert_eq!(kinds.len(), 4, "{replay:?}");
}

#[test]
fn many_differences_are_counted_and_the_first_told() {
    let recorded: Vec<Do> = (0..1_500).map(|_| Ask(call("a"))).collect();
    let script: Vec<Do> = (0..1_500).map(|_| Ask(call("b"))).collect();
    let replay = replayed(journal(&recorded, Some("1")), &script, "1");
    assert_eq!(replay.differences.len(), 1_000);
    assert_eq!(replay.more_differences, 2_000);
    let failed = {
        let mut comparison = comparison(journal(&[], Some("1")));
        comparison.finish(AgentEnd::Failed(CallError::Permanent {
            message: "no".to_owned(),
        }))
    };
    assert_eq!(
        told(&failed),
        "OtherOutcome failed: permanent: permanent: no"
    );
}
