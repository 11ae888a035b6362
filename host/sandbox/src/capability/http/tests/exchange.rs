//! Requests and responses over real connections.

use std::time::Duration;

use bytes::Bytes;
use expect_test::expect;
use futures_util::stream;
use http::HeaderName;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::harness::{Say, Server, World, full, held, is_whole, ok, request, until};
use crate::capability::http::bind::is_forbidden;
use crate::grants::{EffectClass, Grants};
use crate::limits::ByteSize;

/// A body of unknown length.
pub(super) fn chunks(parts: &[&'static str]) -> WasiBody {
    let frames: Vec<_> = parts
        .iter()
        .map(|part| Ok(Frame::data(Bytes::from(*part))))
        .collect();
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn a_request_is_sent_in_its_one_spelling() {
    let (world, server) = (World::new(), Server::new(|_| ok("hello")).await);
    let plugin = world.plugin(&server.grant(""));
    let url = server
        .url("/a/../b/%7ec?q=%2F#f")
        .replace("127.0.0.1", "127.1");
    let sent = request("GET", &url, &[("X-A", "1")])
        .body(full(""))
        .unwrap();
    let reply = plugin.call().send(sent).await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    let port = server.address.port().to_string();
    expect![[r#"
        GET /b/~c?q=%2F HTTP/1.1
        x-a: 1
        host: 127.0.0.1:PORT

    "#]]
    .assert_eq(&server.last().replace(&port, "PORT").replace('\r', ""));
}

#[tokio::test]
async fn bodies_are_framed_by_the_host() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let cases = [
        (full("abc"), "content-length: 3\r\n\r\nabc"),
        (
            chunks(&["ab", "c"]),
            "\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (full(""), "content-length: 0\r\n\r\n"),
    ];
    for (body, end) in cases {
        let sent = request("POST", &server.url("/x"), &[]).body(body).unwrap();
        assert_eq!(call.send(sent).await.unwrap().status, 200);
        assert!(server.last().ends_with(end), "{:?}", server.last());
    }
    // A length that the guest states and that no body has.
    for (method, expected) in [("GET", None), ("HEAD", None), ("POST", Some("0"))] {
        let sent = request(method, &server.url("/x"), &[("content-length", "30")]);
        let reply = call.send(sent.body(full("")).unwrap()).await.unwrap();
        assert_eq!(reply.status, 200);
        let sent = server.last();
        let length = sent.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next());
        assert_eq!(length, expected, "{sent}");
    }
    assert_eq!(server.connections(), 1);
    let usage = call.gate.usage();
    assert_eq!((usage[0].rule, usage[0].allowed), (Some(0), 6));
    assert!(usage[0].bytes_out > 6, "{usage:?}");
}

#[test]
fn headers_of_the_connection_cannot_be_set() {
    let forbidden = |name: &str| is_forbidden(&HeaderName::from_bytes(name.as_bytes()).unwrap());
    for name in [
        "Host",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy-Anything",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "HTTP2-Settings",
    ] {
        assert!(forbidden(name), "{name}");
    }
    // Those that make another request of it than was judged.
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-Method",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X_HTTP_Method-Override",
        "x_rewrite_url",
    ] {
        assert!(forbidden(name), "{name}");
    }
    for name in [
        "Accept",
        "Authorization",
        "Content-Length",
        "Content-Type",
        "X-Proxy",
        "X-Original",
        "X-HTTP-Methods",
    ] {
        assert!(!forbidden(name), "{name}");
    }
}

#[tokio::test]
async fn redirects_go_back_to_the_guest_and_are_judged_anew() {
    let world = World::new();
    let inner = Server::new(|_| ok("inner")).await;
    let location = inner.url("/secret");
    let server = Server::new(move |_| {
        vec![Say::text(format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        ))]
    })
    .await;
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let reply = call.get(&server.url("/")).await.unwrap();
    assert_eq!(reply.status, 302);
    let next = reply.headers["location"].to_str().unwrap().to_owned();
    let error = call.get(&next).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
    assert_eq!(inner.connections(), 0);
    assert_eq!(
        call.denied(),
        format!(
            "no rule allows it; needed: http = [{{ url = \"{}\", methods = [\"GET\"], allow_private = true }}]",
            inner.url("/secret")
        )
    );
}

#[tokio::test]
async fn a_rules_sizes_hold_to_the_byte() {
    let world = World::new();
    let server = Server::new(|request| {
        let size: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let body = "x".repeat(size);
        if request.starts_with("POST") {
            return ok(&body);
        }
        let (head, tail) = body.split_at(size / 2);
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        let head = chunk(head);
        vec![
            Say::text(format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{head}"
            )),
            Say::text(format!("{}0\r\n\r\n", chunk(tail))),
        ]
    })
    .await;
    let rule = r#", response_bytes = "1000B", request_bytes = "100B""#;
    let plugin = world.plugin(&server.grant(rule));
    for (method, request_bytes, known, response_bytes, expected) in [
        ("POST", 100, true, 1000, "ok"),
        ("POST", 101, true, 10, "HttpRequestBodySize(Some(100))"),
        ("POST", 100, false, 1000, "ok"),
        ("POST", 101, false, 10, "HttpRequestBodySize(Some(100))"),
        ("POST", 1, true, 1001, "HttpResponseBodySize(Some(1000))"),
        ("GET", 0, true, 1000, "ok"),
        ("GET", 0, true, 1001, "HttpResponseBodySize(Some(1000))"),
    ] {
        let text: &'static str = "y".repeat(request_bytes).leak();
        let body = if known { full(text) } else { chunks(&[text]) };
        let length = request_bytes.to_string();
        let headers: &[(&str, &str)] = if known && request_bytes > 0 {
            &[("content-length", &length)]
        } else {
            &[]
        };
        let url = server.url(&format!("/{response_bytes}"));
        let mut call = plugin.call();
        let reply = call
            .send(request(method, &url, headers).body(body).unwrap())
            .await;
        let outcome = match reply.and_then(|reply| reply.body) {
            Ok(body) => {
                assert_eq!(body.len(), response_bytes);
                "ok".to_owned()
            }
            Err(error) => format!("{error:?}"),
        };
        let case = (method, request_bytes, known, response_bytes);
        assert_eq!(outcome, expected, "{case:?}");
        assert_eq!(
            call.denied() == "-",
            expected == "ok",
            "{case:?} {}",
            call.denied()
        );
    }
    let whole = server
        .sent
        .lock()
        .unwrap()
        .iter()
        .filter(|sent| is_whole(sent.as_bytes()))
        .count();
    assert_eq!(whole, 5, "a request over its limit never arrives whole");
}

#[tokio::test]
async fn no_wait_is_longer_than_the_call() {
    let world = World::new();
    let hour = Some(Duration::from_secs(3600));
    let asks = RequestOptions {
        connect_timeout: hour,
        first_byte_timeout: hour,
        between_bytes_timeout: hour,
    };
    let drip = Server::new(|_| {
        let mut says = vec![Say::text(
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
        )];
        for _ in 0..1000 {
            says.push(Say::text("x"));
            says.push(Say::Pause(Duration::from_millis(20)));
        }
        says
    })
    .await;
    let mute = Server::new(|_| vec![Say::Wait]).await;
    for (server, expected) in [
        (&drip, "HttpResponseTimeout"),
        (&mute, "ConnectionReadTimeout"),
    ] {
        let plugin = world.plugin(&server.grant(""));
        for options in [asks, RequestOptions::default()] {
            let began = Instant::now();
            let mut call = plugin.call_with(EffectClass::Plain, Duration::from_millis(1500));
            let get = request("GET", &server.url("/"), &[])
                .body(full(""))
                .unwrap();
            let reply = call
                .send_with(get, options)
                .await
                .and_then(|reply| reply.body);
            assert_eq!(format!("{:?}", reply.unwrap_err()), expected);
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }
}

#[tokio::test]
async fn a_guests_own_timeouts_hold() {
    let world = World::new();
    let server = Server::new(|_| {
        vec![
            Say::text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"),
            Say::Wait,
        ]
    })
    .await;
    let mute = Server::new(|_| vec![Say::Wait]).await;
    let soon = Some(Duration::from_millis(50));
    for (server, first, between) in [(&mute, soon, None), (&server, None, soon)] {
        let plugin = world.plugin(&server.grant(""));
        let options = RequestOptions {
            connect_timeout: None,
            first_byte_timeout: first,
            between_bytes_timeout: between,
        };
        let get = request("GET", &server.url("/"), &[])
            .body(full(""))
            .unwrap();
        let reply = plugin
            .call()
            .send_with(get, options)
            .await
            .and_then(|reply| reply.body);
        assert!(
            matches!(reply, Err(Error::ConnectionReadTimeout)),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_rate_is_shared_by_all_calls() {
    let (world, server) = (World::new(), Server::new(|_| ok("x")).await);
    let plugin = world.plugin(&server.grant(r#", rate = "2/h""#));
    plugin.get(&server.url("/")).await.unwrap();
    plugin.get(&server.url("/")).await.unwrap();
    let mut call = plugin.call();
    let error = call.get(&server.url("/")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    assert!(
        call.denied().starts_with("a higher `rate` in the rule"),
        "{}",
        call.denied()
    );
    assert_eq!(server.sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_revoked_grant_stops_a_response_and_a_request_in_flight() {
    let world = World::new();
    let server = Server::new(|_| {
        vec![
            Say::text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
            Say::Wait,
        ]
    })
    .await;
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let get = request("GET", &server.url("/"), &[])
        .body(full(""))
        .unwrap();
    let mut response = call.begin(get, RequestOptions::default()).await.unwrap();
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "abc");
    plugin.cell.replace(2, Grants::default());
    let next = response.body_mut().frame().await.unwrap();
    assert!(matches!(next, Err(Error::HttpRequestDenied)), "{next:?}");
    assert!(matches!(
        call.get(&server.url("/")).await,
        Err(Error::HttpRequestDenied)
    ));
    assert_eq!(call.gate.denials().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_broken_off_never_looks_whole() {
    let (world, server) = (World::new(), Server::new(|_| ok("x")).await);
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let (feed, fed) = tokio::sync::mpsc::channel::<&'static str>(1);
    let frames = stream::unfold(fed, |mut fed| async move {
        let part = fed.recv().await?;
        Some((Ok(Frame::data(Bytes::from(part))), fed))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    let post = request("POST", &server.url("/"), &[]).body(body).unwrap();
    let hooks = call.state.hooks_mut();
    hooks.reserve().unwrap();
    let sent = wasmtime_wasi_http::WasiHttpHooks::send_request(
        hooks,
        post,
        None,
        Box::new(async { Ok(()) }),
    );
    let sent = tokio::spawn(async { Box::into_pin(sent).await.map(|_| ()) });
    feed.send("half").await.unwrap();
    until(|| server.last().contains("half")).await;
    // As a call ends: its rooms go first, then what the guest held.
    drop(call);
    drop(feed);
    let error = sent.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!is_whole(server.last().as_bytes()), "{:?}", server.last());
}

#[tokio::test]
async fn a_call_as_read_only_reads() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call_with(EffectClass::ReadOnly, Duration::from_secs(60));
    for (method, allowed) in [("GET", true), ("HEAD", true), ("POST", false)] {
        let sent = request(method, &server.url("/"), &[])
            .body(full(""))
            .unwrap();
        assert_eq!(call.send(sent).await.is_ok(), allowed, "{method}");
    }
    assert!(call.denied().contains("read-only"), "{}", call.denied());
}

#[tokio::test]
async fn what_a_server_sends_is_bounded_and_understood() {
    let world = World::new();
    let server = Server::new(|request| {
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let head = |more: &str| {
            vec![
                Say::text(format!("HTTP/1.1 200 OK\r\n{more}\r\n")),
                Say::Close,
            ]
        };
        match path.as_str() {
            "/headers" => head(&format!(
                "x: {}\r\ncontent-length: 0\r\n",
                "y".repeat(20_000)
            )),
            "/head" => head(&format!(
                "x: {}\r\ncontent-length: 0\r\n",
                "y".repeat(100_000)
            )),
            "/many" => head(&"x: y\r\n".repeat(200)),
            "/upgrade" => vec![Say::text(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            )],
            "/gzip" => head("transfer-encoding: gzip, chunked\r\n"),
            "/short" => head("content-length: 5\r\n"),
            "/garbage" => vec![Say::text("SSH-2.0-x\r\n\r\n"), Say::Close],
            "/close" => vec![Say::Close],
            "/huge" => head("content-length: 99999999999999999\r\n"),
            "/two" => head("content-length: 5\r\ncontent-length: 6\r\n"),
            "/hop" => head("keep-alive: 5\r\nproxy-x: 1\r\ncontent-length: 0\r\n"),
            _ => vec![
                Say::text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n"),
                Say::text("1\r\nx\r\n0\r\nx-t: 1\r\n\r\n"),
            ],
        }
    })
    .await;
    let plugin = world.plugin(&server.grant(""));
    let mut lines = Vec::new();
    for path in [
        "/headers",
        "/head",
        "/many",
        "/upgrade",
        "/gzip",
        "/short",
        "/garbage",
        "/close",
        "/huge",
        "/two",
        "/hop",
        "/trailers",
    ] {
        let reply = plugin.get(&server.url(path)).await;
        lines.push(match reply {
            Ok(reply) => format!("{path} {:?} trailers {:?}", reply.body, reply.trailers),
            Err(error) => format!("{path} {error:?}"),
        });
    }
    expect![[r#"
        /headers HttpResponseHeaderSectionSize(Some(16777))
        /head HttpResponseHeaderSectionSize(Some(16777))
        /many HttpResponseHeaderSectionSize(None)
        /upgrade HttpUpgradeFailed
        /gzip HttpResponseTransferCoding(None)
        /short Err(HttpResponseIncomplete) trailers None
        /garbage HttpProtocolError
        /close HttpResponseIncomplete
        /huge HttpResponseBodySize(Some(8388608))
        /two HttpProtocolError
        /hop Ok("") trailers None
        /trailers Ok("x") trailers Some({"x-t": "1"})"#]]
    .assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn host_memory_is_reserved_for_each_request_and_given_back() {
    let world = World::new();
    let server = Server::new(|_| vec![Say::Wait]).await;
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let mut pending = Vec::new();
    while call.state.hooks_mut().reserve().is_ok() {
        let get = request("GET", &server.url("/"), &[])
            .body(full(""))
            .unwrap();
        let hooks = call.state.hooks_mut();
        let nothing = Box::new(async { Ok(()) });
        let sent = wasmtime_wasi_http::WasiHttpHooks::send_request(hooks, get, None, nothing);
        pending.push(sent);
        assert!(pending.len() < 1000, "the budget never ends");
    }
    assert!(pending.len() > 10, "{}", pending.len());
    drop(pending);
    assert_eq!(held(&call), ByteSize(0));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_read_ahead() {
    let world = World::new();
    let server = Server::new(|_| {
        let mut says = vec![Say::text(
            "HTTP/1.1 200 OK\r\ncontent-length: 8000000\r\n\r\n",
        )];
        says.push(Say::Bytes(vec![b'x'; 8_000_000]));
        says
    })
    .await;
    let plugin = world.plugin(&server.grant(""));
    let mut call = plugin.call();
    let get = request("GET", &server.url("/"), &[])
        .body(full(""))
        .unwrap();
    let mut response = call.begin(get, RequestOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = response
        .body_mut()
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(first.len() <= 64 << 10, "{}", first.len());
}

/// A guest that spins on its own runtime holds up nobody's request.
#[test]
fn requests_run_on_the_hosts_own_runtime() {
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("host-io")
        .enable_all()
        .build()
        .unwrap();
    let guests = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = io.block_on(Server::new(|_| ok("x")));
    let world = World::with(None, io.handle().clone());
    let port = server.address.port();
    world.names.add("io.test", &[&["127.0.0.1"]]);
    let plugin = world.plugin(&format!(
        "http = [{{ url = \"http://io.test:{port}/\", allow_private = true }}]"
    ));
    let reply = guests
        .block_on(plugin.get(&format!("http://io.test:{port}/")))
        .unwrap();
    assert_eq!(reply.text(), "x");
    assert_eq!(*world.names.threads.lock().unwrap(), ["host-io"]);
}
