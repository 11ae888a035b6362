//! Files whose parts don't fit one another.

use super::*;

#[test]
fn wait() {
    broken(
        r##"steps:
  - id: a
    wait: {}
  - id: b
    wait: { for: 1s, signal: x }
  - id: c
    wait: { until: tomorrow }
  - id: d
    wait: { signal: '' }
  - id: e
    wait: [1]
"##,
        &expect![[r#"
            3:11: `wait` has one of `for`, `until` and `signal`
            5:11: `wait` has one of `for`, `until` and `signal`
            7:20: `tomorrow` is no moment: write RFC 3339, e.g. `2027-01-15T08:00:00Z`
            9:21: a signal's name is a text of 1 to 160 bytes, without expressions
            11:11: a duration is needed here, e.g. `90s`, and this is a list
        "#]],
    );
}

#[test]
fn words() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    trigger: all_sucess
    retry: { on: [tranzient, 3] }
    on_error: ignore
"##,
        &expect![[r#"
            4:14: `all_sucess` can't stand here: did you mean `all_success`?
            5:19: `tranzient` can't stand here: did you mean `transient`?
            5:30: a number can't stand here: there are `transient`, `permanent`, `invalid-input`, `denied`, `not-found`, `limit`, `cancelled`, `unknown`, `escalate`
            6:15: `ignore` can't stand here: there are `fail`, `continue`, `escalate`
        "#]],
    );
}

#[test]
fn approval() {
    broken(
        r##"steps:
  - id: a
    approval: { choices: [yes, no] }
  - id: b
    approval: { text: ok?, choices: [one] }
  - id: c
    approval: { text: ok?, choices: [x, x, true], on: { y: fail, x: stop }, on_due: never }
"##,
        &expect![[r#"
            3:15: `text` is missing in `approval`
            5:37: there are 2 to 16 choices
            7:41: the choice `x` stands here twice
            7:44: a choice is a text, and this is a boolean: put it in quotes
            7:57: `y` is none of the choices: there are `x`
            7:69: `stop` can't stand here: did you mean `skip`?
            7:85: `never` can't stand here: there are `fail`, `skip`, `escalate`, `x`
            7:85: `on_due` says nothing without `due`
        "#]],
    );
}

#[test]
fn model() {
    broken(
        r##"steps:
  - id: a
    model: { prompt: hi }
  - id: b
    model: { role: x }
  - id: c
    model: { role: x, prompt: hi, max_tokens: 0, schema: { type: text } }
"##,
        &expect![[r#"
            3:12: `role` is missing in `model`
            5:12: `prompt` is missing in `model`
            7:47: `max_tokens` is a whole number from 1 to 1000000
            7:66: there is no type `text`: there are `string`, `number`, `integer`, `boolean`, `array`, `object`, `null`
        "#]],
    );
}

#[test]
fn misplaced() {
    broken(
        r##"steps:
  - id: a
    wait: 1s
    with: { x: 1 }
    goal: x
    compensate: { tool: x/y }
  - id: b
    tool: x/y
    budget: { calls: 1 }
"##,
        &expect![[r#"
            4:11: `with` is for a step with `tool`, `agent`, `workflow`
            5:11: `goal` is for a step with `agent`
            6:17: `compensate` is for a step with `tool`, `agent`, `model`, `workflow`
            9:13: `budget` is for a step with `agent`
        "#]],
    );
}

#[test]
fn compensate() {
    broken(
        r##"steps:
  - id: a
    tool: x/y
    compensate: { with: { x: 1 } }
  - id: b
    tool: x/y
    compensate: { tool: x/z, agent: q }
  - id: c
    tool: x/y
    on_error: { compensate: [a, d] }
  - id: e
    tool: x/y
    on_error: { compensate: [c], value: 1 }
  - id: f
    tool: x/y
    on_error: {}
"##,
        &expect![[r#"
            4:17: `compensate` has one of `tool` and `agent`
            7:17: `compensate` has one of `tool` and `agent`
            10:30: the step `a` has no `compensate`
            10:33: there is no step `d`: there are `a`, `b`, `c`, `e`, `f`
            13:15: `on_error` has one of `value` and `compensate`
            13:30: the step `c` has no `compensate`
            16:15: `on_error` has one of `value` and `compensate`
        "#]],
    );
}

#[test]
fn with_kind() {
    broken(
        r##"inputs: { n: integer }
steps:
  - id: a
    tool: x/y
    with: [1]
  - id: b
    tool: x/y
    with: ${{ input.n }}
  - id: c
    agent: z
    with: text
"##,
        &expect![[r#"
            5:11: `with` is a map, and this is a list
            8:21: `with` is a map, and this is a whole number
            11:11: `with` is a map, and this is a text
        "#]],
    );
}

#[test]
fn types() {
    broken(
        r##"inputs:
  a: { type: text }
  b: { type: integer, default: x }
  c: 5
  d: { pattern: x }
  e: { enum: [] }
  f-g: string
  h: { type: array, items: strin }
  i: { required: true }
steps:
  - id: a
    tool: x/y
"##,
        &expect![[r#"
            2:14: there is no type `text`: there are `string`, `number`, `integer`, `boolean`, `array`, `object`, `null`
            3:6: default: a whole number is needed, and this is a text
            4:6: a type is a map such as `{ type: string }`, or a type's name, and this is a number
            5:8: there is no `pattern` in a type: there are `type`, `description`, `title`, `default`, `enum`, `properties`, `required`, `additionalProperties`, `items`, `minimum`, `maximum`, `minLength`, `maxLength`, `minItems`, `maxItems`, `format`
            6:14: `enum` is a list of values
            7:3: `f-g` can't be a name: 64 letters, digits and `_` at most, no digit first
            8:28: there is no type `strin`: did you mean `string`?
            9:18: `required` is a list of names; an input is needed unless it has a `default`
        "#]],
    );
}

#[test]
fn outputs() {
    broken(
        r##"inputs: { n: integer }
outputs:
  a: { value: '${{ input.n }}', type: string }
  b: ${{ steps.x.output }}
  c: { value: 1, typ: string }
steps:
  - id: a
    tool: x/y
"##,
        &expect![[r#"
            3:3: it has to be a text, and it is a whole number
            4:16: there is no `x`: there are `a`
            5:18: there is no `typ` in an output: did you mean `type`?
        "#]],
    );
}

#[test]
fn sub_unknown() {
    broken(
        r##"steps:
  - id: a
    workflow: notfy
workflows:
  notify: { steps: [{ id: a, tool: x/y }] }
"##,
        &expect![[r#"
            3:15: there is no sub-workflow `notfy`: did you mean `notify`?
        "#]],
    );
}

#[test]
fn sub_inputs() {
    broken(
        r##"inputs: { n: integer }
steps:
  - id: a
    workflow: notify
    with: { too: x, sum: '${{ input.n }}', size: 'x${{ 1 }}' }
  - id: b
    value: ${{ steps.a.output.snt }}
workflows:
  notify:
    inputs: { to: string, sum: string, size: integer, opt: { type: string, default: x } }
    outputs: { sent: 1 }
    steps: [{ id: a, tool: x/y }]
"##,
        &expect![[r#"
            3:5: `notify` has no input `too`: did you mean `to`?
            3:5: the input `to` of `notify` is missing
            5:37: the input `sum` of `notify` is a text, and this is a whole number
            5:56: the input `size` of `notify` is a whole number, and this is a text
            7:31: there is no `snt`: did you mean `sent`?
        "#]],
    );
}

#[test]
fn sub_recursion() {
    broken(
        r##"steps:
  - id: a
    workflow: one
workflows:
  one: { steps: [{ id: a, workflow: two }] }
  two: { steps: [{ id: a, workflow: three }] }
  three: { steps: [{ id: a, workflow: two }, { id: b, workflow: three }] }
"##,
        &expect![[r#"
            7:39: `two` runs `three` runs `two` again, which would never end
            7:65: `three` runs `three` again, which would never end
        "#]],
    );
}

#[test]
fn sub_scope() {
    broken(
        r##"inputs: { n: integer }
steps:
  - id: a
    workflow: one
workflows:
  one: { parallel: 3, steps: [{ id: b, value: '${{ input.n }}' }, { id: c, value: '${{ steps.a.output }}' }] }
"##,
        &expect![[r#"
            6:10: there is no `parallel` in a sub-workflow: there are `description`, `inputs`, `outputs`, `steps`, `timeout`
            6:58: there is no `n`: there are none
            6:94: there is no `a`: there are `b`, `c`
        "#]],
    );
}

#[test]
fn yaml_features() {
    broken(
        r##"steps:
  - id: a
    value: !!str 3
  - id: b
    tool: x/y
"##,
        &expect![[r#"
            3:12: tags (`!…`) are not taken: write the value itself
        "#]],
    );
}

#[test]
fn merge() {
    broken(
        r##"base: &b { tool: x/y }
steps:
  - id: a
    <<: *b
"##,
        &expect![[r#"
            4:5: merging with `<<` is not taken: repeat the keys, or alias the whole value
        "#]],
    );
}

#[test]
fn unknown_alias() {
    broken(
        r##"steps:
  - id: a
    value: *nothing
"##,
        &expect![[r#"
            3:12: this is no YAML or JSON: while parsing node, found unknown anchor
        "#]],
    );
}

#[test]
fn alias_inside() {
    broken(
        r##"steps:
  - &a
    id: a
    value: [*a]
"##,
        &expect![[r#"
            4:13: the alias stands inside of what it repeats
        "#]],
    );
}

#[test]
fn infinite() {
    broken(
        r##"steps:
  - id: a
    value: .inf
"##,
        &expect![[r#"
            3:12: `.inf` is no number that JSON has
        "#]],
    );
}

#[test]
fn huge_number() {
    broken(
        r##"steps:
  - id: a
    value: 99999999999999999999
"##,
        &expect![[r#"
            3:12: `99999999999999999999` is too large for a whole number: put it in quotes
        "#]],
    );
}

#[test]
fn key_list() {
    broken(
        r##"? [1, 2]
: x
steps: []
"##,
        &expect![[r#"
            1:3: a key is a text
        "#]],
    );
}

#[test]
fn json_error() {
    broken(
        r##"{"steps": [{"id": "a", "tool": "x/y",, }]}
"##,
        &expect![[r#"
            1:38: this is no YAML or JSON: while parsing a node, did not find expected node content
        "#]],
    );
}

#[test]
fn json_places() {
    broken(
        r##"{
  "steps": [
    {"id": "a", "tool": "x/y", "with": {"p": "${{ input.x }}"}}
  ]
}
"##,
        &expect![[r#"
            3:57: there is no `x`: there are none
        "#]],
    );
}

#[test]
fn crlf() {
    broken(
        "steps:\r\n  - id: a\r\n    value: ${{ 1 + }}\r\n  - id: a\r\n    tool: x/y\r\n",
        &expect![[r#"
            3:20: a value is missing before the end
            4:5: the id `a` is taken by the step at 2:5: choose another one
        "#]],
    );
}

#[test]
fn version() {
    broken(
        r##"version: 2
steps:
  - id: a
    tool: x/y
"##,
        &expect![[r#"
            1:10: `version` is 1
        "#]],
    );
}

#[test]
fn unquoted() {
    broken(
        "steps:\n  - id: a\n    value: ${{ true ? 1 : 2 }}\n",
        &expect![[r#"
            3:25: this is no YAML or JSON: mapping values are not allowed in this context; put a text that has `: ` in it in quotes
        "#]],
    );
}

#[test]
fn returns() {
    broken(
        r##"steps:
  - id: a
    value: 3
    returns: string
  - id: b
    approval: { text: ok? }
    output: ${{ result.chioce }}
"##,
        &expect![[r#"
            2:5: it has to be a text, and it is a whole number
            7:24: there is no `chioce`: did you mean `choice`?
        "#]],
    );
}

#[test]
fn approval_output() {
    broken(
        r##"steps:
  - id: a
    approval: { text: ok? }
  - id: b
    when: steps.a.output.choise == 'approve'
    tool: x/y
  - id: c
    when: steps.a.state == 'done'
    tool: x/y
"##,
        &expect![[r#"
            5:26: there is no `choise`: did you mean `choice`?
            8:19: there is no `state`: did you mean `status`?
        "#]],
    );
}
