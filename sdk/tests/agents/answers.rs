//! What answers an agent, and when on its clock.

use super::*;

#[test]
fn what_was_not_given_is_not_granted() {
    let table: [(&str, AgentHost, Asks, &str); 5] = [
        (
            "no such tool",
            testing::agent().tool("a/other", |_| Ok(json!(1))),
            || agent::call("a/b", &json!({})),
            "denied: tools (call a/b): no tools rule covers `a/b`",
        ),
        (
            "no such agent",
            testing::agent(),
            || agent::start("c", "", &json!({})),
            "denied: agents (start c): no agents rule names `c`",
        ),
        (
            "a child's input",
            testing::agent().child("c", |_, _| Ok(json!(1))),
            || agent::start("c", "", &json!(5)),
            "invalid-input: input: a JSON object is needed",
        ),
        (
            "a tool's own error",
            testing::agent().tool("a/b", |_| Err(Error::not_found("gone"))),
            || agent::call("a/b", &json!({})),
            "not-found: gone",
        ),
        (
            "a person's no",
            testing::agent().tool("a/b", |_| Err(not_approved("a/b", "too late"))),
            || agent::call("a/b", &json!({})),
            "denied: approval (call a/b): a person said no: too late",
        ),
    ];
    for (name, host, asks, expect) in table {
        let told = run(host, || told(asks())).output();
        let told = told.as_str().expect("an error");
        assert!(told.starts_with(expect), "{name}: {told}");
    }
    let shape = testing::agent().tool("a/b", |_| Ok(json!("text")));
    let shape = run(shape, || told(agent::call::<u8>("a/b", &json!({})))).output();
    assert!(
        shape.to_string().contains("an answer of another shape"),
        "{shape}"
    );
}

#[test]
fn people_answer_in_time_or_not() {
    let ask = |due: Option<Duration>| {
        move || async move {
            let asked = agent::ask_about("Well?", &["yes", "no"], None, due).await;
            let gone: u64 = agent::now()
                .duration_since(begin())
                .map_or(0, |t| t.as_secs());
            match asked {
                Ok(Decision { choice, note }) => Outcome::done(&json!([choice, note, gone])),
                Err(error) => Outcome::done(&json!([error.code(), null, gone])),
            }
        }
    };
    let within = |due: Option<Duration>, answer: fn() -> Answer| {
        let host = testing::agent().decides(move |_| answer());
        run(host, ask(due)).end().clone()
    };
    for (due, answer, expect) in [
        (
            None,
            (|| "yes".into()) as fn() -> Answer,
            json!(["yes", null, 0]),
        ),
        (
            None,
            || Answer::choice("no").after(9 * S),
            json!(["no", null, 9]),
        ),
        (
            Some(10 * S),
            || Answer::choice("no").after(9 * S),
            json!(["no", null, 9]),
        ),
        (
            Some(9 * S),
            || Answer::choice("no").after(9 * S),
            json!(["transient", null, 9]),
        ),
        (Some(9 * S), Answer::nobody, json!(["transient", null, 9])),
    ] {
        assert_eq!(within(due, answer), End::Done(expect.clone()), "{expect}");
    }
    assert!(matches!(within(None, Answer::nobody), End::Waits(on) if on[0].contains("Well?")));
    let wrong = panics(testing::agent().decides(|_| "maybe"), ask(None));
    assert!(
        wrong.contains("`maybe`, which is none of the choices"),
        "{wrong}"
    );
}

#[test]
fn time_goes_by_on_the_runs_clock_alone() {
    // What is waited for, and how long that takes on the run's clock.
    async fn times_out() -> Result<Outcome, Error> {
        let busy = agent::call::<Value>("a/slow", &json!({}));
        let late = agent::timeout(busy, 5 * S).await;
        assert_eq!(late.map_err(|late| late.0), Err(5 * S));
        Outcome::done(&agent::timeout(agent::sleep(S), HOUR).await??)
    }
    async fn tries_again() -> Result<Outcome, Error> {
        let retry = Retry::new().attempts(4).backoff(S, 3 * S);
        let sent: Value = retry.run(|| agent::call("a/busy", &json!({}))).await?;
        Outcome::done(&sent)
    }
    async fn the_first() -> Result<Outcome, Error> {
        let first = agent::select(agent::sleep(2 * HOUR), agent::sleep(HOUR)).await;
        assert_eq!(first, Either::Right(Ok(())));
        let (place, _) = agent::select_all([3, 2, 4].map(|n| agent::sleep(n * S))).await;
        Outcome::done(&place)
    }
    async fn until() -> Result<Outcome, Error> {
        assert_eq!(agent::now(), begin());
        agent::sleep_until(begin() + HOUR).await?;
        agent::sleep_until(begin()).await?;
        airlock_sdk::task::sleep(Duration::from_micros(1_500)).await;
        Outcome::done(&(agent::now() == begin() + HOUR + Duration::from_millis(2)))
    }
    type Runs = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>>>>;
    let host = || {
        let mut left = 3;
        testing::agent()
            .tool("a/slow", |_| Ok(json!(1)))
            .takes("a/slow", 9 * S)
            .tool("a/busy", move |_| {
                left -= 1;
                match left {
                    0 => Ok(json!("sent")),
                    1 => Err(Error::transient("busy", Some(60 * S))),
                    _ => Err(Error::transient("busy", None)),
                }
            })
    };
    let table: [(Runs, Value, Duration); 4] = [
        (|| Box::pin(times_out()), json!(null), 6 * S),
        // What a server asks for counts up to the longest wait.
        (|| Box::pin(tries_again()), json!("sent"), 4 * S),
        (|| Box::pin(the_first()), json!(1), HOUR + 2 * S),
        (
            || Box::pin(until()),
            json!(true),
            HOUR + Duration::from_millis(2),
        ),
    ];
    for (index, (agent, output, took)) in table.into_iter().enumerate() {
        let ran = run(host(), agent);
        assert_eq!((ran.output(), ran.took()), (output, took), "{index}");
    }
    let late = run(testing::agent().at(begin() + HOUR), || async {
        Outcome::done(&(agent::now() == begin() + HOUR))
    });
    assert_eq!(late.output(), true);
}

#[test]
fn what_is_cancelled_says_what_became_of_it() {
    let info = |name: &str, class| ToolInfo {
        name: name.to_owned(),
        description: String::new(),
        input_schema: json!({}),
        output_schema: None,
        class,
    };
    let host = || {
        testing::agent()
            .tool("a/plain", |_| Ok(json!(1)))
            .takes("a/plain", S)
            .tool("a/read", |_| Ok(json!(1)))
            .tool_info(info("a/read", EffectClass::ReadOnly))
            .takes("a/read", S)
            .tool("a/same", |_| Ok(json!(1)))
            .tool_info(info("a/same", EffectClass::Idempotent))
            .takes("a/same", S)
            .tool("a/done", |_| Ok(json!(1)))
            .child("c", |_, _| Ok(json!(1)))
            .takes("c", S)
    };
    let table: [(&str, Asks, &str); 7] = [
        (
            "idempotent",
            || agent::call("a/same", &json!({})),
            "unknown: the call was cancelled",
        ),
        (
            "plain",
            || agent::call("a/plain", &json!({})),
            "unknown: the call was cancelled",
        ),
        (
            "read-only",
            || agent::call("a/read", &json!({})),
            "cancelled",
        ),
        ("done already", || agent::call("a/done", &json!({})), "1"),
        ("a child", || agent::start("c", "", &json!({})), "cancelled"),
        ("a signal", || agent::signal("go"), "cancelled"),
        ("no tool", || agent::call("a/none", &json!({})), "denied"),
    ];
    for (name, asks, expect) in table {
        let ran = run(host(), || {
            let request = asks();
            request.cancel();
            told(request)
        });
        let told = ran.output();
        let told = told
            .as_str()
            .map_or_else(|| told.to_string(), str::to_owned);
        assert!(told.starts_with(expect), "{name}: {told}");
        assert_eq!(ran.took(), Duration::ZERO, "{name}");
    }
}

/// Cut off while it is awaited, a request tells what became of it, each time the
/// same.
#[test]
fn what_is_awaited_can_still_be_cancelled() {
    for (takes, expect, took) in [(5, json!([true, 1, 1]), 5), (60, json!([false, 7, 7]), 10)] {
        let host = testing::agent()
            .child("c", |_, _| Ok(json!(1)))
            .takes("c", Duration::from_secs(takes));
        let ran = run(host, || async {
            let request = agent::start::<u8>("c", "", &json!({}));
            let in_time = agent::timeout(request.answer(), Duration::from_secs(10)).await;
            if in_time.is_err() {
                request.cancel();
            }
            let told = |answer: Result<u8, Error>| match answer {
                Err(Error::Cancelled) => Ok(7),
                answer => answer,
            };
            let (first, again) = (told(request.answer().await)?, told(request.await)?);
            Outcome::done(&json!([in_time.is_ok(), first, again]))
        });
        assert_eq!(ran.output(), expect);
        assert_eq!(ran.took(), Duration::from_secs(took));
    }
}

#[test]
fn a_signal_goes_to_one_who_waits_for_it() {
    type Waits = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>>>>;
    let table: [(&str, Waits, Value); 4] = [
        (
            "in the order of asking",
            || {
                Box::pin(async {
                    let (first, second) = (agent::signal("go"), agent::signal("go"));
                    let both = agent::join::<Request<u8>, Request<u8>>(second, first).await;
                    Outcome::done(&[both.1?, both.0?])
                })
            },
            json!([1, 2]),
        ),
        (
            "not to one that is let go of",
            || {
                Box::pin(async {
                    drop(agent::signal::<u8>("go"));
                    told(agent::signal::<u8>("go")).await
                })
            },
            json!(1),
        ),
        (
            "kept for the next, where its answer was not read",
            || {
                Box::pin(async {
                    let unread = agent::signal::<u8>("go");
                    agent::sleep(S).await?;
                    unread.detach();
                    told(agent::signal::<u8>("go")).await
                })
            },
            json!(1),
        ),
        (
            "after a time",
            || {
                Box::pin(async {
                    let late = agent::timeout(agent::signal::<u8>("late"), 10 * S).await;
                    assert!(late.is_err());
                    told(agent::signal::<u8>("late")).await
                })
            },
            json!(3),
        ),
    ];
    for (name, agent, expect) in table {
        let host = testing::agent()
            .signal("go", json!(1))
            .signal("go", json!(2))
            .signal_after(HOUR, "late", json!(3));
        assert_eq!(run(host, agent).output(), expect, "{name}");
    }
}
