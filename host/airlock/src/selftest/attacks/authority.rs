//! Using what belongs to others: secrets, the environment, another plugin's kv.

use serde_json::{Value, json};

use super::super::ground::{CANARY, Ground};
use super::super::nothing;
use super::{Attack, Expect, refused};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack {
            class: "authority",
            name: $name,
            guest: "evil-prober",
            tool: $tool,
            input: $input,
            expect: $expect,
        }
    };
}

fn secret(ground: &Ground, path: &str, place: &str) -> Value {
    json!({ "url": format!("http://{}{path}", ground.peers.granted), "name": "selftest-key", "place": place })
}

/// Whether an answer came, and the secret is not in it.
fn came_without_the_secret(answer: &Value) -> bool {
    answer["data"]["status"] == 200 && !answer.to_string().contains(CANARY)
}

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
        Expect::Answer("redacted", came_without_the_secret)
    ),
    attack!(
        "has a secret echoed back in base64",
        "secret",
        |g| secret(g, "/echo64", "header"),
        Expect::Answer("redacted", |v| {
            v["data"]["status"] == 200 && !v.to_string().contains("Y2FuYXJ5")
        })
    ),
    attack!(
        "has a secret echoed back from the query",
        "secret",
        |g| secret(g, "/echo", "query"),
        Expect::Answer("redacted", came_without_the_secret)
    ),
    attack!(
        "sends a secret's placeholder in a path",
        "secret",
        |g| secret(g, "/echo", "path"),
        Expect::Answer("refused", refused)
    ),
    attack!(
        "sends a secret's placeholder in a body",
        "secret",
        |g| secret(g, "/post", "body"),
        Expect::After("not the secret", |_, _, body| {
            !body.to_string().contains(CANARY)
        })
    ),
    attack!(
        "sends a secret where it is not bound",
        "secret",
        |g| secret(g, "/ok", "header"),
        Expect::Answer("refused", refused)
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
        Expect::Answer("refused", refused)
    ),
    attack!(
        "uses a very long key",
        "kv_put",
        |_| json!({ "bucket": "own", "key": "k".repeat(100_000), "bytes": 1 }),
        Expect::Answer("refused", refused)
    ),
];
