//! Using what belongs to others: secrets, the environment, another plugin's kv.

use serde_json::{Value, json};

use super::super::ground::Ground;
use super::{Attack, Expect, Seen, got, members, nothing, refused_by};
use crate::client::Request;

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        attack!(evil: "evil-prober", $name, $tool, $input, $expect)
    };
    (evil: $guest:literal, $name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack::new("authority", $guest, ($name, $tool), $input, $expect)
    };
}

fn secret(ground: &Ground, path: &str, place: &str) -> Value {
    json!({ "url": format!("http://{}{path}", ground.peers.granted), "name": "selftest-key", "place": place })
}

/// A raw request with a placeholder, by what it changes of an innocent one.
fn placed(ground: &Ground, change: &Value) -> Value {
    let mut input = json!({
        "scheme": "http", "authority": ground.peers.granted.to_string(), "path": "/pieces",
        "secret": "selftest-key", "amount": 1,
    });
    let members = change.as_object().into_iter().flatten();
    for (name, value) in members {
        input[name] = value.clone();
    }
    input
}

const HEADER: [[&str; 2]; 1] = [["authorization", "Bearer PLACEHOLDER"]];

/// An answer came, the secret had been sent in a header, and is not in it.
fn redacted(seen: &Seen<'_>) -> bool {
    let text = seen.body["output"].to_string();
    let (in_header, _) = seen.ground.peers.used();
    let status = [
        &seen.body["output"]["data"]["status"],
        &seen.body["output"]["status"],
    ];
    // `canary` in base64, and the last bits of the value.
    let encoded = text.contains("Y2FuYXJ5") || text.contains("*4=");
    in_header > 0 && status.iter().any(|status| **status == 200) && text.contains("***") && !encoded
}

const NOT_SENT: Expect = Expect::Answer("denied", |v| v["error"] == "ErrorCode::HttpRequestDenied");

pub(super) const ATTACKS: &[Attack] = &[
    attack!(
        "reads the environment",
        "environment",
        nothing,
        Expect::Answer("only what was granted", |v| {
            v["vars"]
                .as_object()
                .is_some_and(|vars| vars.len() == 1 && vars.contains_key("GRANTED"))
        })
    ),
    attack!(
        "reads the arguments",
        "arguments",
        nothing,
        Expect::Answer("none", |v| v["arguments"]
            .as_array()
            .is_some_and(Vec::is_empty))
    ),
    attack!(
        "has a secret echoed back",
        "secret",
        |g| secret(g, "/echo", "header"),
        Expect::After("redacted", redacted)
    ),
    attack!(
        "has a secret echoed back in base64",
        "secret",
        |g| secret(g, "/echo64", "header"),
        Expect::After("redacted", redacted)
    ),
    attack!(
        "has a secret echoed back from the query",
        "secret",
        |g| secret(g, "/echo", "query"),
        Expect::After("redacted", |seen| redacted(seen)
            && seen.ground.peers.used().1 > 0)
    ),
    attack!(
        evil: "evil-http",
        "has a secret echoed back in pieces",
        "read_in_pieces",
        |g| placed(g, &json!({ "headers": HEADER })),
        Expect::After("redacted", redacted)
    ),
    attack!(
        "sends a secret's placeholder in a path",
        "secret",
        |g| secret(g, "/echo", "path"),
        Expect::Denied("http")
    ),
    attack!(
        "sends a secret's placeholder in a body",
        "secret",
        |g| secret(g, "/post", "body"),
        Expect::Denied("http")
    ),
    attack!(
        "sends a secret where it is not bound",
        "secret",
        |g| secret(g, "/ok", "header"),
        Expect::Denied("http")
    ),
    attack!(
        "asks for a secret it was not granted",
        "secret",
        |g| {
            json!({ "url": format!("http://{}/ok", g.peers.granted), "name": "other-key", "place": "header" })
        },
        Expect::Denied("secrets")
    ),
    attack!(
        evil: "evil-http",
        "sends a secret's placeholder as a header's name",
        "place_secret",
        |g| placed(g, &json!({ "headers": [["PLACEHOLDER", "1"]] })),
        NOT_SENT
    ),
    attack!(
        evil: "evil-http",
        "sends a secret's placeholder as the host",
        "place_secret",
        |g| placed(g, &json!({ "authority": "PLACEHOLDER.test" })),
        NOT_SENT
    ),
    attack!(
        evil: "evil-http",
        "posts a secret's placeholder where the secret is bound",
        "place_secret",
        |g| placed(g, &json!({ "method": "POST", "body": "PLACEHOLDER" })),
        NOT_SENT
    ),
    attack!(
        evil: "evil-http",
        "sends a secret to another host",
        "place_secret",
        |g| placed(g, &json!({ "authority": g.peers.canary.to_string(), "headers": HEADER })),
        NOT_SENT
    ),
    attack!(
        "keeps what it was granted",
        "kv_put",
        |_| json!({ "bucket": "own", "key": "a", "bytes": 10 }),
        Expect::Answer("kept", got)
    ),
    attack!(
        "reads what it kept",
        "kv_get",
        |_| json!({ "bucket": "own", "key": "a" }),
        Expect::Answer("its ten bytes", |v| got(v) && v["data"] == 10)
    ),
    attack!(
        evil: "evil-host",
        "reads another plugin's bucket, which has the name of its own",
        "kv_get",
        |_| json!({ "bucket": "own", "key": "a" }),
        Expect::Answer("nothing there", |v| v == &json!({ "ok": null }))
    ),
    attack!(
        evil: "evil-host",
        "fills one bucket by many calls at once",
        "kv_fill",
        |_| json!({ "bucket": "own", "amount": 1_000 }),
        Expect::After("all end at the quota together", |seen| {
            let error = seen.body["output"]["error"].as_str().unwrap_or_default();
            let kept = kept(seen.ground, "evil-host");
            error.contains("64KiB") && (50..=64).contains(&kept)
        })
    )
    .calls(6),
    attack!(
        evil: "evil-host",
        "looks for the process it runs in",
        "environment",
        nothing,
        Expect::Answer("there is none", |v| {
            let empty = |name: &str| v[name].as_array().is_some_and(Vec::is_empty);
            empty("environment") && empty("arguments") && v["initial_cwd"].is_null()
        })
    ),
    attack!(
        evil: "evil-host",
        "reads standard input",
        "stdin",
        nothing,
        Expect::Answer("empty", |v| v == &json!({ "ok": 0 }))
    ),
    attack!(
        evil: "evil-host",
        "looks for a terminal",
        "terminals",
        nothing,
        Expect::Answer("none", |v| v == &json!([false, false, false]))
    ),
    attack!(
        evil: "evil-host",
        "reads configuration it was not granted",
        "settings",
        |_| json!({ "bucket": "", "key": "currency" }),
        Expect::Answer("refused", |v| {
            members(v).is_some_and(|mut all| all.all(|(_, told)| told["error"].is_string()))
        })
    ),
    attack!(
        "reads a bucket it was not granted",
        "kv_get",
        |_| json!({ "bucket": "others", "key": "a" }),
        Expect::Denied("kv")
    ),
    attack!(
        "names another's bucket by tricks",
        "kv_get",
        |_| json!({ "bucket": "../neighbour/kept", "key": "a" }),
        Expect::Denied("kv")
    ),
    attack!(
        "writes more than its kv quota",
        "kv_put",
        |_| json!({ "bucket": "own", "key": "a", "bytes": 512 << 10 }),
        Expect::Denied("kv")
    ),
    attack!(
        "uses a very long key",
        "kv_put",
        |_| json!({ "bucket": "own", "key": "k".repeat(100_000), "bytes": 1 }),
        Expect::Answer("refused", |v| refused_by(v, &["at most 1024"]))
    ),
];

/// How many keys a guest's own bucket holds.
fn kept(ground: &Ground, guest: &str) -> u64 {
    let path = format!("/v1/tools/{guest}/kv_list");
    let request = Request::json("POST", path, &json!({ "bucket": "own" }));
    let reply: Option<Value> = ground.server.api().value(&request).ok();
    reply
        .and_then(|reply| reply["output"]["ok"].as_u64())
        .unwrap_or_default()
}
