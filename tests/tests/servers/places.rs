//! What is the same as for tools in sandboxes, and where it shows that it is none.

use airlock::client::{Api, Remote, Request};
use serde_json::{Value, json};

use crate::{Host, can_start, counted, notes, processes, program, text, wait_for};

#[test]
fn a_server_is_marked_wherever_it_shows() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    assert_eq!(host.says("echo", json!({ "text": "hi" })), "hi");
    assert_eq!(
        host.says("add", json!({ "a": 1, "b": 2 })),
        r#"{"sum":3.0}"#
    );
    let api = host.api();
    let plugins = api.get("/v1/plugins").expect("plugins");
    assert_eq!(plugins["plugins"][0]["sandboxed"], false, "{plugins}");
    let detail = host.plugin("notes");
    assert_eq!(detail["sandboxed"], false, "{detail}");
    assert_eq!(detail["server"]["landlock"], "files, network", "{detail}");
    assert_eq!(detail["server"]["server"]["command"], program(), "{detail}");
    let tools = api.get("/v1/tools").expect("tools");
    let tools = tools["tools"].as_array().expect("a list");
    assert_eq!(tools.len(), 15);
    assert!(
        tools.iter().all(|tool| tool["sandboxed"] == false),
        "{tools:?}"
    );
    let grants = api.get("/v1/plugins/notes/grants").expect("grants");
    assert_eq!(grants["sandboxed"], false, "{grants}");
    let installs = host.audited("admin.plugin.install");
    assert_eq!(installs[0]["detail"]["sandboxed"], false, "{installs:?}");
    let calls = host.audited("call.done");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(
        calls
            .iter()
            .all(|call| call["detail"]["sandboxed"] == false),
        "{calls:?}"
    );
    let listed = over_mcp(&host);
    let echo = listed
        .as_array()
        .expect("tools")
        .iter()
        .find(|tool| tool["name"] == "notes__echo");
    let echo = echo.expect("it is offered");
    assert_eq!(echo["_meta"]["airlock/sandboxed"], false, "{echo}");
    assert!(
        text(echo, "description").contains("Not sandboxed"),
        "{echo}"
    );
    assert_eq!(echo["annotations"]["openWorldHint"], true, "{echo}");
}

pub fn over_mcp(host: &Host) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    let request = Request::json("POST", "/mcp", &body)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list");
    let reply: Value = host.api().value(&request).expect("a list");
    reply["result"]["tools"].clone()
}

#[test]
fn a_call_ends_as_a_call_of_any_tool_does() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    let long = "x".repeat(3 << 20);
    host.set(
        "notes",
        json!({
            "limits": { "wall": "1s", "output": "1KiB", "input": "2MiB" },
            "grants": { "effects": { "look": "idempotent", "put": "read-only" } },
        }),
    );
    let table = [
        ("echo", json!({ "text": "hi" }), "hi"),
        ("fail", json!({}), "permanent permanent: it can't be done"),
        (
            "echo",
            json!("hi"),
            "invalid-input invalid input: a tool of an MCP server takes a JSON object",
        ),
        (
            "nothing",
            json!({}),
            "tool-not-found `notes` has no tool `nothing`",
        ),
        ("echo", json!({ "text": long }), "body-too-large"),
        (
            "big",
            json!({ "bytes": 2_000 }),
            "permanent permanent: the server's answer is of no use: its result has more than 1024 bytes",
        ),
        (
            "wait",
            json!({ "ms": 60_000 }),
            "unknown outcome unknown: the server was asked, and its answer is lost: it did not answer in time",
        ),
        (
            "die",
            json!({}),
            "unknown outcome unknown: the server was asked, and its answer is lost: the server's program ended (exit status: 3)",
        ),
        ("echo", json!({ "text": "again" }), "again"),
    ];
    for (tool, input, expect) in table {
        let said = host.says(tool, input);
        assert!(said.starts_with(expect), "{tool}: {said}");
    }
    host.set(
        "notes",
        json!({ "grants": { "effects": { "die": "idempotent" } } }),
    );
    let said = host.says("die", json!({}));
    assert!(
        said.starts_with("transient transient: the server's answer is lost"),
        "{said}"
    );
}

#[test]
fn a_call_with_a_key_happens_once() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    let call = || {
        let request = Request::json("POST", "/v1/tools/notes/count", &json!({}));
        host.api()
            .send(&request.header("idempotency-key", "k-1"))
            .expect("a reply")
    };
    let (first, again) = (call(), call());
    assert_eq!(
        (first.status, first.body.clone()),
        (again.status, again.body)
    );
    assert_eq!(counted(&host.own("notes")), 1);
}

#[test]
fn no_rule_is_granted_that_would_hold_nothing_back() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    for grants in [
        json!({ "files": [{ "host": "/srv", "guest": "/x", "access": "read" }] }),
        json!({ "http": [{ "url": "https://a.test/*" }] }),
        json!({ "kv": [{ "bucket": "b" }] }),
    ] {
        let (status, problem) = host.ask(
            "PUT",
            "/v1/plugins/notes/grants",
            &json!({ "grants": grants }),
        );
        assert_eq!(status, 422, "{problem}");
        assert!(
            text(&problem, "detail").contains("is not sandboxed"),
            "{problem}"
        );
    }
    // So nothing is said to be denied, and no rule is named that would be refused.
    for (capability, operation, tool) in [
        ("files", "read /etc/passwd", Value::Null),
        ("http", "GET https://a.test/", Value::Null),
        ("kv", "set b k", json!("echo")),
    ] {
        let asked = json!({ "capability": capability, "operation": operation, "tool": tool });
        let (status, answer) = host.ask("POST", "/v1/plugins/notes/explain", &asked);
        let expect = json!({
            "allowed": true, "sandboxed": false, "rule": null,
            "because": "no grant holds it back: it is an MCP server, which is not sandboxed",
            "capability": capability, "operation": answer["operation"],
        });
        assert_eq!((status, answer), (200, expect), "{capability}");
    }
}

#[test]
fn only_who_may_everything_brings_in_a_server() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    let as_token = |roles: Value, plugins: Value| {
        let body = json!({ "principal": "ann", "roles": roles, "plugins": plugins });
        let (status, made) = host.ask("POST", "/v1/tokens", &body);
        assert!(status < 300, "{made}");
        Api::Remote(Remote::new(host.server().base(), &text(&made, "token")))
    };
    let operator = as_token(json!(["operator"]), Value::Null);
    let limited = as_token(json!(["admin"]), json!(["notes"]));
    let request = || {
        Request::json(
            "POST",
            "/v1/plugins/notes/mcp?wait=true",
            &json!({ "server": notes(), "check": true }),
        )
    };
    for (api, expect) in [(&operator, "forbidden"), (&limited, "outside-scope")] {
        let reply = api.send(&request()).expect("a reply");
        assert_eq!(reply.status, 403);
        assert!(String::from_utf8_lossy(&reply.body).contains(expect));
    }
    // A version that is there is put in force by nobody else either.
    let mut fewer = notes();
    fewer["tools"] = json!(["echo"]);
    let installed = host.install("notes", &json!({ "server": fewer }));
    assert_eq!(installed["active"], false, "{installed}");
    let activate = json!({ "digest": installed["digest"] });
    let reply = limited.send(&Request::json(
        "POST",
        "/v1/plugins/notes/activate",
        &activate,
    ));
    assert_eq!(reply.expect("a reply").status, 403);
    // The same as a document, by the way of components.
    let digest = text(&host.plugin("notes"), "digest").replacen(':', "-", 1);
    let file = host
        .data
        .join("components")
        .join(digest)
        .with_extension("wasm");
    let document = std::fs::read(file).expect("what was pinned");
    for (api, status) in [(&operator, 403), (&limited, 403), (&host.api(), 201)] {
        let path = "/v1/plugins?name=notes&wait=true";
        let sent = Request::bytes("POST", path, "application/wasm", document.clone());
        let reply = api.send(&sent).expect("a reply");
        assert_eq!(
            reply.status,
            status,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
    }
}

#[test]
fn what_makes_no_sense_is_not_installed() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let data = host.data.to_str().expect("UTF-8").to_owned();
    let with = |member: &str, value: Value| {
        let mut server = notes();
        server[member] = value;
        json!({ "server": server })
    };
    let hostile =
        |case: &str| json!({ "server": { "command": program(), "args": ["hostile", case] } });
    let table = [
        (json!({}), 404, "plugin-not-found"),
        (
            json!({ "server": {} }),
            422,
            "bad-server the MCP server can't be installed: name one of",
        ),
        (with("command", json!("server")), 422, "bad-server"),
        (with("read", json!([data])), 422, "Airlock's data directory"),
        (
            with("read", json!([format!("{data}/journal")])),
            422,
            "Airlock's data directory",
        ),
        (with("env", json!({ "A": "Not A Name" })), 400, "bad-name"),
        (
            with("env", json!({ "A": "absent" })),
            502,
            "there is no secret `absent`",
        ),
        (
            with("command", json!("/no/such/server")),
            502,
            "/no/such/server is not there",
        ),
        (
            with("tools", json!(["absent"])),
            502,
            "it lists no tool `absent`",
        ),
        (
            hostile("exits at once"),
            502,
            "it wrote: no \\u{1b}[2Jlicence",
        ),
        (hostile("lists a name with a line end"), 502, "`do\\u{a}it`"),
        (
            hostile("hides words in a description"),
            502,
            "that are not seen",
        ),
        (
            hostile("hides words in a description"),
            502,
            "in `tools` (--tool)",
        ),
        (hostile("writes a banner"), 502, "no message"),
    ];
    for (request, status, expect) in table {
        let found = host.refused("notes", &request);
        assert_eq!(found.0, status, "{request}: {found:?}");
        assert!(found.1.contains(expect), "{request}: {found:?}");
    }
    assert!(host.audited("admin.plugin.install").is_empty());
}

#[test]
fn what_is_halted_or_removed_ends_its_program() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    // A mark of its own, by which its processes are found.
    let mark = format!("mark-{}", std::process::id());
    host.install("notes", &json!({ "server": { "command": "/bin/sh", "args": ["-c", format!("exec {} good", program()), &mark], "read": [program()] } }));
    let first = host.says("environment", json!({}));
    assert!(
        !first.contains("HOME") && !first.contains("AIRLOCK"),
        "{first}"
    );
    let alive = || {
        processes("good").iter().any(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == host.own("notes"))
        })
    };
    assert!(alive());
    let (status, halted) = host.ask(
        "POST",
        "/v1/halt",
        &json!({ "halted": true, "plugin": "notes" }),
    );
    assert_eq!(status, 200, "{halted}");
    wait_for("it ends with the halt", || !alive());
    assert!(host.says("echo", json!({})).starts_with("halted "));
    host.ask(
        "POST",
        "/v1/halt",
        &json!({ "halted": false, "plugin": "notes" }),
    );
    assert_eq!(host.says("echo", json!({ "text": "on" })), "on");
    host.ask("POST", "/v1/halt", &json!({ "halted": true }));
    wait_for("it ends with everything", || !alive());
    host.ask("POST", "/v1/halt", &json!({ "halted": false }));
    assert_eq!(host.says("count", json!({})), "1");
    let removed = host
        .api()
        .send(&Request::new("DELETE", "/v1/plugins/notes"));
    assert_eq!(removed.expect("a reply").status, 200);
    wait_for("it ends with its plugin", || !alive());
    assert!(!host.own("notes").exists(), "what it kept is gone");
}

#[test]
fn what_a_server_leaves_that_is_not_installed_is_found_by_nobody() {
    if !can_start() {
        return;
    }
    let mut host = Host::new();
    let all = host.data.join("mcp");
    let left = || -> Vec<String> {
        let entries = std::fs::read_dir(&all).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    };
    let planted = json!({ "command": program(), "args": ["hostile", "leaves a file and exits"] });
    let refused = host.refused("notes", &json!({ "server": planted }));
    assert_eq!(refused.0, 502, "{refused:?}");
    wait_for("its directory is gone", || left().is_empty());
    // Neither by the server itself, once it is a plugin.
    host.install("notes", &json!({ "server": notes(), "check": true }));
    host.install("notes", &json!({ "server": notes() }));
    assert_eq!(host.says("count", json!({})), "1");
    assert_eq!(left(), ["notes"]);
    // A change of it is tried where it is, and takes nothing away.
    host.refused("notes", &json!({ "server": planted }));
    assert_eq!(counted(&host.own("notes")), 1);
    for name in ["never", ".new-1", ".gone-1"] {
        std::fs::create_dir(all.join(name)).expect("made");
    }
    host.kill();
    host.start();
    wait_for("what belongs to nobody is gone", || left() == ["notes"]);
    assert_eq!(host.says("count", json!({})), "2");
    // What is kept of a plugin that was removed is kept until it is erased.
    let remove = |host: &Host, path: &str| {
        let reply = host.api().send(&Request::new("DELETE", path));
        reply.expect("a reply").status
    };
    let path = "/v1/plugins/notes?keep_data=true";
    assert_eq!(remove(&host, path), 200);
    host.kill();
    host.start();
    assert_eq!(left(), ["notes"]);
    assert_eq!(remove(&host, "/v1/plugins/notes"), 200);
    assert_eq!(left(), Vec::<String>::new());
    assert_eq!(remove(&host, "/v1/plugins/notes"), 404);
}

#[test]
fn a_call_in_flight_ends_with_a_halt_and_is_on_record() {
    if !can_start() {
        return;
    }
    let host = Host::with_notes();
    host.set(
        "notes",
        json!({ "limits": { "wall": "60s", "concurrency": 1, "queue": 0 } }),
    );
    let api = host.api();
    let calling = std::thread::spawn(move || {
        let request = Request::json("POST", "/v1/tools/notes/wait", &json!({ "ms": 60_000 }));
        api.send(&request).expect("a reply").status
    });
    wait_for("the call begins", || {
        host.own("notes").join("began").exists()
    });
    let beside = host.says("echo", json!({}));
    assert!(beside.starts_with("plugin-busy"), "{beside}");
    let halt = json!({ "halted": true, "plugin": "notes" });
    assert_eq!(host.ask("POST", "/v1/halt", &halt).0, 200);
    assert_eq!(calling.join().expect("it ends"), 503);
    let calls = host.audited("call.done");
    assert_eq!(calls[0]["outcome"], "cancelled", "{calls:?}");
    assert_eq!(calls[0]["detail"]["sandboxed"], false, "{calls:?}");
}

#[test]
fn a_program_ends_with_its_host() {
    if !can_start() {
        return;
    }
    let mut host = Host::with_notes();
    assert_eq!(host.says("echo", json!({ "text": "hi" })), "hi");
    let own = host.own("notes");
    let alive = || {
        processes("good")
            .iter()
            .any(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == own))
    };
    assert!(alive());
    host.kill();
    wait_for("it ends with its host", || !alive());
}

#[test]
fn a_variable_is_no_secret_and_part_of_what_is_pinned() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let with = |value: &str| {
        let mut server = notes();
        server["variables"] = json!({ "PORT": value });
        server
    };
    let first = host.install("notes", &json!({ "server": with("5432") }));
    let said = host.says("environment", json!({}));
    assert!(said.contains(r#"("PORT", "5432")"#), "{said}");
    assert_eq!(
        host.says("echo", json!({ "text": "invoice 1543299" })),
        "invoice 1543299"
    );
    let detail = host.plugin("notes");
    assert_eq!(detail["server"]["server"]["variables"]["PORT"], "5432");
    let second = host.install("notes", &json!({ "server": with("1"), "activate": true }));
    assert_ne!(first["digest"], second["digest"]);
    assert_eq!(second["sandboxed"], false);
    assert!(
        host.says("environment", json!({}))
            .contains(r#"("PORT", "1")"#)
    );
    let mut both = with("1");
    both["env"] = json!({ "PORT": "token" });
    let refused = host.refused("notes", &json!({ "server": both }));
    assert!(
        refused.1.contains("and in `variables`: keep one"),
        "{refused:?}"
    );
}

#[test]
fn a_secret_reaches_its_server_and_nobody_else() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let put = Request::bytes(
        "PUT",
        "/v1/secrets/token",
        "application/octet-stream",
        b"s3cret-\"value".to_vec(),
    );
    assert!(host.api().send(&put).expect("a reply").status < 300);
    let mut server = notes();
    server["env"] = json!({ "TOKEN": "token" });
    host.install("notes", &json!({ "server": server }));
    let said = host.says("environment", json!({}));
    assert!(said.contains("TOKEN") && said.contains("****"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let detail = host.plugin("notes").to_string();
    assert!(
        detail.contains("token") && !detail.contains("s3cret"),
        "{detail}"
    );
}
