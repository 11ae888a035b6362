//! Secrets in requests, and out of answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use expect_test::expect;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::harness::{Call, Reply, Say, Server, World, full, ok, request};
use crate::capability::http::backend::watch::reveal;

const VALUE: &str = "s3cr3t/Val+ue & \"more\" <x>";

/// A call of a plugin that may use `key` on the server, and its placeholder.
async fn call(world: &World, server: &Server) -> (Call, String) {
    world.set_secret("key", VALUE).await;
    let call = world.plugin(&server.grant(r#", secret = "key""#)).call();
    let placeholder = call.placeholders.issue("key").unwrap();
    (call, placeholder)
}

async fn send(
    call: &mut Call,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply, Error> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let body = full(body.to_owned());
    call.send(request(method, url, headers).body(body).unwrap())
        .await
}

#[tokio::test]
async fn the_value_is_put_into_headers_and_the_query_alone() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let (mut call, word) = call(&world, &server).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{word}")));
    let bearer = format!("Bearer {word}");
    let url = server.url(&format!("/a?k={word}&l=1"));
    send(
        &mut call,
        &url,
        &[("authorization", &bearer), ("accept-encoding", "gzip")],
        "",
    )
    .await
    .unwrap();
    let sent = server.last();
    assert!(
        sent.contains(&format!("authorization: Bearer {VALUE}\r\n")),
        "{sent}"
    );
    assert!(sent.starts_with("GET /a?k=s3cr3t%2FVal%2Bue%20%26%20%22more%22%20%3Cx%3E&l=1 "));
    assert!(
        sent.contains("accept-encoding: identity\r\n") && !sent.contains("gzip"),
        "{sent}"
    );
    send(
        &mut call,
        &server.url("/b"),
        &[("authorization", &basic)],
        "",
    )
    .await
    .unwrap();
    let expected = STANDARD.encode(format!("user:{VALUE}"));
    assert!(
        server
            .last()
            .contains(&format!("authorization: Basic {expected}\r\n"))
    );
    assert!(
        !server
            .sent
            .lock()
            .unwrap()
            .concat()
            .contains("airlock-secret-")
    );
}

#[tokio::test]
async fn each_use_is_on_record_before_it_is_sent() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let (mut call, word) = call(&world, &server).await;
    let url = server.url(&format!("/a?k={word}"));
    *world.audit.broken.lock().unwrap() = true;
    let error = send(&mut call, &url, &[("x-key", &word)], "")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ConfigurationError), "{error:?}");
    assert_eq!(server.last(), "");
    *world.audit.broken.lock().unwrap() = false;
    send(&mut call, &url, &[("x-key", &word)], "")
        .await
        .unwrap();
    let events = world.audit.events.lock().unwrap().clone();
    let port = server.address.port().to_string();
    assert_eq!(events.len(), 1);
    assert!(!format!("{events:?}").contains("s3cr3t"));
    expect![[r#"
        AuditEvent {
            action: "secret.use",
            call_id: "c1",
            plugin: "p",
            principal: "ann",
            detail: Object {
                "secret": String("key"),
                "version": Number(1),
                "tool": String("t"),
                "rule": Number(0),
                "operation": String("GET http://127.0.0.1:PORT/a with secret `key`"),
                "places": Array [
                    String("query"),
                    String("header x-key"),
                ],
            },
        }"#]]
    .assert_eq(&format!("{:#?}", events[0]).replace(&port, "PORT"));
}

/// Place, URL, headers, body.
type Case<'a> = (&'a str, String, Vec<(&'a str, &'a str)>, &'a str);

#[tokio::test]
async fn a_placeholder_anywhere_else_is_refused_and_not_sent() {
    let world = World::new();
    let server = Server::new(|_| ok("")).await;
    let other = Server::new(|_| ok("")).await;
    world.set_secret("key", VALUE).await;
    world.set_secret("two", "another value").await;
    let grants = format!(
        "{}\n",
        server.grant(r#", secret = "key""#).replace(
            "}]",
            &format!(
                "}}, {{ url = \"http://{0}/**\", allow_private = true }}, \
                 {{ url = \"http://{1}/two\", secret = \"two\", allow_private = true }}, \
                 {{ url = \"http://*.wild.test/**\", secret = \"key\", allow_private = true }}, \
                 {{ url = \"http://unset.test/**\", secret = \"unset\" }}]",
                other.address, server.address
            )
        )
    );
    let plugin = world.plugin(&grants);
    let mut lines = Vec::new();
    let here = |path: &str| server.url(path);
    let mut call = plugin.call();
    let key = call.placeholders.issue("key").unwrap();
    let two = call.placeholders.issue("two").unwrap();
    let stranger = plugin.call().placeholders.issue("key").unwrap();
    assert_ne!(key, stranger);
    let split = format!("{}{}", "x".repeat(70_000), key);
    let cases: Vec<Case<'_>> = vec![
        ("path", here(&format!("/{key}")), vec![], ""),
        (
            "path of another host",
            other.url(&format!("/{key}")),
            vec![],
            "",
        ),
        ("body", here("/"), vec![], &key),
        ("body, late", here("/"), vec![], &split),
        (
            "header of another host",
            other.url("/"),
            vec![("x-key", &key)],
            "",
        ),
        (
            "query of another host",
            other.url(&format!("/?{key}")),
            vec![],
            "",
        ),
        ("host", format!("http://{key}.wild.test/"), vec![], ""),
        ("header name", here("/"), vec![(&key, "1")], ""),
        (
            "another secret's rule",
            here("/"),
            vec![("x-key", &two)],
            "",
        ),
        (
            "two secrets",
            here("/"),
            vec![("x-key", &key), ("x-two", &two)],
            "",
        ),
        (
            "range",
            here("/"),
            vec![("x-key", &key), ("range", "bytes=0-3")],
            "",
        ),
    ];
    for (case, url, headers, body) in cases {
        let reply = send(&mut call, &url, &headers, body).await;
        let outcome = reply
            .map(|reply| reply.status)
            .map_err(|error| format!("{error:?}"));
        let denied = call.denied().replace(&key, "KEY").replace(&two, "TWO");
        let denied = denied.replace(&server.address.to_string(), "HERE");
        let denied = denied.replace(&other.address.to_string(), "OTHER");
        lines.push(format!("{case}: {outcome:?} {denied}"));
    }
    expect![[r#"
        path: Err("HttpRequestDenied") no rule can allow it: a secret's placeholder may stand in a header's value or in the query alone
        path of another host: Err("HttpRequestDenied") no rule can allow it: a secret's placeholder may stand in a header's value or in the query alone
        body: Err("HttpRequestDenied") no rule can allow a secret's placeholder in a request's body
        body, late: Err("HttpRequestDenied") no rule can allow a secret's placeholder in a request's body
        header of another host: Err("HttpRequestDenied") no rule allows it; needed: http = [{ url = "http://OTHER/", methods = ["GET"], secret = "key", allow_private = true }] (rule 1 covers the request and is not bound to this secret)
        query of another host: Err("HttpRequestDenied") no rule allows it; needed: http = [{ url = "http://OTHER/", methods = ["GET"], secret = "key", allow_private = true }] (rule 1 covers the request and is not bound to this secret)
        host: Err("HttpRequestDenied") no rule can allow it: a secret's placeholder may stand in a header's value or in the query alone
        header name: Err("HttpRequestDenied") no rule can allow it: a secret's placeholder may stand in a header's value or in the query alone
        another secret's rule: Err("HttpRequestDenied") no rule allows it; needed: http = [{ url = "http://HERE/", methods = ["GET"], secret = "two", allow_private = true }] (rule 0 covers the request and is not bound to this secret)
        two secrets: Err("HttpRequestDenied") no rule can allow it: a request carries one secret at most
        range: Err("HttpRequestDenied") a request without `Range`: a part of an answer could hide a secret"#]].assert_eq(&lines.join("\n"));
    let sent = server.sent.lock().unwrap().concat() + &other.sent.lock().unwrap().concat();
    assert!(!sent.contains(&key) && !sent.contains("s3cr3t"), "{sent}");
    assert!(world.audit.events.lock().unwrap().is_empty());
    // Another call's placeholder is a word like any other.
    send(&mut call, &here("/"), &[("x-key", &stranger)], "")
        .await
        .unwrap();
    assert!(server.last().contains(&stranger));
}

#[tokio::test]
async fn a_secret_that_is_not_set_is_named() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let mut call = world.plugin(&server.grant(r#", secret = "unset""#)).call();
    let word = call.placeholders.issue("unset").unwrap();
    let error = send(&mut call, &server.url("/"), &[("x", &word)], "")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
    assert_eq!(
        call.denied(),
        "the secret `unset` is not set: airlock secret set unset"
    );
    assert_eq!(server.last(), "");
}

/// Echoes what the `x-key` header holds, in the way the path names.
fn echo(request: &str) -> Vec<Say> {
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let value = request
        .lines()
        .find_map(|line| line.strip_prefix("x-key: "))
        .unwrap_or("");
    let header = |more: String| vec![Say::text(format!("HTTP/1.1 200 OK\r\n{more}\r\n"))];
    match path.as_str() {
        "/header" => header(format!("x-echo: {value}\r\ncontent-length: 0\r\n")),
        "/location" => header(format!(
            "location: /?k={}\r\ncontent-length: 0\r\n",
            value
                .replace(' ', "%20")
                .replace('"', "%22")
                .replace('<', "%3C")
                .replace('>', "%3E")
        )),
        "/gzip" => header("content-encoding: gzip\r\ncontent-length: 0\r\n".into()),
        "/part" => {
            let part = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-3/20\r\n";
            vec![Say::text(format!(
                "{part}content-length: 4\r\n\r\n{}",
                &value[..4]
            ))]
        }
        "/cut" => {
            let half = &value[..value.len() / 2];
            vec![
                Say::text(format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nat: {half}"
                )),
                Say::Close,
            ]
        }
        "/short" => {
            let half = &value[..value.len() / 2];
            vec![
                Say::text(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nat: {half}"
                )),
                Say::Close,
            ]
        }
        "/trailer" => vec![Say::text(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n0\r\nx-t: {value}\r\n\r\n"
        ))],
        "/split" => {
            let mut says = vec![Say::text(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            )];
            for byte in format!("<{value}>").chars() {
                says.push(Say::text(format!("1\r\n{byte}\r\n")));
                says.push(Say::Pause(std::time::Duration::from_millis(1)));
            }
            says.push(Say::text("0\r\n\r\n"));
            says
        }
        _ => ok(&format!(
            "value={value}; base64={}",
            STANDARD.encode(format!("u:{value}"))
        )),
    }
}

#[tokio::test]
async fn the_value_never_comes_back() {
    let (world, server) = (World::new(), Server::new(echo).await);
    let (mut call, word) = call(&world, &server).await;
    let mut lines = Vec::new();
    for path in [
        "/",
        "/header",
        "/location",
        "/trailer",
        "/split",
        "/cut",
        "/short",
        "/gzip",
        "/part",
    ] {
        let reply = send(&mut call, &server.url(path), &[("x-key", &word)], "").await;
        assert!(server.last().contains(VALUE));
        let shown = match &reply {
            Ok(reply) => format!("{:?} {:?} {:?}", reply.headers, reply.body, reply.trailers),
            Err(error) => format!("{error:?}: {}", call.denied()),
        };
        assert!(!shown.contains("s3cr3t"), "{shown}");
        lines.push(format!("{path}: {shown}"));
    }
    expect![[r#"
        /: {"content-length": "81"} Ok("value=**************************; base64=dTp***********************************==") None
        /header: {"x-echo": "**************************", "content-length": "0"} Ok("") None
        /location: {"location": "/?k=****************************************", "content-length": "0"} Ok("") None
        /trailer: {"transfer-encoding": "chunked"} Ok(".") Some({"x-t": "**************************"})
        /split: {"transfer-encoding": "chunked"} Ok("<**************************>") None
        /cut: HttpProtocolError: an answer that says where it ends: one that ends with its connection may be cut off within the secret
        /short: {"content-length": "1000"} Err(HttpResponseIncomplete) None
        /gzip: HttpResponseContentCoding(None): an answer without content coding, which could hide the secret
        /part: HttpProtocolError: a whole answer: a part could hide the secret"#]].assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn a_changed_secret_is_redacted_as_it_is_now() {
    let (world, server) = (World::new(), Server::new(echo).await);
    let (mut call, word) = call(&world, &server).await;
    for value in [VALUE, "another-value", VALUE] {
        world.set_secret("key", value).await;
        let reply = send(&mut call, &server.url("/split"), &[("x-key", &word)], "")
            .await
            .unwrap();
        assert_eq!(reply.text(), format!("<{}>", "*".repeat(value.len())));
    }
    assert!(world.services.vault.remove("key").await.unwrap());
    let error = send(&mut call, &server.url("/"), &[("x-key", &word)], "")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
}

/// Keeps what the header holds, and gives it back to whoever asks, at another port
/// too.
#[tokio::test]
async fn a_value_that_a_server_kept_never_comes_back_either() {
    let world = World::new();
    let kept = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let keeps = move |request: &str| {
        let mut kept = kept.lock().unwrap();
        let value = request
            .lines()
            .find_map(|line| line.strip_prefix("x-key: "));
        *kept = value.unwrap_or(&kept).to_owned();
        ok(&kept)
    };
    let server = Server::new(keeps.clone()).await;
    let beside = Server::new(keeps).await;
    world.set_secret("key", VALUE).await;
    let both = server.grant("").replace(
        "}]",
        &format!(
            "}}, {{ url = \"http://{}/in\", secret = \"key\", allow_private = true }}, \
             {{ url = \"http://{}/**\", allow_private = true }}]",
            server.address, beside.address
        ),
    );
    let plugin = world.plugin(&both);
    let mut call = plugin.call();
    let word = call.placeholders.issue("key").unwrap();
    send(&mut call, &server.url("/in"), &[("x-key", &word)], "")
        .await
        .unwrap();
    // The same call, and another one, by a rule that binds no secret.
    for mut call in [call, plugin.call()] {
        for url in [server.url("/out"), beside.url("/out")] {
            let reply = send(&mut call, &url, &[], "").await.unwrap();
            assert_eq!(reply.text(), "*".repeat(VALUE.len()));
            let range = [("range", "bytes=0-3")];
            let error = send(&mut call, &url, &range, "").await.unwrap_err();
            assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
        }
    }
}

/// An answer of a server without a secret that began before the call asked for one,
/// and goes on with what another server told it.
#[tokio::test]
async fn an_answer_that_began_before_is_searched_from_then_on() {
    let (world, server) = (World::new(), Server::new(|_| ok("")).await);
    let other = Server::new(|request| {
        let coding = match request.starts_with("GET /gzip") {
            true => "content-encoding: gzip\r\n",
            false => "",
        };
        let head = format!("HTTP/1.1 200 OK\r\n{coding}transfer-encoding: chunked\r\n\r\n");
        let chunk = |text: &str| Say::text(format!("{:x}\r\n{text}\r\n", text.len()));
        let (one, two) = VALUE.split_at(9);
        let end = Say::text(format!("0\r\nx-t: {VALUE}\r\n\r\n"));
        vec![
            Say::text(head),
            chunk("begun "),
            chunk(one),
            chunk(two),
            end,
        ]
    })
    .await;
    world.set_secret("key", VALUE).await;
    world.names.add("other.test", &[&["127.0.0.1"]]);
    let elsewhere = format!("http://other.test:{}", other.address.port());
    let bound = server.grant(r#", secret = "key""#);
    let free = format!("}}, {{ url = \"{elsewhere}/**\", allow_private = true }}]");
    let plugin = world.plugin(&bound.replace("}]", &free));
    // The plugin's first request with the secret, and one after others.
    for round in 0..2 {
        for (path, asks, expected) in [
            ("/", true, "Ok(\"**************************\")"),
            ("/gzip", true, "Err(HttpResponseContentCoding(None))"),
            ("/", false, r#"Ok("s3cr3t/Val+ue & \"more\" <x>")"#),
        ] {
            let mut call = plugin.call();
            let url = format!("{elsewhere}{path}");
            let get = request("GET", &url, &[]).body(full("")).unwrap();
            let mut response = call.begin(get, RequestOptions::default()).await.unwrap();
            let first = response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "begun ");
            let word = asks.then(|| call.placeholders.issue("key").unwrap());
            let headers = word.as_deref().map(|word| ("x-key", word));
            send(&mut call, &server.url("/"), headers.as_slice(), "")
                .await
                .unwrap();
            let reply = Reply::of(response).await;
            let case = format!("round {round}: {path}, a secret asked for: {asks}");
            assert_eq!(format!("{:?}", reply.body), expected, "{case}");
            let trailer = reply.trailers.map(|trailers| trailers["x-t"].clone());
            let shown = trailer.is_some_and(|trailer| trailer == VALUE);
            assert_eq!(shown, !asks, "{case}");
            assert_eq!(
                call.denied() == "-",
                path == "/",
                "{case}: {}",
                call.denied()
            );
        }
    }
}

/// An answer that begins under one value of a secret, and goes on under the next.
#[tokio::test]
async fn a_secret_that_changes_meanwhile_is_kept_out_before_and_after() {
    const NEXT: &str = "another-secret-value";
    let world = World::new();
    let server = Server::new(|_| ok(&format!("{VALUE} {NEXT}"))).await;
    let (mut call, word) = call(&world, &server).await;
    let get = request("GET", &server.url("/"), &[])
        .body(full(""))
        .unwrap();
    let response = call.begin(get, RequestOptions::default()).await.unwrap();
    world.set_secret("key", NEXT).await;
    send(&mut call, &server.url("/"), &[("x-key", &word)], "")
        .await
        .unwrap();
    let masked = [VALUE, NEXT].map(|value| "*".repeat(value.len()));
    assert_eq!(Reply::of(response).await.text(), masked.join(" "));
}

/// What a server put into the head is searched for secrets by the guest's own
/// thread, and shows nothing before.
#[tokio::test]
async fn a_head_is_searched_as_the_guest_takes_it() {
    let (world, server) = (World::new(), Server::new(echo).await);
    let (mut call, word) = call(&world, &server).await;
    let get = request("GET", &server.url("/header"), &[("x-key", &word)]);
    let get = get.body(full("")).unwrap();
    let options = RequestOptions::default();
    let mut response = call.begin_unseen(get, options).await.unwrap();
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    reveal(&mut response);
    assert_eq!(response.headers()["x-echo"], "*".repeat(VALUE.len()));
}

/// Whichever of its secrets a guest asks for: all are kept out, and what keeps
/// them out is made once.
#[tokio::test]
async fn one_servers_secret_does_not_come_back_from_another() {
    let world = World::new();
    const OTHER: &str = "another-secret-value";
    let server = Server::new(|_| ok(&format!("{VALUE} {OTHER}"))).await;
    world.set_secret("key", VALUE).await;
    world.set_secret("two", OTHER).await;
    let grants = server.grant(r#", secret = "key""#).replace(
        "}]",
        "}, { url = \"http://elsewhere.test/**\", secret = \"two\" }]",
    );
    let plugin = world.plugin(&grants);
    for asked in [&[][..], &["key"], &["two"], &["key", "two"]] {
        let mut call = plugin.call();
        for name in asked {
            call.placeholders.issue(name).unwrap();
        }
        let reply = send(&mut call, &server.url("/"), &[], "").await.unwrap();
        let masked = [VALUE, OTHER].map(|value| "*".repeat(value.len()));
        assert_eq!(reply.text(), masked.join(" "), "{asked:?}");
        assert_eq!(plugin.prepared.matchers(), 1, "{asked:?}");
    }
}

#[tokio::test]
async fn where_no_secret_is_in_play_nothing_is_touched() {
    let (world, server) = (World::new(), Server::new(|_| ok(VALUE)).await);
    world.set_secret("key", VALUE).await;
    let mut call = world.plugin(&server.grant("")).call();
    let headers = [("accept-encoding", "gzip"), ("range", "bytes=0-3")];
    let reply = send(&mut call, &server.url("/"), &headers, "")
        .await
        .unwrap();
    assert_eq!(reply.text(), VALUE);
    assert!(server.last().contains("accept-encoding: gzip"));
    assert!(world.audit.events.lock().unwrap().is_empty());
}
