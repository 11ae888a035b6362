//! What a fork takes over from a journal, record by record.

use airlock_sandbox::EffectClass;
use airlock_sandbox::agent::Request;

use super::*;
use crate::runs::event::Told;
use crate::runs::spending::Spent;
use crate::runs::tests::begins as start;

fn asks(id: RequestId, request: Request, begun: Option<EffectClass>) -> Event {
    Event::Requested { id, request, begun }
}

fn call() -> Request {
    Request::Call {
        tool: "p/t".to_owned(),
        input: "{}".to_owned(),
    }
}

fn signal() -> Request {
    Request::Signal {
        name: "go".to_owned(),
    }
}

fn answered(id: RequestId) -> Event {
    Event::Answered {
        id,
        answer: Told::Ok("1".to_owned()),
        by: None,
        used: Spent::default(),
    }
}

fn signalled() -> Event {
    Event::Signalled {
        name: "go".to_owned(),
        payload: "1".to_owned(),
        by: "me".to_owned(),
    }
}

fn woke(poll: u64, ready: &[RequestId]) -> Event {
    Event::Woke {
        poll,
        ready: ready.to_vec(),
        cpu_us: 0,
    }
}

fn fork(events: Vec<Event>, at: RequestId) -> Vec<Record> {
    let events = std::iter::once(Event::Started(start())).chain(events);
    let record = |(at_ms, event)| Record { at_ms, event };
    let records: Vec<Record> = (1_000..).zip(events).map(record).collect();
    let state = RunState::of(&records);
    with_blocks(taken_over(records, at, start()), &state)
}

fn open(records: &[Record]) -> Vec<RequestId> {
    RunState::of(records).open().map(|(id, _)| id).collect()
}

/// By what is known of a call that the other run has no answer to: whether the
/// new run makes it, or is blocked.
#[test]
fn a_call_that_may_have_happened_is_not_made_again() {
    use EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
    let begun = |class| Event::Begun { id: 0, class };
    let retried = Event::Retried {
        id: 0,
        attempt: 2,
        after_ms: 0,
        why: String::new(),
        lost: false,
    };
    let again = Event::Retried {
        id: 0,
        attempt: 2,
        after_ms: 0,
        why: String::new(),
        lost: true,
    };
    let lost = Event::Blocked {
        why: Block::UnknownOutcome {
            id: 0,
            detail: "?".to_owned(),
        },
    };
    let asked = |binding: &str| Event::ApprovalAsked {
        id: 0,
        binding: binding.to_owned(),
        terms: crate::runs::people::Terms::default(),
    };
    let cases = [
        ("never begun", None, vec![], false),
        ("begun with its request", Some(Plain), vec![], true),
        ("begun later", None, vec![begun(Destructive)], true),
        ("read-only", None, vec![begun(ReadOnly)], false),
        (
            "another key is another effect",
            Some(Idempotent),
            vec![],
            true,
        ),
        ("waits to be approved", None, vec![asked("x")], false),
        ("lost", Some(Plain), vec![lost.clone()], true),
        (
            "made again where an attempt before may have happened",
            Some(Idempotent),
            vec![again],
            true,
        ),
        (
            "said not to have happened",
            Some(Plain),
            vec![lost, retried],
            false,
        ),
    ];
    for (name, class, more, blocked) in cases {
        let events = [vec![asks(0, call(), class)], more].concat();
        let forked = fork(events, 1);
        let state = RunState::of(&forked);
        assert_eq!(state.block().is_some(), blocked, "{name}");
        assert_eq!(open(&forked), [0], "{name}");
        let asked = &state.requests[&0];
        let fresh = (asked.begun, asked.attempt, &asked.to_approve);
        assert_eq!(fresh, (None, 1, &None), "{name}");
    }
}

/// The other run has it under way, or had it: another one would be one more.
#[test]
fn a_child_that_may_have_been_started_is_not_started_again() {
    let child = Request::Start {
        agent: "a".to_owned(),
        goal: String::new(),
        input: "{}".to_owned(),
        budget: airlock_sandbox::agent::ChildBudget::default(),
    };
    let let_go = Event::detached(0, None);
    for (name, more, blocked) in [
        ("under way", vec![], true),
        ("let go of", vec![let_go], true),
        ("answered", vec![answered(0)], false),
    ] {
        let events = [vec![asks(0, child.clone(), None)], more].concat();
        let state = RunState::of(&fork(events, 1));
        let unknown = matches!(state.block(), Some(Block::UnknownOutcome { id: 0, .. }));
        assert_eq!(unknown, blocked, "{name}");
    }
}

/// The answer to a request from before the step is taken over, also where it came
/// after it.
#[test]
fn answers_to_requests_before_the_step_are_taken_over() {
    let events = vec![
        asks(0, call(), Some(EffectClass::Plain)),
        asks(1, call(), Some(EffectClass::Plain)),
        answered(1),
        woke(0, &[1]),
        asks(2, call(), Some(EffectClass::Plain)),
        answered(0),
        answered(2),
        woke(1, &[0]),
        Event::ended(crate::runs::End::Succeeded {
            output: "1".to_owned(),
        }),
    ];
    let seen = |at| {
        let forked = fork(events.clone(), at);
        let wakes = forked
            .iter()
            .filter(|record| matches!(record.event, Event::Woke { .. }));
        let wakes = wakes.count();
        let state = RunState::of(&forked);
        assert!(state.end.is_none() && state.block().is_none(), "at {at}");
        (state.asked, open(&forked).len(), wakes)
    };
    assert_eq!(seen(0), (0, 0, 0));
    assert_eq!(seen(1), (1, 0, 0), "nothing of the second request");
    assert_eq!(
        seen(2),
        (2, 0, 1),
        "the first is answered, and not delivered"
    );
    assert_eq!(seen(3), (3, 0, 2));
}

#[test]
fn signals_before_the_step_that_nobody_took_are_taken_over() {
    let events = vec![
        signalled(),
        asks(0, signal(), None),
        answered(0),
        signalled(),
        woke(0, &[0]),
        asks(1, call(), None),
        signalled(),
    ];
    let inbox = |at| RunState::of(&fork(events.clone(), at)).signals.all().len();
    assert_eq!(inbox(0), 1, "the request that took it is not there");
    assert_eq!(inbox(1), 1, "one is taken, one is left");
    assert_eq!(inbox(2), 2);
}

/// A child without an answer goes on: the new run does not start another one by
/// itself. One with an answer is not started again.
#[test]
fn a_child_is_not_started_twice() {
    let child = Request::Start {
        agent: "checker".to_owned(),
        goal: String::new(),
        input: "{}".to_owned(),
        budget: airlock_sandbox::agent::ChildBudget::default(),
    };
    let spent = Spent {
        calls: 5,
        ..Spent::default()
    };
    let used = Spent {
        calls: 2,
        ..Spent::default()
    };
    let reserved = Event::Reserved { id: 0, spent };
    let answered = Event::Answered {
        id: 0,
        answer: Told::Ok("1".to_owned()),
        by: None,
        used,
    };
    let asked = [asks(0, child, None), reserved, asks(1, call(), None)];
    let forked = |more: &[Event]| RunState::of(&fork([&asked[..], more].concat(), 1));
    let open = forked(&[]);
    assert!(
        matches!(open.block(), Some(Block::UnknownOutcome { id: 0, .. })),
        "{open:?}"
    );
    assert_eq!(open.used().calls, 5, "what was set aside stays so");
    let done = forked(&[answered]);
    assert_eq!((done.block(), done.open().count()), (None, 0));
    assert_eq!(done.used().calls, 2, "what the child used");
}

/// What the agent kept, set and was told before the step, and nothing of it after.
#[test]
fn what_the_agent_kept_and_was_told_is_taken_over() {
    let kept = |id: RequestId| Event::Recorded {
        id,
        value: id.to_string(),
    };
    let sets = |value: &str| Event::StateSet {
        key: "a".to_owned(),
        value: Some(value.to_owned()),
    };
    let told = || Event::ToolsTold {
        tools: Some(Vec::new()),
    };
    let withheld = vec![
        asks(2, call(), None),
        Event::Withheld { id: 2 },
        answered(2),
    ];
    let events = [
        vec![kept(0), sets("1"), told(), kept(1), sets("2"), told()],
        withheld,
    ]
    .concat();
    for (at, value, len) in [
        (0, None, 1),
        (1, Some("1"), 4),
        (2, Some("2"), 7),
        (3, Some("2"), 10),
    ] {
        let forked = fork(events.clone(), at);
        let state = RunState::of(&forked);
        assert_eq!(state.memory.get("a"), value, "at {at}");
        assert_eq!((state.asked, forked.len()), (at, len), "at {at}");
        assert!(state.block().is_none(), "at {at}");
    }
}

/// What a run did since its backup was made is in no journal: whichever step it is
/// forked at, the new one waits for an operator as it does, until one looked.
#[test]
fn a_fork_of_a_restored_run_is_blocked_as_it_is() {
    let restored = || Event::Blocked {
        why: Block::Restored { made_at_ms: 7 },
    };
    let looked = || Event::Unblocked {
        by: "op".to_owned(),
    };
    let cancelled = || Event::CancelRequested {
        by: "me".to_owned(),
        why: String::new(),
    };
    let unknown = Event::Answered {
        id: 1,
        answer: Told::Error(airlock_sandbox::CallError::Unknown {
            message: "it was cancelled".to_owned(),
        }),
        by: None,
        used: Spent::default(),
    };
    let ended = Event::ended(crate::runs::End::Cancelled { unknown: vec![1] });
    let table = [
        ("restored", vec![restored()], true),
        ("twice", vec![restored(), looked(), restored()], true),
        (
            "cancelled",
            vec![restored(), cancelled(), unknown, ended],
            true,
        ),
        ("a person looked", vec![restored(), looked()], false),
    ];
    for (name, since, blocked) in table {
        let begun = Some(EffectClass::Plain);
        let before = [asks(0, call(), begun), answered(0), asks(1, call(), None)];
        for at in 0..=2 {
            let state = RunState::of(&fork([&before[..], &since].concat(), at));
            let why = Block::Restored { made_at_ms: 7 };
            assert_eq!(state.blocked, blocked.then_some(why), "{name}, at {at}");
            assert_eq!(state.holds_effects(), blocked, "{name}, at {at}");
        }
    }
}

/// What is unknown is cleared up by itself, and lifts nothing else.
#[test]
fn a_fork_of_a_restored_run_also_waits_for_what_is_unknown() {
    let events = vec![
        asks(0, call(), Some(EffectClass::Plain)),
        Event::Blocked {
            why: Block::Restored { made_at_ms: 7 },
        },
    ];
    let mut forked = fork(events, 1);
    let block = |records: &[Record]| RunState::of(records).block();
    let unknown = block(&forked);
    assert!(
        matches!(unknown, Some(Block::UnknownOutcome { id: 0, .. })),
        "{unknown:?}"
    );
    let event = answered(0);
    forked.push(Record {
        at_ms: 9_000,
        event,
    });
    assert_eq!(block(&forked), Some(Block::Restored { made_at_ms: 7 }));
}

#[test]
fn nothing_that_was_decided_about_the_other_run_holds() {
    let by = || "me".to_owned();
    let events = vec![
        asks(0, call(), None),
        Event::Paused { by: by() },
        Event::Blocked {
            why: Block::Budget { events: 1 },
        },
        Event::CancelRequested {
            by: by(),
            why: String::new(),
        },
        answered(0),
    ];
    let state = RunState::of(&fork(events, 1));
    assert!(!state.paused && !state.cancelling && state.block().is_none());
    assert_eq!(state.len, 3, "the start, the request, the answer");
}
