//! Cases of the room.

use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"http = [{ url = "https://api.example.com/", secret = "contracts-key" }]"#,
    allowed: &["contracts-key", "placeholder contracts-key"],
    denied: &["other", "placeholder other"],
};
