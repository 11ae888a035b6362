//! The fold and the comparison with the journal, without a host.

use airlock_sandbox::agent::{Note, Request};
use airlock_sandbox::{CallError, EffectClass};
use serde_json::json;

use super::event::{Block, End, Event, RULES, Record, Start, Told};
use super::fold::RunState;
use super::replay::{Began, Replay, Step};

/// How a run of the tests begins.
pub(super) fn begins() -> Start {
    Start {
        agent: "a".to_owned(),
        digest: "sha256:0".to_owned(),
        goal: String::new(),
        input: "{}".to_owned(),
        by: "me".to_owned(),
        scope: None,
        seed: "00".to_owned(),
        autonomy: super::event::Autonomy::default(),
        budget: super::spending::Budget::default(),
        continues: None,
        forked_from: None,
        began_ms: None,
        spent: super::spending::Spent::default(),
        state: airlock_sandbox::agent::Memory::default(),
        signals: Vec::new(),
        rules: 0,
        parent: None,
    }
}

/// Open requests are shown whole as far as there is room for all of them.
#[test]
fn a_request_without_room_is_shown_without_its_long_members() {
    let request = |len: usize| json!({ "kind": "call", "tool": "p/t", "input": "x".repeat(len) });
    let bytes = request(600).to_string().len();
    let short = json!({ "kind": "call", "tool": "p/t" });
    let mut room = bytes + 5;
    let table = [
        (request(600), request(600), None),
        (request(600), short, Some(bytes as u64)),
        // Short ones may be many.
        (request(10), request(10), None),
        (json!(1), json!(1), None),
    ];
    for (given, expect, left_out) in table {
        let found = super::admin::shown(given, &mut room);
        assert_eq!(found, (expect, left_out));
    }
    assert_eq!(room, 4);
}

/// What was written before there were rules reads the same, byte for byte.
#[test]
fn a_run_without_rules_of_reading_is_written_without_them() {
    for (rules, written) in [(0, None), (1, Some(1))] {
        let start = Start { rules, ..begins() };
        let value = serde_json::to_value(&start).expect("JSON");
        let found = value.get("rules").and_then(serde_json::Value::as_u64);
        assert_eq!(found, written);
        let read: Start = serde_json::from_value(value).expect("as it was written");
        assert_eq!(read, start);
    }
}

fn start() -> Event {
    Event::Started(begins())
}

fn timer(due_ms: u64) -> Request {
    Request::Timer { due_ms }
}

fn signal(name: &str) -> Request {
    Request::Signal {
        name: name.to_owned(),
    }
}

fn signalled(name: &str, payload: &str) -> Event {
    Event::Signalled {
        name: name.to_owned(),
        payload: payload.to_owned(),
        by: "me".to_owned(),
    }
}

fn log(message: &str) -> Note {
    Note::Log {
        level: "info".to_owned(),
        message: message.to_owned(),
    }
}

fn records(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let record = |(at_ms, event)| Record { at_ms, event };
    (1_000..).zip(events).map(record).collect()
}

fn journal() -> Vec<Record> {
    let ok = |id, output: &str| Event::Answered {
        id,
        answer: Told::Ok(output.to_owned()),
        by: None,
        used: super::spending::Spent::default(),
    };
    let asks = |id, request| Event::Requested {
        id,
        request,
        begun: None,
    };
    records([
        start(),
        asks(0, timer(5_000)),
        asks(1, signal("go")),
        signalled("go", "1"),
        signalled("go", "2"),
        ok(1, "1"),
        Event::Woke {
            poll: 1,
            ready: vec![1],
            cpu_us: 0,
        },
        Event::Noted(log("half")),
        Event::CancelAsked { id: 0 },
        Event::Answered {
            id: 0,
            answer: Told::Error(CallError::Cancelled),
            by: None,
            used: super::spending::Spent::default(),
        },
        Event::detached(0, None),
    ])
}

#[test]
fn a_record_is_read_as_it_was_written() {
    for record in journal() {
        let text = serde_json::to_string(&record).expect("JSON");
        let back: Record = serde_json::from_str(&text).expect(&text);
        assert_eq!(back, record, "{text}");
    }
    // What is on disks already.
    let old = r#"{"at_ms":7,"event":"answered","id":3,"answer":{"ok":"{\"a\":  1e400}"}}"#;
    let record: Record = serde_json::from_str(old).expect("reads");
    assert_eq!(serde_json::to_string(&record).expect("JSON"), old);
}

#[test]
fn the_state_is_what_the_records_say() {
    let mut events: Vec<Event> = journal().into_iter().map(|record| record.event).collect();
    let state = RunState::of(&records(events.clone()));
    assert_eq!((state.started_ms, state.len), (1_000, 11));
    let left = [("go".to_owned(), "2".to_owned())];
    assert_eq!(state.signals.all(), left, "one of two signals was taken");
    assert_eq!(state.open().count(), 0);
    assert!(state.is_answered(0) && state.is_answered(1) && !state.is_answered(2));

    let unknown = Block::UnknownOutcome {
        id: 2,
        detail: "?".to_owned(),
    };
    let call = Request::Call {
        tool: "a/b".to_owned(),
        input: "{}".to_owned(),
    };
    events.push(Event::Requested {
        id: 2,
        request: call,
        begun: Some(EffectClass::Plain),
    });
    events.push(Event::Blocked {
        why: unknown.clone(),
    });
    assert_eq!(
        RunState::of(&records(events.clone())).block(),
        Some(unknown)
    );
    events.push(Event::Retried {
        id: 2,
        attempt: 2,
        after_ms: 9,
        why: String::new(),
        lost: false,
    });
    let state = RunState::of(&records(events.clone()));
    assert_eq!((state.block(), state.requests[&2].attempt), (None, 2));
    assert_eq!(
        state.requests[&2].begun, None,
        "the next attempt has an intent of its own"
    );
    let end = End::Succeeded {
        output: "null".to_owned(),
    };
    events.push(Event::ended(end.clone()));
    assert_eq!(RunState::of(&records(events)).end, Some(end));
}

fn replay() -> Replay {
    let began = Began {
        seed: "00",
        rules: 0,
        at_ms: 1_000,
    };
    Replay::new(&began, journal())
}

/// The agent of [`journal`], up to its first wait.
fn begun() -> Replay {
    let mut replay = replay();
    assert_eq!(replay.request(&timer(5_000)), (0, Step::Before(())));
    assert_eq!(replay.request(&signal("go")), (1, Step::Before(())));
    replay
}

#[test]
fn the_same_agent_sees_the_same_again() {
    let mut replay = begun();
    assert_eq!(replay.poll(&[0, 1], false), Step::Before(vec![]), "not yet");
    assert_eq!(replay.now_ms(), 1_000, "the clock stands still");
    assert_eq!(replay.poll(&[0, 1], true), Step::Before(vec![1]));
    assert_eq!(replay.now_ms(), 1_006, "when the answer came");
    assert!(replay.is_delivered(1) && !replay.is_delivered(0));
    assert_eq!(replay.poll(&[1], true), Step::Before(vec![1]), "again");
    assert_eq!(replay.note(&log("half, in other words")), Step::Before(()));
    assert_eq!(replay.cancel(0), Step::Before(()));
    assert_eq!(replay.detach(1), Step::Before(()), "it was delivered");
    assert!(!replay.is_live());
    assert_eq!(replay.detach(0), Step::Before(()));
    assert!(replay.is_live());
    assert_eq!(replay.request(&timer(1)), (2, Step::New));
    assert_eq!(replay.poll(&[2], true), Step::New);
}

#[test]
fn an_agent_that_does_something_else_is_stopped() {
    type Does = fn(&mut Replay) -> bool;
    fn differs<T>(step: &Step<T>) -> bool {
        matches!(step, Step::Differs(Block::Nondeterminism { .. }))
    }
    let cases: [(&str, Does); 8] = [
        ("another argument", |r| differs(&r.request(&timer(5_001)).1)),
        ("another request", |r| differs(&r.request(&signal("go")).1)),
        ("a wait instead", |r| differs(&r.poll(&[0], true))),
        ("a note instead", |r| differs(&r.note(&log("x")))),
        ("a cancellation instead", |r| differs(&r.cancel(0))),
        ("a detachment instead", |r| differs(&r.detach(0))),
        ("one request more", |r| {
            r.request(&timer(5_000));
            r.request(&signal("go"));
            differs(&r.request(&timer(1)).1)
        }),
        ("a wait more", |r| {
            r.request(&timer(5_000));
            r.request(&signal("go"));
            r.poll(&[0, 1], false);
            r.poll(&[0, 1], true);
            differs(&r.poll(&[0], true))
        }),
    ];
    for (name, does) in cases {
        assert!(does(&mut replay()), "{name}");
    }
}

#[test]
fn randomness_is_the_runs_own_and_the_same_again() {
    let drawn = |seed: &str, sizes: &[usize]| {
        let began = Began {
            seed,
            rules: RULES,
            at_ms: 0,
        };
        let mut replay = Replay::new(&began, Vec::new());
        let mut all = Vec::new();
        for size in sizes {
            let mut bytes = vec![0; *size];
            replay.random(&mut bytes);
            all.extend(bytes);
        }
        all
    };
    let first = drawn("seed", &[100]);
    assert_eq!(
        first,
        drawn("seed", &[1, 31, 32, 36]),
        "however it is asked for"
    );
    assert_ne!(first, drawn("other", &[100]));
    let distinct: std::collections::BTreeSet<u8> = first.iter().copied().collect();
    assert!(distinct.len() > 50, "{distinct:?}");
}

/// Each error by the name that a rule gives it, and none by another's.
#[test]
fn a_run_ends_with_the_errors_that_its_rule_names() {
    let message = || "it did".to_owned();
    let denial = airlock_sandbox::Denial {
        capability: "kv".to_owned(),
        operation: "get b k".to_owned(),
        rule: "none".to_owned(),
    };
    let (limit, value) = ("cpu".to_owned(), "1s".to_owned());
    let retry_after_ms = None;
    let errors = [
        (
            "invalid-input",
            CallError::InvalidInput { message: message() },
        ),
        ("denied", CallError::Denied(denial)),
        ("not-found", CallError::NotFound { message: message() }),
        (
            "transient",
            CallError::Transient {
                message: message(),
                retry_after_ms,
            },
        ),
        ("permanent", CallError::Permanent { message: message() }),
        ("escalate", CallError::Escalate { message: message() }),
        ("limit", CallError::Limit { limit, value }),
        ("unknown", CallError::Unknown { message: message() }),
        ("", CallError::Cancelled),
    ];
    for (named, _) in &errors[..8] {
        for (what, ends) in [("escalate", true), ("abort", true), ("tell", false)] {
            let rule = serde_json::json!({ "tool": "a/b", "on_error": { *named: what } });
            let rule = serde_json::from_value(rule).expect("a rule");
            for (name, error) in &errors {
                let end = super::policy::end(&rule, "a/b", error);
                let escalated = matches!(end, Some(End::Escalated { .. }));
                let case = format!("{named} = {what}, {error}");
                assert_eq!(end.is_some(), ends && name == named, "{case}");
                assert_eq!(escalated, end.is_some() && what == "escalate", "{case}");
            }
        }
    }
}

fn called() -> Request {
    Request::Call {
        tool: "p/t".to_owned(),
        input: "{}".to_owned(),
    }
}

fn requested(id: u64, request: Request) -> Event {
    let begun = None;
    Event::Requested { id, request, begun }
}

/// Every request is a step; a call beyond the budget is none.
#[test]
fn what_a_run_asks_for_is_counted() {
    let mut start = begins();
    start.budget.calls = 2;
    let value = "1".to_owned();
    let events = [
        Event::Started(start),
        requested(0, called()),
        requested(1, timer(5)),
        requested(2, called()),
        requested(3, called()),
        Event::Recorded { id: 4, value },
    ];
    let records = records(events);
    for (len, steps, calls, left) in [(1, 0, 0, 2), (2, 1, 1, 1), (3, 2, 1, 1), (4, 3, 2, 0)] {
        let state = RunState::of(&records[..len]);
        let found = (state.spent.steps, state.spent.calls, state.left_calls());
        assert_eq!(found, (steps, calls, left), "after {len} records");
    }
    let state = RunState::of(&records);
    assert_eq!((state.spent.steps, state.spent.calls), (5, 2));
    assert_eq!((state.len, state.asked), (6, 5));
    assert_eq!((state.started_ms, state.last_ms), (1_000, 1_005));
}

/// Only what acts outside may have happened.
#[test]
fn a_lost_answer_of_what_acts_remains_unknown() {
    let lost = || {
        let message = "lost".to_owned();
        Told::Error(CallError::Unknown { message })
    };
    for (request, answer, unknown) in [
        (called(), lost(), vec![0]),
        (called(), Told::Ok("1".to_owned()), vec![]),
        (called(), Told::Error(CallError::Cancelled), vec![]),
        (timer(5), lost(), vec![]),
    ] {
        let answered = Event::Answered {
            id: 0,
            answer,
            by: None,
            used: super::spending::Spent::default(),
        };
        let events = [start(), requested(0, request), answered];
        let case = format!("{events:?}");
        assert_eq!(RunState::of(&records(events)).unknown, unknown, "{case}");
    }
}

#[test]
fn a_call_waits_here_for_a_person_or_until_it_is_due() {
    use super::fold::Waits;
    let mut state = RunState::of(&records([start(), requested(0, called())]));
    assert_eq!(state.requests[&0].waits(), Waits::Here);
    state.with(0, |asked| asked.to_approve = Some("binding".to_owned()));
    assert_eq!(state.requests[&0].waits(), Waits::ForSomebody);
    state.with(0, |asked| asked.terms.due_ms = Some(7));
    assert_eq!(state.requests[&0].waits(), Waits::Until(7));
    // Nobody is asked about it from then on.
    let class = EffectClass::Plain;
    state.apply(&Record {
        at_ms: 1,
        event: Event::Begun { id: 0, class },
    });
    assert_eq!(state.requests[&0].waits(), Waits::Here);
    let detail = "lost".to_owned();
    let why = Block::UnknownOutcome { id: 0, detail };
    state.apply(&Record {
        at_ms: 1,
        event: Event::Blocked { why },
    });
    assert_eq!(state.requests[&0].waits(), Waits::ForSomebody);
}

/// What an agent says of itself stands until it says something else.
#[test]
fn plan_and_progress_are_what_was_said_last() {
    use airlock_sandbox::agent::{PlanTask, TaskState};
    let plan = |title: &str| Note::Plan {
        tasks: vec![PlanTask {
            title: title.to_owned(),
            state: TaskState::Todo,
        }],
    };
    let progress = |done: f64| Note::Progress {
        done,
        total: Some(2.0),
        message: "half".to_owned(),
    };
    let notes = [plan("a"), progress(0.5), plan("b"), progress(1.0), log("x")];
    let events = std::iter::once(start()).chain(notes.map(Event::Noted));
    let state = RunState::of(&records(events));
    let titles: Vec<&str> = state.plan.iter().map(|task| &*task.title).collect();
    assert_eq!(titles, ["b"]);
    let said = (1.0, Some(2.0), "half".to_owned());
    assert_eq!(state.progress, Some(said));
}

/// Which blocks stop all that was asked for, and not only what it is about.
#[test]
fn a_block_of_one_request_holds_no_other() {
    let detail = || "?".to_owned();
    let spent = |what: &str| Block::Spent {
        what: what.to_owned(),
        used: 1,
    };
    let one = Block::UnknownOutcome {
        id: 1,
        detail: detail(),
    };
    let round = Block::Loop {
        tool: "a/b".to_owned(),
        times: 3,
    };
    for (block, holds) in [
        (one, false),
        (Block::Component { detail: detail() }, false),
        (spent("calls"), false),
        (spent("journal_bytes"), true),
        (round, true),
    ] {
        assert_eq!(block.holds_effects(), holds, "{block:?}");
    }
}

/// Of what is nothing no byte is written.
#[test]
fn what_is_nothing_is_left_out_of_a_record() {
    use super::spending::Spent;
    let shown = |value: serde_json::Value| value.to_string();
    let woke = |cpu_us| Event::Woke {
        poll: 1,
        ready: vec![1],
        cpu_us,
    };
    let woke = |cpu_us| shown(serde_json::to_value(woke(cpu_us)).expect("JSON"));
    assert!(!woke(0).contains("cpu_us") && woke(1).contains("cpu_us"));
    let spent = |calls| Spent {
        calls,
        ..Spent::default()
    };
    let spent = |calls| shown(serde_json::to_value(spent(calls)).expect("JSON"));
    assert_eq!(
        (spent(0), spent(1)),
        ("{}".to_owned(), r#"{"calls":1}"#.to_owned())
    );
}

/// A record of its own is worth a millisecond.
#[test]
fn computing_is_told_by_the_millisecond() {
    use super::spending::Meter;
    let mut meter = Meter::default();
    meter.at(999, true);
    assert_eq!(meter.take_much(), None);
    meter.at(1_000, true);
    let told = meter.take_much().expect("a millisecond");
    assert_eq!((told.cpu_us, told.calls), (1_000, 0));
    assert_eq!((meter.take_much(), meter.take()), (None, 0));
    // Catching up is not told.
    meter.at(9_000, false);
    meter.at(9_500, true);
    assert_eq!((meter.take_much(), meter.take()), (None, 500));
}

/// What differs from the journal is shown whole, or cut where that is long.
#[test]
fn what_differs_is_shown_to_people() {
    for (length, cut) in [(10, false), (500, false), (501, true), (2_000, true)] {
        // With its quotes.
        let text = "x".repeat(length - 2);
        let shown = super::replay::json(&text);
        let whole = format!("\"{text}\"");
        match cut {
            false => assert_eq!(shown, whole),
            true => assert_eq!(shown, format!("{}…", &whole[..500])),
        }
    }
}

/// The next poll that asks for a kept value finds it, and no record tells that; runs of
/// before have such a record.
#[test]
fn a_kept_value_is_there_at_once() {
    let value = || "1".to_owned();
    for (rules, at_once) in [(1, true), (0, false)] {
        let began = Began {
            seed: "00",
            rules,
            at_ms: 1_000,
        };
        let recorded = Event::Recorded {
            id: 0,
            value: value(),
        };
        let mut replay = Replay::new(&began, records([start(), recorded.clone()]));
        let (id, step) = replay.request(&Request::Record { value: value() });
        assert!(matches!(step, Step::Before(())), "{rules}: {step:?}");
        let found = replay.poll(&[id], true);
        let found_it = matches!(&found, Step::Before(ready) if *ready == [id]);
        assert_eq!(found_it, at_once, "{rules}: {found:?}");
        // Another value is not what was kept.
        let mut replay = Replay::new(&began, records([start(), recorded]));
        let other = "2".to_owned();
        let (_, step) = replay.request(&Request::Record { value: other });
        assert!(matches!(step, Step::Differs(_)), "{rules}: {step:?}");
    }
}

/// What an agent is told of a call that was not made.
#[test]
fn a_call_that_was_not_made_is_told_as_what_it_is() {
    use std::time::Duration;

    use crate::admission::NotAdmitted;
    use crate::calls::CallRefused;
    let missing = || CallRefused::ToolNotFound {
        plugin: "p".to_owned(),
        tool: "t".to_owned(),
        hint: String::new(),
    };
    let rate = CallRefused::NotAdmitted(NotAdmitted::Rate {
        plugin: "p".to_owned(),
        rate: "1/s".to_owned(),
        retry_after: Duration::from_millis(700),
    });
    let table = [
        (CallRefused::Cancelled, "Cancelled"),
        (rate, "retry_after_ms: Some(700)"),
        (CallRefused::Changed, "Transient"),
        (missing(), "NotFound"),
        (CallRefused::InvalidJson("x".to_owned()), "InvalidInput"),
        (CallRefused::MemberTwice("x".to_owned()), "InvalidInput"),
        (CallRefused::Interrupted, "Permanent"),
    ];
    for (refused, told) in table {
        let found = format!("{:?}", super::step::refusal(&refused));
        assert!(found.contains(told), "{refused:?}: {found}");
    }
}
