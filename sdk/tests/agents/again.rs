//! What is found when an agent is run again, and what it is told that it has not.

use super::*;

#[test]
fn what_an_agent_was_not_given_is_found() {
    type Runs = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>>>>;
    let table: [(&str, Runs, &str); 6] = [
        (
            "the order of a map",
            || {
                Box::pin(async {
                    let all: HashMap<u32, u32> = (0..8).map(|n| (n, n)).collect();
                    for n in all.into_keys() {
                        let _: Value = agent::call("a/b", &json!({ "n": n })).await?;
                    }
                    Outcome::done(&1)
                })
            },
            "calls `a/b` with {\"n\":",
        ),
        (
            "the machine's clock",
            || {
                Box::pin(async {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH);
                    agent::set_state("at", &now.map_or(0, |now| now.as_millis() as u64))?;
                    Outcome::done(&1)
                })
            },
            "sets the state `at`",
        ),
        (
            "a static",
            || {
                thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });
                Box::pin(async {
                    RUNS.set(RUNS.get() + 1);
                    if RUNS.get() > 1 {
                        agent::sleep(S).await?;
                    }
                    Outcome::done(&1)
                })
            },
            "the first time it ended after 0 steps\n  again, it waits for 1000 ms",
        ),
        (
            "what it leaves out",
            || {
                thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });
                Box::pin(async {
                    RUNS.set(RUNS.get() + 1);
                    if RUNS.get() < 2 {
                        agent::sleep(S).await?;
                    }
                    Outcome::done(&1)
                })
            },
            "the first time it waits for 1000 ms\n  again, it ends there",
        ),
        (
            "its end alone",
            || {
                thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });
                Box::pin(async {
                    RUNS.set(RUNS.get() + 1);
                    Outcome::done(&RUNS.get())
                })
            },
            "the first time it ended so: Some(Done(Number(1)))",
        ),
        (
            "what it drops",
            || {
                thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });
                Box::pin(async {
                    RUNS.set(RUNS.get() + 1);
                    let sleep = agent::sleep(HOUR);
                    match RUNS.get() {
                        1 => drop(sleep),
                        _ => sleep.cancel(),
                    }
                    Outcome::done(&1)
                })
            },
            "it lets go of request 0\n  again, it cancels request 0",
        ),
    ];
    for (name, agent, expect) in table {
        let host = || testing::agent().tool("a/b", |_| Ok(json!(1)));
        let found = panics(host(), agent);
        assert!(found.contains(expect), "{name}: {found}");
        assert!(found.contains("take a BTreeMap"), "{name}: {found}");
        assert!(
            matches!(run(host().once(), agent).end(), End::Done(_)),
            "{name}, once"
        );
    }
}

#[test]
fn the_test_is_asked_once() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let (of_tool, of_people) = (Rc::clone(&asked), Rc::clone(&asked));
    let host = testing::agent()
        .tool("a/b", move |input| {
            of_tool.borrow_mut().push(input["n"].to_string());
            Ok(json!(of_tool.borrow().len()))
        })
        .decides(move |question| {
            of_people.borrow_mut().push(question.text.clone());
            "a"
        });
    let ran = run(host, || async {
        let n = |n: u32| agent::call::<u32>("a/b", &json!({ "n": n }));
        let both = agent::join_all([n(1), n(2)]).await;
        agent::ask("which?", &["a", "b"]).await?;
        Outcome::done(&both.into_iter().collect::<Result<Vec<u32>, Error>>()?)
    });
    assert_eq!(ran.output(), json!([1, 2]));
    assert_eq!(*asked.borrow(), ["1", "2", "which?"]);
}

#[test]
fn what_an_agent_has_not_is_a_panic_that_says_so() {
    let outside = catch_unwind(|| drop(agent::sleep(S))).expect_err("nobody is there");
    let outside = outside.downcast_ref::<String>().expect("a message");
    assert!(
        outside.contains("airlock_sdk::testing::agent().run("),
        "{outside}"
    );
    type Uses = fn();
    let table: [(&str, Uses, &str); 5] = [
        ("kv", || drop(kv::Bucket::open("b")), "use `agent::state`"),
        (
            "secrets",
            || drop(airlock_sdk::secrets::placeholder("k")),
            "call a tool",
        ),
        (
            "http",
            || drop(airlock_sdk::http::get("https://a.test/").send()),
            "call a tool",
        ),
        (
            "config",
            || drop(airlock_sdk::config::get("k")),
            "take it as input",
        ),
        (
            "log",
            || airlock_sdk::log::info("x", &[]),
            "use `agent::log`",
        ),
    ];
    for (name, uses, instead) in table {
        let told = panics(testing::agent(), || async move {
            uses();
            Outcome::done(&1)
        });
        assert!(
            told.contains(&format!("no `{name}`")) && told.contains(instead),
            "{told}"
        );
    }
    let own = panics(testing::agent(), || async {
        assert!(agent::now() < UNIX_EPOCH, "the agent's own panic");
        Outcome::done(&1)
    });
    assert!(own.contains("the agent's own panic"), "{own}");
    // Nothing of all that is left behind.
    assert_eq!(
        run(testing::agent(), || async { Outcome::done(&1) }).output(),
        1
    );
}
