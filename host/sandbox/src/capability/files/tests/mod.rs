//! The room's own tests. `decide` is a table; the rest goes through the same
//! view that a guest's calls go through, against real directories.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make, swap and look at the granted directories from outside"
)]

use crate::capability::Cases;

mod confined;
mod flight;
mod fuzz;
mod guest;
mod quotas;
mod reserved;
mod rig;
mod rules;
mod work;

pub(crate) const CASES: Cases = Cases {
    grants: r#"files = [
        { host = "/srv/in", guest = "/invoices", access = "read" },
        { host = "/srv/out", guest = "/reports", access = "read-write", bytes = "1MiB", files = 10 },
        { host = "/srv/keep", guest = "/reports/keep", access = "read" },
    ]"#,
    allowed: &[
        "read /invoices/a.csv",
        "read /invoices/with space/a.csv",
        "list /invoices",
        "stat /invoices/../invoices/./a.csv",
        "read /reports/a.md",
        "write /reports/a.md",
        "create /reports/keeper",
        "delete /reports/a.md",
        "rename /reports/a.md",
        "write /reports/keep/../a.md",
        "read /reports/keep/a.md",
    ],
    denied: &[
        "read /",
        "list /",
        "stat /etc/passwd",
        "read /invoices2/a.csv",
        "read /invoices/../etc/passwd",
        "read /invoices/../../../../etc/passwd",
        "write /invoices/a.csv",
        "create /invoices/a.csv",
        "delete /invoices/a.csv",
        "rename /invoices/a.csv",
        "link /invoices/a.csv",
        "link /reports/a.md",
        "write /reports/keep/a.md",
        "delete /reports/keep",
        "write /reports/./keep//a.md",
    ],
};
