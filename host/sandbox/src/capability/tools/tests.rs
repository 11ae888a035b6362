use crate::capability::Cases;
use crate::testing::grants;

pub(crate) const CASES: Cases = Cases {
    grants: r#"tools = [{ tool = "files/read" }, { tool = "table/*" }]"#,
    allowed: &["call files/read", "call table/query", "call table/x"],
    denied: &[
        "call files/write",
        "call files/readx",
        "call files",
        "call files/*",
        "call table",
        "call table/",
        "call tablex/query",
        "call /",
        "call ",
    ],
};

fn rule(tool: &str) -> super::Rule {
    super::Rule {
        tool: tool.to_owned(),
        approval: super::Approval::default(),
        own_approval: false,
    }
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for tool in [
        "", "files", "/", "files/", "/read", "*/read", "*/*", "a/b/c", "a b/c", "a/b*",
    ] {
        let rule = rule(tool);
        let complaint = rule.validate().expect_err(tool);
        assert!(complaint.contains("plugin/tool"), "{complaint}");
    }
    let long = rule(&format!("a/{}", "b".repeat(159)));
    assert_eq!(long.validate(), Err("tool is over 160 bytes".to_owned()));
    assert_eq!(grants(CASES.grants).tools.len(), 2);
}
