use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"config = [{ key = "currency", value = "CHF" }]"#,
    allowed: &["get currency", "get-all"],
    denied: &["get Currency", "get currency2", "get "],
};
