//! Bounds: what may be used, how many at once, what is given up.

use std::sync::Arc;

use airlock_fake_models::{Counted, Damage, Reply, What};
use airlock_models::{Allowance, Ask, Fate, ModelError, Spent, Why};

use super::harness::{PLENTY, Usual, key, question, world};

#[tokio::test]
async fn no_attempt_begins_that_could_cost_more_than_is_left() {
    let world = world((0..3).map(|_| What::text("ok"))).await;
    let request = question("chat", "hi");
    let bound = world.router.bound(&request).expect("a bound");
    let answer = world.ask_with(&request, bound).await.expect("just enough");
    assert!(answer.spent.cost_micros <= bound.cost_micros && answer.spent.tokens <= bound.tokens);
    let cases = [
        (
            Allowance {
                tokens: bound.tokens - 1,
                ..bound
            },
            "tokens",
        ),
        (
            Allowance {
                cost_micros: bound.cost_micros - 1,
                ..bound
            },
            "cost_micros",
        ),
    ];
    for (allowance, expected) in cases {
        let failure = world
            .ask_with(&request, allowance)
            .await
            .expect_err("too little");
        assert!(
            matches!(&failure.error, ModelError::Limit { limit, .. } if limit == expected),
            "{failure:?}"
        );
        assert_eq!(
            (failure.attempts[0].why, failure.attempts[0].fate),
            (Why::Budget, Fate::NotSent)
        );
        assert_eq!(failure.spent, Spent::default());
    }
    assert_eq!(world.server.seen().len(), 1, "nothing was sent");
    let conversation = key();
    let ask = Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: bound,
        told: Some(&|_| {}),
        meter: None,
    };
    let streamed = world.router.ask(&request, ask).await;
    streamed.expect("the bound is enough for a stream too");
    let mut short = request.clone();
    short.max_tokens = Some(1);
    let less = world.router.bound(&short).expect("a bound");
    // 999 tokens of the answer, and three digits of the request.
    assert_eq!(bound.tokens - less.tokens, 1_002);
    world
        .ask_with(&short, less)
        .await
        .expect("enough for a short one");
}

/// One that is given up has used what was answered for, and at most the attempt that
/// was under way: nothing of those that never began.
#[tokio::test]
async fn what_was_used_is_known_when_a_request_is_given_up() {
    let request = question("chat", "hi");
    let cases = [
        ("nothing was sent", vec![], 0),
        ("the first is under way", vec![What::Never], 1),
        ("the second is", vec![What::Close, What::Never], 2),
    ];
    for (case, steps, bounds) in cases {
        let usual = Usual {
            retries: 1,
            ..Usual::default()
        };
        let sent = steps.len();
        let world = usual.world(steps).await;
        let bound = world.router.bound(&request).expect("a bound");
        let (conversation, meter) = (key(), airlock_models::Meter::default());
        let ask = Ask {
            permitted: None,
            caller: "test",
            conversation: &conversation,
            allowance: PLENTY,
            told: None,
            meter: Some(&meter),
        };
        tokio::select! {
            biased;
            () = world.server.arrived(sent) => {}
            _ = world.router.ask(&request, ask) => panic!("{case}: it has an answer"),
        }
        let spent = meter.spent();
        assert_eq!(
            (spent.tokens, spent.unsure_tokens, spent.unsure_micros),
            (0, bounds * bound.tokens, bounds * bound.cost_micros),
            "{case}"
        );
    }
}

#[tokio::test]
async fn an_attempt_that_may_have_cost_uses_up_its_part() {
    let usual = Usual {
        retries: 3,
        ..Usual::default()
    };
    let world = usual
        .world([What::Close, What::Close, What::text("ok")])
        .await;
    let request = question("chat", "hi");
    let bound = world.router.bound(&request).expect("a bound");
    let twice = Allowance {
        tokens: bound.tokens * 2,
        cost_micros: bound.cost_micros * 2,
    };
    let failure = world
        .ask_with(&request, twice)
        .await
        .expect_err("it is used up");
    let whys: Vec<Why> = failure.attempts.iter().map(|attempt| attempt.why).collect();
    assert_eq!(whys, [Why::Cut, Why::Cut, Why::Budget]);
    assert_eq!(failure.spent.unsure_micros, twice.cost_micros);
    assert!(
        matches!(failure.error, ModelError::Unknown { .. }),
        "what may have happened is said first"
    );
    world
        .ask_with(&request, PLENTY)
        .await
        .expect("with more it goes on");
}

#[tokio::test]
async fn the_bound_is_of_the_dearest_model_and_never_too_low() {
    let counted = Reply {
        text: "x".repeat(1_000),
        usage: Some(Counted {
            input: 3,
            cached: 0,
            output: 1_000,
        }),
        ..Reply::default()
    };
    let world = world([What::Answer(counted)]).await;
    let all = world
        .router
        .bound(&question("fast", "hi"))
        .expect("a bound");
    for role in ["chat", "responses", "claude"] {
        let one = world.router.bound(&question(role, "hi")).expect("a bound");
        assert!(one.tokens <= all.tokens && one.cost_micros <= all.cost_micros);
    }
    let answer = world
        .ask_with(&question("chat", "hi"), all)
        .await
        .expect("an answer");
    assert!(answer.spent.cost_micros <= all.cost_micros);
    let error = world
        .router
        .bound(&question("none", "hi"))
        .expect_err("no role");
    assert!(error.to_string().contains("no role `none`"));
    // A request can't be more than the model's context.
    let long = world
        .router
        .bound(&question("chat", &"x".repeat(1 << 20)))
        .expect("a bound");
    assert_eq!(long.tokens, 101_000);
}

#[tokio::test]
async fn no_more_are_asked_at_once_than_the_model_takes() {
    let held = || {
        What::Answer(Reply {
            text: "ok".to_owned(),
            damage: Damage {
                held: true,
                ..Damage::default()
            },
            ..Reply::default()
        })
    };
    let world = Arc::new(world((0..4).map(|_| held())).await);
    let ask = |world: &Arc<super::harness::World>| {
        let world = Arc::clone(world);
        tokio::spawn(async move { world.ask(&question("chat", "hi")).await })
    };
    let mut asking: Vec<_> = (0..2).map(|_| ask(&world)).collect();
    world.server.arrived(2).await;
    // Two are at work and two may wait; who comes fifth is told so at once.
    asking.extend((0..3).map(|_| ask(&world)));
    let failure = loop {
        let done = asking.iter().position(tokio::task::JoinHandle::is_finished);
        match done {
            Some(at) => {
                break asking
                    .remove(at)
                    .await
                    .expect("no panic")
                    .expect_err("there is no place");
            }
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(
        (failure.attempts[0].why, failure.attempts[0].fate),
        (Why::Busy, Fate::NotSent)
    );
    assert_eq!(world.server.seen().len(), 2, "two at once");
    world.server.release();
    for answer in asking {
        answer.await.expect("no panic").expect("an answer");
    }
    assert_eq!(world.server.seen().len(), 4);
}

#[tokio::test]
async fn what_is_given_up_gives_back_its_place() {
    let usual = Usual::default();
    let world = usual
        .world([What::Never, What::Never, What::text("ok")])
        .await;
    for arrived in 1..=2 {
        let request = question("chat", "hi");
        tokio::select! {
            answer = world.ask(&request) => panic!("{answer:?}"),
            () = world.server.arrived(arrived) => {}
        }
    }
    let answer = world
        .ask(&question("chat", "hi"))
        .await
        .expect("there is a place");
    assert_eq!(answer.text, "ok");
}

#[tokio::test]
async fn a_rate_passes_on_to_the_next_model() {
    let server = airlock_fake_models::FakeModels::start(airlock_fake_models::Script::of([
        What::text("a"),
        What::text("b"),
    ]));
    let server = server.await.expect("it listens");
    let mut config = Usual::default().config(&server.base_url());
    let model = config.models.get_mut("chat").expect("a model");
    model.requests_per_minute = Some(1);
    let router = super::harness::router(&config);
    let conversation = key();
    let ask = Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: PLENTY,
        told: None,
        meter: None,
    };
    let first = router
        .ask(&question("fast", "hi"), ask)
        .await
        .expect("an answer");
    let second = router
        .ask(&question("fast", "hi"), ask)
        .await
        .expect("an answer");
    assert_eq!(
        (first.model.as_str(), second.model.as_str()),
        ("chat", "responses")
    );
    assert_eq!(
        (second.attempts[0].why, second.attempts[0].fate),
        (Why::RateLimit, Fate::NotSent)
    );
}

#[tokio::test]
async fn a_key_that_is_not_there_is_said_without_its_name() {
    let server = airlock_fake_models::FakeModels::start(airlock_fake_models::Script::default());
    let server = server.await.expect("it listens");
    let mut config = Usual::default().config(&server.base_url());
    config.providers.get_mut("chat").expect("a provider").key = Some("lost-key".to_owned());
    let router = super::harness::router(&config);
    let conversation = key();
    let ask = Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: PLENTY,
        told: None,
        meter: None,
    };
    let failure = router
        .ask(&question("chat", "hi"), ask)
        .await
        .expect_err("no key");
    let told = format!("{failure:?}");
    assert!(told.contains("the host has no key"), "{told}");
    assert!(!told.contains("lost-key"), "it may be a key: {told}");
    assert!(server.seen().is_empty());
}
