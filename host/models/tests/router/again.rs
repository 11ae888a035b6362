//! What is tried again, elsewhere, or left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};

use airlock_fake_models::{Damage, Reply, Step, What};
use airlock_models::{Ask, Fate, Finish, ModelError, Why};

use super::faults::{patience_ms, raw};
use super::harness::{PLENTY, Usual, key, question, said, world};

#[tokio::test]
async fn failures_that_may_pass_are_tried_again() {
    let usual = Usual {
        retries: 2,
        ..Usual::default()
    };
    let soon = || raw(429, &[("retry-after-ms", "1")], "");
    let cases = [
        (vec![What::error(503, "x", "x"), What::text("ok")], Some(1)),
        (vec![soon(), soon(), What::text("ok")], Some(2)),
        (vec![What::Close, What::text("ok")], Some(1)),
        (vec![soon(), soon(), soon(), What::text("ok")], None),
        // A wait that is longer than anybody has patience for is the caller's.
        (
            vec![raw(429, &[("retry-after", "3600")], ""), What::text("ok")],
            None,
        ),
        (vec![What::error(400, "x", "x"), What::text("ok")], None),
        (vec![What::error(401, "x", "x"), What::text("ok")], None),
        (vec![raw(200, &[], "{"), What::text("ok")], None),
    ];
    for (steps, expected) in cases {
        let world = usual.world(steps.clone()).await.in_time();
        match (world.ask(&question("chat", "hi")).await, expected) {
            (Ok(answer), Some(attempts)) => {
                assert_eq!(answer.attempts.len(), attempts, "{steps:?}")
            }
            (Err(failure), None) => assert!(failure.attempts.iter().all(|a| a.model == "chat")),
            (answer, expected) => panic!("{steps:?}: {answer:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_a_wait_gets_it() {
    let request = question("chat", "hi");
    for status in [429, 503] {
        let world = world([raw(status, &[("retry-after", "3600")], "")]).await;
        let failure = world.ask(&request).await.expect_err("it failed");
        let hour = matches!(
            failure.error,
            ModelError::Transient {
                retry_after_ms: Some(3_600_000),
                ..
            }
        );
        assert!(hour, "{failure:?}");
        let failure = world.ask(&request).await.expect_err("it rests");
        assert_eq!(failure.attempts[0].why, Why::CircuitOpen, "nothing is sent");
        world.clock.advance(3_600_000);
        world.server.push(Step::from(What::text("ok")));
        world.ask(&request).await.expect("the wait is over");
    }
}

#[tokio::test]
async fn a_model_that_fails_is_left_alone_and_tried_again() {
    let world = world((0..5).map(|_| What::error(500, "x", "x"))).await;
    let request = question("chat", "hi");
    for _ in 0..5 {
        let failure = world.ask(&request).await.expect_err("it fails");
        assert_eq!(failure.attempts[0].why, Why::Server);
    }
    let failure = world.ask(&request).await.expect_err("it is left alone");
    assert_eq!(
        (failure.attempts[0].why, failure.attempts[0].fate),
        (Why::CircuitOpen, Fate::NotSent)
    );
    assert!(matches!(
        failure.error,
        ModelError::Transient {
            retry_after_ms: Some(30_000),
            ..
        }
    ));
    assert_eq!(world.server.seen().len(), 5, "nothing was sent");
    world.server.push(Step::from(What::text("by another")));
    let answer = world
        .ask(&question("fast", "hi"))
        .await
        .expect("another answers");
    assert_eq!(answer.model, "responses");
    world.clock.advance(30_000);
    world.server.push(Step::from(What::text("again")));
    let answer = world.ask(&request).await.expect("it is tried again");
    assert_eq!(answer.text, "again");
}

/// A provider that answers works, also where it says no.
#[tokio::test]
async fn a_provider_that_says_no_has_not_failed() {
    let failed = || What::error(500, "x", "x");
    let before = (0..4).map(|_| failed());
    let no = std::iter::once(What::error(400, "x", "x"));
    let world = world(before.chain(no).chain((0..4).map(|_| failed()))).await;
    let request = question("chat", "hi");
    for at in 0..9 {
        let failure = world.ask(&request).await.expect_err("it fails");
        let why = if at == 4 { Why::Rejected } else { Why::Server };
        assert_eq!(failure.attempts[0].why, why, "{at}");
    }
}

#[tokio::test]
async fn the_next_model_is_asked_where_the_role_says_so() {
    let timeout = || What::Never;
    let cases = [
        (What::error(500, "x", "x"), r#"["error"]"#, true),
        (What::error(500, "x", "x"), r#"["timeout"]"#, false),
        (timeout(), r#"["timeout"]"#, true),
        (timeout(), r#"["error"]"#, false),
        (raw(429, &[], ""), r#"["rate-limit"]"#, true),
        (raw(429, &[], ""), r#"["error"]"#, false),
        (
            What::error(429, "insufficient_quota", "x"),
            r#"["rate-limit"]"#,
            true,
        ),
        (What::error(400, "x", "x"), r#"["rejected"]"#, true),
        (What::error(400, "x", "x"), r#"["error"]"#, false),
        (
            What::error(400, "content_filter", "x"),
            r#"["refusal"]"#,
            true,
        ),
        (
            What::error(400, "content_filter", "x"),
            r#"["error"]"#,
            false,
        ),
        (What::error(401, "x", "x"), r#"["error"]"#, true),
        (What::Close, r#"["error"]"#, true),
    ];
    for (what, fallback, goes_on) in cases {
        let usual = Usual {
            fallback,
            first_byte_ms: patience_ms(&what),
            ..Usual::default()
        };
        let world = usual
            .world([what.clone(), What::text("from the second")])
            .await;
        let answer = world.ask(&question("fast", "hi")).await;
        match answer {
            Ok(answer) => {
                assert!(goes_on, "{what:?} {fallback}");
                assert_eq!(
                    (answer.model.as_str(), answer.attempts.len()),
                    ("responses", 1)
                );
            }
            Err(failure) => {
                assert!(!goes_on, "{what:?} {fallback}: {failure:?}");
                assert_eq!(failure.attempts.len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_or_a_fault_is_kept_unless_another_does_better() {
    let refusal = || {
        What::Answer(Reply {
            refusal: Some("I can't.".to_owned()),
            usage: Some(airlock_fake_models::Counted {
                input: 100,
                cached: 0,
                output: 10,
            }),
            ..Reply::default()
        })
    };
    let usual = Usual {
        fallback: r#"["refusal", "error"]"#,
        ..Usual::default()
    };
    let world = usual.world([refusal(), What::text("I can.")]).await;
    let answer = world.ask(&question("fast", "hi")).await.expect("an answer");
    assert_eq!(
        (answer.text.as_str(), answer.model.as_str()),
        ("I can.", "responses")
    );
    assert_eq!(answer.attempts[0].why, Why::Refusal);
    // 100 at 2 and 10 at 10, and 10 at 2 and 5 at 10.
    assert_eq!(
        answer.spent.cost_micros,
        300 + 70,
        "the refusal was paid for too"
    );

    let world = usual
        .world([
            refusal(),
            What::error(500, "x", "x"),
            What::error(500, "x", "x"),
        ])
        .await;
    let answer = world
        .ask(&question("fast", "hi"))
        .await
        .expect("the refusal");
    assert_eq!(
        (
            answer.finish,
            answer.refusal.as_deref(),
            answer.model.as_str()
        ),
        (Finish::Refusal, Some("I can't."), "chat")
    );
    assert_eq!(answer.attempts.len(), 2);

    let world = Usual::default().world([refusal()]).await;
    let answer = world
        .ask(&question("fast", "hi"))
        .await
        .expect("the refusal");
    assert_eq!(
        answer.finish,
        Finish::Refusal,
        "it is the answer where the role says nothing"
    );
}

#[tokio::test]
async fn what_was_streamed_before_a_fallback_counts_no_more() {
    // Longer than the key, as much of which is always held back.
    let broken = What::Answer(Reply {
        text: "a text of some length ".repeat(20),
        damage: Damage {
            cut_after: Some(40),
            ..Damage::default()
        },
        ..Reply::default()
    });
    let world = world([broken, What::text("whole")]).await;
    let (answer, events) = world.stream(&question("fast", "hi")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.text, "whole");
    let last = events
        .iter()
        .rposition(|event| matches!(event, airlock_models::Event::Started { .. }));
    let last = last.expect("it began");
    assert!(
        !said(&events[..last]).is_empty(),
        "a part of the first was told"
    );
    assert_eq!(said(&events[last..]), "whole");
}

/// A permission that is taken away after so many attempts: neither the same model nor
/// another one is sent anything, whatever a retry or a fallback would do.
#[tokio::test]
async fn nothing_is_sent_that_is_not_permitted_any_more() {
    for (attempts, errors, sent) in [(0, 0, 0), (1, 3, 1), (2, 3, 2), (3, 3, 3), (9, 2, 3)] {
        let usual = Usual {
            retries: 1,
            ..Usual::default()
        };
        let failed = (0..errors).map(|_| What::error(500, "broken", "broken"));
        let world = usual.world(failed.chain([What::text("late")])).await;
        let left = AtomicUsize::new(attempts);
        let permitted = || {
            let take = |left: usize| left.checked_sub(1);
            let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
            taken.map(drop).map_err(|_| "taken away".to_owned())
        };
        let conversation = key();
        let ask = Ask {
            permitted: Some(&permitted),
            caller: "test",
            conversation: &conversation,
            allowance: PLENTY,
            told: None,
            meter: None,
        };
        let answer = world.router.ask(&question("fast", "x"), ask).await;
        assert_eq!(world.server.seen().len(), sent, "{attempts}");
        match answer {
            Ok(answer) => assert_eq!((answer.text.as_str(), attempts), ("late", 9)),
            Err(failure) => {
                let message = "taken away".to_owned();
                assert_eq!(failure.error, ModelError::Denied { message });
                assert_eq!(failure.attempts.len(), sent + 1, "{attempts}");
                let last = failure.attempts.last().map(|last| (last.why, last.fate));
                assert_eq!(last, Some((Why::Denied, Fate::NotSent)));
            }
        }
    }
}
