//! What an author reads who makes a mistake: the compiler's text for each case
//! stands in `ui/*.stderr`, points at the author's line and says what to do.
//! `TRYBUILD=overwrite cargo test -p airlock-sdk --test macros` renews them.

#[test]
fn mistakes_are_explained_where_they_are() {
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui")).unwrap();
    let sources = cases.filter(|case| {
        case.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "rs")
    });
    assert_eq!(sources.count(), 16, "a case was added or lost: say so here");
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
