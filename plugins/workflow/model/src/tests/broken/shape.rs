//! Files that are not read, and steps that are not steps.

use super::*;

#[test]
fn empty() {
    broken(
        "",
        &expect![[r#"
        1:1: the file is empty
    "#]],
    );
}

#[test]
fn no_yaml() {
    broken(
        r##"steps: [
"##,
        &expect![[r#"
            2:1: this is no YAML or JSON: while parsing a node, did not find expected node content
        "#]],
    );
}

#[test]
fn tabs() {
    broken(
        "steps:\n\t- id: a\n",
        &expect![[r#"
        2:2: this is no YAML or JSON: tabs disallowed within this context (block indentation)
    "#]],
    );
}

#[test]
fn two_documents() {
    broken(
        r##"steps: []
---
steps: []
"##,
        &expect![[r#"
            2:1: a second document: a file holds one workflow
        "#]],
    );
}

#[test]
fn a_list() {
    broken(
        r##"- a
- b
"##,
        &expect![[r#"
            1:1: a workflow is a map with `version`, `name`, `description`, `inputs`, …, and this is a list
        "#]],
    );
}

#[test]
fn no_steps() {
    broken(
        r##"name: x
"##,
        &expect![[r#"
            1:1: `steps` is missing in a workflow
        "#]],
    );
}

#[test]
fn empty_steps() {
    broken(
        r##"steps: []
"##,
        &expect![[r#"
            1:8: `steps` is empty: a workflow has one step at least
        "#]],
    );
}

#[test]
fn steps_map() {
    broken(
        r##"steps: { a: 1 }
"##,
        &expect![[r#"
            1:8: `steps` is a list, and this is a map
        "#]],
    );
}

#[test]
fn step_text() {
    broken(
        r##"steps:
  - hello
"##,
        &expect![[r#"
            2:5: a step is a map with `id`, `name`, `tool`, `agent`, …, and this is a text
        "#]],
    );
}

#[test]
fn unknown_keys() {
    broken(
        r##"stepps: []
nam: x
steps:
  - id: a
    tol: x/y
    tool: x/y
"##,
        &expect![[r#"
            1:1: there is no `stepps` in a workflow: did you mean `steps`?
            2:1: there is no `nam` in a workflow: did you mean `name`?
            5:5: there is no `tol` in a step: did you mean `tool`?
        "#]],
    );
}

#[test]
fn double_key() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    id: b
"##,
        &expect![[r#"
            4:5: `id` stands here twice, first at 2:5: keep one
        "#]],
    );
}

#[test]
fn double_id() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
  - id: a
    tool: x/y
"##,
        &expect![[r#"
            4:5: the id `a` is taken by the step at 2:5: choose another one
        "#]],
    );
}

#[test]
fn bad_ids() {
    broken(
        r##"steps:
  - id: a-b
    tool: x/y
  - id: 1a
    tool: x/y
  - tool: x/y
  - id: 7
    tool: x/y
  - id: ''
    tool: x/y
"##,
        &expect![[r#"
            2:9: `a-b` can't be a name: 64 letters, digits and `_` at most, no digit first
            4:9: `1a` can't be a name: 64 letters, digits and `_` at most, no digit first
            6:5: `id` is missing in a step
            7:9: `id` is a text, and this is a number
            9:9: `` can't be a name: 64 letters, digits and `_` at most, no digit first
        "#]],
    );
}

#[test]
fn no_action() {
    broken(
        r##"steps:
  - id: a
"##,
        &expect![[r#"
            2:5: the step does nothing: give one of `tool`, `agent`, `model`, `approval`, `wait`, `workflow`, `value`
        "#]],
    );
}

#[test]
fn two_actions() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    agent: z
"##,
        &expect![[r#"
            4:12: the step has a `tool` already: make another step for `agent`
        "#]],
    );
}

#[test]
fn tool_names() {
    broken(
        r##"steps:
  - id: a
    tool: xy
  - id: b
    tool: ${{ input.tool }}
  - id: c
    agent: a/b
"##,
        &expect![[r#"
            3:11: `xy` is no tool: write `plugin/tool`, without expressions
            5:11: `${{ input.tool }}` is no tool: write `plugin/tool`, without expressions
            7:12: `a/b` is no agent: write its plugin's name, without expressions
        "#]],
    );
}

#[test]
fn needs_unknown() {
    broken(
        r##"steps:
  - id: first
    tool: x/y
    needs: [frist, b, 3]
"##,
        &expect![[r#"
            4:13: there is no step `frist`: did you mean `first`?
            4:20: there is no step `b`: there are `first`
            4:23: a step's id is needed here, and this is a number
        "#]],
    );
}

#[test]
fn needs_itself() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    needs: a
"##,
        &expect![[r#"
            4:12: a step can't need itself
        "#]],
    );
}

#[test]
fn circle() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    needs: c
  - id: b
    tool: x/y
    needs: a
  - id: c
    tool: x/y
    with: { v: '${{ steps.b.output }}' }
"##,
        &expect![[r#"
            7:12: a circle: `a` needs `c` needs `b` needs `a`; none of them could begin
        "#]],
    );
}

#[test]
fn looks_at_itself() {
    broken(
        r##"steps:
  - id: a
    value: ${{ steps.a.output }}
"##,
        &expect![[r#"
            3:16: a step can't look at itself: what it gave is `result`, in `output` and `compensate`
        "#]],
    );
}

/// A step with an error of its own is there for the others.
#[test]
fn a_broken_step_is_a_step() {
    broken(
        r##"steps:
  - id: f
    model: { prompt: hi }
  - id: g
    needs: f
    value: "${{ steps.f.output.any }}"
"##,
        &expect![[r#"
            3:12: `role` is missing in `model`
        "#]],
    );
}

#[test]
fn unknown_step() {
    broken(
        r##"steps:
  - id: first
    tool: x/y
  - id: b
    value: "x: ${{ steps.frist.output }}"
"##,
        &expect![[r#"
            5:26: there is no `frist`: did you mean `first`?
        "#]],
    );
}

#[test]
fn dynamic_step() {
    broken(
        r##"inputs: { s: string }
steps:
  - id: a
    tool: x/y
  - id: b
    value: ${{ steps[input.s].output }}
"##,
        &expect![[r#"
            6:16: name the step: `steps.ID`, so that it is known to come before
        "#]],
    );
}

#[test]
fn expr_syntax() {
    broken(
        r##"steps:
  - id: a
    value: 'é and ${{ 1 + }} x'
  - id: b
    value: "${{ 1 "
  - id: c
    value: |
      first
      second ${{ 3 + + }}
  - id: d
    value: "esc\taped ${{ a = 1 }}"
"##,
        &expect![[r#"
            3:27: a value is missing before the end
            5:13: the expression has no end: close it with `}}`
            9:22: a value is missing before `+`
            11:29: `=` is no operator: compare with `==`
        "#]],
    );
}

#[test]
fn expr_multi() {
    broken(
        r##"steps:
  - id: a
    value: ${{ 1 +
      2 3 }}
  - id: b
    value: >
      folded
      text ${{ foo( }}
"##,
        &expect![[r#"
            3:12: a number can't follow here
            8:21: a value is missing before the end
        "#]],
    );
}

#[test]
fn unknown_names() {
    broken(
        r##"inputs: { month: string }
steps:
  - id: a
    value: ${{ inputs.month }}
  - id: b
    value: ${{ input.mont }}
  - id: c
    value: ${{ item }}
  - id: d
    value: ${{ run.start }}
  - id: e
    tool: x/y
    with: { a: '${{ result }}' }
"##,
        &expect![[r#"
            4:16: there is no `inputs` here: did you mean `input`?
            6:22: there is no `mont`: did you mean `month`?
            8:16: there is no `item` here: there are `input`, `run`, `steps`
            10:20: there is no `start`: did you mean `started`?
            13:21: there is no `result` here: there are `input`, `run`, `steps`
        "#]],
    );
}

#[test]
fn when_text() {
    broken(
        r##"inputs: { month: string }
steps:
  - id: a
    tool: x/y
    when: input.month
  - id: b
    tool: x/y
    when: [1]
  - id: c
    tool: x/y
    when: 'x ${{ true }}'
"##,
        &expect![[r#"
            5:17: `when` is a boolean, and this is a text
            8:11: an expression is needed here, and this is a list
            11:11: an expression stands here alone: leave out `${{ }}`, or put it around everything
        "#]],
    );
}

#[test]
fn kinds() {
    broken(
        r##"inputs: { month: string, n: integer, files: { type: array, items: { type: object, properties: { size: integer }, additionalProperties: false } } }
steps:
  - id: a
    value: ${{ input.month + 1 }}
  - id: b
    value: ${{ input.n.x }}
  - id: c
    value: ${{ input.files.map(f, f.sise) }}
  - id: d
    value: ${{ input.n == 'x' }}
  - id: e
    value: ${{ input.n && true }}
  - id: f
    value: '${{ input.month < 3 ? 1 : 2 }}'
  - id: g
    value: ${{ input.n.startsWith('x') }}
  - id: h
    value: ${{ 1 in input.month }}
"##,
        &expect![[r#"
            4:28: `+` doesn't take a text and a whole number
            6:24: a whole number has no `x`
            8:37: there is no `sise`: did you mean `size`?
            10:24: `==` doesn't take a whole number and a text
            12:22: a boolean is needed here, and this is a whole number
            14:29: `<` doesn't take a text and a whole number
            16:22: `startsWith` takes a text, and this is a whole number
            18:18: `in` doesn't take a whole number and a text
        "#]],
    );
}

#[test]
fn for_each_kind() {
    broken(
        r##"inputs: { month: string }
steps:
  - id: a
    for_each: input.month
    tool: x/y
  - id: b
    for_each: { a: 1 }
    tool: x/y
  - id: c
    max_parallel: 3
    tool: x/y
"##,
        &expect![[r#"
            4:21: `for_each` takes a list, and this is a text
            7:15: an expression is needed here, and this is a map
            10:19: `max_parallel` is for a step with `for_each`
        "#]],
    );
}

#[test]
fn counts() {
    broken(
        r##"parallel: 0
steps:
  - id: a
    tool: x/y
    retry: { attempts: 101 }
    for_each: [1]
    max_parallel: 65
  - id: b
    agent: z
    budget: { calls: -1, wall: 5 }
  - id: c
    tool: x/y
    retry: { attempts: two }
"##,
        &expect![[r#"
            1:11: `parallel` is a whole number from 1 to 64
            5:24: `attempts` is a whole number from 1 to 100
            7:19: `max_parallel` is a whole number from 1 to 64
            10:22: `calls` is a whole number from 1
            10:32: `wall` is a duration, e.g. `90s`, and this is a number
            13:24: `attempts` is a whole number from 1 to 100
        "#]],
    );
}

#[test]
fn durations() {
    broken(
        r##"timeout: 5
steps:
  - id: a
    tool: x/y
    timeout: 5 minutes
  - id: b
    wait: soon
  - id: c
    wait: { for: 99999w }
  - id: d
    wait: -3
  - id: e
    tool: x/y
    timeout: 0s
"##,
        &expect![[r#"
            1:10: `timeout` is a duration, e.g. `90s`, and this is a number
            5:14: `5 minutes` is no duration: write e.g. `90s`, `1h30m` or `2d`
            7:11: `soon` is no duration: write e.g. `90s`, `1h30m` or `2d`
            9:18: a duration is ten years at most
            11:11: a wait in seconds is a whole number
            14:14: `timeout` is more than nothing
        "#]],
    );
}
