//! What happens at the edges of a change: a client that leaves in the middle of
//! it, and a call that begins while it is made.

use std::time::Duration;

use airlock_runtime::Role;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::guests;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_client_leaves_is_in_force_or_was_never_made() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    for n in 0..40 {
        let body = json!({ "limits": { "concurrency": n + 1 } }).to_string();
        let request = format!(
            "PUT /v1/plugins/echo/grants HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            server.admin,
            body.len()
        );
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        // At another moment of the change each time.
        tokio::time::sleep(Duration::from_micros(n * 100)).await;
        drop(stream);
    }
    let last = server.grant("echo", json!({}), json!({})).await["version"].clone();
    assert!(last.as_u64() > Some(1), "no change came through: {last}");
    let history = "/v1/plugins/echo/grants/history?limit=1";
    let stored = server.admin("GET", history, "").await.json();
    assert_eq!(stored["versions"][0]["version"], last, "{stored}");
    // A restart finds what was in force.
    let in_force = server.admin("GET", "/v1/plugins/echo/grants", "").await;
    let dir = server.stopped().await;
    let again = Server::start_in(dir, Default::default()).await;
    let found = again.admin("GET", "/v1/plugins/echo/grants", "").await;
    assert_eq!(found.json(), in_force.json());
    again.stopped().await;
}

/// A backup breaks off when its token is revoked, and is not taken for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_parts_ends_with_its_token() {
    let server = Server::start().await;
    // More than what a connection holds of it: a component with 32 MiB that say nothing.
    let mut component = guests::echo().to_vec();
    component.extend([0, 0x85, 0x80, 0x80, 0x10, 4]);
    component.extend(b"none");
    component.extend(std::iter::repeat_n(0, 32 << 20));
    server.install("large", component.into()).await;
    let token = server.token("anna", &[Role::Admin], None).await;
    let whole = server.with(&token, "POST", "/v1/backup", "").await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert!(whole.body.len() > 32 << 20, "{}", whole.body.len());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let request = format!(
        "POST /v1/backup HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut begins = [0; 12];
    stream.read_exact(&mut begins).await.expect("it begins");
    assert_eq!(&begins, b"HTTP/1.1 200");
    let id = token.split('_').nth(1).expect("its id");
    let revoked = server
        .admin("DELETE", &format!("/v1/tokens/{id}"), "")
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let mut rest = Vec::new();
    // It may be told as an end or as an error of the connection.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 32 << 20, "{}", rest.len());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it is not told as whole");
    server.stopped().await;
}

/// Calls a plugin for the first time and revokes its grants `after`; tells what
/// the call was denied in the end.
async fn revoked_at_the_first_call(server: &Server, name: &str, after: Duration) -> bool {
    let target = format!("/v1/tools/{name}/run");
    let (answer, ()) = tokio::join!(server.admin("POST", &target, "1"), async {
        tokio::time::sleep(after).await;
        let grants = format!("/v1/plugins/{name}/grants");
        assert_eq!(server.admin("DELETE", &grants, "").await.status, 200);
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["denials"][0]["capability"] == "config"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_begins_while_grants_are_taken_away_does_not_keep_them() {
    let server = Server::start().await;
    let delays = [0, 3, 6, 10, 15, 20, 30, 40];
    let mut dirs = Vec::new();
    for (n, _) in delays.iter().enumerate() {
        // Preparing it for its first call takes a while: its files are counted.
        let dir = tempfile::tempdir().expect("a directory");
        for file in 0..5_000 {
            std::fs::write(dir.path().join(file.to_string()), "").expect("writes");
        }
        let name = format!("asks{n}");
        server.install(&name, guests::asks_late()).await;
        let grants = json!({
            "config": [{ "key": "color", "value": "red" }],
            "files": [{ "host": dir.path(), "guest": "/d", "access": "read-write" }],
        });
        server.grant(&name, grants, json!({ "wall": "50s" })).await;
        dirs.push(dir);
    }
    let server = &server;
    let calls = delays.iter().enumerate().map(|(n, ms)| async move {
        let after = Duration::from_millis(*ms);
        revoked_at_the_first_call(server, &format!("asks{n}"), after).await
    });
    let denied = futures_util::future::join_all(calls).await;
    assert_eq!(denied, [true; 8], "after {delays:?} ms");
}

/// What a name is granted later is not for calls of the plugin that had it before.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_removed_plugin_gets_nothing_of_the_next_one() {
    let server = Server::start().await;
    server.install("asks", guests::asks_late()).await;
    let grants = json!({ "config": [{ "key": "color", "value": "red" }] });
    let limits = json!({ "wall": "50s" });
    server.grant("asks", grants.clone(), limits.clone()).await;
    let (answer, ()) = tokio::join!(server.admin("POST", "/v1/tools/asks/run", "1"), async {
        server.a_call_runs().await;
        let removed = server.admin("DELETE", "/v1/plugins/asks", "").await;
        assert_eq!(removed.status, 200, "{removed:?}");
        server.install("asks", guests::echo()).await;
        server.grant("asks", grants, limits).await;
        let other = server.admin("POST", "/v1/tools/asks/run", "1").await;
        assert_eq!(other.status, 200, "{other:?}");
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let denials = answer.json()["denials"].clone();
    assert_eq!(denials[0]["capability"], "config", "{answer:?}");
    server.stopped().await;
}
