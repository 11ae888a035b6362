//! A server behind a URL.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use airlock::client::Request;
use serde_json::json;

use crate::{Host, counted, program};

/// The real server of the tests over HTTP; it ends with this.
struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving(dir: &Path) -> Serving {
    let mut child = Command::new(program())
        .arg("good-http")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut url = String::new();
    let out = child.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut url).expect("a line");
    Serving {
        child,
        url: url.trim().to_owned(),
    }
}

#[test]
fn a_server_at_a_url_is_a_plugin_too() {
    let host = Host::new();
    let dir = tempfile::tempdir().expect("a folder");
    let server = serving(dir.path());
    let at = json!({ "url": server.url, "allow_private": true });
    host.install("notes", &json!({ "server": at }));
    assert_eq!(host.says("echo", json!({ "text": "hi" })), "hi");
    assert_eq!(
        host.says("add", json!({ "a": 1, "b": 2 })),
        r#"{"sum":3.0}"#
    );
    assert_eq!(host.says("count", json!({})), "1");
    assert_eq!(counted(dir.path()), 1);
    assert_eq!(host.plugin("notes")["server"]["server"]["url"], server.url);
    drop(server);
    let gone = host.says("count", json!({}));
    assert!(
        gone.starts_with("transient transient: the server was not asked"),
        "{gone}"
    );
    assert_eq!(counted(dir.path()), 1);
}

#[test]
fn addresses_are_judged_and_the_hosts_own_is_never_reached() {
    let host = Host::new();
    let dir = tempfile::tempdir().expect("a folder");
    let server = serving(dir.path());
    let own = format!("{}/mcp", host.server().base());
    let named = own.replace("127.0.0.1", "localhost");
    let table = [
        (json!({ "url": server.url }), 422, "`http://`"),
        (
            json!({ "url": server.url.replace("http://", "https://") }),
            502,
            "needs `allow_private`",
        ),
        (
            json!({ "url": own, "allow_private": true }),
            502,
            "this host's own API",
        ),
        (
            json!({ "url": named, "allow_private": true }),
            502,
            "this host's own API",
        ),
        (
            json!({ "url": "http://169.254.169.254/mcp", "allow_private": true }),
            502,
            "metadata",
        ),
        (
            json!({ "url": "http://0.0.0.0:80/mcp", "allow_private": true }),
            502,
            "of no host",
        ),
        (
            json!({ "url": server.url, "allow_private": true, "headers": { "X-Key": "absent" } }),
            502,
            "there is no secret `absent`",
        ),
        (
            json!({ "url": server.url.replace("/mcp", "/elsewhere"), "allow_private": true }),
            502,
            "404",
        ),
    ];
    for (at, status, expect) in table {
        let found = host.refused("notes", &json!({ "server": at }));
        assert!(
            found.0 == status && found.1.contains(expect),
            "{at}: {found:?}"
        );
    }
}

#[test]
fn a_header_carries_a_secret() {
    let host = Host::new();
    let put = Request::bytes(
        "PUT",
        "/v1/secrets/key",
        "application/octet-stream",
        b"Bearer abc123".to_vec(),
    );
    assert!(host.api().send(&put).expect("a reply").status < 300);
    let dir = tempfile::tempdir().expect("a folder");
    let server = serving(dir.path());
    let at =
        json!({ "url": server.url, "allow_private": true, "headers": { "Authorization": "key" } });
    host.install("notes", &json!({ "server": at }));
    let said = host.says("authorization", json!({}));
    assert_eq!(
        said, "*************",
        "it came there, and does not come back"
    );
}
