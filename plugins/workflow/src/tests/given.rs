//! What a run is given: inputs, a part of the steps, a time; and what is refused.

use super::*;

const SUM: &str = r#"
inputs: { month: string, n: { type: integer, default: 2 } }
steps:
  - { id: list, tool: x/list, with: { month: "${{ input.month }}", from: "${{ run.interval.start }}" } }
  - { id: sum, value: "${{ steps.list.output.n * input.n }}" }
  - { id: send, tool: x/send, when: "steps.sum.output > 1", with: { sum: "${{ steps.sum.output }}", m: "of ${{ input.month }}" } }
  - { id: other, for_each: [1, "${{ steps.sum.output }}"], tool: x/send, with: { i: "${{ item }}" } }
outputs: { sum: "${{ steps.sum.output }}" }
"#;

fn host() -> AgentHost {
    echo(&["x/send"]).tool("x/list", |_| Ok(json!({ "n": 21 })))
}

fn given(input: Value) -> AgentRun {
    let mut whole = json!({ "workflow": SUM, "inputs": { "month": "May" } });
    for (name, value) in input.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    runs_with(host(), whole)
}

#[test]
fn a_part_of_the_steps_runs_with_outputs_that_are_given() {
    let run = given(json!({ "from": ["sum"], "given": { "list": { "n": 5 } } }));
    assert_eq!(
        (run.output()["sum"].clone(), called(&run)),
        (json!(10), vec!["x/send"; 3])
    );
    let run = given(json!({ "only": ["list"] }));
    assert_eq!(
        (run.output()["sum"].clone(), called(&run)),
        (json!(null), vec!["x/list"])
    );
    let run = given(json!({ "only": ["list"], "from": ["other"], "given": { "sum": 7 } }));
    assert_eq!(
        (run.output()["sum"].clone(), called(&run)),
        (json!(7), vec!["x/list", "x/send", "x/send"])
    );
}

/// What looks into the output of a step that was left out is null, whatever its type.
#[test]
fn outputs_of_steps_that_were_left_out_are_null() {
    let flow = r#"
steps:
  - { id: list, tool: x/list }
  - { id: more, tool: x/list }
outputs:
  n: { value: "${{ steps.list.output.n + 1 }}", type: integer }
  m: { value: "${{ steps.more.output.n + 1 }}", type: integer }
"#;
    let table = [
        (json!({}), json!({ "n": 22, "m": 22 })),
        (json!({ "only": ["list"] }), json!({ "n": 22, "m": null })),
        (
            json!({ "only": ["list"], "given": { "more": { "n": 1 } } }),
            json!({ "n": 22, "m": 2 }),
        ),
    ];
    for (input, expect) in table {
        let mut whole = input.clone();
        whole["workflow"] = json!(flow);
        assert_eq!(runs_with(host(), whole).output(), expect, "{input}");
    }
}

#[test]
fn a_run_stands_for_a_time() {
    let started = |run: &AgentRun| run.calls_of("x/list")[0]["from"].clone();
    assert_eq!(started(&given(json!({}))), "2027-01-15T08:00:00Z");
    let run = given(json!({ "logical_time": "2026-05-01T02:00:00+02:00" }));
    assert_eq!(started(&run), "2026-05-01T00:00:00Z");
    let run = given(json!({ "interval": { "start": "2026-05-01", "end": "2026-05-02" } }));
    assert_eq!(started(&run), "2026-05-01T00:00:00Z");
}

#[test]
fn a_dry_run_says_what_would_run_and_runs_nothing() {
    let run = given(json!({ "dry_run": true }));
    assert!(run.calls().is_empty());
    let told = run.output();
    assert_eq!(told["inputs"], json!({ "month": "May", "n": 2 }));
    assert_eq!(
        told["steps"],
        json!([
            { "id": "list", "does": "tool", "needs": [], "tool": "x/list",
              "with": { "month": "May", "from": "2027-01-15T08:00:00Z" } },
            { "id": "sum", "does": "value", "needs": ["list"], "value": "${{ steps.list.output.n * input.n }}" },
            { "id": "send", "does": "tool", "needs": ["sum"], "when": "${{ steps.sum.output > 1 }}", "tool": "x/send",
              "with": { "sum": "${{ steps.sum.output }}", "m": "of May" } },
            { "id": "other", "does": "tool", "needs": ["sum"], "for_each": [1, "${{ steps.sum.output }}"],
              "tool": "x/send", "with": { "i": "${{ item }}" } },
        ])
    );
    assert_eq!(told["not_granted"], json!([]));
    let run = given(json!({ "dry_run": true, "only": ["send"], "given": { "sum": 9 } }));
    assert_eq!(
        run.output()["steps"][0]["with"],
        json!({ "sum": 9, "m": "of May" })
    );
    assert_eq!(run.output()["steps"][0]["when"], true);
    let bare = runs_with(
        testing::agent(),
        json!({ "workflow": SUM, "inputs": { "month": "x" }, "dry_run": true }),
    );
    assert_eq!(bare.output()["not_granted"], json!(["x/list", "x/send"]));
}

/// All of it before anything runs, with its place.
#[test]
fn what_is_wrong_is_refused_before_anything_runs() {
    for (input, part) in [
        (json!({ "inputs": {} }), "inputs.month: it is missing"),
        (
            json!({ "inputs": { "month": 5, "m": 1 } }),
            "inputs.m: there is no such member",
        ),
        (
            json!({ "inputs": { "month": "x", "n": 1.5 } }),
            "inputs.n: a whole number is needed",
        ),
        (
            json!({ "workflow": "steps: [{ id: a, tol: x/y }]" }),
            "workflow:1:18: there is no `tol` in a step: did you mean `tool`?",
        ),
        (
            json!({ "workflow": { "steps": [{ "id": "a", "value": "${{ 1 + }}" }] } }),
            "workflow.steps[0].value: a value is missing",
        ),
        (
            json!({ "workflow": 5 }),
            "the text of a workflow, or an object",
        ),
        (
            json!({ "only": ["lisst"] }),
            "only: the workflow has no step `lisst`",
        ),
        (
            json!({ "from": ["x"] }),
            "from: the workflow has no step `x`",
        ),
        (
            json!({ "only": ["sum"] }),
            "given.list: `sum` comes after this step: give its output, or run it too",
        ),
        (
            json!({ "given": { "list": 1 } }),
            "given.list: the step runs",
        ),
        (
            json!({ "logical_time": "yesterday" }),
            "logical_time: `yesterday` is no moment",
        ),
        (
            json!({ "interval": { "start": "2026-05-02", "end": "2026-05-01" } }),
            "interval: it ends before it starts",
        ),
        (json!({ "nonsense": 1 }), "nonsense"),
    ] {
        let run = given(input.clone());
        let error = run.error();
        assert_eq!(error.code(), "invalid-input", "{input}: {error}");
        assert!(error.to_string().contains(part), "{input}: {error}");
        assert!(run.calls().is_empty());
    }
    let denied = runs_with(
        echo(&["x/list"]),
        json!({ "workflow": SUM, "inputs": { "month": "x" } }),
    );
    let error = denied.error();
    assert_eq!(error.code(), "denied");
    assert!(
        error
            .to_string()
            .contains("tools = [{ tool = \"x/send\" }]"),
        "{error}"
    );
    assert!(denied.calls().is_empty());
}

/// What only a run can know to be wrong names the step and the place in the file.
#[test]
fn what_goes_wrong_in_a_run_has_a_place() {
    for (step, part) in [
        (
            "{ id: b, value: \"${{ steps.a.output.nope }}\" }",
            "step `b`: line 3:41: there is no `nope`: there are `n`",
        ),
        (
            "{ id: b, when: steps.a.output.n, wait: 1s }",
            "step `b`: `when` gave no boolean",
        ),
        (
            "{ id: b, for_each: steps.a.output, wait: 1s }",
            "step `b`: `for_each` gave no list",
        ),
        (
            "{ id: b, tool: x/a, with: \"${{ steps.a.output.n }}\" }",
            "step `b`: `with` gave no map",
        ),
        (
            "{ id: b, wait: \"${{ steps.a.output.n + 0.5 }}\" }",
            "step `b`: a wait is a duration",
        ),
        (
            "{ id: b, wait: { until: \"${{ string(steps.a.output.n) }}\" } }",
            "step `b`: `21` is no moment",
        ),
        (
            "{ id: b, value: \"${{ 1 / (steps.a.output.n - 21) }}\" }",
            "a division by zero",
        ),
        (
            "{ id: b, approval: { text: \"${{ steps.a.output }}\" } }",
            "step `b`: an expression gave no text",
        ),
        (
            "{ id: b, value: \"${{ steps.a.output }}\", output: \"${{ result.n.x }}\" }",
            "a number has no `x`",
        ),
    ] {
        let file = format!("steps:\n  - {{ id: a, tool: x/a }}\n  - {step}\n");
        let host = testing::agent().tool("x/a", |_| Ok(json!({ "n": 21 })));
        let error = runs(host, &file, json!({})).error();
        assert_eq!(error.code(), "permanent", "{error}");
        assert!(error.to_string().contains(part), "{step}: {error}");
    }
    let outputs = "steps:\n  - { id: a, tool: x/a }\noutputs:\n  x: { value: \"${{ steps.a.output.n }}\", type: string }\n";
    let host = testing::agent().tool("x/a", |_| Ok(json!({ "n": 21 })));
    let error = runs(host, outputs, json!({})).error();
    assert_eq!(
        error,
        Error::permanent("the output `x`: x: a text is needed, and this is a number")
    );
}

/// Small files that ask for much.
#[test]
fn hostile_workflows_reach_a_limit() {
    let items =
        "steps:\n  - { id: a, tool: x/a }\n  - { id: b, for_each: steps.a.output, wait: 1s }\n";
    let host = testing::agent().tool("x/a", |_| Ok(Value::Array(vec![json!(1); 5_001])));
    assert_eq!(
        runs(host, items, json!({})).error(),
        Error::limit("step `b`: items of a loop", "5000")
    );

    let mut doubles = "steps:\n  - { id: s0, value: \"${{ ['0123456789abcdef'] }}\" }\n".to_owned();
    for n in 1..40 {
        let before = n - 1;
        doubles.push_str(&format!("  - {{ id: s{n}, value: \"${{{{ steps.s{before}.output + steps.s{before}.output }}}}\" }}\n"));
    }
    let error = runs(testing::agent(), &doubles, json!({})).error();
    assert!(
        error.to_string().contains("too large a value") || error.code() == "limit",
        "{error}"
    );

    let mut nests = "steps:\n  - { id: s0, value: 1 }\n".to_owned();
    for n in 1..40 {
        nests.push_str(&format!(
            "  - {{ id: s{n}, value: [[[[\"${{{{ steps.s{}.output }}}}\"]]]] }}\n",
            n - 1
        ));
    }
    let error = runs(testing::agent(), &nests, json!({})).error();
    assert_eq!(error.code(), "limit");
    assert!(error.to_string().contains("inside one another"), "{error}");

    let text = "steps:\n  - { id: a, tool: x/a }\n  - { id: b, approval: { text: \"${{ steps.a.output }}\" } }\n";
    let host = testing::agent().tool("x/a", |_| Ok(json!("x".repeat(9_000))));
    let error = runs(host, text, json!({})).error();
    assert_eq!(
        error,
        Error::permanent("step `b`: `text` has more than 8192 bytes")
    );
}
