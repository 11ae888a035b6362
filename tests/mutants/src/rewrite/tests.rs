//! Each kind of mutant, source in and source out.

use super::*;
use crate::list::{Genre, Place};

/// Mutants as `cargo mutants` would list them: the kind, the text that it names
/// (the first or, after `#2`, a later one) and what comes in its place.
fn mutants(source: &str, listed: &[(Genre, &str, &str)]) -> Vec<Mutant> {
    let listed = listed.iter().zip(1..);
    let mutants = listed.map(|((genre, text, replacement), id)| {
        let (text, nth) = text
            .split_once("#2")
            .map_or((*text, 0), |(text, _)| (text, 1));
        let found = source.match_indices(text).nth(nth);
        let (start, _) = found.unwrap_or_else(|| panic!("{text} is not in {source}"));
        Mutant {
            id,
            part: "",
            name: format!("file.rs:1:1: {text}"),
            file: "file.rs".to_owned(),
            genre: *genre,
            span: Place::between(place(source, start), place(source, start + text.len())),
            replacement: (*replacement).to_owned(),
        }
    });
    mutants.collect()
}

fn place(source: &str, at: usize) -> proc_macro2::LineColumn {
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count();
    proc_macro2::LineColumn { line, column }
}

fn rewritten(source: &str, listed: &[(Genre, &str, &str)]) -> Rewritten {
    let mutants = mutants(source, listed);
    let mutants: Vec<&Mutant> = mutants.iter().collect();
    rewrite(source, &mutants).expect("it can be rewritten")
}

#[test]
fn each_kind_is_put_behind_a_switch() {
    use Genre::*;
    let check = |source: &str, listed: &[(Genre, &str, &str)], expected: &str| {
        let found = rewritten(source, listed);
        assert_eq!(found.left_out, [], "{source}");
        let text = found.text.replace("crate::airlock_mutant::", "");
        assert_eq!(text, expected);
        syn::parse_file(&text).expect("what came out is Rust");
    };
    check(
        "fn f() -> bool { true }",
        &[(FnValue, "true", "false")],
        "fn f() -> bool { if on(1) { return false; } true }",
    );
    check(
        "fn f() { let a = 1;\n g(a) }",
        &[(FnValue, "let a = 1;\n g(a)", "()")],
        "fn f() { if on(1) { return (); } let a = 1;\n g(a) }",
    );
    check(
        "fn f() { g(a < b) }",
        &[(BinaryOperator, "<", ">"), (BinaryOperator, "<", "<=")],
        "fn f() { g((if on(1) {a > b} else if on(2) {a <= b} else {a < b})) }",
    );
    // A chain, and an operator in an operand.
    check(
        "fn f() { g(a + b - c) }",
        &[(BinaryOperator, "+", "-"), (BinaryOperator, "-", "+")],
        "fn f() { g((if on(2) {a + b + c} else {(if on(1) {a - b} else {a + b}) - c})) }",
    );
    // Characters of more than one byte before it.
    check(
        "fn f() { g(\"…é\", a == b) }",
        &[(BinaryOperator, "==", "!=")],
        "fn f() { g(\"…é\", (if on(1) {a != b} else {a == b})) }",
    );
    check(
        "fn f() { a += 1; }",
        &[(BinaryOperator, "+=", "-=")],
        "fn f() { (if on(1) {a -= 1} else {a += 1}); }",
    );
    check(
        "fn f() { g(!a, -b) }",
        &[(UnaryOperator, "!", ""), (UnaryOperator, "-", "")],
        "fn f() { g((if on(1) {a} else {!a}), (if on(2) {b} else {-b})) }",
    );
    check(
        "fn f() { match a { 1 | 2 => b, _ => c } }",
        &[(MatchArm, "1 | 2 => b,", "")],
        "fn f() { match a { 1 | 2 if !on(1) => b, _ => c } }",
    );
    check(
        "fn f() { match a { x if !x => b, _ => c } }",
        &[
            (MatchArmGuard, "!x", "true"),
            (MatchArmGuard, "!x", "false"),
            (UnaryOperator, "!", ""),
        ],
        "fn f() { match a { x if (if on(1) {true} else if on(2) {false} else \
         {(if on(3) {x} else {!x})}) => b, _ => c } }",
    );
    check(
        "fn f() { g(A { b: 1, c: d + 2, ..e }) }",
        &[
            (StructField, "b: 1,", ""),
            (StructField, "c: d + 2,", ""),
            (BinaryOperator, "+", "*"),
        ],
        "fn f() { g((if on(1) {A {  c: d + 2, ..e }} else if on(2) {A { b: 1,  ..e }} else \
         {A { b: 1, c: (if on(3) {d * 2} else {d + 2}), ..e }})) }",
    );
    // A value for a function whose first expression is mutated as well.
    check(
        "fn f() -> bool { a == b }",
        &[(FnValue, "a == b", "true"), (BinaryOperator, "==", "!=")],
        "fn f() -> bool { if on(1) { return true; } (if on(2) {a != b} else {a == b}) }",
    );
}

#[test]
fn what_has_no_place_for_a_switch_is_left_out_and_said() {
    use Genre::*;
    let check = |source: &str, one: (Genre, &str, &str), unviable: bool| {
        let found = rewritten(source, &[one]);
        assert_eq!(found.text, source);
        let [(1, why)] = found.left_out[..] else {
            panic!("{source}: {:?}", found.left_out);
        };
        assert_eq!(why == LeftOut::Unviable, unviable, "{source}: {why:?}");
    };
    check(
        "const A: u32 = 1 << 2;",
        (BinaryOperator, "<<", ">>"),
        false,
    );
    check("const fn f() -> u32 { a() }", (FnValue, "a()", "0"), false);
    check(
        "fn f() { g([0; 2 * 3]) }",
        (BinaryOperator, "*", "+"),
        false,
    );
    check("fn f() -> impl A { a() }", (FnValue, "a()", "0"), false);
    check(
        "fn f() { if a && let Some(b) = c {} }",
        (BinaryOperator, "&&", "||"),
        true,
    );
    // `as` takes `<` for the beginning of generic arguments.
    check(
        "fn f() { g(a as u8 > b) }",
        (BinaryOperator, ">", "<"),
        true,
    );
}

#[test]
fn a_mutant_that_is_nowhere_is_an_error() {
    let source = "fn f() { g(a == b) }";
    let mut listed = mutants(source, &[(Genre::BinaryOperator, "==", "!=")]);
    listed[0].genre = Genre::UnaryOperator;
    let error = rewrite(source, &[&listed[0]]).expect_err("nothing is there");
    assert!(error.to_string().contains("0 of 1"), "{error}");
}

#[test]
fn an_error_of_the_compiler_is_found_to_be_a_mutant_s() {
    let source = "fn f() -> u8 { g(a == b); h(c) }";
    let listed = [
        (Genre::FnValue, "g(a == b); h(c)", "1"),
        (Genre::BinaryOperator, "==", "!="),
    ];
    let found = rewritten(source, &listed);
    let at = |text: &str| found.text.find(text).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(found.owner(at("return 1")), Some(1));
    assert_eq!(found.owner(at("a != b")), Some(2));
    assert_eq!(found.owner(at("a == b")), None);
    assert_eq!(found.closest(at("a == b")), [2]);
    assert_eq!(found.closest(at("h(c)")), [1]);
    assert_eq!(found.closest(at("fn f")), [0_u32; 0]);
}
