//! Every spelling of a URL: what it is taken for, and which rules cover it.

use expect_test::{Expect, expect};

use crate::capability::http::url::{Target, URL_BYTES_MAX, UrlError, UrlPattern};

fn target(url: &str) -> String {
    match url.parse::<Target>() {
        Ok(target) => match &target.query {
            Some(query) => format!("{target} ? {query}"),
            None => target.to_string(),
        },
        Err(error) => format!("refused: {error}"),
    }
}

fn check(urls: &[&str], expect: &Expect) {
    let lines: Vec<String> = urls
        .iter()
        .map(|url| format!("{url:?} -> {}", target(url)))
        .collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn a_url_has_one_spelling() {
    check(
        &[
            "https://api.example.com",
            "HTTPS://API.Example.COM:443/a",
            "https://api.example.com:0443/a",
            "https://api.example.com:8443/a?b=%2F#c",
            "https://bücher.example/a",
            "https://xn--bcher-kva.example/a",
            "https://ｅｘａｍｐｌｅ.com/",
            "https://a.test/%7euser/%c3%a9/é",
            "https://a.test/a/./b/../c/%2e%2E/d",
            "https://a.test/../../etc",
            "https://a.test/a%2fb%5C",
            "https://a.test//a//b",
            "https://a.test/a;b/..;/c",
            "https://a.test?q=1",
            "https://a_b.test/",
        ],
        &expect![[r#"
            "https://api.example.com" -> https://api.example.com/
            "HTTPS://API.Example.COM:443/a" -> https://api.example.com/a
            "https://api.example.com:0443/a" -> https://api.example.com/a
            "https://api.example.com:8443/a?b=%2F#c" -> https://api.example.com:8443/a ? b=%2F
            "https://bücher.example/a" -> https://xn--bcher-kva.example/a
            "https://xn--bcher-kva.example/a" -> https://xn--bcher-kva.example/a
            "https://ｅｘａｍｐｌｅ.com/" -> https://example.com/
            "https://a.test/%7euser/%c3%a9/é" -> https://a.test/~user/%C3%A9/%C3%A9
            "https://a.test/a/./b/../c/%2e%2E/d" -> https://a.test/a/d
            "https://a.test/../../etc" -> https://a.test/etc
            "https://a.test/a%2fb%5C" -> https://a.test/a%2Fb%5C
            "https://a.test//a//b" -> https://a.test//a//b
            "https://a.test/a;b/..;/c" -> https://a.test/a;b/..;/c
            "https://a.test?q=1" -> https://a.test/ ? q=1
            "https://a_b.test/" -> https://a_b.test/"#]],
    );
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    check(
        &[
            "",
            "api.example.com/a",
            "ftp://a.test/",
            "https:/a.test/",
            "https:a.test",
            "https:///a.test/",
            "https://",
            "https://user@a.test/",
            "https://user:password@a.test/",
            "https://allowed.test@evil.test/",
            "https://@a.test/",
            "https://allowed.test%40evil.test/",
            "https://allowed.test\\@evil.test/",
            "https://allowed.test\\.evil.test/",
            "https:\\\\a.test/",
            "https://a.test./",
            "https://127.0.0.1./",
            "https://a.test。/",
            "https://a..test/",
            "https://.a.test/",
            "https://a.test:0/",
            "https://a.test:/",
            "https://a.test:65536/",
            "https://a.test:80:80/",
            "https://:443/",
            "https://a.test /",
            " https://a.test/",
            "https://a.te\tst/",
            "https://a.test/\r\nHost: evil.test",
            "https://a.test/%0d%0aHost:%20evil.test",
            "https://a.test/%00",
            "https://a.test/%",
            "https://a.test/%zz",
            "https://a.test/%4",
            "https://%61.test/",
            "https://a*.test/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://1.2.3.4.5/",
            "https://256.1.1.1/",
            "https://a\u{ad}\u{200b}.\u{202e}test/",
        ],
        &expect![[r#"
            "" -> refused: not an absolute `http` or `https` URL
            "api.example.com/a" -> refused: not an absolute `http` or `https` URL
            "ftp://a.test/" -> refused: not an absolute `http` or `https` URL
            "https:/a.test/" -> refused: not an absolute `http` or `https` URL
            "https:a.test" -> refused: not an absolute `http` or `https` URL
            "https:///a.test/" -> refused: its host or port is not valid
            "https://" -> refused: its host or port is not valid
            "https://user@a.test/" -> refused: contains user-info; use a header and a secret
            "https://user:password@a.test/" -> refused: contains user-info; use a header and a secret
            "https://allowed.test@evil.test/" -> refused: contains user-info; use a header and a secret
            "https://@a.test/" -> refused: contains user-info; use a header and a secret
            "https://allowed.test%40evil.test/" -> refused: its host or port is not valid
            "https://allowed.test\\@evil.test/" -> refused: contains a space, a control character or a backslash
            "https://allowed.test\\.evil.test/" -> refused: contains a space, a control character or a backslash
            "https:\\\\a.test/" -> refused: contains a space, a control character or a backslash
            "https://a.test./" -> refused: its host ends with a dot
            "https://127.0.0.1./" -> refused: its host ends with a dot
            "https://a.test。/" -> refused: its host ends with a dot
            "https://a..test/" -> refused: its host or port is not valid
            "https://.a.test/" -> refused: its host or port is not valid
            "https://a.test:0/" -> refused: its host or port is not valid
            "https://a.test:/" -> refused: its host or port is not valid
            "https://a.test:65536/" -> refused: its host or port is not valid
            "https://a.test:80:80/" -> refused: its host or port is not valid
            "https://:443/" -> refused: its host or port is not valid
            "https://a.test /" -> refused: contains a space, a control character or a backslash
            " https://a.test/" -> refused: contains a space, a control character or a backslash
            "https://a.te\tst/" -> refused: contains a space, a control character or a backslash
            "https://a.test/\r\nHost: evil.test" -> refused: contains a space, a control character or a backslash
            "https://a.test/%0d%0aHost:%20evil.test" -> refused: its path contains a broken escape or an escaped control character
            "https://a.test/%00" -> refused: its path contains a broken escape or an escaped control character
            "https://a.test/%" -> refused: its path contains a broken escape or an escaped control character
            "https://a.test/%zz" -> refused: its path contains a broken escape or an escaped control character
            "https://a.test/%4" -> refused: its path contains a broken escape or an escaped control character
            "https://%61.test/" -> refused: its host or port is not valid
            "https://a*.test/" -> refused: its host or port is not valid
            "https://[::1/" -> refused: its host or port is not valid
            "https://[fe80::1%25eth0]/" -> refused: its host or port is not valid
            "https://1.2.3.4.5/" -> refused: its host or port is not valid
            "https://256.1.1.1/" -> refused: its host or port is not valid
            "https://a\u{ad}\u{200b}.\u{202e}test/" -> refused: its host or port is not valid"#]],
    );
}

#[test]
fn what_is_too_long_is_refused() {
    let path = |bytes: usize| format!("https://a.test/{}", "a".repeat(bytes - 15));
    let name = |last: usize| {
        let label = "a".repeat(63);
        format!("https://{label}.{label}.{label}.{}/", "a".repeat(last))
    };
    let label = |bytes: usize| format!("https://{}.test/", "a".repeat(bytes));
    for (url, expected) in [
        (path(URL_BYTES_MAX), None),
        (path(URL_BYTES_MAX + 1), Some(UrlError::TooLong)),
        (path(2 * URL_BYTES_MAX), Some(UrlError::TooLong)),
        // 253 characters and 254.
        (name(61), None),
        (name(62), Some(UrlError::Host)),
        (name(63), Some(UrlError::Host)),
        (label(63), None),
        (label(64), Some(UrlError::Host)),
    ] {
        let refused = url.parse::<Target>().err();
        assert_eq!(refused, expected, "{} bytes: {url:.80}", url.len());
    }
}

#[test]
fn an_address_has_one_spelling() {
    check(
        &[
            "http://127.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://0x7f.1/",
            "http://127.0.0.01/",
            "http://１２７.0.0.1/",
            "http://①②⑦.0.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[2002:7f00:1::]/",
        ],
        &expect![[r#"
            "http://127.0.0.1/" -> http://127.0.0.1/
            "http://127.1/" -> http://127.0.0.1/
            "http://127.0.1/" -> http://127.0.0.1/
            "http://2130706433/" -> http://127.0.0.1/
            "http://0x7f000001/" -> http://127.0.0.1/
            "http://0x7f.0.0.1/" -> http://127.0.0.1/
            "http://0177.0.0.1/" -> http://127.0.0.1/
            "http://017700000001/" -> http://127.0.0.1/
            "http://0x7f.1/" -> http://127.0.0.1/
            "http://127.0.0.01/" -> http://127.0.0.1/
            "http://１２７.0.0.1/" -> http://127.0.0.1/
            "http://①②⑦.0.0.1/" -> http://127.0.0.1/
            "http://0/" -> http://0.0.0.0/
            "http://[::1]/" -> http://[::1]/
            "http://[0:0:0:0:0:0:0:1]/" -> http://[::1]/
            "http://[::ffff:127.0.0.1]/" -> http://[::ffff:7f00:1]/
            "http://[::ffff:7f00:1]/" -> http://[::ffff:7f00:1]/
            "http://[::127.0.0.1]/" -> http://[::7f00:1]/
            "http://[64:ff9b::127.0.0.1]/" -> http://[64:ff9b::7f00:1]/
            "http://[2002:7f00:1::]/" -> http://[2002:7f00:1::]/"#]],
    );
}

/// (rule, covered, not covered)
const RULES: &[(&str, &[&str], &[&str])] = &[
    (
        "https://api.example.com/v1/contracts/*",
        &[
            "https://api.example.com/v1/contracts/7",
            "https://API.EXAMPLE.COM:443/v1/contracts/7",
            "https://api.example.com/v1/contracts/a%20b?x=1",
            "https://api.example.com/v1/./contracts/../contracts/7",
            "https://api.example.com/%76%31/contracts/7",
        ],
        &[
            "http://api.example.com/v1/contracts/7",
            "https://api.example.com:8443/v1/contracts/7",
            "https://api.example.com.evil.test/v1/contracts/7",
            "https://evil.test/api.example.com/v1/contracts/7",
            "https://evil.test/?https://api.example.com/v1/contracts/7",
            "https://evil.test/#https://api.example.com/v1/contracts/7",
            "https://xapi.example.com/v1/contracts/7",
            "https://api-example.com/v1/contracts/7",
            "https://apiXexample.com/v1/contracts/7",
            "https://api.example.com/v1/contracts",
            "https://api.example.com/v1/contracts/",
            "https://api.example.com/v1/contracts/7/",
            "https://api.example.com/v1/contracts/7/parties",
            "https://api.example.com/v1/contracts/..",
            "https://api.example.com/v1/contracts/../admin",
            "https://api.example.com/v1/contracts/%2e%2e/admin",
            "https://api.example.com/v1/contracts/..%2fadmin",
            "https://api.example.com/v1/contracts/7%2fadmin",
            "https://api.example.com/v1/contracts/7%5cadmin",
            "https://api.example.com/v1/contracts/%252e%252e%252fadmin",
            "https://api.example.com/v1/contracts/..;",
            "https://api.example.com/v1/contracts/..;x=1",
            "https://api.example.com/v1/contracts/..%3b",
            "https://api.example.com//v1/contracts/7",
            "https://api.example.com/v1//contracts/7",
            "https://api.example.com/V1/contracts/7",
        ],
    ),
    (
        "https://api.example.com",
        &[
            "https://api.example.com/",
            "https://api.example.com",
            "https://api.example.com?q",
        ],
        &["https://api.example.com/x", "https://api.example.com//"],
    ),
    (
        "https://api.example.com/v1/**",
        &[
            "https://api.example.com/v1/",
            "https://api.example.com/v1/a/b/c/",
            "https://api.example.com/v1/a/../b",
            "https://api.example.com/v1/a//../../b",
        ],
        &[
            "https://api.example.com/v1",
            "https://api.example.com/v10/a",
            "https://api.example.com/v1/../admin",
            "https://api.example.com/v1/..;/admin",
            "https://api.example.com/v1/%2e%2e%2fadmin",
            "https://api.example.com/v1//admin",
        ],
    ),
    (
        "https://api.example.com/**",
        &[
            "https://api.example.com/",
            "https://api.example.com/a%2Fb//c/..;/d",
            "https://api.example.com//",
        ],
        &["https://example.com/", "http://api.example.com/"],
    ),
    (
        "https://*.example.com/**",
        &[
            "https://a.example.com/",
            "https://xn--bcher-kva.example.com/x",
        ],
        &[
            "https://example.com/",
            "https://a.b.example.com/",
            "https://aexample.com/",
            "https://a.example.com.evil.test/",
            "https://example.com.evil.test/",
        ],
    ),
    (
        "https://bücher.example/**",
        &["https://xn--bcher-kva.example/a", "https://BÜCHER.example/"],
        &["https://bucher.example/", "https://xn--bcher-kvb.example/"],
    ),
    (
        "http://127.0.0.1:8080/**",
        &[
            "http://127.1:8080/",
            "http://0x7f000001:8080/a",
            "http://2130706433:8080/",
        ],
        &[
            "http://localhost:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
            "http://127.0.0.1/",
        ],
    ),
    (
        "http://[::1]/a",
        &["http://[0:0::1]/a"],
        &["http://[::2]/a", "http://127.0.0.1/a"],
    ),
];

#[test]
fn rules_cover_what_they_say() {
    let mut checked = 0;
    for (rule, covered, not_covered) in RULES {
        let pattern: UrlPattern = rule.parse().unwrap();
        assert_eq!(pattern.to_string(), *rule);
        for (urls, expected) in [(covered, true), (not_covered, false)] {
            for url in *urls {
                let matches = url.parse().is_ok_and(|target| pattern.matches(&target));
                assert_eq!(matches, expected, "{rule} {url}");
                checked += 1;
            }
        }
    }
    assert!(checked > 70, "{checked}");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let complaints = [
        "https://*/",
        "https://*.com/",
        "https://*.127.0.0.1/",
        "https://a.*.example.com/",
        "https://**.example.com/",
        "https://a*.example.com/",
        "https://*example.com/",
        "https://user@a.test/",
        "https://a.test./",
        "https://a.test/?q=1",
        "https://a.test/#a",
        "https://a.test/**/b",
        "https://a.test/v*",
        "https://a.test/a/../b",
        "https://a.test/a/%2e%2e/b",
        "https://a.test/a%2fb",
        "https://a.test//b",
        "https://a.test/a//**",
        "//a.test/",
        "a.test",
    ]
    .map(|rule| match rule.parse::<UrlPattern>() {
        Ok(_) => format!("{rule} ACCEPTED"),
        Err(why) => why,
    });
    expect![[r#"
        `https://*/`: `*` in a host stands for its whole first label: `*.example.com`
        `https://*.com/`: a wildcard needs a domain of two labels or more behind it
        `https://*.127.0.0.1/`: a wildcard needs a domain of two labels or more behind it
        `https://a.*.example.com/`: `*` in a host stands for its whole first label: `*.example.com`
        `https://**.example.com/`: `*` in a host stands for its whole first label: `*.example.com`
        `https://a*.example.com/`: `*` in a host stands for its whole first label: `*.example.com`
        `https://*example.com/`: `*` in a host stands for its whole first label: `*.example.com`
        `https://user@a.test/`: contains user-info; use a header and a secret
        `https://a.test./`: its host ends with a dot
        `https://a.test/?q=1`: a rule has no query and no fragment; the query is not matched
        `https://a.test/#a`: a rule has no query and no fragment; the query is not matched
        `https://a.test/**/b`: `**` stands at the end of a path alone
        `https://a.test/v*`: `*` in a path stands for a whole segment
        `https://a.test/a/../b`: its path contains `.`, `..` or begins with more than one slash
        `https://a.test/a/%2e%2e/b`: its path contains `.`, `..` or begins with more than one slash
        `https://a.test/a%2fb`: its path contains an escaped slash or dot
        `https://a.test//b`: its path contains `.`, `..` or begins with more than one slash
        `https://a.test/a//**`: its path contains an empty segment
        `//a.test/`: not an absolute `http` or `https` URL
        `a.test`: not an absolute `http` or `https` URL"#]]
    .assert_eq(&complaints.join("\n"));
}

#[test]
fn the_rule_that_is_asked_for_can_be_granted_and_allows_the_request() {
    let urls = [
        "https://a.test/",
        "https://a.test/pub/a%2Fb?c=d",
        "https://a.test//x",
        "https://a.test/a//b/",
        "https://a.test/a/..;/b",
        "https://a.test/*/**",
        "https://a.test/a*b",
        "http://127.0.0.1:8080/x",
        "http://[::1]/a%5Cb",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
    ];
    for url in urls {
        let asked = crate::grants::Grants::default()
            .explain("http", &["GET", url])
            .unwrap();
        assert!(!asked.allowed, "{url}");
        let (_, rule) = asked.because.split_once("needed: ").expect("a rule");
        let granted: crate::grants::Grants = toml::from_str(rule).expect(rule);
        granted.validate().expect(&asked.because);
        let explained = granted.explain("http", &["GET", url]).unwrap();
        assert!(
            explained.allowed,
            "{url}: {}: {}",
            asked.because, explained.because
        );
    }
    let never = crate::grants::Grants::default()
        .explain("http", &["GET", "http://0.0.0.0/"])
        .unwrap();
    expect!["no rule can allow it: the host's address is unspecified"].assert_eq(&never.because);
}

/// What a denial names as needed covers what was denied.
#[test]
fn the_rule_that_is_named_covers_what_was_asked_for() {
    let table = [
        ("https://a.test/v1/x?q=1", "https://a.test/v1/x"),
        ("https://a.test:8443/", "https://a.test:8443/"),
        ("https://a.test/a//b", "https://a.test/**"),
        ("https://a.test//a", "https://a.test/**"),
        ("https://a.test/a%2fb", "https://a.test/**"),
        ("https://a.test/a/..;/b", "https://a.test/**"),
        ("https://a.test/a/", "https://a.test/a/"),
        ("https://a.test/*", "https://a.test/*"),
        ("https://a.test/*/", "https://a.test/*/"),
        ("https://a.test/a*b", "https://a.test/**"),
        ("https://a.test/**/b", "https://a.test/**"),
    ];
    for (url, named) in table {
        let target: Target = url.parse().expect(url);
        let name = UrlPattern::naming(&target);
        assert_eq!(name, named, "{url}");
        let pattern: UrlPattern = name.parse().expect(&name);
        assert!(pattern.matches(&target), "{url}: {name}");
    }
}
