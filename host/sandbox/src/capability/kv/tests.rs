use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"kv = [
        { bucket = "seen" },
        { bucket = "rates", access = "read", scope = "plugin", bytes = "1KiB", keys = 3 },
        { bucket = "shared", scope = "plugin" },
    ]"#,
    allowed: &[
        "open seen",
        "get seen k",
        "exists seen k",
        "list seen",
        "set seen k",
        "delete seen k",
        "increment seen k",
        "swap seen k",
        "open rates",
        "get rates k",
        "exists rates k",
        "list rates",
    ],
    denied: &[
        "open Seen",
        "open other",
        "open seen2",
        "open ",
        "get other k",
        "set rates k",
        "delete rates k",
        "increment rates k",
        "swap rates k",
    ],
};
