use std::fs;

use airlock_sdk::Error;
use airlock_sdk::http::Response;
use airlock_sdk::testing::{Host, call};
use semver::{Version, VersionReq};
use serde_json::{Value, json};

use super::{PLUGIN, range};

const LOCK: &str = r#"
version = 4

[[package]]
name = "alpha"
version = "1.2.3"
source = "registry+https://example.com/index"

[[package]]
name = "alpha"
version = "0.9.0"
source = "registry+https://example.com/index"

[[package]]
name = "beta"
version = "2.0.0-rc.1"
source = "registry+https://example.com/index"

[[package]]
name = "own"
version = "0.1.0"
"#;

fn advisory(id: &str, package: &str, patched: &[&str], cvss: Option<&str>) -> Value {
    json!({ "id": id, "package": package, "date": "2026-01-02", "title": "t", "informational": null,
        "withdrawn": false, "cvss": cvss, "aliases": [], "url": "https://example.com/a",
        "patched": patched, "unaffected": [], "description": "long" })
}

const HIGH: Option<&str> = Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N");
const LOW: Option<&str> = Some("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N");

/// What a check of the lock file above finds in a feed of these lines.
fn check(lines: &[String], more: Value) -> Result<Value, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = folder.path().join("Cargo.lock");
    fs::write(&lock, LOCK).expect("written");
    let feed = lines.join("\n");
    let host = Host::new().http(move |request| {
        assert_eq!(request.url, "https://feed.test/all.jsonl");
        Ok(Response::new(200).with_body(feed.clone()))
    });
    let mut input = json!({ "feed": "https://feed.test/all.jsonl", "lock": lock });
    let fields = input.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    host.run(|| call(&PLUGIN, "check", input))
}

/// The findings as `id package version`.
fn found(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .map(|one| {
            [
                text(&one["id"]),
                text(&one["package"]),
                text(&one["version"]),
            ]
            .join(" ")
        })
        .collect()
}

#[test]
fn what_applies_is_found_the_worst_first() {
    let mut withdrawn = advisory("A-5", "alpha", &[], HIGH);
    withdrawn["withdrawn"] = json!("2026-02-02");
    let mut unmaintained = advisory("A-6", "alpha", &[], None);
    unmaintained["informational"] = json!("unmaintained");
    let mut unsound = advisory("A-7", "beta", &[], None);
    unsound["informational"] = json!("unsound");
    let mut unaffected = advisory("A-8", "alpha", &[], HIGH);
    unaffected["unaffected"] = json!(["< 1.0.0"]);
    let lines: Vec<String> = [
        advisory("A-1", "alpha", &[">= 1.2.4"], LOW),
        advisory("A-2", "alpha", &[">= 1.2.3", "^0.9"], HIGH),
        advisory("A-3", "beta", &[">= 2.0.0"], HIGH),
        advisory("A-4", "own", &[], HIGH),
        withdrawn,
        unmaintained,
        unsound,
        unaffected,
        advisory("A-9", "gamma", &[], HIGH),
    ]
    .iter()
    .map(Value::to_string)
    .chain(["{\"id\": 7}".to_owned(), String::new()])
    .collect();
    let report = check(&lines, json!({})).expect("a report");
    let wanted = [
        "A-3 beta 2.0.0-rc.1",
        "A-8 alpha 1.2.3",
        "A-1 alpha 0.9.0",
        "A-1 alpha 1.2.3",
        "A-7 beta 2.0.0-rc.1",
    ];
    assert_eq!(found(&report), wanted, "{report:#}");
    assert_eq!(
        (
            &report["packages"],
            &report["advisories"],
            &report["unreadable"],
            &report["cut"]
        ),
        (&json!(2), &json!(9), &json!(1), &json!(false))
    );
    assert_eq!(report["findings"][0]["score"], 7.5);
    assert_eq!(report["findings"][0]["severity"], "high");

    let all = check(&lines, json!({ "informational": true })).expect("a report");
    assert!(
        found(&all).contains(&"A-6 alpha 1.2.3".to_owned()),
        "{all:#}"
    );
    let one = check(&lines, json!({ "limit": 1 })).expect("a report");
    assert_eq!((found(&one).len(), &one["cut"]), (1, &json!(true)));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_harmless() {
    let lines = [advisory("A-1", "alpha", &["about 2"], None).to_string()];
    let report = check(&lines, json!({})).expect("a report");
    assert_eq!(found(&report).len(), 2, "{report:#}");
    assert_eq!(
        report["findings"][0]["unreadable_ranges"],
        json!(["about 2"])
    );
    assert_eq!(report["findings"][0]["severity"], "unknown");

    let nothing = check(&["<html>".to_owned()], json!({})).unwrap_err();
    assert_eq!(nothing.code(), "permanent", "{nothing}");
    let limit = check(&lines, json!({ "limit": 0 })).unwrap_err();
    assert_eq!(limit.code(), "invalid-input", "{limit}");
}

#[test]
fn a_pre_release_is_a_version_like_any_other() {
    for (range, version, covered) in [
        (">= 1.2.4", "1.3.0-rc.1", true),
        (">= 1.3.0", "1.3.0-rc.1", false),
        ("< 1.3.0", "1.3.0-rc.1", true),
        (">= 1.0.0, < 1.3.0", "1.3.0-rc.1", true),
        ("<= 1.2", "1.2.9-rc.1", true),
        ("> 1.2", "1.2.9-rc.1", false),
        ("=1.3.0", "1.3.0-rc.1", false),
        ("=1.3.0-rc.1", "1.3.0-rc.1", true),
        ("^1.2", "1.3.0-rc.1", true),
        ("^1.3.0", "1.3.0-rc.1", false),
        ("^2", "1.3.0-rc.1", false),
        ("~1.3", "1.3.1-rc.1", true),
        ("> 0.3.0", "0.3.0", false),
        ("*", "0.3.0-a", true),
    ] {
        let wanted = VersionReq::parse(range).expect("a range");
        let version = Version::parse(version).expect("a version");
        assert_eq!(
            range::covers(&wanted, &version),
            covered,
            "{range} {version}"
        );
    }
}
