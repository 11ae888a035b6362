//! What an administrator may write, and how often what is granted may be done.

use std::time::Duration;

use tokio::time::Instant;

use crate::capability::Grants;
use crate::capability::http::grant::{Rule, decide, parse_op};
use crate::capability::http::rate::Rates;
use crate::gate::Allowed;

/// The one rule of `http`, with more in it than its URL.
fn rule(more: &str) -> Grants {
    let text = format!("http = [{{ url = \"https://a.test/\"{more} }}]");
    toml::from_str(&text).expect(&text)
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let long = format!(", methods = [\"{}\"]", "A".repeat(33));
    let longest = format!(", methods = [\"{}\"]", "A".repeat(32));
    for (more, complaint) in [
        ("", None),
        (", methods = []", Some("`methods` is empty")),
        (", methods = [\"GET\", \"PROPFIND\"]", None),
        (&longest, None),
        (&long, Some("is not a method in upper case")),
        (
            ", methods = [\"GET\", \"get\"]",
            Some("`get` is not a method"),
        ),
        (", methods = [\"\"]", Some("`` is not a method")),
        (", methods = [\"G T\"]", Some("`G T` is not a method")),
        (
            ", methods = [\"CONNECT\"]",
            Some("`CONNECT` cannot be granted"),
        ),
        (", methods = [\"TRACE\"]", Some("`TRACE` cannot be granted")),
        (", secret = \"key\"", None),
        (", secret = \"\"", Some("secret")),
        (", request_bytes = \"1GiB\", response_bytes = \"1B\"", None),
        (", request_bytes = \"0B\"", Some("`request_bytes` must be")),
        (
            ", response_bytes = \"0B\"",
            Some("`response_bytes` must be"),
        ),
        (
            ", response_bytes = \"1025MiB\"",
            Some("between 1B and 1GiB"),
        ),
        (", rate = \"1/h\"", None),
        (", rate = \"0/h\"", Some("`rate` must be at least 1")),
    ] {
        let refused = rule(more).validate().err().map(|error| error.message);
        match (&refused, complaint) {
            (None, None) => {}
            (Some(refused), Some(part)) if refused.contains(part) => {}
            _ => panic!("{more}: {refused:?}, not {complaint:?}"),
        }
    }
}

#[test]
fn a_rate_is_refilled_evenly_and_never_beyond_itself() {
    let limited = |rate: &str| -> Rule { rule(&format!(", rate = \"{rate}\"")).http[0].clone() };
    let (six, two) = (limited("6/min"), limited("2/s"));
    let rates = Rates::default();
    let start = Instant::now();
    let check = |rule: &Rule, after_s: u64, expected: Result<(), u128>| {
        let now = start + Duration::from_secs(after_s);
        let taken = rates.take(rule, now);
        let taken = taken.map_err(|wait| (wait.as_secs_f64() * 1e3).round() as u128);
        assert_eq!(taken, expected, "after {after_s} s");
    };
    for _ in 0..6 {
        check(&six, 0, Ok(()));
    }
    check(&six, 0, Err(10_000));
    check(&six, 5, Err(5_000));
    check(&six, 7, Err(3_000));
    check(&six, 10, Ok(()));
    check(&six, 10, Err(10_000));
    check(&six, 25, Ok(()));
    check(&six, 25, Err(5_000));
    // Another rule has a bucket of its own.
    check(&two, 25, Ok(()));
    check(&two, 25, Ok(()));
    check(&two, 25, Err(500));
    for _ in 0..6 {
        check(&six, 3_600, Ok(()));
    }
    check(&six, 3_600, Err(10_000));
    let unlimited = &rule("").http[0];
    for _ in 0..10 {
        check(unlimited, 0, Ok(()));
    }
}

/// What is said of two rules is what comes of the requests: where the first decides
/// before the second, no request gets to the second; else one does.
#[test]
fn a_rule_that_never_holds_is_one_that_no_request_gets_to() {
    const PRIVATE: &str = "http://127.0.0.1:1/x";
    const NAMED: &str = "https://a.test/x";
    let table = [
        (PRIVATE, "", PRIVATE, ", allow_private = true", false),
        (PRIVATE, ", allow_private = true", PRIVATE, "", true),
        (
            "http://127.0.0.1:1/**",
            ", allow_private = true",
            PRIVATE,
            ", allow_private = true, secret = 'key'",
            false,
        ),
        (NAMED, "", NAMED, ", allow_private = true", true),
        ("https://a.test/**", "", NAMED, "", true),
        (
            "https://a.test/**",
            "",
            NAMED,
            ", methods = ['GET', 'PUT']",
            false,
        ),
        (NAMED, "", "https://a.test/**", "", false),
        (NAMED, "", NAMED, ", secret = 'key'", false),
        (NAMED, ", secret = 'key'", NAMED, "", true),
        (
            "http://169.254.169.254/**",
            ", allow_private = true",
            "http://169.254.169.254/x",
            ", allow_private = true",
            true,
        ),
    ];
    let requests = ["GET", "PUT"].into_iter().flat_map(|method| {
        let urls = [
            PRIVATE,
            NAMED,
            "https://a.test/other",
            "http://169.254.169.254/x",
        ];
        urls.into_iter()
            .flat_map(move |url| [vec![method, url], vec![method, url, "secret=key"]])
    });
    let requests: Vec<Vec<&str>> = requests.collect();
    for (wide, wide_more, narrow, narrow_more, never) in table {
        let text = format!(
            "http = [{{ url = '{wide}'{wide_more} }}, {{ url = '{narrow}'{narrow_more} }}]"
        );
        let grants: Grants = toml::from_str(&text).expect(&text);
        assert_eq!(
            grants.http[0].decides_before(&grants.http[1]),
            never,
            "{text}"
        );
        let gets_there = requests.iter().any(|words| {
            let op = parse_op(words).expect("a request");
            decide(&grants, &op) == Ok(Allowed::Rule(1))
        });
        assert_eq!(gets_there, !never, "{text}");
    }
}
