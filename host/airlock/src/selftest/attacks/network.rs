//! Reaching what was not granted. The prober may GET from one peer on loopback;
//! a canary listens beside it and must never be reached.

use serde_json::{Value, json};

use super::super::ground::Ground;
use super::{Attack, Expect, refused};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack {
            class: "network",
            name: $name,
            guest: "evil-prober",
            tool: $tool,
            input: $input,
            expect: $expect,
        }
    };
}

/// A request for the canary, with its port put in for `PORT`.
macro_rules! canary {
    ($name:literal, $url:literal) => {
        attack!($name, "request", |ground| json!({ "url": at_canary(ground, $url) }), Expect::Answer("refused", refused))
    };
}

fn at_canary(ground: &Ground, url: &str) -> String {
    let peer = ground.peers.granted.port().to_string();
    url.replace("PORT", &ground.peers.canary.port().to_string())
        .replace("PEER", &peer)
}

fn at_peer(ground: &Ground, path: &str) -> Value {
    json!({ "url": format!("http://{}{path}", ground.peers.granted) })
}

fn canary_address(ground: &Ground) -> Value {
    json!({ "address": ground.peers.canary.to_string() })
}

pub(super) const ATTACKS: &[Attack] = &[
    attack!(
        "gets what it was granted",
        "request",
        |g| at_peer(g, "/ok"),
        Expect::Answer("the page", |v| v["data"]["text"] == "ok")
    ),
    attack!(
        "reaches another port on loopback",
        "request",
        |g| json!({ "url": at_canary(g, "http://127.0.0.1:PORT/") }),
        Expect::Denied("http")
    ),
    canary!("spells loopback as a name", "http://localhost:PORT/"),
    canary!("spells loopback in hexadecimal", "http://0x7f000001:PORT/"),
    canary!("spells loopback as one number", "http://2130706433:PORT/"),
    canary!("spells loopback in octal", "http://0177.0.0.1:PORT/"),
    canary!("spells loopback shortly", "http://127.1:PORT/"),
    canary!("uses the unspecified address", "http://0.0.0.0:PORT/"),
    canary!("uses IPv6 loopback", "http://[::1]:PORT/"),
    canary!("wraps loopback in IPv6", "http://[::ffff:127.0.0.1]:PORT/"),
    canary!(
        "puts the granted host into user-info",
        "http://127.0.0.1:PEER@127.0.0.1:PORT/"
    ),
    canary!(
        "puts the granted host into a fragment",
        "http://127.0.0.1:PORT/#@127.0.0.1:PEER/"
    ),
    canary!(
        "uses backslashes",
        "http://127.0.0.1:PORT\\@127.0.0.1:PEER/"
    ),
    canary!("uses a trailing dot", "http://127.0.0.1.:PORT/"),
    attack!(
        "asks the cloud's metadata service",
        "request",
        |_| json!({ "url": "http://169.254.169.254/latest/meta-data/" }),
        Expect::Denied("http")
    ),
    attack!(
        "asks the host's own API",
        "request",
        |g| json!({ "url": format!("{}/v1/plugins", g.server.base()) }),
        Expect::Denied("http")
    ),
    attack!(
        "is redirected to the canary",
        "request",
        |g| at_peer(g, "/redirect"),
        Expect::Answer("the redirect itself", |v| v["data"]["status"] == 302)
    ),
    attack!(
        "posts where it may get",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "post": true }),
        Expect::Denied("http")
    ),
    attack!(
        "asks for a path it was not granted",
        "request",
        |g| at_peer(g, "/private"),
        Expect::Denied("http")
    ),
    attack!(
        "climbs to a path it was not granted",
        "request",
        |g| at_peer(g, "/echo/../private"),
        Expect::Denied("http")
    ),
    attack!(
        "sets Host",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "header": ["host", "evil.test"] }),
        Expect::Answer("refused", refused)
    ),
    attack!(
        "splits a header",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "header": ["x-a", "b\r\nhost: evil.test"] }),
        Expect::Answer("refused", refused)
    ),
    attack!(
        "reads a body that never ends",
        "request",
        |g| at_peer(g, "/drip"),
        Expect::Limit("wall")
    ),
    attack!(
        "reads more than its response limit",
        "request",
        |g| at_peer(g, "/big"),
        Expect::After("refused or ended", |_, status, body| {
            status >= 400 || body["output"]["ok"] == false
        })
    ),
    attack!(
        "opens a TCP connection",
        "tcp",
        canary_address,
        Expect::Answer("refused", refused)
    ),
    attack!(
        "sends a UDP packet",
        "udp",
        canary_address,
        Expect::Answer("refused", refused)
    ),
    attack!(
        "uses names as a channel",
        "resolve",
        |_| json!({ "address": "stolen.evil.test:80" }),
        Expect::Answer("refused", refused)
    ),
];
