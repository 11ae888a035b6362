//! Undoing what was done.

use super::*;

const TRIP: &str = r#"
inputs: { pay: { type: boolean, default: true } }
steps:
  - id: hotel
    tool: hotel/book
    compensate: { tool: hotel/cancel, with: { id: "${{ result.id }}" } }
  - id: flight
    needs: hotel
    tool: flight/book
    compensate: { tool: flight/cancel, with: { id: "${{ result.id }}" }, retry: { attempts: 3, backoff: 1s } }
  - id: pay
    needs: flight
    tool: bank/pay
    ON_ERROR
"#;

fn trip(on_error: &str, cancel: impl FnMut(Value) -> Result<Value, Error> + 'static) -> AgentRun {
    let host = testing::agent()
        .tool("hotel/book", |_| Ok(json!({ "id": "H1" })))
        .tool("flight/book", |_| Ok(json!({ "id": "F1" })))
        .tool("bank/pay", |_| Err(Error::not_found("no account")))
        .tool("hotel/cancel", Ok)
        .tool("flight/cancel", cancel);
    runs(host, &TRIP.replace("ON_ERROR", on_error), json!({}))
}

const BOOKED: [&str; 3] = ["hotel/book", "flight/book", "bank/pay"];

#[test]
fn what_was_done_is_undone_in_reverse() {
    let run = trip("", Ok);
    assert_eq!(run.error(), Error::not_found("step `pay`: no account"));
    assert_eq!(
        called(&run),
        [&BOOKED[..], &["flight/cancel", "hotel/cancel"]].concat()
    );
    assert_eq!(run.calls_of("hotel/cancel"), [&json!({ "id": "H1" })]);
    assert!(run.logs().contains(&"undid `flight`"), "{:?}", run.logs());
}

#[test]
fn undoing_is_tried_again_and_then_a_persons() {
    let run = trip("", flaky(2, Error::transient("busy", None), json!(null)));
    assert_eq!(run.error().code(), "not-found");
    assert_eq!(run.calls_of("flight/cancel").len(), 3);
    let run = trip("", |_| Err(Error::permanent("too late")));
    assert_eq!(
        run.error(),
        Error::escalate(
            "not-found: step `pay`: no account; not undone: `flight`: permanent: too late"
        )
    );
    assert_eq!(
        run.calls_of("hotel/cancel").len(),
        1,
        "the others are undone"
    );
}

#[test]
fn a_step_says_what_is_undone() {
    for (on_error, undone, code) in [
        ("on_error: escalate", vec![], "escalate"),
        (
            "on_error: { compensate: [hotel] }",
            vec!["hotel/cancel"],
            "not-found",
        ),
        ("on_error: { compensate: [] }", vec![], "not-found"),
    ] {
        let run = trip(on_error, Ok);
        assert_eq!(run.error().code(), code, "{on_error}");
        assert_eq!(called(&run)[3..], undone, "{on_error}");
    }
    assert_eq!(trip("on_error: continue", Ok).output(), json!({}));
    assert_eq!(trip("on_error: { value: 1 }", Ok).output(), json!({}));
}

/// Each item of a loop, and what a sub-workflow did, by the steps of both.
#[test]
fn loops_and_sub_workflows_are_undone_too() {
    let file = r#"
steps:
  - id: each
    for_each: [a, b, c]
    max_parallel: 1
    tool: x/do
    with: { name: "${{ item }}" }
    compensate: { tool: x/undo, with: { name: "${{ item }}", at: "${{ index }}" } }
  - id: sub
    needs: each
    workflow: sub
  - id: own
    needs: sub
    workflow: sub
    compensate: { tool: x/undo, with: { name: own } }
  - id: fails
    needs: own
    tool: x/fails
workflows:
  sub:
    steps:
      - id: inner
        tool: x/do
        with: { name: inner }
        compensate: { tool: x/undo, with: { name: "${{ result.name }}" } }
"#;
    let host = echo(&["x/do", "x/undo"]).tool("x/fails", |_| Err(Error::permanent("no")));
    let run = runs(host, file, json!({}));
    assert_eq!(run.error(), Error::permanent("step `fails`: no"));
    let undone: Vec<&str> = run
        .calls_of("x/undo")
        .iter()
        .filter_map(|input| input["name"].as_str())
        .collect();
    assert_eq!(undone, ["own", "inner", "c", "b", "a"]);
}

/// A sub-workflow that fails undoes its own; one that is stopped is undone by
/// whoever stopped it, once.
#[test]
fn each_is_undone_once_whoever_fails() {
    let file = |inner: &str, outer: &str| {
        format!(
            r#"
steps:
  - id: first
    tool: x/do
    with: {{ name: first }}
    compensate: {{ tool: x/undo, with: {{ name: first }} }}
  - id: sub
    needs: first
    workflow: sub
    {outer}
  - id: fails
    needs: first
    tool: x/fails
workflows:
  sub:
    steps:
      - id: done
        tool: x/do
        with: {{ name: inner }}
        compensate: {{ tool: x/undo, with: {{ name: inner }} }}
      - {{ id: then, needs: done, {inner} }}
"#
        )
    };
    let undone = |file: String, fails: bool| {
        let host = echo(&["x/do", "x/undo"])
            .tool("x/no", |_| Err(Error::permanent("inside")))
            .tool("x/fails", move |input| {
                if fails {
                    Err(Error::permanent("no"))
                } else {
                    Ok(input)
                }
            })
            .takes("x/fails", 10 * S);
        let run = runs(host, &file, json!({}));
        let names: Vec<String> = run
            .calls_of("x/undo")
            .iter()
            .filter_map(|input| input["name"].as_str())
            .map(str::to_owned)
            .collect();
        let error = match run.end() {
            End::Failed(error) => error.to_string(),
            _ => "done".to_owned(),
        };
        (names.join(" "), error)
    };
    for (inner, outer, fails, names, part) in [
        // Stopped while it waits.
        ("wait: 1h", "", true, "inner first", "step `fails`: no"),
        // Fails by itself.
        (
            "tool: x/no",
            "",
            false,
            "inner first",
            "step `sub`: step `then`: inside",
        ),
        ("tool: x/no", "on_error: continue", false, "inner", "done"),
        (
            "tool: x/no",
            "retry: { on: [permanent], attempts: 2, backoff: 1s }",
            false,
            "inner inner first",
            "inside",
        ),
        // Out of time.
        (
            "wait: 1h",
            "timeout: 5s",
            false,
            "inner first",
            "step `sub`: no answer within 5s",
        ),
        (
            "wait: 1h",
            "timeout: 5s\n    on_error: continue",
            false,
            "inner",
            "done",
        ),
        // Done, and then undone with the rest.
        ("wait: 1s", "", true, "inner first", "step `fails`: no"),
        ("wait: 1s", "", false, "", "done"),
    ] {
        let (undone, error) = undone(file(inner, outer), fails);
        assert_eq!(undone, names, "{inner} {outer}: {error}");
        assert!(error.contains(part), "{inner} {outer}: {error}");
    }
}

/// What may have happened can't be undone by the workflow, whether its step ran out of
/// time, was stopped by another that failed, or failed itself: a person is told.
#[test]
fn what_may_have_happened_and_would_be_undone_is_a_persons() {
    let undo = "compensate: { tool: x/undo, with: { name: hotel } }";
    let file = |hotel: &str, flight: &str| {
        format!(
            "steps:\n  - {{ id: first, tool: x/do, compensate: {{ tool: x/undo, with: {{ name: first }} }} }}\n  - id: hotel\n    needs: first\n    tool: x/hotel\n    {hotel}\n  - {{ id: flight, needs: first, {flight} }}\n"
        )
    };
    let (waits, fails) = ("wait: 1h", "tool: x/fails");
    let late = format!("timeout: 2s\n    {undo}");
    for (hotel, flight, code, told) in [
        (&*late, waits, "escalate", true),
        (undo, fails, "escalate", true),
        ("timeout: 2s", waits, "unknown", false),
        ("", fails, "permanent", false),
    ] {
        let info = airlock_sdk::agent::ToolInfo {
            name: "x/hotel".to_owned(),
            description: String::new(),
            input_schema: json!({}),
            output_schema: None,
            class: airlock_sdk::agent::EffectClass::Idempotent,
        };
        let host = echo(&["x/do", "x/undo", "x/hotel"])
            .tool_info(info)
            .takes("x/hotel", 60 * S)
            .tool("x/fails", |_| Err(Error::permanent("no")))
            .takes("x/fails", S);
        let run = runs(host, &file(hotel, flight), json!({}));
        let error = run.error();
        assert_eq!(error.code(), code, "{hotel}: {error}");
        let names = error.to_string().contains("not undone: `hotel`: unknown");
        assert_eq!(names, told, "{hotel}: {error}");
        let undone = run.calls_of("x/undo");
        assert_eq!(undone, [&json!({ "name": "first" })], "{hotel}");
    }
}
