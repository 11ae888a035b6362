//! What must not be wrong, and the tests that are to notice when it is.

/// Modules that are mutated together.
#[derive(Debug)]
pub struct Part {
    pub name: &'static str,
    pub package: &'static str,
    /// As `cargo mutants --file` takes them; each has to have mutants.
    pub files: &'static [&'static str],
    /// Mutants that are none of it, as `cargo mutants --exclude-re` takes them.
    pub without: &'static [&'static str],
    /// Test targets, as package and name; `lib` is the unit tests.
    pub tests: &'static [(&'static str, &'static str)],
}

/// Tests that take long, build something or try what is random, by what their names
/// contain: others are to notice, and each time.
pub const TESTS_LEFT_OUT: &[&str] = &[
    "crashing",
    "fuzz",
    "killed",
    "loses_nothing",
    "parked",
    "random_agents",
];

const SANDBOX: &[(&str, &str)] = &[("airlock-sandbox", "lib")];
const RUNTIME: &[(&str, &str)] = &[
    ("airlock-runtime", "lib"),
    ("airlock-runtime", "runtime"),
    ("airlock-server", "api"),
];

pub const PARTS: &[Part] = &[
    Part {
        name: "gate",
        package: "airlock-sandbox",
        files: &[
            "host/sandbox/src/gate.rs",
            "host/sandbox/src/gate/run.rs",
            "host/sandbox/src/grants.rs",
            "host/sandbox/src/limits.rs",
            "host/sandbox/src/capability/mod.rs",
        ],
        without: &[],
        tests: SANDBOX,
    },
    Part {
        name: "grants",
        package: "airlock-sandbox",
        files: &[
            "host/sandbox/src/capability/*/grant.rs",
            "host/sandbox/src/capability/http/url.rs",
            "host/sandbox/src/capability/http/address.rs",
            "host/sandbox/src/capability/http/rate.rs",
            "host/sandbox/src/capability/files/open.rs",
            "host/sandbox/src/capability/files/quota.rs",
            "host/sandbox/src/capability/files/reserved.rs",
        ],
        without: &[],
        tests: SANDBOX,
    },
    Part {
        name: "access",
        package: "airlock-runtime",
        files: &[
            "host/runtime/src/tokens.rs",
            "host/runtime/src/principal.rs",
            "host/runtime/src/grants/*.rs",
            "host/runtime/src/policy/*.rs",
            "host/runtime/src/halt.rs",
        ],
        without: &[],
        tests: RUNTIME,
    },
    Part {
        name: "journal",
        package: "airlock-journal",
        files: &[
            "host/journal/src/chain.rs",
            "host/journal/src/rows.rs",
            "host/journal/src/memory.rs",
            "host/journal/src/sqlite/rows.rs",
            "host/journal/src/sqlite/writer.rs",
            "host/journal/src/audit/*.rs",
        ],
        // When the log is copied in the background is speed alone.
        without: &["Checkpointer::", "(in|replace) pages"],
        tests: &[
            ("airlock-journal", "lib"),
            ("airlock-journal", "audit"),
            ("airlock-journal", "audit_log"),
            ("airlock-journal", "backends"),
            ("airlock-journal", "faults"),
        ],
    },
    Part {
        name: "runs",
        package: "airlock-runtime",
        files: &[
            "host/runtime/src/idempotency.rs",
            "host/runtime/src/runs/approval.rs",
            "host/runtime/src/runs/effect.rs",
            "host/runtime/src/runs/effects.rs",
            "host/runtime/src/runs/event.rs",
            "host/runtime/src/runs/fold.rs",
            "host/runtime/src/runs/permit.rs",
            "host/runtime/src/runs/policy.rs",
            "host/runtime/src/runs/replay.rs",
            "host/runtime/src/runs/resume.rs",
            "host/runtime/src/runs/spending.rs",
            "host/runtime/src/runs/step.rs",
            "host/runtime/src/runs/under_way.rs",
            "host/runtime/src/runs/writes.rs",
        ],
        without: &[],
        tests: RUNTIME,
    },
    Part {
        name: "budgets",
        package: "airlock-runtime",
        files: &[
            "host/runtime/src/models/days.rs",
            "host/runtime/src/runs/model/room.rs",
        ],
        without: &[],
        tests: RUNTIME,
    },
    Part {
        name: "models",
        package: "airlock-models",
        files: &[
            "host/models/src/price.rs",
            "host/models/src/redact/*.rs",
            "host/models/src/router/attempt.rs",
            "host/models/src/router/breaker.rs",
            "host/models/src/router/rate.rs",
        ],
        without: &[],
        tests: &[("airlock-models", "lib"), ("airlock-models", "router")],
    },
    Part {
        name: "memory",
        package: "airlock-memory",
        files: &[
            "host/memory/src/home.rs",
            "host/memory/src/limits.rs",
            "host/memory/src/prepare.rs",
            "host/memory/src/rows.rs",
            "host/memory/src/writer.rs",
        ],
        without: &[],
        tests: &[("airlock-memory", "lib")],
    },
    Part {
        name: "servers",
        package: "airlock-mcp-client",
        files: &[
            "host/mcp-client/src/pinned.rs",
            "host/mcp-client/src/server.rs",
            "host/mcp-client/src/text.rs",
        ],
        without: &[],
        tests: &[
            ("airlock-mcp-client", "lib"),
            ("airlock-mcp-servers", "servers"),
        ],
    },
];
