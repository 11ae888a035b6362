use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"env = [
        { name = "TZ", value = "UTC" },
        { name = "EMPTY", value = "" },
    ]"#,
    allowed: &["read TZ", "read EMPTY"],
    denied: &["read PATH", "read tz", "read TZ=", "read TZ2", "read "],
};
