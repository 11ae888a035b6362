//! The router's parts, without a network and without waiting for time to pass.

use std::sync::{Arc, Mutex};

use crate::answer::Event;
use crate::config::BreakerConfig;
use crate::router::parts::{Breaker, Full, Rate, Report, Turns};

fn breaker() -> Breaker {
    Breaker::new(BreakerConfig {
        failures: 2,
        open_ms: 100,
    })
}

/// Lets a request through and reports what came of it.
fn ask(breaker: &mut Breaker, now_ms: u64, report: Report) -> Result<(), u64> {
    let pass = breaker.pass(now_ms)?;
    breaker.report(pass, report, now_ms);
    Ok(())
}

#[test]
fn a_breaker_opens_waits_and_tries_once() {
    use Report::{Failed, Nothing, Works};
    // Each step: when, what comes of it, and the wait where it is not let through.
    type Step = (u64, Report, Result<(), u64>);
    let cases: &[&[Step]] = &[
        &[
            (0, Failed, Ok(())),
            (1, Works, Ok(())),
            (2, Failed, Ok(())),
            (3, Works, Ok(())),
        ],
        &[
            (0, Failed, Ok(())),
            (5, Failed, Ok(())),
            (5, Works, Err(100)),
            (104, Works, Err(1)),
            (105, Works, Ok(())),
            (106, Failed, Ok(())),
            (107, Works, Ok(())),
        ],
        &[
            (0, Failed, Ok(())),
            (0, Failed, Ok(())),
            (100, Failed, Ok(())),
            (150, Works, Err(50)),
            (200, Works, Ok(())),
            (200, Works, Ok(())),
        ],
        &[
            (0, Failed, Ok(())),
            (0, Failed, Ok(())),
            (100, Nothing, Ok(())),
            (100, Works, Ok(())),
            (101, Works, Ok(())),
        ],
        &[
            (0, Failed, Ok(())),
            (0, Nothing, Ok(())),
            (0, Failed, Ok(())),
            (0, Works, Err(100)),
        ],
    ];
    for (case, steps) in cases.iter().enumerate() {
        let mut breaker = breaker();
        for (at, (now_ms, report, expected)) in steps.iter().enumerate() {
            assert_eq!(
                ask(&mut breaker, *now_ms, *report),
                *expected,
                "step {at} of case {case}"
            );
        }
    }
}

#[test]
fn a_breaker_lets_one_through_and_hears_no_old_reports() {
    let mut breaker = breaker();
    let old = breaker.pass(0).expect("closed");
    ask(&mut breaker, 0, Report::Failed).expect("closed");
    ask(&mut breaker, 0, Report::Failed).expect("closed");
    breaker.report(old, Report::Works, 1);
    assert_eq!(
        breaker.wait_ms(1),
        Some(99),
        "an old success does not close it"
    );
    let probe = breaker.pass(100).expect("half open");
    assert_eq!(breaker.pass(100), Err(100), "one is let through");
    breaker.report(old, Report::Failed, 100);
    breaker.report(probe, Report::Works, 101);
    assert_eq!(breaker.wait_ms(101), None);
    breaker.hold(500);
    breaker.hold(300);
    assert_eq!(
        breaker.pass(200),
        Err(300),
        "as long as the provider asked for"
    );
    breaker.pass(500).expect("the wait is over");
}

#[test]
fn a_rate_is_kept_exactly() {
    let mut rate = Rate::new(Some(2));
    let cases = [
        (0, Ok(())),
        (10_000, Ok(())),
        (10_001, Err(49_999)),
        (59_999, Err(1)),
        (60_000, Ok(())),
        (60_001, Err(9_999)),
        (70_000, Ok(())),
        (200_000, Ok(())),
    ];
    for (now_ms, expected) in cases {
        assert_eq!(rate.begin(now_ms), expected, "at {now_ms}");
    }
    let mut free = Rate::new(None);
    assert!((0..1_000).all(|_| free.begin(0).is_ok()));
}

/// Lets all tasks go as far as they can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn callers_take_turns_and_the_queue_is_bounded() {
    let turns = Turns::new(1, 5);
    let first = turns.place("a").await.expect("a place");
    let order = Arc::new(Mutex::new(Vec::new()));
    let (mut waiting, mut held) = (Vec::new(), tokio::sync::mpsc::unbounded_channel());
    for caller in ["a", "a", "a", "b", "c"] {
        let (turns, order, tell) = (Arc::clone(&turns), Arc::clone(&order), held.0.clone());
        waiting.push(tokio::spawn(async move {
            let place = turns.place(caller).await.expect("a place in time");
            order.lock().expect("no panic").push(caller);
            tell.send(place).expect("the test listens");
        }));
        settle().await;
    }
    assert_eq!(turns.place("d").await.expect_err("it is full"), Full);
    drop(first);
    for _ in 0..5 {
        drop(held.1.recv().await.expect("the next place"));
        settle().await;
    }
    for task in waiting {
        task.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("no panic"), ["a", "b", "c", "a", "a"]);
    turns.place("d").await.expect("the place came back");
}

#[tokio::test]
async fn whoever_gives_up_leaves_the_queue_and_loses_no_place() {
    let turns = Turns::new(1, 1);
    let first = turns.place("a").await.expect("a place");
    for _ in 0..3 {
        let waits = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.place("b").await.map(drop) }
        });
        settle().await;
        waits.abort();
        assert!(waits.await.expect_err("it was given up").is_cancelled());
    }
    // Told, and gone before it looked.
    let mut told = Box::pin(turns.place("b"));
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    assert!(std::future::Future::poll(told.as_mut(), &mut context).is_pending());
    drop(first);
    drop(told);
    turns.place("c").await.expect("the place came back");
}

#[test]
fn what_is_told_has_names_and_values_of_the_request() {
    use crate::config::{Builtin, Redaction};
    use crate::redact::{ConversationKey, Redactor, Veil};
    let config = Redaction {
        patterns: vec![Builtin::Email],
        patterns_file: None,
        reversible: true,
    };
    let redactor = Redactor::new(&config, "").expect("patterns");
    let key = ConversationKey::new([1; 32]);
    let mut request = super::question("write to a@b.test");
    request.tools = vec![super::tool("mail/send")];
    let mut veil = Veil::new(&redactor, &key, &[]);
    let veiled = veil.request(&request).expect("it may leave");
    let names = crate::names::Names::of(&veiled);
    let restorer = veil.restorer();
    let placeholder = veil.text("a@b.test");
    let heard = Mutex::new(Vec::new());
    let hear = |event| heard.lock().expect("no panic").push(event);
    let search = crate::redact::Search::new(&[], None);
    let form = crate::redact::Form::Text;
    let mut teller = crate::router::parts::Teller::new(&names, &restorer, &search, form, &hear);
    let (begin, end) = placeholder.split_at(9);
    let text = |text: &str| Event::Text {
        text: text.to_owned(),
    };
    let arguments = |text: &str| Event::Arguments {
        index: 0,
        text: text.to_owned(),
    };
    let call = |name: &str| Event::Call {
        index: 0,
        id: "i".to_owned(),
        name: name.to_owned(),
    };
    for event in [
        text("to "),
        text(begin),
        text(end),
        call("mail_send"),
        arguments("{\"to\":\""),
        arguments(begin),
        arguments(end),
        arguments("\"}"),
        text("[em"),
    ] {
        teller.tell(event);
    }
    teller.end();
    let heard = heard.into_inner().expect("no panic");
    let expected = [
        text("to "),
        text("a@b.test"),
        call("mail/send"),
        arguments("{\"to\":\""),
        arguments("a@b.test"),
        arguments("\"}"),
        text("[em"),
    ];
    assert_eq!(heard, expected);
}
