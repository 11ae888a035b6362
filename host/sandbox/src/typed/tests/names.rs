//! Names of tools: readable, unique, within the contract's characters.

use expect_test::expect;

use super::super::names;

#[test]
fn tool_names() {
    let long = "a-very-long-name-that-goes-on-and-on-and-on-until-nobody-knows-why";
    let cases: &[&[(Option<&str>, &str)]] = &[
        &[(None, "add"), (Some("docs:calculator/add@0.1.0"), "add")],
        &[(Some("wasi:cli/run@0.2.6"), "run")],
        &[
            (Some("docs:calculator/ops@0.1.0"), "add"),
            (Some("docs:calculator/ops@0.1.0"), "HTTP-get"),
        ],
        &[
            (Some("a:one/ops@1.0.0"), "add"),
            (Some("a:two/ops@1.0.0"), "add"),
            (Some("a:two/ops@1.0.0"), "sub"),
        ],
        &[(Some("a:x/ops"), "add"), (Some("b:x/ops"), "add")],
        &[
            (Some("a:x/ops@1.0.0"), "add"),
            (Some("a:x/ops@2.0.0"), "add"),
        ],
        &[(None, long), (Some(long), long), (Some("short"), long)],
        &[
            (Some("res"), "[constructor]file"),
            (Some("res"), "[method]file.read"),
            (Some("res"), "[static]file.open"),
        ],
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|case| format!("{}\n", names::of(case).join(" ")))
        .collect();
    expect![[r#"
        add calculator_add_add
        run
        ops_add ops_http-get
        one_ops_add two_ops_add ops_sub
        a_x_ops_add b_x_ops_add
        a_x_ops_1-0-0_add a_x_ops_2-0-0_add
        a-very-long-name-that-goes-on-and-on-and-on-until-nobod-27a2e8c6 a-very-long-name-that-goes-on-and-on-and-on-until-nobod-bc66dba0 short_a-very-long-name-that-goes-on-and-on-and-on-until-f120ad49
        res_file res_file-read res_file-open
    "#]].assert_eq(&shown.concat());
    for case in cases {
        let names = names::of(case);
        let unique: std::collections::HashSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(
            names
                .iter()
                .all(|name| crate::inspect::metadata::is_tool_name(name)),
            "{names:?}"
        );
    }
}
