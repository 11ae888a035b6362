//! Expressions against what they give.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scope() -> Value {
    json!({
        "month": "2026-05", "count": 3, "price": 2.5, "none": null,
        "files": [{ "name": "b.csv", "size": 2 }, { "name": "a.csv", "size": 5 }],
        "deep": { "a b": { "c": [1, [2, 3]] } },
    })
}

fn gives(text: &str) -> Result<Value, String> {
    let input = scope();
    let scope = Scope::new().with("input", &input);
    let expr = parse(text).map_err(|error| format!("{}: {}", error.offset, error.message))?;
    let value = evaluate(&expr, &scope, &mut Cost::default());
    value
        .map(Cow::into_owned)
        .map_err(|error| format!("{}: {}", error.offset, error.message))
}

#[test]
fn expressions_give_values() {
    for (text, expect) in [
        ("1 + 2 * 3", json!(7)),
        ("(1 + 2) * 3 % 4", json!(1)),
        ("-7 / 2", json!(-3)),
        ("7.0 / 2", json!(3.5)),
        ("1e3 + .5", json!(1000.5)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1 - -1", json!(2)),
        ("1 == 1.0 && 2 > 1.5", json!(true)),
        ("'a' + \"b\\n\\u00e9\\'\"", json!("ab\né'")),
        ("[1] + [2, 'x']", json!([1, 2, "x"])),
        (
            "{'a': 1, \"b\": {'c': [true, null]}}",
            json!({ "a": 1, "b": { "c": [true, null] } }),
        ),
        ("input.month == '2026-05' ? 'may' : 'no'", json!("may")),
        ("input.deep['a b'].c[1][0]", json!(2)),
        ("[[1, 2], [3]][0][1]", json!(2)),
        ("{'x': {'y': 4}}.x.y", json!(4)),
        ("has(input.month) && !has(input.day)", json!(true)),
        ("input.missing == 1 || true", json!(true)),
        ("false && input.missing", json!(false)),
        (
            "3 in [1, 2, 3] && 'month' in input && !('x' in [])",
            json!(true),
        ),
        ("input.files.map(f, f.size)", json!([2, 5])),
        ("input.files.map(f, f.size > 2, f.name)", json!(["a.csv"])),
        (
            "input.files.filter(f, f.name.startsWith('b')).size()",
            json!(1),
        ),
        (
            "input.files.all(f, f.size > 1) && input.files.exists(f, f.size == 5)",
            json!(true),
        ),
        ("input.files.exists_one(f, f.size > 1)", json!(false)),
        (
            "[1, 2].map(x, [3, 4].map(y, x * y))",
            json!([[3, 4], [6, 8]]),
        ),
        ("{'a': 1, 'b': 2}.map(k, k)", json!(["a", "b"])),
        ("size('äöü') + size([1]) + size({})", json!(4)),
        ("string(3) + string(2.5) + string(true)", json!("32.5true")),
        ("int('42') + int(3.9) + int(-3.9)", json!(42)),
        ("double('1.5') + double(1)", json!(2.5)),
        ("'a,b'.split(',').reverse().join('-')", json!("b-a")),
        ("' X '.trim().lowerAscii() + 'y'.upperAscii()", json!("xY")),
        ("'aXbX'.replace('X', '--')", json!("a--b--")),
        (
            "'häuser'.substring(1, 3) + 'häuser'.substring(4)",
            json!("äuer"),
        ),
        ("'häuser'.indexOf('u')", json!(2)),
        ("[[1], 2, [3, [4]]].flatten()", json!([1, 2, 3, [4]])),
        ("[1, 1.0, 2, 1].distinct()", json!([1, 2])),
        ("['b', 'a'].sort()", json!(["a", "b"])),
        ("sum([1, 2, 0.5]) + min([3, 1]) + max([3, 1])", json!(7.5)),
        ("keys({'b': 1, 'a': 2})", json!(["b", "a"])),
        ("fromJson('[1]')[0]", json!(1)),
        ("toJson({'a': [1]})", json!("{\"a\":[1]}")),
        ("1 // one\n + 1", json!(2)),
    ] {
        assert_eq!(gives(text), Ok(expect), "{text}");
    }
}

/// Each with where it is wrong.
#[test]
fn wrong_expressions_say_where() {
    for (text, expect) in [
        ("", "0: an expression is missing"),
        ("1 +", "3: a value is missing before the end"),
        ("1 2", "2: a number can't follow here"),
        ("a = 1", "2: `=` is no operator: compare with `==`"),
        ("a & b", "2: `&` is no operator: write `&&`"),
        ("a # b", "2: `#` means nothing here"),
        ("'abc", "0: the text has no end: close it with '"),
        (
            "'a\\x'",
            "2: there is no such escape: write `\\\\` for a backslash",
        ),
        (
            "3x",
            "1: a number ends here, and a name can't begin: put a space or an operator between",
        ),
        ("9223372036854775808", "0: the number is too large"),
        ("(1", "2: `)` is missing before the end"),
        ("[1", "2: `]` is missing before the end"),
        ("{'a' 1}", "5: `:` is missing before a number"),
        ("a.1", "1: a number can't follow here"),
        ("a.", "2: a name is missing after `.`, before the end"),
        (
            "for",
            "0: `for` is a word of the language and can't stand here",
        ),
        (
            "siz(1)",
            "0: there is no function `siz`: did you mean `size`?",
        ),
        ("x.trim(1)", "2: `trim` takes 0 arguments"),
        (
            "trim(x)",
            "0: `trim` is called on a value: write `x.trim(…)`",
        ),
        (
            "x.map(1, 2)",
            "6: a name for the items stands here, e.g. `x`",
        ),
        (
            "x.all(y)",
            "2: this takes a name and an expression, e.g. `items.filter(x, x.ok)`",
        ),
        (
            "has(x)",
            "0: `has` takes one member, e.g. `has(input.month)`",
        ),
        ("input.mont", "6: there is no `mont`: did you mean `month`?"),
        ("input.count.x", "12: a number has no `x`"),
        (
            "input.files[2]",
            "11: the list has 2 items, and there is no item 2",
        ),
        ("input.files['x']", "11: a list can't be indexed by a text"),
        ("other", "0: there is no `other` here"),
        ("1 + 'a'", "2: `+` doesn't take a number and a text"),
        ("1 < 'a'", "2: `<` doesn't take a number and a text"),
        ("1 / 0", "2: a division by zero"),
        ("9223372036854775807 + 1", "20: the result is too large"),
        ("!1", "1: a boolean is needed here, and this is a number"),
        (
            "1 ? 2 : 3",
            "0: a boolean is needed here, and this is a number",
        ),
        (
            "input.missing || false",
            "6: there is no `missing`: there are `month`, `count`, `price`, `none`, `files`, `deep`",
        ),
        ("{1: 2}", "1: a key is a text, and this is a number"),
        ("{'a': 1, 'a': 2}", "9: the key `a` stands here twice"),
        ("int('x')", "0: the text is no whole number"),
        ("size(1)", "0: `size` can't take a number"),
        (
            "[1].join()",
            "4: `join` takes a list of texts, and item 0 is a number",
        ),
        ("[].min()", "3: an empty list has no least and no most"),
        (
            "'ab'.substring(1, 9)",
            "5: the text has 2 characters, and 1 to 9 is none of its parts",
        ),
        ("[1, 'a'].sort()", "9: a number and a text have no order"),
    ] {
        assert_eq!(gives(text), Err(expect.to_owned()), "{text}");
    }
}

/// Small expressions that ask for much: each ends soon, by what it costs.
#[test]
fn bombs_are_paid_for() {
    let nest = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let thousand = format!("[{}]", vec!["1"; 1000].join(","));
    let doubled = |n: usize| {
        let mut text = "['x']".to_owned();
        for _ in 0..n {
            text = format!("[{text}].map(a, a + a)[0]");
        }
        text
    };
    let times = |n: usize| {
        let mut text = "1".to_owned();
        for index in 0..n {
            text = format!("{thousand}.map(v{index}, {text})");
        }
        text
    };
    for (text, part) in [
        (nest(100), "inside one another"),
        ("(".repeat(4000), "inside one another"),
        ("!".repeat(4000), "inside one another"),
        ("-".repeat(4000), "inside one another"),
        (format!("a{}", ".a".repeat(3000)), "inside one another"),
        (format!("1{}", "+1".repeat(3000)), "inside one another"),
        ("1 ? ".repeat(1000), "inside one another"),
        (times(2), "too "),
        (times(3), "too "),
        (doubled(30), "too "),
        ("x".repeat(9000), "8192 bytes at most"),
        ("[1,2,3,4].map(a,[1,2,3,4].map(b,[1,2,3,4].map(c,'0123456789'.replace('', '0123456789012345678901234567890123456789').replace('', '0123456789012345678901234567890123456789'))))".to_owned(), "too "),
    ] {
        let before = std::time::Instant::now();
        let error = gives(&text).expect_err(&text[..text.len().min(80)]);
        assert!(error.contains(part), "{error}");
        assert!(before.elapsed().as_secs() < 5, "{error}");
    }
    // A value that is large is paid for each time it is looked at.
    let big = json!({ "list": vec![json!("0123456789abcdef"); 20_000] });
    let scope = Scope::new().with("big", &big);
    for text in [
        "big.list.map(a, big.list)",
        "big.list.filter(a, a in big.list + ['x'])",
        "big.list.all(a, big.list == big.list)",
        "[1,2,3,4,5,6,7,8,9].map(a, big.list.sort())",
        "big.list.map(a, toJson(big))",
    ] {
        let expr = parse(text).expect(text);
        let error = evaluate(&expr, &scope, &mut Cost::default()).expect_err(text);
        assert!(error.message.contains("too "), "{text}: {}", error.message);
    }
}

#[test]
fn what_an_expression_looks_at_is_known() {
    let paths = |text: &str| -> Vec<String> {
        let expr = parse(text).expect(text);
        refs(&expr)
            .into_iter()
            .map(|found| found.path.join("."))
            .collect()
    };
    for (text, expect) in [
        (
            "steps.a.output.x + steps['b'].output[0]",
            vec!["steps.a.output.x", "steps.b.output"],
        ),
        ("steps.a.output.map(steps, steps.x)", vec!["steps.a.output"]),
        ("has(steps.a.output.x)", vec!["steps.a.output.x"]),
        ("[1].map(x, x + input.y)", vec!["input.y"]),
        ("steps[input.x].output", vec!["steps", "input.x"]),
        ("{'a': item}.a.size()", vec!["item"]),
        (
            "steps.a.output.filter(f, f.x == index).size() > 0 ? run.started : null",
            vec!["steps.a.output", "index", "run.started"],
        ),
    ] {
        let mut found = paths(text);
        found.dedup();
        assert_eq!(found, expect, "{text}");
    }
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    /// Whatever is written: it is read or refused, and what is read is evaluated
    /// or fails, with a place that is in the text.
    #[test]
    fn fuzz_any_expression_is_evaluated_or_refused(text in "[a-z0-9 .,()\\[\\]{}'\"?:!<>=&|+*/%-]{0,60}") {
        check(&text)?;
    }

    #[test]
    fn fuzz_any_text_is_an_expression_or_refused(text in ".{0,60}") {
        check(&text)?;
    }

    #[test]
    fn fuzz_expressions_of_words(words in proptest::collection::vec(proptest::sample::select(vec![
        "input", ".files", ".month", ".map(x, x)", ".filter(x, true)", ".size()", "[0]", "1", "2.5", "'a'", "+", "-",
        "==", "<", "in", "&&", "||", "(", ")", "[", "]", "{'a':", "}", ",", "?", ":", "!", "sum(", "toJson(", ".sort()",
    ]), 0..14)) {
        check(&words.join(" "))?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let within = |offset: usize| offset <= text.len() && text.is_char_boundary(offset);
    match parse(text) {
        Err(error) => prop_assert!(within(error.offset), "{text:?}: {error:?}"),
        Ok(expr) => {
            let input = scope();
            let scope = Scope::new().with("input", &input);
            let first = evaluate(&expr, &scope, &mut Cost::default()).map(Cow::into_owned);
            let again = evaluate(&expr, &scope, &mut Cost::default()).map(Cow::into_owned);
            prop_assert_eq!(&first, &again);
            if let Err(error) = first {
                prop_assert!(within(error.offset), "{text:?}: {error:?}");
            }
            // What is typed wrong fails, where it is reached at all; what types well may fail too.
            let env = Env::from([("input".to_owned(), Type::of(&input))]);
            infer(&expr, &env, &mut Vec::new());
        }
    }
    Ok(())
}
