use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"agents = [{ agent = "checker" }, { agent = "re.porter-2" }]"#,
    allowed: &["start checker", "start re.porter-2"],
    denied: &["start checkers", "start check", "start *", "start "],
};

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let rule = |agent: &str| super::Rule {
        agent: agent.to_owned(),
    };
    for agent in ["", "*", "a/b", "a b"] {
        let complaint = rule(agent).validate().expect_err(agent);
        assert!(complaint.contains("not the name"), "{complaint}");
    }
    let long = rule(&"a".repeat(161)).validate();
    assert_eq!(long, Err("agent is over 160 bytes".to_owned()));
    assert_eq!(rule(&"a".repeat(160)).validate(), Ok(()));
}
