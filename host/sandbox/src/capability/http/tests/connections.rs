//! Connections: used again, left early, closed by their peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::exchange::chunks;
use super::harness::{Say, Server, World, full, held, ok, request, until};
use crate::limits::ByteSize;

#[tokio::test]
async fn connections_are_used_again_and_never_by_another_plugin() {
    let (world, server) = (World::new(), Server::new(|_| ok("x")).await);
    let (one, other) = (
        world.plugin(&server.grant("")),
        world.plugin(&server.grant("")),
    );
    for round in 1..=3 {
        one.get(&server.url("/")).await.unwrap();
        until(|| one.prepared.idle_connections() == 1).await;
        assert_eq!((server.connections(), round), (1, round));
    }
    other.get(&server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
    until(|| other.prepared.idle_connections() == 1).await;
    other.get(&server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn connections_that_are_left_early_or_closed_are_not_used_again() {
    let world = World::new();
    let server = Server::new(|request| {
        if request.starts_with("GET /long") {
            return vec![
                Say::text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"),
                Say::Wait,
            ];
        }
        let mut says = ok("x");
        says.push(Say::Close);
        says
    })
    .await;
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let get = request("GET", &server.url("/long"), &[])
        .body(full(""))
        .unwrap();
    let response = call.begin(get, RequestOptions::default()).await.unwrap();
    assert!(held(&call) > ByteSize(0));
    drop(response);
    assert_eq!(held(&call), ByteSize(0));
    for expected in 2..=4 {
        assert_eq!(call.get(&server.url("/")).await.unwrap().text(), "x");
        assert_eq!(server.connections(), expected);
    }
}

/// A server that closes a connection when the second request comes on it. What
/// may be repeated is sent once more on another connection; what may not is not.
#[tokio::test]
async fn a_connection_closed_by_its_peer_costs_a_get_nothing() {
    type Body = fn() -> WasiBody;
    let cases: [(&str, Body, bool); 5] = [
        ("GET", || full(""), true),
        ("GET", || chunks(&[]), true),
        ("HEAD", || full(""), true),
        ("POST", || full(""), false),
        ("GET", || full("abc"), false),
    ];
    for (method, body, again) in cases {
        let heard = Arc::new(AtomicU32::new(0));
        let server = Server::new(move |request| match heard.fetch_add(1, Ordering::SeqCst) {
            1 => vec![Say::Close],
            _ if request.starts_with("HEAD") => vec![Say::text("HTTP/1.1 200 OK\r\n\r\n")],
            _ => ok("x"),
        })
        .await;
        let world = World::new();
        let plugin = world.plugin(&server.grant(""));
        plugin.get(&server.url("/first")).await.unwrap();
        until(|| plugin.prepared.idle_connections() == 1).await;
        let mut call = plugin.call();
        let sent = request(method, &server.url("/next"), &[])
            .body(body())
            .unwrap();
        let reply = call.send(sent).await;
        let requests = server.sent.lock().unwrap().len();
        assert_eq!(reply.is_ok(), again, "{method}: {reply:?}");
        assert_eq!(requests, if again { 3 } else { 2 }, "{method}");
        assert_eq!(server.connections(), if again { 2 } else { 1 }, "{method}");
        assert_eq!(call.gate.usage()[0].allowed, 1, "one request by its record");
    }
}

/// A new connection that is closed without an answer is no reason to try again.
#[tokio::test]
async fn a_new_connection_is_tried_once() {
    let (world, server) = (World::new(), Server::new(|_| vec![Say::Close]).await);
    let plugin = world.plugin(&server.grant(""));
    let reply = plugin.get(&server.url("/")).await;
    assert!(
        matches!(reply, Err(Error::HttpResponseIncomplete)),
        "{reply:?}"
    );
    assert_eq!(
        (server.connections(), server.sent.lock().unwrap().len()),
        (1, 1)
    );
}
