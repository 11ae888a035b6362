//! What the binary says about itself.

use std::process::{Command, Output};

fn airlock(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_airlock"))
        .args(args)
        .output()
        .expect("it starts")
}

fn text(args: &[&str]) -> String {
    let output = airlock(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

const COMMANDS: [&str; 28] = [
    "serve",
    "plugin",
    "grant",
    "revoke",
    "grants",
    "rollback",
    "explain",
    "tool",
    "run",
    "runs",
    "signal",
    "halt",
    "approvals",
    "schedules",
    "hooks",
    "workflow",
    "secret",
    "models",
    "memory",
    "token",
    "audit",
    "views",
    "apply",
    "backup",
    "restore",
    "selftest",
    "new",
    "completions",
];

#[test]
fn every_command_has_help() {
    let help = text(&["--help"]);
    for command in COMMANDS {
        assert!(
            help.contains(&format!("  {command}")),
            "--help does not list {command}"
        );
        let own = text(&[command, "--help"]);
        assert!(
            own.lines().count() > 5,
            "{command} --help says little: {own}"
        );
    }
    assert!(help.contains("Exit codes"));
}

/// What the server starts is no command, whatever is typed.
#[test]
fn no_text_lists_what_is_not_for_people() {
    for args in [
        &["--help"][..],
        &[],
        &["nonsense"],
        &["__comp"],
        &["--json"],
    ] {
        let output = airlock(args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !said.is_empty() && !said.contains("__compile") && !said.contains("__read-pdf"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        assert!(script.contains("airlock") && script.len() > 1000, "{shell}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["nonsense"][..],
        &["plugin"],
        &["explain", "a"],
        &["selftest", "--class", "none"],
        &["new", "No Name"],
        &["new", "fn"],
        &["new", "self"],
        &["new", "serde-json"],
        &["new", "good", "--into", "/nonexistent"],
        &["new", "--agent", "fn"],
    ] {
        assert_eq!(airlock(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn directories_that_everybody_can_write_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("data");
    let keys = place.path().join("data-keys");
    let text = data.to_str().expect("UTF-8");
    let list = ["--data", text, "plugin", "list"];
    for directory in [&data, &keys] {
        std::fs::create_dir(directory).expect("a folder");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory, permissions).expect("its mode");
        };
        mode(0o777);
        for args in [&list[..], &["--data", text, "serve"]] {
            let refused = airlock(args);
            let err = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{args:?}: {err}");
            assert!(err.contains("mode 777") && err.contains("chmod"), "{err}");
        }
        mode(0o700);
    }
    let make = ["--data", text, "token", "create", "x", "--role", "viewer"];
    assert_eq!(airlock(&make).status.code(), Some(0));
    assert_eq!(airlock(&list).status.code(), Some(0));
}

#[test]
fn every_subcommand_has_an_example() {
    let groups = [
        "plugin",
        "tool",
        "runs",
        "approvals",
        "schedules",
        "hooks",
        "secret",
        "models",
        "memory",
        "workflow",
        "token",
        "audit",
        "views",
    ];
    let mut seen = 0;
    for group in groups {
        let help = text(&[group, "--help"]);
        let commands = help.split("Commands:\n").nth(1).expect("commands");
        let commands = commands.split("\n\n").next().unwrap_or_default();
        let names = commands.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.split(' ').next()?;
            (!name.is_empty() && name != "help").then_some(name)
        });
        for name in names {
            let own = text(&[group, name, "--help"]);
            assert!(own.contains("Example"), "{group} {name}: {own}");
            seen += 1;
        }
    }
    assert!(seen >= 44, "{seen} subcommands");
    for command in COMMANDS.iter().filter(|name| !groups.contains(name)) {
        assert!(text(&[command, "--help"]).contains("Example"), "{command}");
    }
}

#[test]
fn an_empty_variable_names_no_server() {
    let place = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_airlock"))
        .args(["token", "create", "x", "--role", "viewer", "--data"])
        .arg(place.path().join("data"))
        .env("AIRLOCK_SERVER", "")
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
}

/// What the table of roles in docs/administration.md says in each row, and the
/// routes that it is about.
const ROLES: [(&str, &[&str]); 9] = [
    (
        "see runs, ",
        &[
            "GET /v1/whoami",
            "GET /v1/capabilities",
            "GET /v1/runs",
            "GET /v1/runs/{id}",
            "GET /v1/runs/{id}/events",
            "GET /v1/runs/{id}/export",
            "POST /mcp",
            "GET /mcp",
            "DELETE /mcp",
        ],
    ),
    (
        "list tools; ",
        &[
            "GET /v1/tools",
            "GET /v1/schedules",
            "GET /v1/schedules/{name}",
        ],
    ),
    (
        "see plugins, ",
        &[
            "GET /metrics",
            "GET /v1/models",
            "GET /v1/models/usage",
            "GET /v1/memory",
            "GET /v1/plugins",
            "GET /v1/plugins/{plugin}",
            "GET /v1/plugins/{plugin}/mcp",
            "GET /v1/plugins/{plugin}/grants",
            "GET /v1/plugins/{plugin}/grants/history",
            "POST /v1/plugins/{plugin}/explain",
            "POST /v1/policy/diff",
            "GET /v1/runs/stats",
            "GET /v1/halt",
            "GET /v1/calls",
            "GET /v1/usage",
            "GET /v1/stats",
            "GET /v1/operations",
            "GET /v1/operations/{id}",
        ],
    ),
    (
        "call tools; ",
        &[
            "POST /v1/tools/{plugin}/{tool}",
            "POST /v1/runs",
            "POST /v1/schedules",
            "PUT /v1/schedules/{name}",
        ],
    ),
    (
        "cancel, pause, ",
        &[
            "POST /v1/runs/{id}/cancel",
            "POST /v1/runs/{id}/pause",
            "POST /v1/runs/{id}/resume",
            "POST /v1/runs/{id}/signals/{name}",
            "POST /v1/runs/{id}/replay",
            "DELETE /v1/schedules/{name}",
            "POST /v1/schedules/{name}/pause",
            "POST /v1/schedules/{name}/resume",
        ],
    ),
    ("fork runs ", &["POST /v1/runs/{id}/fork"]),
    (
        "install plugin versions, ",
        &[
            "POST /v1/plugins",
            "POST /v1/halt",
            "GET /v1/hooks",
            "GET /v1/audit",
            "POST /v1/audit/verify",
            "GET /v1/audit/export",
            "POST /v1/views/rebuild",
            "POST /v1/memory/search",
            "GET /v1/memory/{kind}/{name}",
            "GET /v1/memory/{kind}/{name}/{id}",
        ],
    ),
    (
        "see what agents ask",
        &["GET /v1/approvals", "GET /v1/approvals/{id}"],
    ),
    ("answer it, ", &["POST /v1/approvals/{id}"]),
];

#[test]
fn the_table_of_roles_is_that_of_the_routes() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/administration.md");
    let docs = std::fs::read_to_string(docs).expect("the documentation");
    let row = |begins: &str| -> Vec<bool> {
        let line = docs.lines().find_map(|line| {
            let cells = line.strip_prefix("| ")?;
            cells.starts_with(begins).then_some(cells)
        });
        let line = line.unwrap_or_else(|| panic!("no row begins with {begins:?}"));
        let cells = line.trim_end_matches('|').split('|').skip(1);
        cells.map(|cell| cell.trim() == "yes").collect()
    };
    for route in airlock_server::ROUTES {
        let name = format!("{} {}", route.method, route.path);
        let named = ROLES.iter().filter(|(_, routes)| routes.contains(&&*name));
        let rows: Vec<&str> = named.map(|(row, _)| *row).collect();
        let roles: Vec<String> = route.access.roles().iter().map(|r| r.to_string()).collect();
        let may = ["viewer", "caller", "operator", "approver"]
            .map(|role| roles.iter().any(|other| other == role));
        match (rows.as_slice(), roles.is_empty()) {
            // An administrator's alone, or nobody's in particular.
            ([], true) => {}
            ([begins], false) => assert_eq!(row(begins), may, "{name}: {begins}"),
            (rows, _) => panic!("{name} is in the rows {rows:?}, for {roles:?}"),
        }
    }
    let all = ROLES.iter().map(|(_, routes)| routes.len()).sum::<usize>();
    let with_roles = airlock_server::ROUTES.iter();
    let with_roles = with_roles.filter(|route| !route.access.roles().is_empty());
    assert_eq!(with_roles.count(), all, "a route is gone");
}

#[test]
fn workflows_are_checked_with_their_places() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("wrong.yaml");
    std::fs::write(&file, "steps:\n  - id: a\n    tol: x/y\n").expect("a file");
    let path = file.to_str().expect("UTF-8");
    let output = airlock(&["workflow", "check", path]);
    assert_eq!(output.status.code(), Some(9));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        said.contains(&format!("{path}:3:5: there is no `tol` in a step")),
        "{said}"
    );
    std::fs::write(&file, "steps: [{ id: a, tool: x/y }]\n").expect("a file");
    assert!(text(&["workflow", "check", path]).contains("nothing is wrong"));
    assert!(text(&["workflow", "schema"]).contains("\"$schema\""));
    let days = [
        "--from",
        "2026-05-01",
        "--to",
        "2026-05-03",
        "--every",
        "1d",
        "--dry-run",
    ];
    let listed = text(&[&["workflow", "backfill", path][..], &days].concat());
    assert_eq!(listed.lines().count(), 2, "{listed}");
    for (to, code, says) in [
        (
            "2026-05-02T06:00:00Z",
            Some(0),
            "2026-05-02T00:00:00Z to 2026-05-02T06:00:00Z is no whole interval",
        ),
        ("2026-05-01T12:00:00Z", Some(2), "no whole interval"),
        ("2100-01-01", Some(2), "more than 1000 intervals"),
    ] {
        let days = [
            "--from",
            "2026-05-01",
            "--to",
            to,
            "--every",
            "1d",
            "--dry-run",
        ];
        let output = airlock(&[&["workflow", "backfill", path][..], &days].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), code, "{to}: {said}");
        assert!(said.contains(says), "{to}: {said}");
    }
    let ahead = [
        "--from",
        "2100-01-01",
        "--to",
        "2100-01-02",
        "--every",
        "1d",
    ];
    let output = airlock(&[&["workflow", "backfill", path][..], &ahead].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not over yet"), "{said}");
}
