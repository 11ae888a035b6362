//! How a run ends, the sizes it is held to, and what goes on after it.

use super::*;

#[test]
fn a_run_ends_as_the_host_ends_it() {
    fn leaks() -> Request<Value> {
        agent::signal("never")
    }
    type Ends = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>>>>;
    let waits = "waits for the signal `never`".to_owned();
    let table: [(&str, Ends, End); 9] = [
        (
            "a request that is left open",
            || {
                Box::pin(async {
                    std::mem::forget(leaks());
                    Outcome::done(&1)
                })
            },
            End::OpenHandles(vec![waits.clone()]),
        ),
        (
            "one that is dropped",
            || {
                Box::pin(async {
                    drop(leaks());
                    Outcome::done(&1)
                })
            },
            End::Done(json!(1)),
        ),
        (
            "finish lets go of all",
            || {
                Box::pin(async {
                    std::mem::forget(leaks());
                    let _held = leaks();
                    agent::finish(Outcome::done(&2))
                })
            },
            End::Done(json!(2)),
        ),
        (
            "finish with an error",
            || Box::pin(async { agent::finish(Err(Error::escalate("help"))) }),
            End::Failed(Error::escalate("help")),
        ),
        (
            "what nobody gives",
            || Box::pin(async { told(leaks()).await }),
            End::Waits(vec![waits]),
        ),
        (
            "as new",
            || Box::pin(async { Outcome::continue_as_new(&json!({ "n": 2 })) }),
            End::ContinuesAsNew(json!({ "n": 2 })),
        ),
        (
            "as new, with no object",
            || Box::pin(async { Outcome::continue_as_new(&2) }),
            End::Failed(Error::invalid_input(
                "what it goes on with: input: a JSON object is needed",
            )),
        ),
        (
            "an error",
            || Box::pin(async { Err(Error::permanent("no")) }),
            End::Failed(Error::permanent("no")),
        ),
        (
            "round in circles",
            || {
                Box::pin(async {
                    loop {
                        let _: Value = agent::call("a/b", &json!({})).await?;
                        agent::sleep(S).await?;
                    }
                })
            },
            End::Blocked("it called `a/b` 20 times with the same answer".to_owned()),
        ),
    ];
    for (name, agent, expect) in table {
        let host = testing::agent().tool("a/b", |_| Ok(json!(1)));
        assert_eq!(*run(host, agent).end(), expect, "{name}");
    }
}

#[test]
fn sizes_are_those_of_the_contract() {
    let long = |bytes: usize| "x".repeat(bytes);
    type Case = (Box<dyn Fn()>, Option<&'static str>);
    let table: Vec<Case> = vec![
        (
            Box::new(move || drop(agent::signal::<u8>(&long(161)))),
            Some("the signal's name: 160"),
        ),
        (
            Box::new(move || drop(agent::call::<u8>("a/b", &long(1 << 20)))),
            Some("the input: 1048576 bytes"),
        ),
        (
            Box::new(move || drop(agent::ask(&long(8193), &["a", "b"]))),
            Some("the question: 8192"),
        ),
        (
            Box::new(|| drop(agent::ask("?", &["a"]))),
            Some("2 to 16 choices"),
        ),
        (Box::new(|| drop(agent::ask("?", &["a", "b"]))), None),
        (
            Box::new(move || drop(agent::ask("?", &["a", &long(129)]))),
            Some("a choice: 128"),
        ),
        (
            Box::new(move || drop(agent::start::<u8>("c", &long(8193), &json!({})))),
            Some("the goal: 8192 bytes"),
        ),
        (
            Box::new(move || agent::log(&long(8193))),
            Some("the log record: 8192 bytes"),
        ),
        (Box::new(move || agent::log(&long(8192))), None),
        (
            Box::new(move || agent::progress(1.0, None, &long(1025))),
            Some("the message: 1024"),
        ),
        (
            Box::new(|| {
                let task = PlanTask {
                    title: String::new(),
                    state: TaskState::Todo,
                };
                agent::plan(&vec![task; 257]);
            }),
            Some("the plan's tasks: 256"),
        ),
        (
            Box::new(move || agent::set_state(&long(129), &1).unwrap()),
            Some("a key: 128 bytes"),
        ),
        (
            Box::new(move || agent::set_state("k", &long(65_535)).unwrap()),
            Some("a value: 65536"),
        ),
        (
            Box::new(move || agent::set_state("k", &long(65_534)).unwrap()),
            None,
        ),
        (
            Box::new(|| (0..65).for_each(|n| agent::set_state(&n.to_string(), &n).unwrap())),
            Some("64 keys"),
        ),
        (
            Box::new(move || {
                (0..5).for_each(|n| agent::set_state(&n.to_string(), &long(65_000)).unwrap());
            }),
            Some("all keys and values: 262144 bytes"),
        ),
    ];
    for (index, (does, over)) in table.into_iter().enumerate() {
        let ran = run(testing::agent(), || {
            does();
            std::future::ready(Outcome::done(&1))
        });
        match (over, ran.end()) {
            (None, End::Done(_)) => {}
            (Some(over), End::Failed(Error::Limit { value, .. })) => {
                assert!(value.starts_with(over), "{index}: {value}");
            }
            (_, end) => panic!("{index}: {over:?}: {end:?}"),
        }
    }
}

#[test]
fn questions_are_as_many_as_the_host_allows() {
    let ran = run(testing::agent(), || async {
        let open: Vec<_> = (0..64).map(|_| agent::ask("?", &["a", "b"])).collect();
        let more = agent::ask("?", &["a", "b"])
            .await
            .map_err(|error| error.code());
        drop(open);
        let again = agent::ask_about("?", &["a", "b"], None, Some(S)).await;
        Outcome::done(&json!([
            more.err(),
            again.map_err(|error| error.code()).err()
        ]))
    });
    assert_eq!(ran.output(), json!(["limit", "transient"]));
}

#[test]
fn state_goes_on_with_the_run_that_continues() {
    async fn counts(_: String, input: HashMap<String, u64>) -> Result<Outcome, Error> {
        let seen = agent::state::<u64>("seen")?.unwrap_or(0) + 1;
        agent::set_state("seen", &seen)?;
        agent::remove_state("old");
        agent::sleep(HOUR).await?;
        let unread = agent::signal::<Value>("never read");
        drop(unread);
        match input["n"] {
            0 => Outcome::done(&json!([seen, agent::signal::<Value>("never read").await?])),
            n => Outcome::continue_as_new(&json!({ "n": n - 1 })),
        }
    }
    let first = testing::agent()
        .state("seen", json!(5))
        .state("old", json!(true))
        .signal("never read", json!("still there"))
        .run(counts, "", json!({ "n": 1 }));
    assert_eq!(
        (first.state("seen"), first.state("old")),
        (Some(json!(6)), None)
    );
    let next = testing::agent().continues(&first);
    let next = next.run(counts, "", first.next_input());
    assert_eq!(next.output(), json!([7, "still there"]));
    let shape = testing::agent().state("seen", json!("text"));
    let shape = shape.run(counts, "", json!({ "n": 0 })).error();
    assert!(shape.to_string().contains("the state `seen`"), "{shape}");
}
