//! Administration: versions, grants, policies, tokens, secrets, audit.

use std::path::Path;

use airlock_runtime::Role;
use airlock_server::ServerConfig;
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn an_install_is_a_job_that_reports_when_done() {
    let server = Server::start().await;
    let begun = server
        .admin("POST", "/v1/plugins?name=echo", guests::echo())
        .await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let location = begun.header("location").expect("a location").to_owned();
    let ended = server
        .admin("GET", &format!("{location}?wait=true"), "")
        .await
        .json();
    assert_eq!(
        (&ended["state"], &ended["installed"]["active"]),
        (&json!("succeeded"), &json!(true)),
        "{ended}"
    );
    let wrong = format!(
        "/v1/plugins?name=x&wait=true&digest=sha256:{}",
        "0".repeat(64)
    );
    assert_eq!(
        server.admin("POST", &wrong, guests::echo()).await.verdict(),
        "422 digest-mismatch"
    );
    let plugins = server.admin("GET", "/v1/plugins", "").await.json();
    assert_eq!(plugins["plugins"][0]["name"], "echo");
    let tools = server.admin("GET", "/v1/tools", "").await.json();
    assert_eq!(
        tools["tools"][0]["input_schema"],
        json!({ "type": "object" }),
        "{tools}"
    );
    assert_eq!(
        server
            .admin("DELETE", "/v1/plugins/echo?why=done", "")
            .await
            .json(),
        json!({ "plugin": "echo", "uninstalled": true, "erased": { "namespaces": 0, "pairs": 0, "bytes": 0 } })
    );
    assert_eq!(
        server.admin("GET", "/v1/plugins/echo", "").await.verdict(),
        "404 plugin-not-found"
    );
    assert_eq!(
        server
            .admin("POST", "/v1/tools/echo/run", "1")
            .await
            .verdict(),
        "404 plugin-not-found"
    );
    let components = server.runtime.config().components_dir();
    assert_eq!(
        std::fs::read_dir(components).expect("lists").count(),
        0,
        "its component went with it"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_waits_for_an_administrator_and_changed_claims_for_a_new_grant() {
    let server = Server::start().await;
    let operator = server.token("op", &[Role::Operator], None).await;
    let first = server.install("echo", guests::echo()).await;
    let first = first["installed"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    server
        .grant(
            "echo",
            json!({ "effects": { "run": "idempotent" } }),
            json!({}),
        )
        .await;
    let target = "/v1/plugins?name=echo&wait=true";
    let added = server
        .with(&operator, "POST", target, guests::echo_read_only())
        .await
        .json();
    assert_eq!(added["installed"]["active"], false, "{added}");
    let changed = &added["installed"]["changes"]["changed_effects"][0];
    assert_eq!(
        (&changed["tool"], &changed["to"]["read_only"]),
        (&json!("run"), &json!(true)),
        "{added}"
    );
    assert_eq!(changed["refused"], true, "its class is granted: {added}");
    let second = added["installed"]["digest"].as_str().expect("a digest");
    let look = |digest: &str| format!("/v1/plugins/echo?digest={digest}");
    let before = server.admin("GET", &look(second), "").await.json();
    assert_eq!(before["digest"], second, "{before}");
    assert_eq!(before["tools"][0]["claim"]["read_only"], true, "{before}");
    let active = before["versions"].as_array().expect("a list");
    assert!(
        active
            .iter()
            .any(|one| one["digest"] != second && one["active"] == true),
        "{before}"
    );
    for (digest, expect) in [
        ("sha256:00", "400 bad-name"),
        (
            &format!("sha256:{}", "0".repeat(64)),
            "404 version-not-found",
        ),
    ] {
        let refused = server.admin("GET", &look(digest), "").await;
        assert_eq!(refused.verdict(), expect);
    }
    let taken = server
        .with(
            &operator,
            "POST",
            &format!("{target}&activate=true"),
            guests::echo_other(),
        )
        .await;
    assert_eq!(taken.verdict(), "403 forbidden");
    let second = added["installed"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let body = json!({ "digest": second, "why": "new" }).to_string();
    assert_eq!(
        server
            .admin("POST", "/v1/plugins/echo/activate", body)
            .await
            .status,
        200
    );
    let refused = server.admin("POST", "/v1/tools/echo/run", "1").await;
    assert_eq!(refused.verdict(), "409 effects-changed");
    still_refused(&server, &second).await;
    server
        .grant(
            "echo",
            json!({ "effects": { "run": "read-only" } }),
            json!({}),
        )
        .await;
    assert_eq!(
        server.admin("POST", "/v1/tools/echo/run", "1").await.status,
        200
    );
    let back = json!({ "digest": first }).to_string();
    assert_eq!(
        server
            .admin("POST", "/v1/plugins/echo/activate", back)
            .await
            .verdict(),
        "409 downgrade"
    );
    let back = json!({ "digest": first, "downgrade": true }).to_string();
    assert_eq!(
        server
            .admin("POST", "/v1/plugins/echo/activate", back)
            .await
            .status,
        200
    );
    let plugin = server.admin("GET", "/v1/plugins/echo", "").await.json();
    assert_eq!(plugin["digest"], json!(first), "{plugin}");
    assert_eq!(plugin["versions"].as_array().expect("versions").len(), 2);
    // The class was granted for what the second claims: nothing of it is refused.
    let again = json!({ "digest": second }).to_string();
    let again = server.admin("POST", "/v1/plugins/echo/activate", again);
    let again = again.await.json();
    let changed = &again["changes"]["changed_effects"][0];
    assert_eq!(changed["tool"], "run", "{again}");
    let told = (&changed["refused"], &changed["vouched"]);
    assert_eq!(told, (&json!(false), &json!(true)), "{again}");
    let called = server.admin("POST", "/v1/tools/echo/run", "1").await;
    assert_eq!(called.status, 200, "{called:?}");
    server.stopped().await;
}

/// The class of `run` is granted for what it claimed before, until somebody says
/// that it is for this component.
async fn still_refused(server: &Server, digest: &str) {
    let grants = |more: Value| {
        let mut update = json!({ "grants": { "effects": { "run": "idempotent" } } });
        for (name, value) in more.as_object().expect("members") {
            update[name] = value.clone();
        }
        update
    };
    let path = "/v1/plugins/echo/grants";
    let back = format!("{path}/rollback");
    let policy = json!({ "plugins": { "echo": grants(json!({ "limits": { "cpu": "1s" } })) } });
    let seen = json!({ "expected_digest": digest });
    let pinned = json!({ "plugins": { "echo": { "digest": digest, "limits": { "cpu": "2s" },
        "grants": { "effects": { "run": "idempotent" } } } } });
    let table = [
        ("PUT", path, grants(json!({ "why": "less" })), false),
        ("POST", "/v1/policy/apply", policy, false),
        ("POST", &*back, json!({ "version": 1 }), false),
        ("PUT", path, grants(seen), true),
        // What it was granted for stays, too.
        ("PUT", path, grants(json!({})), true),
        ("POST", &*back, json!({ "version": 1 }), true),
        ("PUT", path, json!({}), true),
        ("POST", &*back, json!({ "version": 1 }), false),
        ("POST", "/v1/policy/apply", pinned, true),
    ];
    for (at, (method, path, body, called)) in table.into_iter().enumerate() {
        let changed = server.admin(method, path, body.to_string()).await;
        assert_eq!(changed.status, 200, "{at}: {changed:?}");
        let call = server.admin("POST", "/v1/tools/echo/run", "1").await;
        let expect = if called { "200" } else { "409 effects-changed" };
        assert_eq!(call.verdict(), expect, "{at}: {path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_have_a_history_and_survive_a_restart() {
    let server = Server::start().await;
    server.install("asks", guests::asks()).await;
    let color = |value: &str| json!({ "config": [{ "key": "color", "value": value }] });
    server
        .grant("asks", color("red"), json!({ "cpu": "1s" }))
        .await;
    server.grant("asks", color("blue"), json!({})).await;
    let revoked = server
        .admin("DELETE", "/v1/plugins/asks/grants?why=incident", "")
        .await
        .json();
    assert_eq!(
        (&revoked["version"], &revoked["grants"]),
        (&json!(3), &json!({}))
    );
    let body = json!({ "version": 1, "why": "it was right" }).to_string();
    let back = server
        .admin("POST", "/v1/plugins/asks/grants/rollback", body)
        .await
        .json();
    assert_eq!(
        (&back["version"], &back["restored"], &back["grants"]),
        (&json!(4), &json!(1), &color("red"))
    );
    assert_eq!(back["limits"]["cpu"], "1s");
    let history = server
        .admin("GET", "/v1/plugins/asks/grants/history?limit=3", "")
        .await
        .json();
    let actions: Vec<&Value> = history["versions"]
        .as_array()
        .expect("versions")
        .iter()
        .map(|version| &version["action"])
        .collect();
    assert_eq!(actions, ["rollback", "revoke", "set"]);
    assert_eq!(history["versions"][1]["why"], "incident");
    assert_eq!(history["next_before"], 2);
    let rest = server
        .admin("GET", "/v1/plugins/asks/grants/history?before=2", "")
        .await
        .json();
    assert_eq!(rest["versions"][0]["version"], 1);
    assert_eq!(rest["next_before"], Value::Null, "{rest}");
    let admin = server.admin.clone();
    let again = Server::start_in(server.stopped().await, ServerConfig::default()).await;
    let kept = again
        .with(&admin, "GET", "/v1/plugins/asks/grants", "")
        .await
        .json();
    assert_eq!(
        (&kept["version"], &kept["grants"]),
        (&json!(4), &color("red"))
    );
    let call = again
        .with(&admin, "POST", "/v1/tools/asks/run", "1")
        .await
        .json();
    assert_eq!(
        (&call["output"], &call["denials"]),
        (&json!(1), &Value::Null),
        "{call}"
    );
    assert_eq!(again.runtime.first_token_file(), None, "one first token");
    again.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_compared_and_applied_as_one_text() {
    let server = Server::start().await;
    let first = server.install("asks", guests::asks()).await;
    server.install("echo", guests::echo()).await;
    let digest = first["installed"]["digest"].as_str().expect("a digest");
    let policy = format!(
        "[plugins.asks]\nsource = \"asks.wasm\"\ndigest = \"{digest}\"\n\
         [plugins.asks.grants]\nconfig = [{{ key = \"color\", value = \"red\" }}]\neffects = {{ run = \"read-only\" }}\n\
         [plugins.asks.limits]\nrate = \"5/s\"\n"
    );
    let bearer = format!("Bearer {}", server.admin);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/toml"),
    ];
    let send = async |path: &str| server.send("POST", path, &headers, policy.clone()).await;
    let diff = send("/v1/policy/diff").await.json();
    let text = diff["text"].as_str().expect("text");
    expect_test::expect![[r#"
        asks
          + grants.config {"key":"color","value":"red"}
          + grants.effects.run read-only
          ~ limits.rate 60000/min -> 5/s
        not in the policy, left as they are: echo
    "#]]
    .assert_eq(text);
    let applied = send("/v1/policy/apply?why=review").await;
    assert_eq!(
        applied.json()["grants_versions"],
        json!({ "asks": 1 }),
        "{applied:?}"
    );
    let again = send("/v1/policy/diff").await.json();
    assert_eq!(again["empty"], true, "{again}");
    assert_eq!(
        send("/v1/policy/apply").await.json()["grants_versions"],
        json!({})
    );
    let grants = server
        .admin("GET", "/v1/plugins/asks/grants", "")
        .await
        .json();
    assert_eq!(
        (&grants["action"], &grants["why"]),
        (&json!("policy"), &json!("review"))
    );
    let wrong = policy
        .replace("confg", "config")
        .replace("config =", "confg =");
    let wrong = server
        .send("POST", "/v1/policy/diff", &headers, wrong)
        .await;
    assert_eq!(
        (wrong.verdict().as_str(), &wrong.json()["line"]),
        ("400 invalid-policy", &json!(5))
    );
    assert!(
        wrong.json()["detail"]
            .as_str()
            .expect("text")
            .contains("did you mean `config`?")
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_in_and_tokens_end() {
    let server = Server::start().await;
    let set = server
        .admin("PUT", "/v1/secrets/contracts-key", "s3cr3t-value")
        .await;
    assert_eq!(set.json()["version"], 1, "{set:?}");
    let list = server.admin("GET", "/v1/secrets", "").await;
    assert_eq!(list.json()["secrets"][0]["name"], "contracts-key");
    assert!(!String::from_utf8_lossy(&list.body).contains("s3cr3t"));
    assert_eq!(
        server
            .admin("DELETE", "/v1/secrets/contracts-key", "")
            .await
            .status,
        204
    );
    let outcomes: Vec<Value> = server
        .audited("admin.secret.set")
        .await
        .iter()
        .map(|record| record["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["asked", "ok"]);
    let body = r#"{"principal":"short","roles":["viewer"],"expires_in_s":1}"#;
    let token = server.admin("POST", "/v1/tokens", body).await.json();
    let text = token["token"].as_str().expect("a token").to_owned();
    server
        .eventually("the token expires", async || {
            server.with(&text, "GET", "/v1/whoami", "").await.status == 401
        })
        .await;
    let audit = server.admin("GET", "/v1/audit/export", "").await;
    let export = String::from_utf8(audit.body.to_vec()).expect("utf-8");
    assert!(!export.contains("s3cr3t") && !export.contains(&text));
    assert!(export.lines().count() > 4);
    let verified = server.admin("POST", "/v1/audit/verify", "").await.json();
    assert_eq!(
        (&verified["ok"], &verified["findings"]),
        (&json!(true), &json!([]))
    );
    let page = server.admin("GET", "/v1/audit?limit=2", "").await.json();
    assert_eq!(page["records"].as_array().expect("records").len(), 2);
    assert!(page["next"].is_u64());
    let rebuilt = server.admin("POST", "/v1/views/rebuild", "").await.json();
    assert!(rebuilt["records"].as_u64().expect("a number") > 4);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_token_that_administers_is_not_revoked_unasked() {
    let server = Server::start().await;
    let first = server.admin.split('_').nth(1).expect("an id").to_owned();
    // None of these could take its place.
    server.token("other", &[Role::Operator], None).await;
    server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    let revoke = |id: &str, query: &str| format!("/v1/tokens/{id}{query}");
    let refused = server.admin("DELETE", &revoke(&first, ""), "").await;
    assert_eq!(refused.verdict(), "409 last-admin");

    let second = server.token("second", &[Role::Admin], None).await;
    let revoked = server.admin("DELETE", &revoke(&first, ""), "").await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let own = second.split('_').nth(1).expect("an id");
    let refused = server.with(&second, "DELETE", &revoke(own, ""), "").await;
    assert_eq!(refused.verdict(), "409 last-admin");
    let asked = server
        .with(&second, "DELETE", &revoke(own, "?last=true"), "")
        .await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let after = server.with(&second, "GET", "/v1/whoami", "").await;
    assert_eq!(after.status, 401);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_changed_on_disk_does_not_run() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 2] = [
        ("component-altered", |file| {
            std::fs::write(file, guests::spin()).expect("writes");
        }),
        ("component-missing", |file| {
            std::fs::remove_file(file).expect("removes");
        }),
    ];
    for (code, damage) in damages {
        let server = Server::start().await;
        server.install("echo", guests::echo()).await;
        let config = server.runtime.config().clone();
        let dir = server.stopped().await;
        std::fs::remove_dir_all(config.cache_dir()).expect("removes the cache");
        for entry in std::fs::read_dir(config.components_dir()).expect("lists") {
            damage(&entry.expect("an entry").path());
        }
        let again = Server::start_in(dir, ServerConfig::default()).await;
        let call = async || again.admin("POST", "/v1/tools/echo/run", "1").await;
        let answer = call().await;
        assert_eq!(answer.verdict(), format!("500 {code}"), "{answer:?}");
        let detail = answer.json()["detail"].as_str().expect("text").to_owned();
        assert!(
            detail.contains("sha256:") && detail.contains("plugin add"),
            "{detail}"
        );
        let audit = again.admin("GET", "/v1/audit", "").await.json();
        let records = audit["records"].as_array().expect("records");
        let record = records
            .iter()
            .find(|record| record["action"] == "call.done");
        assert_eq!(record.expect("a record")["outcome"], code, "{audit}");
        again.install("echo", guests::echo()).await;
        assert_eq!(call().await.status, 200);
        again.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_has_the_last_word_on_what_a_tool_is_said_to_do() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let described = async || {
        let tools = server.admin("GET", "/v1/tools", "").await.json();
        let inspected = server.admin("GET", "/v1/plugins/echo", "").await.json();
        let own = inspected["tools"][0]["own_description"].clone();
        (tools["tools"][0].clone(), own)
    };
    let component = "Test guest";
    let (tool, own) = described().await;
    assert_eq!(
        (&tool["description"], &own),
        (&json!(component), &Value::Null)
    );

    let set = async |descriptions: Value| {
        let body = json!({ "descriptions": descriptions }).to_string();
        server.admin("PUT", "/v1/plugins/echo/grants", body).await
    };
    assert_eq!(
        set(json!({ "run": "Answers its input." })).await.status,
        200
    );
    let (tool, own) = described().await;
    assert_eq!(tool["description"], "Answers its input.");
    assert!(!tool.to_string().contains(component), "{tool}");
    assert_eq!(own, component, "who administers sees both");

    // It is part of the version: gone with one, back with another, kept by a
    // revocation and by another component.
    assert_eq!(set(json!({})).await.status, 200);
    assert_eq!(described().await.0["description"], component);
    let rollback = "/v1/plugins/echo/grants/rollback";
    assert_eq!(server.admin("POST", rollback, "").await.status, 200);
    let grants = "/v1/plugins/echo/grants";
    assert_eq!(server.admin("DELETE", grants, "").await.status, 200);
    server.install("echo", guests::echo_other()).await;
    assert_eq!(described().await.0["description"], "Answers its input.");

    let policy = "[plugins.echo.descriptions]\nrun = \"Echoes.\"\n";
    let bearer = format!("Bearer {}", server.admin);
    let toml = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/toml"),
    ];
    let diff = server
        .send("POST", "/v1/policy/diff", &toml, policy)
        .await
        .json();
    let change = &diff["diff"]["plugins"][0]["changes"][0];
    assert_eq!(
        (&change["path"], &change["from"], &change["to"]),
        (
            &json!("descriptions.run"),
            &json!("Answers its input."),
            &json!("Echoes.")
        ),
        "{diff}"
    );
    let applied = server.send("POST", "/v1/policy/apply", &toml, policy).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    assert_eq!(described().await.0["description"], "Echoes.");

    let long = "x".repeat(4_097);
    for (descriptions, complaint) in [
        (json!({ "rum": "?" }), "did you mean `run`?"),
        (json!({ "run": "" }), "1 to 4096"),
        (json!({ "run": long }), "1 to 4096"),
        (
            json!({ "run": "a\u{1b}[2J" }),
            "characters that are not seen",
        ),
    ] {
        let refused = set(descriptions).await;
        assert_eq!(refused.verdict(), "422 invalid-grants");
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(complaint), "{detail}");
    }
    server.stopped().await;
}
