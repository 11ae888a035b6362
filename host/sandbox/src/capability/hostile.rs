//! Attacks on the smaller rooms by a real component through the whole sandbox,
//! each beside a well-behaved neighbour. The guest is `tests/guests/evil-host`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::call::{CallError, CallReport};
use crate::limits::{ByteSize, Limits, Span};
use crate::sandbox::Plugin;
use crate::testing::{ECHO, TestSandbox, built, guest, request, sandbox};
use crate::{CallRequest, EffectClass};

const TOOLS: &[&str] = &[
    "log_lines",
    "log_control",
    "log_long",
    "log_records",
    "progress_flood",
    "sleep_for",
    "sleep_until",
    "pollables",
    "poll_list",
    "streams",
    "clocks",
    "random_bytes",
    "insecure_bytes",
    "random_many",
    "environment",
    "stdin",
    "terminals",
    "sockets",
    "exit",
    "kv_set",
    "kv_get",
    "kv_fill",
    "kv_increment",
    "kv_list",
    "kv_append",
    "settings",
];

/// Far from what a slow machine needs.
fn patient() -> Limits {
    Limits {
        cpu: Span(Duration::from_secs(60)),
        wall: Span(Duration::from_secs(300)),
        ..Limits::default()
    }
}

struct Attack {
    sandbox: TestSandbox,
    neighbour: Arc<Plugin>,
}

impl Attack {
    fn begin() -> Self {
        let sandbox = sandbox();
        let neighbour = sandbox.plugin("echo", guest("", ECHO), "", patient(), &["echo"]);
        Self { sandbox, neighbour }
    }

    fn plugin(&self, name: &str, grants: &str, limits: Limits) -> Arc<Plugin> {
        self.sandbox
            .plugin(name, built("evil_host"), grants, limits, TOOLS)
    }

    async fn call(&self, plugin: &Arc<Plugin>, tool: &str, input: Value) -> CallReport {
        self.send(plugin, request(tool, &input.to_string())).await
    }

    /// Calls the plugin while its neighbour works.
    async fn send(&self, plugin: &Arc<Plugin>, call: CallRequest) -> CallReport {
        let sandbox = &self.sandbox.sandbox;
        let good = sandbox.call(&self.neighbour, request("echo", r#"{"n":1}"#));
        let (evil, good) = tokio::join!(sandbox.call(plugin, call), good);
        assert_eq!(good.result.as_deref(), Ok(r#"{"n":1}"#), "the neighbour");
        evil
    }
}

fn answer(report: &CallReport) -> Value {
    let text = report.result.as_ref().expect("an answer");
    serde_json::from_str(text).expect("JSON")
}

fn limit(report: &CallReport) -> String {
    match &report.result {
        Err(CallError::Limit { limit, value }) => format!("{limit} {value}"),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_stay_bounded_and_harmless() {
    let attack = Attack::begin();
    let limits = Limits {
        log: ByteSize(16 << 10),
        ..patient()
    };
    let plugin = attack.plugin("evil", "", limits);
    for (tool, amount) in [
        ("log_lines", 20_000),
        ("log_long", 3 << 20),
        ("log_records", 500),
        ("log_control", 0),
        ("progress_flood", 20_000),
    ] {
        let report = attack
            .call(&plugin, tool, json!({ "amount": amount }))
            .await;
        answer(&report);
        let text = report.log.iter().flat_map(|record| {
            let fields = record.fields.iter().flat_map(|(key, value)| [key, value]);
            fields.chain([&record.message])
        });
        let bytes = text.inspect(|text| assert!(!text.contains(char::is_control), "{text:?}"));
        let bytes: usize = bytes.map(String::len).sum();
        assert!(bytes <= (16 << 10) + 200, "{tool}: {bytes}");
        assert!(report.denials.is_empty(), "{tool}");
    }
    let report = attack
        .call(&plugin, "log_lines", json!({ "amount": 5_000 }))
        .await;
    let last = report.log.last().expect("a note");
    assert_eq!(
        last.message,
        "limit log reached (16KiB): the rest was dropped"
    );
    let kept = report.log.len() as u64;
    let lost: u64 = last.fields[0].1.parse().expect("a number");
    assert!(
        kept - 1 <= 10_000 && kept - 1 + lost >= 10_000,
        "{kept} {lost}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_is_shown_as_what_it_is() {
    let attack = Attack::begin();
    let plugin = attack.plugin("evil", "", patient());
    let report = attack.call(&plugin, "log_control", json!({})).await;
    let shown: Vec<String> = report
        .log
        .iter()
        .map(|record| format!("{}: {} {:?}", record.level, record.message, record.fields))
        .collect();
    expect_test::expect![[r#"
        [
            "stdout: a []",
            "stderr: a []",
            "stdout: ERROR forged\\r\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{202e}\\u{2028}\\u{0}end��� []",
            "info: a\\nERROR forged\\r\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{202e}\\u{2028}\\u{0}end [(\"a\\\\nERROR forged\\\\r\\\\u{1b}[2J\\\\u{1b}]0;t\\\\u{7}\\\\u{9b}31m\\\\u{202e}\\\\u{2028}\\\\u{0}end\", \"a\\\\nERROR forged\\\\r\\\\u{1b}[2J\\\\u{1b}]0;t\\\\u{7}\\\\u{9b}31m\\\\u{202e}\\\\u{2028}\\\\u{0}end\")]",
            "stderr: ERROR forged\\r\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{202e}\\u{2028}\\u{0}end []",
        ]
    "#]].assert_debug_eq(&shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sleep_outlasts_the_deadline() {
    let attack = Attack::begin();
    // Loading the component is a part of the first call's time.
    let first = attack.plugin("first", "", patient());
    answer(&attack.call(&first, "clocks", json!({})).await);
    let wall = Span(Duration::from_millis(300));
    let plugin = attack.plugin("evil", "", Limits { wall, ..patient() });
    let started = std::time::Instant::now();
    for tool in ["sleep_for", "sleep_until"] {
        let report = attack
            .call(&plugin, tool, json!({ "amount": u64::MAX }))
            .await;
        assert_eq!(limit(&report), "wall 300ms", "{tool}");
        assert!(report.usage.wall_us >= 300_000, "{:?}", report.usage);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    let plugin = attack.plugin("patient", "", patient());
    let report = attack
        .call(&plugin, "sleep_for", json!({ "amount": 1_000_000 }))
        .await;
    assert_eq!(answer(&report), json!({ "woke": true }));
    let clocks = answer(&attack.call(&plugin, "clocks", json!({})).await);
    assert_eq!(clocks["went_back"], false);
    let since = clocks["monotonic_ns"].as_u64().expect("a number");
    assert!(
        since < 300_000_000_000,
        "the clock begins with the call: {since}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn randomness_and_handles_have_their_limits() {
    let attack = Attack::begin();
    let limits = Limits {
        random: ByteSize(1 << 20),
        handles: 200,
        ..patient()
    };
    let plugin = attack.plugin("evil", "", limits);
    let random = "random 1MiB";
    for (tool, amount, ends) in [
        ("random_bytes", 1_000_000, None),
        ("random_bytes", (1 << 20) + 1, Some(random)),
        ("random_bytes", u64::MAX, Some(random)),
        ("insecure_bytes", 1_000_000, None),
        ("insecure_bytes", 1 << 62, Some(random)),
        ("random_many", 250, None),
        ("random_many", 1_000_000, Some(random)),
        ("pollables", 50, None),
        ("pollables", 1_000_000, Some("handles 200")),
        ("streams", 50, None),
        ("streams", 1_000_000, Some("handles 200")),
        ("poll_list", 150, None),
        ("poll_list", 10_000, Some("handles 200")),
        ("poll_list", 5_000_000, Some("host_memory 16MiB")),
    ] {
        let report = attack
            .call(&plugin, tool, json!({ "amount": amount }))
            .await;
        match ends {
            None => assert!(
                report.result.is_ok(),
                "{tool} {amount}: {:?}",
                report.result
            ),
            Some(expected) => assert_eq!(limit(&report), expected, "{tool} {amount}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_host_process_is_seen() {
    let attack = Attack::begin();
    let grants = r#"
        env = [{ name = "TZ", value = "UTC" }]
        config = [{ key = "currency", value = "CHF" }]
    "#;
    let granted = attack.plugin("granted", grants, patient());
    let bare = attack.plugin("bare", "", patient());
    assert!(
        std::env::vars_os().count() > 1,
        "there is something to find"
    );
    for (plugin, expected) in [(&granted, json!([["TZ", "UTC"]])), (&bare, json!([]))] {
        let seen = answer(&attack.call(plugin, "environment", json!({})).await);
        assert_eq!(seen["environment"], expected);
        assert_eq!(seen["std_vars"], expected.as_array().expect("a list").len());
        assert_eq!(
            (&seen["arguments"], &seen["std_args"]),
            (&json!([]), &json!(0))
        );
        assert_eq!(seen["initial_cwd"], Value::Null);
        assert!(seen["std_exe"]["error"].is_string(), "{seen}");
        let stdin = attack.call(plugin, "stdin", json!({})).await;
        assert_eq!(answer(&stdin), json!({ "ok": 0 }));
        let terminals = attack.call(plugin, "terminals", json!({})).await;
        assert_eq!(answer(&terminals), json!([false, false, false]));
    }
    let key = |key: &str| json!({ "bucket": "", "key": key });
    let one = answer(&attack.call(&granted, "settings", key("currency")).await);
    assert_eq!(
        one,
        json!({ "one": { "ok": "CHF" }, "all": { "ok": [["currency", "CHF"]] } })
    );
    let other = answer(&attack.call(&granted, "settings", key("other")).await);
    assert_eq!(other["one"], json!({ "ok": null }));
    let report = attack.call(&bare, "settings", key("currency")).await;
    assert!(answer(&report)["one"]["error"].is_string(), "{report:?}");
    assert_eq!(report.denials.len(), 2, "{:?}", report.denials);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_refused_before_they_exist() {
    let attack = Attack::begin();
    let open =
        "http = [{ url = \"http://127.0.0.1/*\", methods = [\"GET\"], allow_private = true }]";
    for (name, grants) in [("bare", ""), ("with-http", open)] {
        let plugin = attack.plugin(name, grants, patient());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address").to_string();
        let input = json!({ "address": address, "name": "localhost" });
        let report = attack.call(&plugin, "sockets", input).await;
        for (way, outcome) in answer(&report).as_object().expect("an object") {
            assert!(outcome["error"].is_string(), "{name} {way}: {outcome}");
        }
        let accepted = listener.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(
            accepted,
            Err(std::io::ErrorKind::WouldBlock),
            "nobody connected"
        );
        let tried: Vec<&str> = report
            .denials
            .iter()
            .map(|d| d.operation.as_str())
            .collect();
        let all = [
            "look up localhost",
            "create a UDP socket",
            "create a TCP socket",
        ];
        assert_eq!(tried, all);
        assert!(
            report
                .denials
                .iter()
                .all(|denial| denial.capability == "sockets")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_ends_the_call_and_is_no_success() {
    let attack = Attack::begin();
    let plugin = attack.plugin("evil", "", patient());
    for (amount, status) in [(0, 0), (1, 1), (77, 1)] {
        let report = attack
            .call(&plugin, "exit", json!({ "amount": amount }))
            .await;
        let told = report.result.expect_err("it is no success").to_string();
        let exited = format!("the tool exited with status {status} instead of answering");
        let outcome = if status == 0 {
            "outcome unknown: "
        } else {
            "permanent: "
        };
        assert!(told.starts_with(&format!("{outcome}{exited}")), "{told}");
    }
    let report = attack.call(&plugin, "clocks", json!({})).await;
    assert!(report.result.is_ok(), "the next call is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_its_quota_to_the_byte() {
    let attack = Attack::begin();
    let rule = r#"kv = [{ bucket = "b", bytes = "1000B", keys = 3 }]"#;
    let plugin = attack.plugin("evil", rule, patient());
    let set = |key: &str, amount: usize| json!({ "bucket": "b", "key": key, "amount": amount });
    for (key, amount, fits) in [
        ("k", 999, true),
        ("k", 1_000, false),
        ("j", 0, false),
        ("k", 900, true),
        ("j", 98, true),
        ("i", 0, false),
        ("k", 10, true),
        ("i", 1, true),
        ("h", 1, false),
    ] {
        let report = attack.call(&plugin, "kv_set", set(key, amount)).await;
        let outcome = answer(&report);
        assert_eq!(
            outcome.get("ok").is_some(),
            fits,
            "{key} {amount}: {outcome}"
        );
        assert_eq!(report.denials.is_empty(), fits, "{:?}", report.denials);
    }
    let rule = r#"kv = [{ bucket = "f", bytes = "64KiB", keys = 100000 }]"#;
    let filler = attack.plugin("filler", rule, patient());
    let report = attack
        .call(&filler, "kv_fill", json!({ "bucket": "f", "amount": 1000 }))
        .await;
    assert_eq!(answer(&report)["keys"], 64, "{:?}", report.result);
    let listed = attack
        .call(&filler, "kv_list", json!({ "bucket": "f" }))
        .await;
    assert_eq!(answer(&listed), json!({ "ok": 64 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plugin_or_principal_reads_anothers_bucket() {
    let attack = Attack::begin();
    let rule = r#"kv = [{ bucket = "own" }, { bucket = "all", scope = "plugin" }]"#;
    let (p, q) = (
        attack.plugin("p", rule, patient()),
        attack.plugin("q", rule, patient()),
    );
    let bare = attack.plugin("bare", "", patient());
    let by = |principal: &str, tool: &str, bucket: &str| CallRequest {
        principal: principal.to_owned(),
        ..request(
            tool,
            &json!({ "bucket": bucket, "key": "k", "value": "secret" }).to_string(),
        )
    };
    for bucket in ["own", "all"] {
        let report = attack.send(&p, by("alice", "kv_set", bucket)).await;
        assert_eq!(answer(&report), json!({ "ok": "set" }));
    }
    let (secret, none) = (json!({ "ok": "secret" }), json!({ "ok": null }));
    for (plugin, principal, bucket, sees) in [
        (&p, "alice", "own", &secret),
        (&p, "alice", "all", &secret),
        (&p, "bob", "own", &none),
        (&p, "bob", "all", &secret),
        (&q, "alice", "own", &none),
        (&q, "alice", "all", &none),
    ] {
        let report = attack.send(plugin, by(principal, "kv_get", bucket)).await;
        assert_eq!(
            &answer(&report),
            sees,
            "{} {principal} {bucket}",
            plugin.name()
        );
    }
    for bucket in ["own", "all", "other", "../own", ""] {
        let report = attack.send(&bare, by("alice", "kv_get", bucket)).await;
        assert!(answer(&report)["error"].is_string(), "{bucket}: {report:?}");
        assert_eq!(report.denials[0].capability, "kv");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_and_swaps_of_many_calls_all_count() {
    let attack = Attack::begin();
    let rule = r#"kv = [{ bucket = "b", scope = "plugin" }]"#;
    let plugin = attack.plugin("counter", rule, patient());
    let input = |tool: &str| {
        let input = json!({ "bucket": "b", "key": tool, "amount": 25, "value": "x" });
        request(tool, &input.to_string())
    };
    let sandbox = &attack.sandbox.sandbox;
    let calls = (0..20).flat_map(|_| ["kv_increment", "kv_append"]);
    let calls = calls.map(|tool| sandbox.call(&plugin, input(tool)));
    for report in futures_util::future::join_all(calls).await {
        answer(&report);
    }
    for (key, expected) in [
        ("kv_increment", "500".to_owned()),
        ("kv_append", "x".repeat(500)),
    ] {
        let report = attack
            .call(&plugin, "kv_get", json!({ "bucket": "b", "key": key }))
            .await;
        assert_eq!(answer(&report), json!({ "ok": expected }));
    }
    let read_only = CallRequest {
        class: EffectClass::ReadOnly,
        ..input("kv_increment")
    };
    let report = attack.send(&plugin, read_only).await;
    assert!(
        matches!(report.result, Err(CallError::Denied(_))),
        "{:?}",
        report.result
    );
}
