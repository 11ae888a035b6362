//! What each hostile guest is granted: enough to try to get more.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ground::Ground;

/// The grants of a guest.
pub(super) fn grants(ground: &Ground, name: &str) -> Result<Value> {
    let text = match name {
        "evil-prober" => prober(ground),
        "evil-files" => files(ground),
        "evil-http" => http(ground),
        "evil-host" => "kv = [{ bucket = \"own\", bytes = \"64KiB\" }]".to_owned(),
        _ => String::new(),
    };
    let table: toml::Table = toml::from_str(&text).context("a grant of the self-test")?;
    Ok(serde_json::to_value(table)?)
}

/// Tight where an attack goes on until it is ended; else far from what a slow
/// machine needs for what must come of it.
pub(super) fn limits(name: &str) -> Value {
    match name {
        "evil-files" | "evil-host" => json!({ "cpu": "10s", "wall": "60s" }),
        "evil-http" => json!({ "cpu": "5s", "wall": "5s" }),
        "evil-resources" => json!({ "cpu": "200ms", "wall": "5s", "concurrency": 256 }),
        _ => json!({ "cpu": "200ms", "wall": "5s" }),
    }
}

fn prober(ground: &Ground) -> String {
    format!(
        r#"
        files = [
            {{ host = "{ro}", guest = "/ro", access = "read" }},
            {{ host = "{rw}", guest = "/rw", access = "read-write", bytes = "1MiB", files = 100 }},
        ]
        http = [
            {{ url = "http://{peer}/echo", methods = ["GET"], allow_private = true, secret = "selftest-key" }},
            {{ url = "http://{peer}/echo64", methods = ["GET"], allow_private = true, secret = "selftest-key" }},
            {{ url = "http://{peer}/post", methods = ["POST"], allow_private = true, secret = "selftest-key" }},
            {{ url = "http://{peer}/ok", methods = ["GET"], allow_private = true }},
            {{ url = "http://{peer}/redirect", methods = ["GET"], allow_private = true }},
            {{ url = "http://{peer}/drip", methods = ["GET"], allow_private = true }},
            {{ url = "http://{peer}/big", methods = ["GET"], allow_private = true, response_bytes = "1MiB" }},
            {{ url = "http://{canary}/private" }},
            {{ url = "http://localhost:{port}/private" }},
            {{ url = "{own}/**", allow_private = true }},
        ]
        kv = [{{ bucket = "own", bytes = "64KiB" }}]
        env = [{{ name = "GRANTED", value = "1" }}]
        "#,
        ro = ground.folder("ro").display(),
        rw = ground.folder("rw").display(),
        peer = ground.peers.granted,
        canary = ground.peers.canary,
        port = ground.peers.canary.port(),
        own = ground.server.base(),
    )
}

fn files(ground: &Ground) -> String {
    let rule = |folder: &str, guest: &str, more: &str| {
        let host = ground.folder(folder);
        format!("{{ host = {host:?}, guest = {guest:?}, {more} }}")
    };
    let small = r#"access = "read-write", bytes = "1MiB", files = 100"#;
    let rules = [
        rule("ro", "/ro", r#"access = "read""#),
        rule("rw", "/theirs", r#"access = "read""#),
        rule("raw", "/raw", small),
        rule("full", "/full", small),
        rule("gone", "/gone", small),
        rule("many", "/many", small),
        rule("deep", "/deep", r#"access = "read-write", files = 1000"#),
        rule("race", "/race", r#"access = "read-write""#),
    ];
    format!("files = [{}]", rules.join(", "))
}

fn http(ground: &Ground) -> String {
    let peer = ground.peers.granted;
    let rule = |path: &str, more: &str| {
        format!("{{ url = \"http://{peer}{path}\", allow_private = true{more} }}")
    };
    let secret = r#", methods = ["GET", "POST"], secret = "selftest-key""#;
    let rules = [
        rule("/ok", ""),
        rule("/never", ""),
        rule("/headers", ""),
        rule("/pieces", secret),
    ];
    format!("http = [{}]", rules.join(", "))
}
