use super::*;
use crate::testing::{Host, with_http};

#[test]
fn urls_are_taken_apart_or_refused() {
    type Parts = (bool, &'static str, &'static str);
    let cases: [(&str, Result<Parts, &str>); 16] = [
        ("http://a.test", Ok((false, "a.test", "/"))),
        (
            "HTTPS://A.test:8443/x/y?z=1#frag",
            Ok((true, "a.test:8443", "/x/y?z=1")),
        ),
        ("https://a.test?q=1", Ok((true, "a.test", "/?q=1"))),
        ("http://[::1]:80/", Ok((false, "[::1]:80", "/"))),
        ("a.test/x", Err("not an absolute URL")),
        ("ftp://a.test/", Err("only http and https")),
        ("file:///etc/passwd", Err("only http and https")),
        ("http:///x", Err("no host")),
        ("http://:80/", Err("no host")),
        ("http://user:pw@a.test/", Err("user part")),
        ("http://a.test/a b", Err("percent-encoded")),
        ("http://a.test/\r\nx: y", Err("percent-encoded")),
        ("http://a.test\\@b.test/", Err("percent-encoded")),
        ("http://\u{430}.test/", Err("percent-encoded")),
        ("http://a.test/\u{0}", Err("percent-encoded")),
        ("", Err("not an absolute URL")),
    ];
    for (url, expected) in cases {
        match (Target::parse(url), expected) {
            (Ok(target), Ok((https, authority, path))) => {
                let found = (
                    target.https,
                    target.authority.as_str(),
                    target.path_with_query.as_str(),
                );
                assert_eq!(found, (https, authority, path), "{url}");
            }
            (Err(Error::InvalidInput(message)), Err(part)) => {
                assert!(message.contains(part), "{url}: {message}")
            }
            (found, _) => panic!("{url:?}: {found:?}"),
        }
    }
}

#[test]
fn the_query_is_escaped_and_stands_before_the_fragment() {
    let request = get("http://a.test/x#y")
        .query("a b", "c&d=é")
        .query("n", "1");
    assert_eq!(request.url, "http://a.test/x?a%20b=c%26d%3D%C3%A9&n=1#y");
}

#[test]
fn headers_cannot_smuggle_lines() {
    let bad = [
        ("x\r\ny", "z"),
        ("", "z"),
        ("x y", "z"),
        ("x", "a\r\nb: c"),
        ("x", "a\u{0}"),
    ];
    for (name, value) in bad {
        let sent = with_http(
            |_| Ok(Response::new(200)),
            || get("http://a.test/").header(name, value).send(),
        );
        assert_eq!(
            sent.map_err(|error| error.code()),
            Err("invalid-input"),
            "{name:?}: {value:?}"
        );
    }
}

#[test]
fn a_large_response_is_a_limit_or_cut() {
    let answer = |_: &Request| Ok(Response::new(200).with_body(vec![b'x'; 100]));
    let whole = with_http(answer, || get("http://a.test/").max_bytes(100).send()).unwrap();
    assert_eq!((whole.body.len(), whole.cut), (100, false));
    let refused = with_http(answer, || get("http://a.test/").max_bytes(99).send());
    assert_eq!(refused, Err(Error::limit("response", "99 bytes")));
    // It happened, whatever its answer is.
    let done = with_http(answer, || post("http://a.test/").max_bytes(99).send());
    let says = "POST http://a.test/: its answer has more than 99 bytes";
    assert_eq!(done, Err(Error::unknown(says)));
    let cut = with_http(answer, || get("http://a.test/").cut_at(99).send()).unwrap();
    assert_eq!((cut.body.len(), cut.cut), (99, true));
}

#[test]
fn without_a_handler_a_request_is_denied() {
    let denied = Host::new().run(|| post("http://a.test/x").send());
    let Err(Error::Denied(denial)) = denied else {
        panic!("{denied:?}")
    };
    assert_eq!(
        (denial.capability.as_str(), denial.operation.as_str()),
        ("http", "POST http://a.test/x")
    );
}

#[test]
fn a_status_becomes_the_kind_it_stands_for() {
    let cases = [
        (200, None),
        (204, None),
        (304, None),
        (400, Some("permanent")),
        (403, Some("permanent")),
        (404, Some("not-found")),
        (410, Some("not-found")),
        (429, Some("transient")),
        (500, Some("transient")),
        (503, Some("transient")),
    ];
    for (status, code) in cases {
        let found = Response::new(status).error_for_status().err();
        assert_eq!(found.as_ref().map(Error::code), code, "{status}");
    }
    let busy = Response::new(503)
        .with_header("Retry-After", "7")
        .error_for_status();
    assert_eq!(
        busy,
        Err(Error::transient(
            "the server answered 503",
            Some(Duration::from_secs(7))
        ))
    );
}
