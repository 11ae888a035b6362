use proptest::prelude::*;

use super::*;

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes, shown) in [
        ("0", 0, "0B"),
        ("4096", 4_096, "4KiB"),
        ("1B", 1, "1B"),
        ("64MiB", 64 << 20, "64MiB"),
        ("64 MiB", 64 << 20, "64MiB"),
        ("1GiB", 1 << 30, "1GiB"),
        ("1536MiB", 1536 << 20, "1536MiB"),
        ("2kB", 2_000, "2000B"),
        ("3MB", 3_000_000, "3000000B"),
        ("1GB", 1_000_000_000, "1000000000B"),
        ("1025KiB", 1025 << 10, "1025KiB"),
    ] {
        let size: ByteSize = text.parse().expect(text);
        assert_eq!(
            (size.0, size.to_string().as_str()),
            (bytes, shown),
            "{text}"
        );
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    for bad in [
        "",
        "MiB",
        "1.5GiB",
        "-1",
        "64mib",
        "64M",
        "1 2KiB",
        "99999999999GiB",
        "0x10",
        "∞",
    ] {
        let error = bad.parse::<ByteSize>().unwrap_err();
        assert!(
            error.starts_with(&format!("`{bad}` is not a size; write")),
            "{error}"
        );
    }
}

#[test]
fn spans_are_read_and_written() {
    for (text, millis, shown) in [
        ("500ms", 500, "500ms"),
        ("10s", 10_000, "10s"),
        ("2m", 120_000, "2m"),
        ("90s", 90_000, "1m30s"),
        ("1h", 3_600_000, "1h"),
    ] {
        let span: Span = text.parse().expect(text);
        assert_eq!(span.0.as_millis(), millis);
        assert_eq!(span.to_string(), shown);
        assert_eq!(shown.parse(), Ok(span));
    }
    for bad in ["", "10", "s", "-1s", "1 fortnight", "99999999999999999999s"] {
        let error = bad.parse::<Span>().unwrap_err();
        assert!(
            error.starts_with(&format!("`{bad}` is not a duration")),
            "{error}"
        );
    }
}

#[test]
fn rates_are_read_and_written_and_compared() {
    for (text, count, seconds) in [("100/s", 100, 1), ("100/min", 100, 60), ("7 / h", 7, 3_600)] {
        let rate: Rate = text.parse().expect(text);
        assert_eq!((rate.count, rate.per.as_secs()), (count, seconds));
        assert_eq!(rate.to_string(), text.replace(' ', ""));
    }
    for bad in [
        "",
        "100",
        "/s",
        "100/",
        "100/day",
        "-1/s",
        "1.5/s",
        "99999999999/s",
    ] {
        let error = bad.parse::<Rate>().unwrap_err();
        assert!(
            error.starts_with(&format!("`{bad}` is not a rate; write")),
            "{error}"
        );
    }
    let rate = |text: &str| text.parse::<Rate>().expect(text);
    assert!(rate("1/s") == rate("60/min") && rate("61/min") > rate("1/s"));
    assert!(rate("1/h") < rate("1/min"));
    assert!(rate("1/s") != rate("2/s") && rate("1/s") != rate("1/min"));
}

#[test]
fn the_defaults_are_in_range_and_all_there() {
    let limits = Limits::default();
    limits.validate().expect("the defaults");
    let written = serde_json::to_value(&limits).expect("JSON");
    let written = written.as_object().expect("an object");
    let ranges = Limits::ranges();
    let named: Vec<&str> = ranges.iter().map(|range| range.name).collect();
    assert_eq!(named.len(), written.len());
    assert!(
        named.iter().all(|name| written.contains_key(*name)),
        "{named:?}"
    );
    let read: Limits = toml::from_str("").expect("nothing is everything by default");
    assert_eq!(read, limits);
}

/// The value as JSON, whichever kind of limit it is.
fn value(text: &str) -> serde_json::Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Into::into)
}

#[test]
fn every_limit_accepts_its_range_and_refuses_zero_and_more() {
    for Range { name, min, max } in Limits::ranges() {
        let read =
            |text: &str| serde_json::from_value::<Limits>(serde_json::json!({ name: value(text) }));
        for fits in [&min, &max] {
            let limits = read(fits).expect(name);
            let written = serde_json::to_value(&limits).expect("JSON");
            assert_eq!(written[name], value(fits), "{name}");
        }
        let zero = match name {
            "queue" => "-1",
            "cpu" | "wall" => "0s",
            "rate" => "0/s",
            "memory" | "input" | "output" | "log" | "random" | "host_memory" => "0B",
            _ => "0",
        };
        let more = match name {
            "wall" => "2days",
            "cpu" => "2h",
            "rate" => "1000001/s",
            "memory" | "host_memory" => "5GiB",
            "input" | "output" => "65MiB",
            "log" => "17MiB",
            "random" => "2GiB",
            _ => &(max.parse::<u64>().expect(name) + 1).to_string(),
        };
        for out in [zero, more] {
            let error = read(out).expect_err(name).to_string();
            let expected = match out {
                "-1" => "invalid value".to_owned(),
                _ => format!("limit `{name}` is {out}; it must be {min} to {max}"),
            };
            assert!(error.contains(&expected), "{name} = {out}: {error}");
        }
    }
}

#[test]
fn values_set_in_code_are_checked_too() {
    let limits = Limits {
        handles: 0,
        ..Limits::default()
    };
    let error = limits.validate().unwrap_err();
    assert_eq!(error, "limit `handles` is 0; it must be 1 to 1000000");
}

#[test]
fn an_unknown_limit_and_a_bare_number_are_refused() {
    for (text, part) in [
        ("memroy = \"1MiB\"", "unknown field `memroy`"),
        (
            "memory = 67108864",
            "`67108864` has no unit; write a number with B, KiB, MiB",
        ),
        (
            "cpu = 5",
            "`5` has no unit; write e.g. `500ms`, `10s`, `2m`",
        ),
        (
            "cpu = -5",
            "expected a text with a unit; write e.g. `500ms`",
        ),
        (
            "cpu = 0.5",
            "expected a text with a unit; write e.g. `500ms`",
        ),
        (
            "wall = true",
            "expected a text with a unit; write e.g. `500ms`",
        ),
        (
            "rate = 100",
            "`100` has no unit; write e.g. `10/s`, `100/min`",
        ),
        (
            "handles = \"10\"",
            "expected a number without a unit or quotes, such as `1000`",
        ),
        ("handles = -1", "expected a number without a unit"),
        ("queue = 5000000000", "expected a number without a unit"),
        ("cpu = \"\"", "is not a duration"),
    ] {
        let error = toml::from_str::<Limits>(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn fuzz_any_size_survives_being_written(bytes in any::<u64>()) {
        let size = ByteSize(bytes);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn fuzz_any_text_is_read_or_refused(text in ".{0,20}") {
        let _ = (text.parse::<ByteSize>(), text.parse::<Span>(), text.parse::<Rate>());
    }
}
