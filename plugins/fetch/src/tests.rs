use airlock_sdk::Error;
use airlock_sdk::http::{Request, Response};
use airlock_sdk::testing::{Host, call, placeholder_of};
use serde_json::{Value, json};

use super::PLUGIN;

const PAGE: &str = "<!doctype html><html><head><title>The &amp; page</title><style>p{}</style></head>\
    <body><nav>menu</nav><h1>Hello</h1><p>Some <b>bold</b> <a href=\"/x\">link</a></p>\
    <script>alert(1)</script><ul><li>one</li><li>two</li></ul></body></html>";

fn server(request: &Request) -> Result<Response, Error> {
    let html = |body: &str| {
        Response::new(200)
            .with_header("content-type", "text/html; charset=utf-8")
            .with_body(body)
    };
    let to = |status, location: &str| Response::new(status).with_header("Location", location);
    Ok(match request.url.as_str() {
        "https://a.test/page" => html(PAGE),
        "https://a.test/json?limit=5" => Response::new(200)
            .with_header("Content-Type", "application/json")
            .with_body(r#"{"n":[1,2.5]}"#),
        "https://a.test/problem" => Response::new(200)
            .with_header("content-type", "application/problem+json")
            .with_body("{}"),
        "https://a.test/broken" => Response::new(200)
            .with_header("content-type", "application/json")
            .with_body("{"),
        "https://a.test/latin" => Response::new(200)
            .with_header("content-type", "text/plain; charset=\"ISO-8859-1\"")
            .with_body(b"Z\xfcrich".to_vec()),
        "https://a.test/sjis" => Response::new(200)
            .with_header("content-type", "text/html")
            .with_body(b"<meta charset=shift_jis><p>\x93\xfa\x96\x7b".to_vec()),
        "https://a.test/bom" => Response::new(200)
            .with_header("content-type", "text/plain")
            .with_body(b"\xff\xfeh\0i\0".to_vec()),
        "https://a.test/bom-json" => Response::new(200)
            .with_header("content-type", "application/json")
            .with_body(b"\xef\xbb\xbf{\"n\":1}".to_vec()),
        "https://a.test/gzip" => html("\u{1f}").with_header("content-encoding", "gzip"),
        "https://a.test/identity" => html("<p>plain").with_header("content-encoding", "Identity"),
        "https://a.test/png" => Response::new(200)
            .with_header("content-type", "image/png")
            .with_body(b"\x89PNG\0".to_vec()),
        "https://a.test/bare" => Response::new(200).with_body("just text"),
        "https://a.test/1" => to(302, "/2#part"),
        "https://a.test/2" => to(301, "page"),
        "https://a.test/loop" => to(307, "/loop"),
        "https://a.test/away" => to(302, "https://b.test/echo"),
        "https://a.test/down" => to(302, "http://a.test/page"),
        "https://a.test/file" => to(302, "file:///etc/passwd"),
        "https://a.test/user" => to(302, "https://user:pw@a.test/page"),
        "https://a.test/nowhere" => Response::new(302),
        "https://a.test/busy" => Response::new(429).with_header("retry-after", "3"),
        "https://a.test/deep" => html(&"<div>".repeat(100_000)),
        "https://a.test/echo" | "https://b.test/echo" => {
            let headers: Vec<_> = request
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Response::new(200)
                .with_header("content-type", "text/plain")
                .with_body(headers.join("\n"))
        }
        "https://secret.test/" => {
            return Err(Error::denied(
                "http",
                request.url.clone(),
                "no rule for secret.test",
            ));
        }
        _ => Response::new(404),
    })
}

fn get(input: Value) -> Result<Value, Error> {
    Host::new()
        .http(server)
        .secret("key")
        .run(|| call(&PLUGIN, "get", input))
}

#[test]
fn content_comes_in_the_form_that_suits() {
    let markdown = "# Hello\n\nSome **bold** [link](/x)\n\n* one\n* two";
    let cases = [
        (
            json!({ "url": "https://a.test/page" }),
            "content",
            json!(markdown),
        ),
        (
            json!({ "url": "https://a.test/page" }),
            "title",
            json!("The & page"),
        ),
        (
            json!({ "url": "https://a.test/page", "format": "text" }),
            "content",
            json!(PAGE),
        ),
        (
            json!({ "url": "https://a.test/json", "query": { "limit": "5" } }),
            "json",
            json!({ "n": [1, 2.5] }),
        ),
        (
            json!({ "url": "https://a.test/problem" }),
            "json",
            json!({}),
        ),
        (
            json!({ "url": "https://a.test/latin" }),
            "content",
            json!("Zürich"),
        ),
        (
            json!({ "url": "https://a.test/sjis" }),
            "content",
            json!("日本"),
        ),
        (
            json!({ "url": "https://a.test/bom" }),
            "content",
            json!("hi"),
        ),
        (
            json!({ "url": "https://a.test/bare" }),
            "content",
            json!("just text"),
        ),
        (
            json!({ "url": "https://a.test/png", "format": "base64" }),
            "content",
            json!("iVBORwA="),
        ),
        (
            json!({ "url": "https://a.test/bom-json" }),
            "json",
            json!({ "n": 1 }),
        ),
        (
            json!({ "url": "https://a.test/identity" }),
            "content",
            json!("plain"),
        ),
        (
            json!({ "url": "https://a.test/gzip", "format": "base64" }),
            "content",
            json!("Hw=="),
        ),
    ];
    for (input, field, expected) in cases {
        let document = get(input.clone()).unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!(document[field], expected, "{input}");
    }
}

#[test]
fn redirects_are_followed_and_listed() {
    let document = get(json!({ "url": "https://a.test/1" })).unwrap();
    assert_eq!(document["url"], "https://a.test/page");
    assert_eq!(
        document["redirects"],
        json!(["https://a.test/1", "https://a.test/2"])
    );
}

#[test]
fn headers_and_secrets_stay_with_the_origin() {
    let headers = json!({ "x-mine": "1", "User-Agent": "me" });
    let sent = |url: &str| {
        let input =
            json!({ "url": url, "headers": headers, "secret_headers": { "authorization": "key" } });
        get(input).unwrap()["content"].as_str().unwrap().to_owned()
    };
    let own = sent("https://a.test/echo");
    assert!(own.contains("accept-encoding=identity"), "{own}");
    assert!(
        own.contains("x-mine=1")
            && own.contains(&placeholder_of("key"))
            && own.contains("User-Agent=me"),
        "{own}"
    );
    assert!(!own.contains("airlock-fetch"), "{own}");
    let other = sent("https://a.test/away");
    assert!(
        !other.contains("x-mine")
            && !other.contains("authorization")
            && other.contains("airlock-fetch"),
        "{other}"
    );
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let cases = [
        (json!({ "url": "not a url" }), "invalid-input", "url: "),
        (
            json!({ "url": "file:///etc/passwd" }),
            "invalid-input",
            "`file:` cannot be fetched",
        ),
        (
            json!({ "url": "https://user:pw@a.test/" }),
            "invalid-input",
            "user or password",
        ),
        (
            json!({ "url": "https://a.test/page", "max_bytes": 0 }),
            "invalid-input",
            "max_bytes",
        ),
        (
            json!({ "url": "https://a.test/page", "max_redirects": 11 }),
            "invalid-input",
            "max_redirects",
        ),
        (
            json!({ "url": "https://a.test/page", "headers": { "x": "a\r\nb: c" } }),
            "invalid-input",
            "control characters",
        ),
        (
            json!({ "url": "https://a.test/page", "method": "POST" }),
            "invalid-input",
            "unknown field",
        ),
        (json!({ "url": "https://a.test/none" }), "not-found", "404"),
        (json!({ "url": "https://a.test/busy" }), "transient", "429"),
        (
            json!({ "url": "https://a.test/png" }),
            "permanent",
            "not text",
        ),
        (
            json!({ "url": "https://a.test/gzip" }),
            "permanent",
            "sent compressed (`gzip`)",
        ),
        (
            json!({ "url": "https://a.test/gzip", "format": "text" }),
            "permanent",
            "sent compressed (`gzip`)",
        ),
        (
            json!({ "url": "https://a.test/broken" }),
            "permanent",
            "response body",
        ),
        (
            json!({ "url": "https://a.test/loop" }),
            "permanent",
            "more than 5 redirects",
        ),
        (
            json!({ "url": "https://a.test/1", "max_redirects": 1 }),
            "permanent",
            "more than 1 redirects",
        ),
        (
            json!({ "url": "https://a.test/down" }),
            "permanent",
            "from https to http",
        ),
        (
            json!({ "url": "https://a.test/file" }),
            "permanent",
            "cannot be fetched",
        ),
        (
            json!({ "url": "https://a.test/user" }),
            "permanent",
            "user or password",
        ),
        (
            json!({ "url": "https://a.test/nowhere" }),
            "permanent",
            "does not say where",
        ),
        (
            json!({ "url": "https://a.test/deep" }),
            "permanent",
            "nested too deep",
        ),
        (
            json!({ "url": "https://secret.test/" }),
            "denied",
            "no rule for secret.test",
        ),
        (
            json!({ "url": "https://a.test/page", "secret_headers": { "x": "other" } }),
            "denied",
            "other",
        ),
        (
            json!({ "url": "https://a.test/json?limit=5", "max_bytes": 5 }),
            "limit",
            "5 bytes",
        ),
    ];
    for (input, code, part) in cases {
        let refused = get(input.clone()).expect_err(&input.to_string());
        assert_eq!(refused.code(), code, "{input}: {refused}");
        assert!(refused.to_string().contains(part), "{input}: {refused}");
    }
}

#[test]
fn long_text_is_cut() {
    let document =
        get(json!({ "url": "https://a.test/page", "format": "text", "max_bytes": 15 })).unwrap();
    assert_eq!(
        (&document["content"], &document["cut"], &document["bytes"]),
        (&json!("<!doctype html>"), &json!(true), &json!(15))
    );
}
