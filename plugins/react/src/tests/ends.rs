//! How the work ends without its goal.

use airlock_sdk::agent::Finish;
use airlock_sdk::testing::End;

use super::*;

#[test]
fn each_end_says_why_and_keeps_what_was_reached() {
    let repeat = |says: Says, times: usize| vec![says; times];
    let give_up = Says::call("give_up", json!({ "reason": "there is no key" }));
    let table: [(Vec<Says>, Value, &str); 12] = [
        (
            vec![read("a"), give_up],
            json!({}),
            "escalate: the model gave up: there is no key",
        ),
        (
            vec![Says::refuses("I can't.")],
            json!({}),
            "escalate: the model declined: I can't.",
        ),
        (
            vec![Says::text("Well").finish(Finish::ContentFilter)],
            json!({}),
            "escalate: the model declined: the provider's filter",
        ),
        (
            repeat(Says::nothing(), 3),
            json!({}),
            "escalate: the model gave 3 answers without",
        ),
        (
            repeat(Says::text("I am done."), 3),
            json!({}),
            "without a call; the last thing it said: I am done.",
        ),
        (
            repeat(read("a").finish(Finish::Length), 3),
            json!({}),
            "escalate: the work goes in circles: files/read gave the same again",
        ),
        (
            repeat(read("a"), 3),
            json!({}),
            "escalate: the work goes in circles",
        ),
        (
            repeat(read("none"), 3),
            json!({}),
            "escalate: the work goes in circles",
        ),
        (
            vec![read("a"), read("b")],
            json!({ "max_turns": 2 }),
            "limit: turns (2)",
        ),
        (
            vec![read("a"), Error::limit("model-tokens", "5000000").into()],
            json!({}),
            "limit: model-tokens (5000000)",
        ),
        (
            vec![Error::transient("overloaded", None).into()],
            json!({}),
            "transient: asking the model: overloaded",
        ),
        (
            vec![Error::denied("models", "ask fast", "no models rule names `fast`").into()],
            json!({}),
            "denied: models (ask fast)",
        ),
    ];
    for (says, input, expect) in table {
        let run = works(host(says), input);
        let error = run.error().to_string();
        assert!(error.contains(expect), "{error}");
        let reached = run.state("reached").expect("it is kept");
        assert_eq!(run.records(), std::slice::from_ref(&reached), "{expect}");
        holds(reached["ended"].as_str().unwrap_or_default(), &[expect]);
        let made = reached["last_calls"].as_array().map_or(0, Vec::len);
        assert_eq!(json!(made), reached["calls"], "{expect}");
    }
}

#[test]
fn no_progress_is_told_once_and_forgiven_when_there_is_some() {
    let table: [(&[&str], Option<&str>); 5] = [
        (&["a", "a", "b"], None),
        (&["a", "a", "b", "b", "c"], None),
        (&["a", "b", "a", "b"], Some("circles")),
        (&["a", "a", "a"], Some("circles")),
        (&["a", "b", "a", "c", "b"], None),
    ];
    for (paths, ends) in table {
        let says = paths.iter().map(|path| read(path)).chain([finish("found")]);
        let run = works(host(says), json!({}));
        match ends {
            None => assert_eq!(run.output(), "found", "{paths:?}"),
            Some(part) => holds(&run.error().to_string(), &["escalate", part]),
        }
        let asked = run.asked_models();
        let told = asked
            .iter()
            .filter(|asked| asked.last_text().starts_with("You have made"));
        assert!(told.count() > 0, "{paths:?}");
    }
    // The same call with another result is progress.
    let mut state = 0;
    let host = super::host(vec![read("job"); 9].into_iter().chain([finish("ready")]));
    let host = host.tool("files/read", move |_| {
        state += 1;
        Ok(json!({ "percent": state * 11 }))
    });
    assert_eq!(works(host, json!({})).output(), "ready");
    // The order of members makes no other call.
    let one = |text: &str| Says::nothing().and_call_raw("files/read", text);
    let (a, b) = (
        r#"{"path":"a","x":[{"y":1,"z":2}]}"#,
        r#"{"x":[{"z":2,"y":1}],"path":"a"}"#,
    );
    let run = works(super::host([one(a), one(b), one(a)]), json!({}));
    holds(&run.error().to_string(), &["circles"]);
}

#[test]
fn a_spent_budget_of_calls_ends_the_work() {
    let out = || host([read("a"), finish("never")]);
    let out = out().tool("files/read", |_| Err(Error::limit("calls", "100")));
    let run = works(out, json!({}));
    assert_eq!(run.error().to_string(), "limit: calls (100)");
    assert_eq!(run.state("reached").expect("kept")["failed"], 1);
}

#[test]
fn a_model_that_was_reminded_goes_on() {
    for (says, told) in [
        (
            Says::text("The files say hello."),
            "Nobody acts on text alone.",
        ),
        (Says::nothing(), "Nobody acts on text alone."),
        (
            Says::text("The fi").finish(Finish::Length),
            "Your answer was cut off",
        ),
    ] {
        let run = works(
            host([says.clone(), says, read("a"), finish("hello")]),
            json!({}),
        );
        assert_eq!(run.output(), "hello");
        let asked = run.asked_models();
        assert!(
            asked[1].last_text().starts_with(told),
            "{}",
            asked[1].last_text()
        );
    }
}

/// A call in between, and it may think aloud again.
#[test]
fn answers_without_a_call_count_one_after_the_other() {
    let text = || Says::text("Hm.");
    let says = [
        text(),
        text(),
        read("a"),
        text(),
        text(),
        read("b"),
        finish("hello"),
    ];
    assert_eq!(works(host(says), json!({})).output(), "hello");
}

#[test]
fn nothing_is_made_of_an_answer_that_is_cut() {
    let cut = Says::call("files/write", json!({ "path": "a" })).finish(Finish::Length);
    let run = works(host([cut, finish("less")]), json!({}));
    assert!(run.calls().is_empty());
    holds(&told(&run)[0].1, &["Your answer was cut off"]);
}

#[test]
fn an_input_is_checked_before_a_model_is_asked() {
    let schema = json!({ "enum": ["x".repeat(40_000)] });
    for (input, problem) in [
        (json!({ "max_turns": 0 }), "max_turns: 1 to 200"),
        (json!({ "max_turns": 201 }), "max_turns: 1 to 200"),
        (
            json!({ "result_bytes_max": 10 }),
            "result_bytes_max: 256 to 131072",
        ),
        (
            json!({ "summarise_after_tokens": 999 }),
            "summarise_after_tokens: at least 1000",
        ),
        (
            json!({ "tools": ["mail/*"] }),
            "`mail/*` is none of the granted tools; these are: files/read",
        ),
        (
            json!({ "output_schema": true }),
            "output_schema: a JSON Schema is an object",
        ),
        (
            json!({ "output_schema": schema }),
            "output_schema: it has 400",
        ),
        (
            json!({ "context": "x".repeat(300_000) }),
            "context: it has 300002 bytes",
        ),
        (
            json!({ "instructions": "x".repeat(20_000) }),
            "instructions: it has 20000 bytes",
        ),
        (json!({ "goal": 1 }), "unknown field `goal`"),
    ] {
        let run = works(host(["never"]), input);
        assert_eq!(run.error().code(), "invalid-input");
        holds(&run.error().to_string(), &[problem]);
        assert!(run.asked_models().is_empty());
    }
    let many = (0..121).fold(host(["never"]), |host, n| {
        host.tool(&format!("many/t{n}"), |_| Ok(json!(1)))
    });
    holds(
        &works(many, json!({})).error().to_string(),
        &["123 tools are granted"],
    );
    let empty = host(["never"]).run(run, " ", json!({}));
    holds(&empty.error().to_string(), &["goal: it is empty"]);
    // Without any tool it can still think.
    let bare = testing::agent().says("careful", [finish(42)]);
    let bare = bare.run(run, "Think.", json!({ "role": "careful" }));
    assert_eq!(bare.end(), &End::Done(json!(42)));
}
