//! What a person's word comes to, by how the run stands.

use std::collections::BTreeMap;

use airlock_sandbox::EffectClass;
use airlock_sandbox::agent::Request;

use super::*;
use crate::problem::Failure;
use crate::runs::event::Record;
use crate::runs::spending::BudgetChange;
use crate::runs::tests::begins;

const LOST: [RequestId; 2] = [0, 1];

fn blocked(why: Block) -> Event {
    Event::Blocked { why }
}

fn lost(id: RequestId) -> [Event; 2] {
    let request = Request::Call {
        tool: "p/t".to_owned(),
        input: "{}".to_owned(),
    };
    let begun = Some(EffectClass::Plain);
    let detail = "?".to_owned();
    [
        Event::Requested { id, request, begun },
        blocked(Block::UnknownOutcome { id, detail }),
    ]
}

fn paused_by(by: &str) -> Event {
    Event::Paused { by: by.to_owned() }
}

fn of(events: &[Event]) -> RunState {
    let events = std::iter::once(Event::Started(begins())).chain(events.iter().cloned());
    let record = |(at_ms, event)| Record { at_ms, event };
    let records: Vec<Record> = (1_000..).zip(events).map(record).collect();
    RunState::of(&records)
}

fn somebody(name: &str, role: Role) -> Principal {
    Principal {
        name: name.to_owned(),
        token_id: None,
        roles: [role].into(),
        plugins: None,
    }
}

fn about(request: RequestId, outcome: Outcome) -> Resume {
    Resume {
        request: Some(request),
        outcome: Some(outcome),
        ..Resume::default()
    }
}

fn more(events: u64) -> Resume {
    let events = Some(events);
    Resume {
        budget: Some(BudgetChange {
            events,
            ..BudgetChange::default()
        }),
        ..Resume::default()
    }
}

/// What is left of the blocks, or why the word is refused.
fn said(events: &[Event], who: &Principal, resume: &Resume) -> Result<RunState, String> {
    let word = word("run_x", &of(events), who, resume);
    let word = word.map_err(|error| format!("{} {error}", error.code()))?;
    Ok(of(&[events, &word.events].concat()))
}

#[test]
fn a_word_fits_the_block_it_was_said_about() {
    let operator = somebody("op", Role::Operator);
    let restored = || blocked(Block::Restored { made_at_ms: 1 });
    let events = blocked(Block::Budget { events: 9 });
    let table = [
        (vec![], Resume::default(), "run-not-blocked"),
        (vec![restored()], Resume::default(), "ok"),
        (
            vec![restored()],
            about(0, Outcome::Retry),
            "blocked by restored, which takes none",
        ),
        (vec![restored()], more(99), "blocked by restored"),
        (vec![events.clone()], more(99), "ok"),
        (vec![events.clone()], more(9), "give it more than 12 events"),
        (
            vec![events.clone()],
            more(12),
            "give it more than 12 events",
        ),
        (vec![events.clone()], more(13), "ok"),
        (
            vec![events],
            about(0, Outcome::Fail),
            "request: the run is blocked by budget, which takes budget",
        ),
        (lost(0).to_vec(), about(0, Outcome::Retry), "ok"),
        (
            lost(0).to_vec(),
            about(1, Outcome::Retry),
            "say `\"request\": 0`",
        ),
        (lost(0).to_vec(), Resume::default(), "say `\"request\": 0`"),
        (
            lost(0).to_vec(),
            more(99),
            "which takes request and outcome",
        ),
        (vec![paused_by("ann")], Resume::default(), "ok"),
        (
            vec![paused_by("ann")],
            more(99),
            "budget: the run is only paused",
        ),
    ];
    for (events, resume, expect) in table {
        let said = said(&events, &operator, &resume);
        match (&said, expect) {
            (Ok(state), "ok") => assert!(state.block().is_none() && !state.paused, "{events:?}"),
            (Err(error), _) => assert!(error.contains(expect), "{events:?}: {error}"),
            (Ok(_), _) => panic!("{events:?} {resume:?} is refused with {expect}"),
        }
    }
}

/// Whatever is said of one call lifts neither another one nor the block beside it.
#[test]
fn a_word_lifts_nothing_else() {
    let operator = somebody("op", Role::Operator);
    let outcomes = [Outcome::Retry, Outcome::Fail, Outcome::Record(json!(1))];
    for outcome in outcomes {
        let restored = blocked(Block::Restored { made_at_ms: 1 });
        let mut events = [&lost(0)[..], &lost(1), std::slice::from_ref(&restored)].concat();
        // In any order.
        for id in LOST.into_iter().rev() {
            assert!(matches!(
                of(&events).block(),
                Some(Block::UnknownOutcome { .. })
            ));
            let word = word(
                "run_x",
                &of(&events),
                &operator,
                &about(id, outcome.clone()),
            );
            let word = word.expect("it fits");
            assert_eq!(word.again.is_some(), matches!(outcome, Outcome::Retry));
            events.extend(word.events);
            let twice = said(&events, &operator, &about(id, Outcome::Fail));
            assert!(twice.is_err(), "{id} is cleared up");
        }
        let left = of(&events).block();
        assert_eq!(left, Some(Block::Restored { made_at_ms: 1 }));
        let lifted = said(&events, &operator, &Resume::default()).expect("it fits");
        assert_eq!(lifted.block(), None);
    }
}

/// Who paused it, who lets it go on: whether it does.
#[test]
fn whoever_started_a_run_lets_it_go_on_where_nobody_else_paused_it() {
    let verdicts = |events: &[Event]| -> BTreeMap<&str, &str> {
        let who = [
            ("owner", somebody("me", Role::Caller)),
            ("operator", somebody("op", Role::Operator)),
            ("admin", somebody("root", Role::Admin)),
        ];
        let said = who.map(|(name, who)| {
            let said = word("run_x", &of(events), &who, &Resume::default());
            (name, said.map_or_else(|error| error.code(), |_| "ok"))
        });
        said.into()
    };
    let all = |owner| BTreeMap::from([("owner", owner), ("operator", "ok"), ("admin", "ok")]);
    let (own, other) = (paused_by("me"), paused_by("op"));
    let unpaused = || Event::Unpaused {
        by: "op".to_owned(),
    };
    let loops = Block::Loop {
        tool: "p/t".to_owned(),
        times: 2,
    };
    for (events, expect) in [
        (vec![own.clone()], "ok"),
        (vec![other.clone()], "forbidden"),
        (vec![other.clone(), own.clone()], "forbidden"),
        (vec![own.clone(), other.clone()], "forbidden"),
        (vec![other, unpaused(), own.clone()], "ok"),
        (vec![own, blocked(loops)], "forbidden"),
    ] {
        assert_eq!(verdicts(&events), all(expect), "{events:?}");
    }
}

#[test]
fn what_is_made_again_is_the_next_attempt() {
    let operator = somebody("op", Role::Operator);
    let state = said(&lost(0), &operator, &about(0, Outcome::Retry)).expect("it fits");
    assert_eq!(state.requests[&0].attempt, 2);
}

/// What a person said of what may have happened is on record by its name.
#[test]
fn the_record_of_a_word_names_what_was_said() {
    let record = Outcome::Record(serde_json::from_str("1").expect("JSON"));
    for (outcome, name) in [
        (Outcome::Retry, "retry"),
        (Outcome::Fail, "fail"),
        (record, "record"),
    ] {
        let state = of(&lost(0));
        let who = somebody("ann", Role::Operator);
        let said = word("run_x", &state, &who, &about(0, outcome)).expect("it is clear");
        assert_eq!(said.detail["outcome"], name, "{:?}", said.detail);
    }
}
