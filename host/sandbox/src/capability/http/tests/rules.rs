//! What an administrator may write, and how often what is granted may be done.

use std::time::Duration;

use tokio::time::Instant;

use crate::capability::Grants;
use crate::capability::http::grant::Rule;
use crate::capability::http::rate::Rates;

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
