//! Any workflow runs to an end, in the order of what its steps need, does the same
//! again, and undoes what was done once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Made {
    needs: Vec<usize>,
    trigger: &'static str,
    does: &'static str,
    on_error: &'static str,
    extra: &'static str,
    undone: bool,
}

/// What a step may do; `ID` is its id.
const DOES: [&str; 9] = [
    "tool: x/ok, with: { id: ID }",
    "tool: x/ok, with: { id: ID }",
    "tool: x/bad, with: { id: ID }",
    "tool: x/slow, with: { id: ID }",
    "agent: child, with: { id: ID }",
    "tool: x/ok, for_each: [1, 2, 3], max_parallel: 2, with: { id: ID, item: \"${{ item }}\" }",
    "tool: x/third, for_each: [1, 2, 3, 4], with: { id: ID, item: \"${{ item }}\" }",
    "workflow: sub, with: { id: ID }",
    "workflow: fails, with: { id: ID }",
];

const ON_ERROR: [&str; 5] = [
    "",
    ", on_error: continue",
    ", on_error: escalate",
    ", on_error: { value: 1 }",
    "",
];

const EXTRA: [&str; 5] = [
    "",
    "",
    ", timeout: 7s",
    ", retry: { attempts: 2, backoff: 3s, on: [transient, permanent] }",
    ", when: \"run.started != ''\"",
];

const TRIGGER: [&str; 6] = [
    "all_success",
    "all_success",
    "all_done",
    "none_failed",
    "one_success",
    "one_failed",
];

fn made() -> impl Strategy<Value = Made> {
    let parts = (
        proptest::collection::vec(0_usize..8, 0..3),
        proptest::sample::select(&TRIGGER[..]),
        proptest::sample::select(&DOES[..]),
        proptest::sample::select(&ON_ERROR[..]),
        proptest::sample::select(&EXTRA[..]),
        any::<bool>(),
    );
    parts.prop_map(|(needs, trigger, does, on_error, extra, undone)| Made {
        needs,
        trigger,
        does,
        on_error,
        extra,
        undone,
    })
}

fn file(steps: &[Made], parallel: u8, timeout: bool) -> String {
    let mut text = format!("parallel: {parallel}\n");
    if timeout {
        text.push_str("timeout: 25s\n");
    }
    text.push_str("steps:\n");
    for (index, made) in steps.iter().enumerate() {
        let needs: Vec<String> = made
            .needs
            .iter()
            .filter(|need| **need < index)
            .map(|need| format!("s{need}"))
            .collect();
        let undo = match made.undone {
            true => format!(", compensate: {{ tool: x/undo, with: {{ id: s{index} }} }}"),
            false => String::new(),
        };
        text.push_str(&format!(
            "  - {{ id: s{index}, needs: [{}], trigger: {}, {}{}{}{undo} }}\n",
            needs.join(", "),
            made.trigger,
            made.does.replace("ID", &format!("s{index}")),
            made.on_error,
            made.extra,
        ));
    }
    text.push_str(
        r#"workflows:
  sub:
    inputs: { id: string }
    steps:
      - { id: one, tool: x/ok, with: { id: "${{ input.id }}.one" }, compensate: { tool: x/undo, with: { id: "${{ input.id }}.one" } } }
      - { id: two, needs: one, tool: x/slow, with: { id: "${{ input.id }}.two" } }
  fails:
    inputs: { id: string }
    steps:
      - { id: one, tool: x/ok, with: { id: "${{ input.id }}.one" }, compensate: { tool: x/undo, with: { id: "${{ input.id }}.one" } } }
      - { id: two, needs: one, tool: x/bad, with: { id: "${{ input.id }}.two" } }
"#,
    );
    text
}

fn host() -> AgentHost {
    let s = |n: u32| n * S;
    echo(&["x/ok", "x/slow", "x/undo"])
        .tool("x/bad", |_| Err(Error::permanent("bad")))
        .tool("x/third", |input| match input["item"].as_i64() {
            Some(3) => Err(Error::transient("third", None)),
            _ => Ok(input),
        })
        .child("child", |_, input| Ok(input))
        .takes("x/ok", s(2))
        .takes("x/bad", s(3))
        .takes("x/slow", s(10))
        .takes("child", s(8))
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(96))]

    #[test]
    fn fuzz_any_workflow_runs_to_an_end(
        steps in proptest::collection::vec(made(), 1..9),
        parallel in 1_u8..5,
        timeout in any::<bool>(),
    ) {
        let text = file(&steps, parallel, timeout);
        let run = runs(host(), &text, json!({}));
        prop_assert!(matches!(run.end(), End::Done(_) | End::Failed(_)), "{:?}\n{text}", run.end());
        if let End::Failed(error) = run.end() {
            prop_assert!(!["invalid-input", "denied"].contains(&error.code()), "{error}\n{text}");
        }
        let mut undone: BTreeMap<String, usize> = BTreeMap::new();
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        for (tool, input) in run.calls() {
            let id = input["id"].as_str().unwrap_or_default().to_owned();
            let counts = if tool == "x/undo" { &mut undone } else { &mut done };
            *counts.entry(id).or_default() += 1;
        }
        for (id, times) in &undone {
            let of_children = run.children().iter().filter(|child| child.input["id"] == id.as_str()).count();
            let of_inner = done.get(&format!("{id}.one")).copied().unwrap_or(0);
            let calls = done.get(id).copied().unwrap_or(0) + of_children + of_inner;
            prop_assert!(*times <= calls, "{id} was undone {times} times and done {calls} times\n{text}");
        }
        if let End::Done(_) = run.end() {
            // Only sub-workflows that failed by themselves undid something.
            prop_assert!(undone.keys().all(|id| id.ends_with(".one")), "{undone:?}\n{text}");
        }
        let first = |id: &str| {
            let is = |found: &str| found == id || found.starts_with(&format!("{id}."));
            let calls = run.calls().iter();
            calls.filter(|(tool, _)| tool != "x/undo").position(|(_, input)| input["id"].as_str().is_some_and(is))
        };
        for (index, made) in steps.iter().enumerate() {
            for need in made.needs.iter().filter(|need| **need < index) {
                if let (Some(before), Some(after)) = (first(&format!("s{need}")), first(&format!("s{index}"))) {
                    prop_assert!(before < after, "s{index} began before s{need}\n{text}");
                }
            }
        }
    }
}
