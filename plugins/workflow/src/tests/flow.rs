//! Order, branches, conditions, loops, retries and time-outs.

use super::*;

#[test]
fn branches_overlap_in_time() {
    let file = r#"
PARALLEL
steps:
  - { id: a, tool: x/a }
  - { id: b, tool: x/b }
  - { id: c, tool: x/c, with: { a: "${{ steps.a.output }}", b: "${{ steps.b.output }}" } }
"#;
    let host = || {
        echo(&["x/a", "x/b", "x/c"])
            .takes("x/a", 60 * S)
            .takes("x/b", 40 * S)
            .takes("x/c", 5 * S)
    };
    let side_by_side = runs(host(), &file.replace("PARALLEL", ""), json!({}));
    assert_eq!(side_by_side.took(), 65 * S);
    assert_eq!(called(&side_by_side), ["x/a", "x/b", "x/c"]);
    let one_by_one = runs(host(), &file.replace("PARALLEL", "parallel: 1"), json!({}));
    assert_eq!(one_by_one.took(), 105 * S);
}

/// Waits and questions hold no place.
#[test]
fn who_waits_takes_no_place() {
    let file = r#"
parallel: 1
steps:
  - { id: a, wait: 1h }
  - { id: b, approval: { text: ok? } }
  - { id: c, tool: x/c }
  - { id: d, tool: x/c }
"#;
    let host = echo(&["x/c"])
        .takes("x/c", 10 * S)
        .decides(|_| Answer::choice("approve").after(1800 * S));
    assert_eq!(runs(host, file, json!({})).took(), 3600 * S);
}

#[test]
fn steps_begin_in_the_order_of_what_they_need() {
    let file = r#"
steps:
  - { id: last, tool: x/last, needs: [left, right] }
  - { id: right, tool: x/right, needs: first }
  - { id: left, tool: x/left, with: { x: "${{ steps.first.output.y }}" } }
  - { id: first, tool: x/first, with: { y: 1 } }
"#;
    let run = runs(
        echo(&["x/first", "x/left", "x/right", "x/last"]),
        file,
        json!({}),
    );
    assert_eq!(called(&run), ["x/first", "x/right", "x/left", "x/last"]);
    assert_eq!(run.output(), json!({}));
}

#[test]
fn conditions_and_triggers_decide_what_runs() {
    let file = r#"
inputs: { go: boolean }
steps:
  - { id: maybe, when: input.go, tool: x/maybe }
  - { id: fails, tool: x/fails, on_error: continue }
  - { id: after_maybe, needs: maybe, tool: x/after_maybe }
  - { id: none_failed, needs: maybe, trigger: none_failed, tool: x/none_failed }
  - { id: after_fails, needs: fails, tool: x/after_fails }
  - { id: below, needs: after_fails, tool: x/below }
  - { id: handles, needs: [fails, maybe], trigger: one_failed, tool: x/handles, with: { why: "${{ steps.fails.error }}" } }
  - { id: always, needs: [below, after_maybe], trigger: all_done, tool: x/always }
  - { id: one, needs: [fails, none_failed], trigger: one_success, tool: x/one }
outputs:
  status: ${{ [steps.maybe.status, steps.fails.status, steps.after_maybe.status, steps.below.status] }}
"#;
    let tools = [
        "x/maybe",
        "x/after_maybe",
        "x/none_failed",
        "x/after_fails",
        "x/below",
        "x/handles",
        "x/always",
        "x/one",
    ];
    let host = || echo(&tools).tool("x/fails", |_| Err(Error::not_found("gone")));
    let run = runs(host(), file, json!({ "go": false }));
    assert_eq!(
        called(&run),
        ["x/fails", "x/none_failed", "x/handles", "x/always", "x/one"]
    );
    assert_eq!(
        run.output()["status"],
        json!(["skipped", "failed", "skipped", "upstream_failed"])
    );
    assert_eq!(
        run.calls_of("x/handles")[0]["why"],
        json!({ "code": "not-found", "message": "gone" })
    );
    use TaskState::{Done, Failed, Skipped};
    assert_eq!(
        states(&run),
        [
            Skipped, Failed, Skipped, Done, Skipped, Skipped, Done, Done, Done
        ]
    );
    let run = runs(host(), file, json!({ "go": true }));
    assert_eq!(
        run.output()["status"],
        json!(["done", "failed", "done", "upstream_failed"])
    );
}

#[test]
fn loops_keep_the_order_and_bound_what_runs_at_once() {
    let file = r#"
inputs: { n: { type: array, items: integer } }
steps:
  - id: each
    for_each: input.n
    max_parallel: 2
    tool: x/work
    with: { n: "${{ item }}", at: "${{ index }}" }
    output: ${{ result.n * 10 }}
outputs: { all: "${{ steps.each.output }}" }
"#;
    let run = runs(
        echo(&["x/work"]).takes("x/work", 10 * S),
        file,
        json!({ "n": [5, 4, 3, 2, 1] }),
    );
    assert_eq!(run.output()["all"], json!([50, 40, 30, 20, 10]));
    assert_eq!(run.took(), 30 * S);
    assert_eq!(run.calls_of("x/work")[4], &json!({ "n": 1, "at": 4 }));
    assert_eq!(
        runs(echo(&["x/work"]), file, json!({ "n": [] })).output()["all"],
        json!([])
    );
}

#[test]
fn a_loop_ends_with_an_item_unless_the_step_says_else() {
    let file = |on_error: &str| {
        format!(
            "inputs: {{ n: {{ type: array, items: integer }} }}\nsteps:\n  - id: each\n    for_each: input.n\n    max_parallel: 1\n    tool: x/work\n    with: {{ n: \"${{{{ item }}}}\" }}\n    output: ${{{{ result.n }}}}\n    {on_error}\noutputs: {{ all: \"${{{{ steps.each.output }}}}\", status: \"${{{{ steps.each.status }}}}\" }}\n"
        )
    };
    let host = || {
        testing::agent().tool("x/work", |input| match input["n"].as_i64() {
            Some(2) => Err(Error::invalid_input("two")),
            _ => Ok(input),
        })
    };
    let run = runs(host(), &file(""), json!({ "n": [1, 2, 3] }));
    assert_eq!(
        run.error(),
        Error::invalid_input("step `each`: item 1: two")
    );
    assert_eq!(run.calls().len(), 2, "no item begins after that");
    let run = runs(
        host(),
        &file("on_error: continue"),
        json!({ "n": [1, 2, 3] }),
    );
    assert_eq!(
        run.output(),
        json!({ "all": [1, null, 3], "status": "failed" })
    );
    let run = runs(
        host(),
        &file("on_error: { value: \"${{ error.code }} ${{ item }}\" }"),
        json!({ "n": [1, 2, 3] }),
    );
    assert_eq!(
        run.output(),
        json!({ "all": [1, "invalid-input 2", 3], "status": "done" })
    );
}

#[test]
fn retries_wait_longer_each_time_and_by_the_kind_of_error() {
    let file = |retry: &str| {
        format!(
            "steps:\n  - {{ id: a, tool: x/a, retry: {retry} }}\noutputs: {{ a: \"${{{{ steps.a.output }}}}\" }}\n"
        )
    };
    let busy = || Error::transient("busy", None);
    let run = runs(
        testing::agent().tool("x/a", flaky(3, busy(), json!(1))),
        &file("{ attempts: 4, backoff: 10s, backoff_max: 15s }"),
        json!({}),
    );
    assert_eq!(
        (run.output()["a"].clone(), run.slept().to_vec()),
        (json!(1), vec![10 * S, 15 * S, 15 * S])
    );
    let run = runs(
        testing::agent().tool("x/a", flaky(9, busy(), json!(1))),
        &file("{}"),
        json!({}),
    );
    assert_eq!(
        (run.error(), run.slept().to_vec()),
        (Error::transient("step `a`: busy", None), vec![S, 2 * S])
    );
    let later = Error::transient("busy", Some(100 * S));
    let run = runs(
        testing::agent().tool("x/a", flaky(1, later, json!(1))),
        &file("{}"),
        json!({}),
    );
    assert_eq!(run.slept(), [100 * S]);
    for (error, retry, calls) in [
        (Error::not_found("x"), "{}", 1),
        (Error::not_found("x"), "{ on: [not-found, transient] }", 3),
        (Error::unknown("x"), "{ on: [limit], attempts: 9 }", 1),
        (
            Error::limit("rate", "1/s"),
            "{ on: [limit], attempts: 9 }",
            9,
        ),
    ] {
        let run = runs(
            testing::agent().tool("x/a", flaky(99, error.clone(), json!(1))),
            &file(retry),
            json!({}),
        );
        assert_eq!(
            (run.error().code(), run.calls().len()),
            (error.code(), calls),
            "{retry}"
        );
    }
}

/// Whatever a server asks for, the file has the last word.
#[test]
fn no_server_makes_a_step_wait_longer_than_its_file_says() {
    let file =
        "steps:\n  - { id: a, tool: x/a, retry: { attempts: 3, backoff: 1s, backoff_max: 10s } }\n";
    for (after, took) in [
        (Duration::ZERO, 3),
        (5 * S, 10),
        (Duration::from_secs(9_000_000_000), 20),
        (Duration::MAX, 20),
    ] {
        let busy = Error::transient("busy", Some(after));
        let host = testing::agent().tool("x/a", flaky(99, busy, json!(1)));
        let run = runs(host, file, json!({}));
        assert_eq!(run.took(), took * S, "{after:?}");
    }
}

/// A call that is cut off may have happened, whatever it does when it is repeated:
/// the step's next attempt would have another key. One that only reads is repeated.
#[test]
fn time_outs_cut_off_and_tell_what_is_known() {
    let file =
        "steps:\n  - { id: a, tool: x/a, timeout: 10s, retry: { attempts: 2, backoff: 1s } }\n";
    use airlock_sdk::agent::EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
    let late = Error::transient("step `a`: no answer within 10s", None);
    let lost = Error::unknown("step `a`: the call was cancelled while it ran");
    for (class, error, calls, took) in [
        (Plain, &lost, 1, 10),
        (Destructive, &lost, 1, 10),
        (Idempotent, &lost, 1, 10),
        (ReadOnly, &late, 2, 21),
    ] {
        let info = airlock_sdk::agent::ToolInfo {
            name: "x/a".to_owned(),
            description: String::new(),
            input_schema: json!({}),
            output_schema: None,
            class,
        };
        let host = echo(&["x/a"]).takes("x/a", 60 * S).tool_info(info);
        let run = runs(host, file, json!({}));
        assert_eq!(run.error(), *error, "{class:?}");
        let seen = (run.calls().len(), run.took());
        assert_eq!(seen, (calls, took * S), "{class:?}");
    }

    let waits = "steps:\n  - { id: a, wait: { signal: x }, timeout: 1h, on_error: { value: late } }\noutputs: { a: \"${{ steps.a.output }}\" }\n";
    let run = runs(testing::agent(), waits, json!({}));
    assert_eq!(
        (run.output()["a"].clone(), run.took()),
        (json!("late"), 3600 * S)
    );
}

#[test]
fn a_workflow_has_a_time_of_its_own() {
    let file = "timeout: 30s\nsteps:\n  - { id: a, wait: 20s }\n  - { id: b, needs: a, wait: 20s }\n  - { id: c, needs: b, tool: x/c }\n";
    let run = runs(echo(&["x/c"]), file, json!({}));
    assert_eq!(run.error(), Error::limit("timeout of the workflow", "30s"));
    assert_eq!((run.took(), run.calls().len()), (30 * S, 0));
    let inner = "steps:\n  - { id: a, workflow: w, on_error: continue }\n  - { id: b, needs: a, trigger: all_done, tool: x/c, with: { e: \"${{ steps.a.error }}\" } }\nworkflows:\n  w: { timeout: 5s, steps: [{ id: a, wait: 1h }] }\n";
    let run = runs(echo(&["x/c"]), inner, json!({}));
    assert_eq!((run.output(), run.took()), (json!({}), 5 * S));
    assert_eq!(run.calls_of("x/c")[0]["e"]["code"], "limit");
}

/// A failure stops what waits, and waits for what has effects.
#[test]
fn a_failure_stops_the_rest() {
    let file = r#"
steps:
  - { id: fails, tool: x/fails }
  - { id: waits, wait: 10h }
  - { id: asks, approval: { text: ok? } }
  - { id: child, agent: slow }
  - { id: never, needs: waits, tool: x/never }
"#;
    let host = echo(&["x/never"])
        .tool("x/fails", |_| Err(Error::permanent("no")))
        .takes("x/fails", 30 * S)
        .child("slow", |_, _| Ok(json!(1)))
        .takes("slow", 3600 * S);
    let run = runs(host, file, json!({}));
    assert_eq!(run.error(), Error::permanent("step `fails`: no"));
    assert_eq!((run.took(), called(&run)), (30 * S, vec!["x/fails"]));
    assert_eq!(
        run.children().len(),
        1,
        "the child was cancelled and waited for"
    );
}

/// Everything at once: the order of many waits is the same again.
#[test]
fn many_steps_do_the_same_again() {
    let mut file = "parallel: 5\nsteps:\n".to_owned();
    for n in 0..60 {
        let needs = if n < 10 {
            String::new()
        } else {
            format!(", needs: [s{}, s{}]", n - 10, n - 7)
        };
        file.push_str(&format!(
            "  - {{ id: s{n}, tool: x/t{}, with: {{ n: {n} }}{needs} }}\n",
            n % 7
        ));
    }
    let names: Vec<String> = (0..7).map(|n| format!("x/t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let host = (0..7).fold(echo(&names), |host, n| {
        host.takes(names[n], (n as u32 * 3 + 1) * S)
    });
    let run = runs(host, &file, json!({}));
    assert_eq!(run.calls().len(), 60);
    assert_eq!(run.output(), json!({}));
}
