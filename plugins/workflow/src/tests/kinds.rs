//! Each kind of step.

use super::*;

#[test]
fn a_tool_is_called_with_values() {
    let run = runs(
        echo(&["x/one", "x/two"]),
        r#"
inputs: { n: integer, who: string }
steps:
  - id: one
    tool: x/one
    with: { n: "${{ input.n + 1 }}", text: "for ${{ input.who }}", list: [1, "${{ input.n }}"] }
  - id: two
    tool: x/two
    with: ${{ steps.one.output }}
    output: { sum: "${{ result.n + result.list[1] }}" }
outputs:
  sum: ${{ steps.two.output.sum }}
  at: ${{ run.started }}
  status: ${{ steps.two.status }}
"#,
        json!({ "n": 2, "who": "ada" }),
    );
    assert_eq!(
        run.output(),
        json!({ "sum": 5, "at": "2027-01-15T08:00:00Z", "status": "done" })
    );
    assert_eq!(
        run.calls()[0].1,
        json!({ "n": 3, "text": "for ada", "list": [1, 2] })
    );
    assert_eq!(run.calls()[1].1, run.calls()[0].1);
    assert_eq!(states(&run), [TaskState::Done, TaskState::Done]);
}

#[test]
fn an_agent_is_run_with_its_budget() {
    let host = testing::agent().child("checker", |goal, input| {
        Ok(json!({ "goal": goal, "got": input }))
    });
    let run = runs(
        host,
        r#"
inputs: { month: string }
steps:
  - id: check
    agent: checker
    goal: Check ${{ input.month }}
    with: { month: "${{ input.month }}" }
    budget: { calls: 10, wall: 1h, cpu: 5s }
outputs: { all: "${{ steps.check.output }}" }
"#,
        json!({ "month": "May" }),
    );
    assert_eq!(
        run.output()["all"],
        json!({ "goal": "Check May", "got": { "month": "May" } })
    );
    let budget = run.children()[0].budget;
    assert_eq!(
        (budget.calls, budget.wall_ms, budget.cpu_us),
        (Some(10), Some(3_600_000), Some(5_000_000))
    );
}

const ASKS: &str = r#"
steps:
  - id: ask
    approval:
      text: Go on?
      choices: [go, later, stop, call]
      payload: { n: 1 }
      due: 1h
      on: { later: skip, stop: fail, call: escalate }
      on_due: DUE
  - id: then
    tool: x/then
    with: { note: "${{ steps.ask.output.note }}" }
outputs: { choice: "${{ steps.ask.output == null ? steps.ask.status : steps.ask.output.choice }}" }
"#;

#[test]
fn a_person_decides_what_becomes_of_the_step() {
    let asks = |due: &str, answer: Answer| {
        let host = echo(&["x/then"]).decides(move |_| answer.clone());
        runs(host, &ASKS.replace("DUE", due), json!({}))
    };
    let go = asks("fail", Answer::choice("go").note("fine"));
    assert_eq!(go.output()["choice"], "go");
    assert_eq!(go.calls_of("x/then"), [&json!({ "note": "fine" })]);
    assert_eq!(go.asked()[0].payload, Some(json!({ "n": 1 })));
    assert_eq!(go.asked()[0].due, Some(3600 * S));

    let later = asks("fail", Answer::choice("later"));
    assert_eq!(later.output()["choice"], "skipped");
    assert!(
        later.calls().is_empty(),
        "what needs a skipped step is skipped"
    );

    for (due, answer, code, part) in [
        (
            "fail",
            Answer::choice("stop").note("no"),
            "permanent",
            "step `ask`: `stop` was decided: no",
        ),
        (
            "fail",
            Answer::choice("call"),
            "escalate",
            "step `ask`: `call` was decided",
        ),
        (
            "fail",
            Answer::nobody(),
            "transient",
            "step `ask`: nobody decided in time",
        ),
        (
            "escalate",
            Answer::nobody(),
            "escalate",
            "nobody decided in time",
        ),
        ("stop", Answer::nobody(), "permanent", "`stop` was decided"),
    ] {
        let error = asks(due, answer).error();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(asks("skip", Answer::nobody()).output()["choice"], "skipped");
    assert_eq!(asks("go", Answer::nobody()).output()["choice"], "go");
}

/// Without choices there are two, of which one fails; asked again, as the step says.
#[test]
fn a_plain_approval_is_yes_or_no() {
    let asks = "steps:\n  - { id: a, approval: { text: ok? } }\noutputs: { c: \"${{ steps.a.output.choice }}\" }\n";
    let answers =
        |choice: &'static str| runs(testing::agent().decides(move |_| choice), asks, json!({}));
    assert_eq!(answers("approve").output()["c"], "approve");
    assert_eq!(answers("deny").error().code(), "permanent");

    let again = asks.replace(
        "ok? }",
        "ok?, due: 1h }, retry: { attempts: 2, backoff: 1s }",
    );
    let mut asked = 0;
    let host = testing::agent().decides(move |_| {
        asked += 1;
        if asked == 1 {
            Answer::nobody()
        } else {
            Answer::choice("approve")
        }
    });
    let run = runs(host, &again, json!({}));
    assert_eq!(
        (run.output()["c"].clone(), run.asked().len(), run.took()),
        (json!("approve"), 2, 3601 * S)
    );
}

#[test]
fn waits_take_their_time() {
    let run = runs(
        testing::agent().signal_after(90 * S, "paid", json!({ "amount": 5 })),
        r#"
inputs: { wait: string }
steps:
  - { id: a, wait: 1m }
  - { id: b, needs: a, wait: "${{ input.wait }}" }
  - { id: c, needs: b, wait: "${{ 2 + 3 }}" }
  - { id: d, needs: c, wait: { until: "2027-01-15T08:01:20Z" } }
  - { id: e, needs: d, wait: { signal: paid } }
outputs: { paid: "${{ steps.e.output.amount }}", none: "${{ steps.a.output }}" }
"#,
        json!({ "wait": "10s" }),
    );
    assert_eq!(run.output(), json!({ "paid": 5, "none": null }));
    assert_eq!(run.slept(), [60 * S, 10 * S, 5 * S, 5 * S]);
    assert_eq!(run.took(), 90 * S);
    let waits = runs(
        testing::agent(),
        "steps: [{ id: a, wait: { signal: never } }]",
        json!({}),
    );
    assert!(matches!(waits.end(), End::Waits(_)));
}

#[test]
fn a_model_gives_its_text_or_a_value_of_its_schema() {
    let file = r#"
steps:
  - { id: a, model: { role: writer, system: Be brief., prompt: Hello } }
  - { id: b, model: { role: judge, prompt: "Is it? ${{ steps.a.output }}", schema: { type: object, properties: { yes: boolean }, required: [yes] } } }
outputs: { a: "${{ steps.a.output }}", b: "${{ steps.b.output.yes }}" }
"#;
    let agent = testing::agent()
        .says("writer", ["Hi."])
        .says("judge", ["no JSON", r#"{"yes":true}"#]);
    let output = runs(agent, file, json!({})).output();
    assert_eq!(output, json!({ "a": "Hi.", "b": true }));
}

const NESTED: &str = r#"
inputs: { names: { type: array, items: string } }
steps:
  - id: greet
    for_each: input.names
    workflow: greet
    with: { name: "${{ item }}" }
outputs: { all: "${{ steps.greet.output.map(g, g.text) }}" }
workflows:
  greet:
    inputs: { name: string, end: { type: string, default: "!" } }
    outputs: { text: "${{ steps.shout.output.text }}" }
    steps:
      - { id: look, tool: x/look, with: { name: "${{ input.name }}" } }
      - { id: shout, workflow: shout, with: { text: "${{ steps.look.output.name + input.end }}" } }
  shout:
    inputs: { text: string }
    outputs:
      text: { value: "${{ input.text.upperAscii() }}", type: string }
    steps: [{ id: x, wait: 0s }]
"#;

#[test]
fn sub_workflows_have_their_own_names() {
    let run = runs(
        echo(&["x/look"]),
        NESTED,
        json!({ "names": ["ada", "bob"] }),
    );
    assert_eq!(run.output()["all"], json!(["ADA!", "BOB!"]));
    let failing = testing::agent().tool("x/look", |_| Err(Error::not_found("nobody")));
    let error = runs(failing, NESTED, json!({ "names": ["ada"] })).error();
    assert_eq!(
        error,
        Error::not_found("step `greet`: item 0: step `look`: nobody")
    );
    // What could not be known before is looked at when it is there.
    let odd = testing::agent().tool("x/look", |_| Ok(json!({ "name": 5 })));
    let error = runs(odd, NESTED, json!({ "names": ["ada"] })).error();
    assert!(
        error
            .to_string()
            .contains("step `shout`: line 15:81: `+` doesn't take"),
        "{error}"
    );
}

#[test]
fn what_a_step_returns_is_held_to_its_type() {
    let file = "steps:\n  - { id: a, tool: x/a, returns: { type: object, properties: { n: integer }, required: [n] } }\noutputs: { n: \"${{ steps.a.output.n }}\" }\n";
    let gives = |value: Value| {
        runs(
            testing::agent().tool("x/a", move |_| Ok(value.clone())),
            file,
            json!({}),
        )
    };
    assert_eq!(gives(json!({ "n": 1 })).output()["n"], 1);
    let error = gives(json!({ "n": "x" })).error();
    assert_eq!(
        error,
        Error::permanent(
            "step `a`: it gave something else: output.n: a whole number is needed, and this is a text"
        )
    );
}
