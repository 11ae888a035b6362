//! Files against what is said of them.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod broken;
mod hostile;

/// All that is wrong with a file, a line each.
fn said(text: &str) -> String {
    match check(text) {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(problems) => problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect(),
    }
}

/// A workflow with everything.
const WHOLE: &str = r#"
version: 1
name: Everything
description: Each key once.
inputs:
  month: { type: string, description: The month., minLength: 7, maxLength: 7 }
  since: { type: string, format: date-time, default: 2027-01-15T00:00:00Z }
  limit: { type: integer, default: 10, minimum: 1, maximum: 100 }
  tags: { type: array, items: string, default: [] }
  note: { type: string, default: null }
outputs:
  total: ${{ steps.sum.output }}
  made:
    value: [ "${{ steps.book.output.id }}" ]
    type: { type: array, items: string }
parallel: 4
timeout: 2d
steps:
  - id: list
    name: List the files
    tool: files/list
    with: { path: "/invoices/${{ input.month }}" }
    retry: { attempts: 5, backoff: 2s, backoff_max: 1m, on: [transient, limit] }
    timeout: 5m
    output: ${{ result.files }}
    returns: { type: array, items: { type: object, properties: { size: integer }, required: [size] } }
  - id: each
    for_each: ${{ steps.list.output }}
    max_parallel: 2
    tool: files/read
    with: { file: "${{ item.name }}", nr: "${{ index }}" }
    on_error: { value: null }
  - id: sum
    value: ${{ sum(steps.list.output.map(f, f.size)) }}
  - id: judge
    model:
      role: writer
      system: You are terse.
      prompt: "Is ${{ steps.sum.output }} much?"
      schema: { type: object, properties: { much: boolean }, required: [much] }
      max_tokens: 100
    on_error: continue
  - id: ask
    when: steps.sum.output > 100
    needs: each
    approval:
      text: "Book ${{ steps.sum.output }}?"
      choices: [book, later, drop]
      payload: ${{ steps.list.output }}
      due: 3d
      on: { later: skip, drop: fail }
      on_due: escalate
  - id: book
    needs: [ask]
    trigger: none_failed
    tool: payments/book
    with: '${{ {"amount": steps.sum.output, "by": input.month} }}'
    compensate:
      tool: payments/cancel
      with: { id: "${{ result.id }}" }
      retry: { attempts: 10 }
  - id: check
    agent: checker
    goal: Check ${{ input.month }}
    with: { sum: "${{ steps.sum.output }}" }
    budget: { calls: 10, steps: 100, events: 1000, wall: 1h, cpu: 5s, model_tokens: 9000, model_micros: 20000 }
    on_error: escalate
  - id: rest
    wait: 30s
    needs: check
  - id: till
    wait: { until: "${{ input.since }}" }
  - id: paid
    wait: { signal: paid }
    timeout: 7d
    on_error: { compensate: [book] }
  - id: notify
    workflow: notify
    for_each: [ops, "${{ input.month }}"]
    with: { to: "${{ item }}", sum: "${{ steps.sum.output }}" }
workflows:
  notify:
    inputs: { to: string, sum: number }
    outputs: { sent: "${{ steps.send.output }}" }
    timeout: 1h
    steps:
      - id: send
        tool: mail/send
        with: { to: "${{ input.to }}" }
"#;

#[test]
fn a_file_with_everything_is_read() {
    let workflow = match check(WHOLE) {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems:#?}"),
    };
    let needs: Vec<(&str, Vec<&str>)> = workflow
        .main
        .steps
        .iter()
        .map(|step| {
            let needs = step
                .needs
                .iter()
                .map(|need| workflow.main.steps[*need].id.as_str());
            (step.id.as_str(), needs.collect())
        })
        .collect();
    assert_eq!(
        needs,
        [
            ("list", vec![]),
            ("each", vec!["list"]),
            ("sum", vec!["list"]),
            ("judge", vec!["sum"]),
            ("ask", vec!["list", "each", "sum"]),
            ("book", vec!["sum", "ask"]),
            ("check", vec!["sum"]),
            ("rest", vec!["check"]),
            ("till", vec![]),
            ("paid", vec![]),
            ("notify", vec!["sum"]),
        ]
    );
    assert_eq!(workflow.parallel, 4);
    assert_eq!(workflow.main.steps[0].retry.attempts, 5);
    assert_eq!(workflow.blocks["notify"].steps.len(), 1);
}

/// The core schema of YAML 1.2.
#[test]
fn texts_without_quotes_are_what_yaml_says() {
    let table = [
        ("16", json!(16)),
        ("+16", json!(16)),
        ("-16", json!(-16)),
        ("016", json!(16)),
        ("0x10", json!(16)),
        ("0o20", json!(16)),
        ("-0x10", json!("-0x10")),
        ("+0o20", json!("+0o20")),
        ("0x-10", json!("0x-10")),
        ("0x+10", json!("0x+10")),
        ("0x", json!("0x")),
        ("1.50", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("1-2", json!("1-2")),
        ("~", json!(null)),
        ("True", json!(true)),
        ("yes", json!("yes")),
    ];
    for (text, expect) in table {
        let value = yaml::read(text).expect("YAML").value();
        assert_eq!(value, expect, "{text}");
    }
}

/// The same as JSON: as a text, and as a value.
#[test]
fn json_is_read_as_yaml_is() {
    let value = yaml::read(WHOLE).expect("YAML").value();
    for text in [
        value.to_string(),
        format!("{value:#}"),
        format!("{value:#}").replace("  ", "\t"),
    ] {
        assert_eq!(said(&text), "nothing is wrong", "{}", &text[..60]);
    }
    assert!(check_value(&value).is_ok());
    let mut wrong = value;
    wrong["steps"][0]["with"]["path"] = json!("${{ inputs.month }}");
    wrong["steps"][3]["model"]["rolle"] = json!("x");
    let problems = check_value(&wrong).expect_err("two problems");
    expect![[r#"
        workflow.steps[0].with.path: there is no `inputs` here: did you mean `input`?
        workflow.steps[3].model.rolle: there is no `rolle` in `model`: did you mean `role`?"#]]
    .assert_eq(&problems.join("\n"));
}

/// JSON's escapes are characters, those of two parts too.
#[test]
fn escapes_of_json_are_read() {
    let file = r#"{"steps": [{"id": "a", "value": "\ud83d\ude00 \/ \u00e9 \\ud83d"}]}"#;
    let workflow = check(file).expect("a workflow");
    let Action::Value(Template::Value(value)) = &workflow.main.steps[0].action else {
        panic!("a value")
    };
    assert_eq!(value, "\u{1f600} / é \\ud83d");
    let lone = file.replace("\\ude00", "");
    assert!(said(&lone).contains("invalid Unicode"), "{}", said(&lone));
}

/// What is stored beside the documentation is what the code generates.
#[test]
fn the_published_schema_is_generated() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../docs/schemas/workflow.json"
    );
    let generated = format!("{:#}\n", published());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &generated).expect("the schema is written");
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == generated,
        "docs/schemas/workflow.json is stale: run this test with UPDATE_EXPECT=1"
    );
}

/// Each key that the reader takes by name is in the tables, and the other way round:
/// the file with everything has each key of a step.
#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = published();
    let step = schema["$defs"]["step"]["properties"]
        .as_object()
        .expect("members");
    for key in step.keys() {
        let stands = WHOLE.contains(&format!("{key}:"));
        assert!(stands, "`{key}` is not in the example");
    }
    for key in schema["properties"].as_object().expect("members").keys() {
        assert!(
            WHOLE.contains(&format!("\n{key}:")),
            "`{key}` is not in the example"
        );
    }
}

#[test]
fn templates_keep_types_and_make_texts() {
    let text = r#"
inputs: { n: integer, who: string }
steps:
  - id: a
    value:
      same: ${{ input.n }}
      text: "n=${{ input.n }}, ${{ input.who }} ${{ [1, null] }}"
      braces: '${{ {"a": {"b": "}}"}} }}'
      plain: ["${ no }", "$", "{{ x }}", 1, null, true]
      deep: [[{ x: "${{ input.n + 1 }}" }]]
      escaped: ${{ "${{" }}
"#;
    let workflow = check(text).expect("a workflow");
    let Action::Value(value) = &workflow.main.steps[0].action else {
        panic!("a value")
    };
    let input = json!({ "n": 3, "who": "ada" });
    let scope = Scope::new().with("input", &input);
    assert_eq!(
        value.evaluate(&scope, &mut Cost::default()),
        Ok(json!({
            "same": 3, "text": "n=3, ada [1,null]", "braces": { "a": { "b": "}}" } },
            "plain": ["${ no }", "$", "{{ x }}", 1, null, true], "deep": [[{ "x": 4 }]],
            "escaped": "${{",
        }))
    );
    let known = value.evaluate_known(&Scope::new(), &|_| false);
    assert_eq!(known["same"], "${{ input.n }}");
    assert_eq!(known["plain"][3], 1);
}

#[test]
fn inputs_are_held_to_their_types() {
    let workflow = check(WHOLE).expect("a workflow");
    let schema = workflow.main.input();
    let mut given = json!({ "month": "2026-05" });
    schema.fill(&mut given);
    assert_eq!(schema.problems(&given, "inputs"), Vec::<String>::new());
    assert_eq!(given["limit"], 10);
    assert_eq!(given["note"], serde_json::Value::Null);
    for (given, expect) in [
        (json!({}), "inputs.month: it is missing"),
        (
            json!({ "month": 5 }),
            "inputs.month: a text is needed, and this is a number",
        ),
        (
            json!({ "month": "2026" }),
            "inputs.month: it has 7 characters at least",
        ),
        (
            json!({ "month": "2026-05", "limit": 0 }),
            "inputs.limit: it is 1 at least",
        ),
        (
            json!({ "month": "2026-05", "limit": 1.5 }),
            "inputs.limit: a whole number is needed, and this is a number",
        ),
        (
            json!({ "month": "2026-05", "tags": ["a", 1] }),
            "inputs.tags[1]: a text is needed, and this is a number",
        ),
        (
            json!({ "month": "2026-05", "since": "may" }),
            "inputs.since: `may` is no moment: write RFC 3339, e.g. `2027-01-15T08:00:00Z`",
        ),
        (
            json!({ "month": "2026-05", "mont": 1 }),
            "inputs.mont: there is no such member: did you mean `month`?",
        ),
        (json!([]), "inputs: a map is needed, and this is a list"),
    ] {
        let mut filled = given.clone();
        schema.fill(&mut filled);
        assert_eq!(schema.problems(&filled, "inputs"), [expect], "{given}");
    }
}

/// A valid file with parts of it damaged.
fn damaged() -> impl Strategy<Value = String> {
    airlock_fuzz::text_damage().prop_map(|damage| damage.to(WHOLE))
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn fuzz_any_text_is_read_or_refused(text in "(?s).{0,300}") {
        places(&text)?;
    }

    #[test]
    fn fuzz_yaml_like_text_is_read_or_refused(text in "[-a-z:{}\\[\\],&*!|>'\"#%$ \n0-9]{0,200}") {
        places(&text)?;
    }

    /// Text that JSON writes with escapes is read as it was.
    #[test]
    fn fuzz_json_texts_are_read_as_they_were(text in "(?s).{0,40}") {
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        for written in [json!(text).to_string(), format!("\"{escaped}\"")] {
            let file = format!("{{\"steps\": [{{\"id\": \"a\", \"value\": {written}}}]}}");
            prop_assert!(text.contains("${{") || check(&file).is_ok(), "{}", said(&file));
            let value = check(&file).map(|workflow| workflow.main.steps[0].action.clone());
            if let Ok(Action::Value(Template::Value(value))) = value {
                prop_assert_eq!(value, json!(text));
            }
        }
    }

    #[test]
    fn fuzz_a_damaged_workflow_is_read_or_refused(text in damaged()) {
        places(&text)?;
    }
}

/// Each problem is somewhere in the file.
fn places(text: &str) -> Result<(), TestCaseError> {
    let lines = text
        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count()
        + 1;
    for problem in check(text).err().unwrap_or_default() {
        prop_assert!(
            (1..=lines).contains(&problem.at.line) && problem.at.column > 0,
            "{text:?}: {problem}"
        );
    }
    Ok(())
}
