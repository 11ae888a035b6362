use std::time::Instant;

use proptest::prelude::*;

use super::backend::Source;
use super::*;
use crate::capability::Cases;
use crate::testing::Door;

pub(crate) const CASES: Cases = Cases {
    grants: "",
    allowed: &["write", "progress"],
    denied: &[],
};

fn log(bytes_max: u64) -> LogBuffer {
    LogBuffer::new(Door::new("").gate(), Instant::now(), bytes_max)
}

fn lines(output: &LogOutput) -> Vec<String> {
    let line = |record: &crate::call::LogRecord| format!("{}: {}", record.level, record.message);
    output.records.iter().map(line).collect()
}

#[test]
fn lines_are_put_together_whatever_the_writes() {
    let log = log(10_000);
    for piece in ["a", "b\nc", "", "\n\n", "d\r\n", "e\r", "\nlast"] {
        log.write(Source::Stdout, piece.as_bytes());
        log.write(Source::Stderr, piece.as_bytes());
    }
    let output = log.finish();
    let stdout = lines(&output)
        .into_iter()
        .filter(|l| l.starts_with("stdout"));
    let stdout: Vec<String> = stdout.collect();
    let expected = ["ab", "c", "", "d", "e", "last"].map(|l| format!("stdout: {l}"));
    assert_eq!(stdout, expected);
    assert_eq!(output.records.len(), 12);
    assert_eq!((output.lost_records, output.lost_bytes), (0, 0));
}

#[test]
fn what_could_forge_or_hide_a_line_is_escaped() {
    for (given, shown) in [
        ("plain, ünïcode 日本 🦀 \\n", "plain, ünïcode 日本 🦀 \\n"),
        ("a\nINFO forged", "a\\nINFO forged"),
        ("a\r\tb", "a\\r\\tb"),
        (
            "\u{1b}[2J\u{1b}]0;title\u{7}",
            "\\u{1b}[2J\\u{1b}]0;title\\u{7}",
        ),
        ("\0\u{7f}\u{9b}31m", "\\u{0}\\u{7f}\\u{9b}31m"),
        (
            "a\u{2028}b\u{2029}c\u{85}d",
            "a\\u{2028}b\\u{2029}c\\u{85}d",
        ),
        ("\u{202e}gnp.exe\u{2066}", "\\u{202e}gnp.exe\\u{2066}"),
        ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
    ] {
        let log = log(10_000);
        log.record("info", given, &[(given.to_owned(), given.to_owned())]);
        let record = &log.finish().records[0];
        assert_eq!(record.message, shown);
        assert_eq!(record.fields, [(shown.to_owned(), shown.to_owned())]);
        log.report(1.0, None, given);
        assert_eq!(log.finish().progress.expect("a report").message, shown);
    }
}

#[test]
fn invalid_utf8_is_replaced_and_a_long_line_broken_between_characters() {
    let log = log(1 << 20);
    log.write(Source::Stdout, b"a\xff\xfeb\n\xe2\x82\n");
    let wide = "€".repeat(LINE_BYTES_MAX);
    log.write(Source::Stderr, wide.as_bytes());
    let output = log.finish();
    assert_eq!(
        lines(&output)[..2],
        ["stdout: a\u{fffd}\u{fffd}b", "stdout: \u{fffd}"]
    );
    let broken: String = output.records[2..]
        .iter()
        .map(|r| r.message.as_str())
        .collect();
    assert_eq!(broken, wide);
    assert!(
        output
            .records
            .iter()
            .all(|r| r.message.len() <= LINE_BYTES_MAX)
    );
}

#[test]
fn a_flood_is_dropped_counted_and_said() {
    let log = log(1_000);
    log.write(Source::Stdout, &b"0123456789\n".repeat(10_000));
    log.record("info", "late", &[]);
    let output = log.finish();
    let kept = 1_000 / (10 + RECORD_OVERHEAD_BYTES);
    assert!(output.records.len() <= kept + 2, "{}", output.records.len());
    assert!(output.records.len() > kept);
    let last = output.records.last().expect("a note");
    assert_eq!(
        last.message,
        "limit log reached (1000B): the rest was dropped"
    );
    let text: usize = output
        .records
        .iter()
        .rev()
        .skip(1)
        .map(|r| r.message.len())
        .sum();
    assert_eq!(text as u64 + output.lost_bytes, 100_000 + 4);
    assert!(!lines(&output).contains(&"info: late".to_owned()));
}

#[test]
fn floods_of_nothing_are_bounded_too() {
    for flood in ["\n", "\r\n", "\u{1b}", "\u{1b}\n", "x"] {
        let log = log(64 << 10);
        for _ in 0..100 {
            log.write(Source::Stderr, flood.repeat(10_000).as_bytes());
        }
        let output = log.finish();
        let text: usize = output.records.iter().map(|r| r.message.len()).sum();
        assert!(text <= (64 << 10) + 100, "{flood:?}: {text}");
        assert!(output.records.len() <= (64 << 10) / RECORD_OVERHEAD_BYTES + 2);
        assert!(output.lost_records > 0);
    }
    let log = log(64 << 10);
    for _ in 0..100_000 {
        log.record("trace", "", &[(String::new(), String::new())]);
    }
    assert!(log.finish().records.len() <= (64 << 10) / RECORD_OVERHEAD_BYTES + 2);
}

#[test]
fn fields_go_in_whole_or_not_at_all() {
    let log = log(200);
    let fields = [("a", 10), ("b", 60), ("c", 100)];
    let fields = fields.map(|(key, len)| (key.to_owned(), "x".repeat(len)));
    log.record("warn", "message", &fields);
    let output = log.finish();
    let kept: Vec<&str> = output.records[0]
        .fields
        .iter()
        .map(|(k, _)| k.as_str())
        .collect();
    assert_eq!(kept, ["a", "b"]);
    assert_eq!((output.lost_records, output.lost_bytes), (1, 101));
}

#[test]
fn progress_keeps_the_latest_and_reaches_watchers_at_a_bounded_rate() {
    let log = log(0);
    let seen = log.progress();
    let started = std::time::Instant::now();
    let mut changes = 0u128;
    let mut watch = seen.clone();
    for n in 0..100_000 {
        log.report(f64::from(n), Some(100_000.0), "working");
        if watch.has_changed().expect("open") {
            watch.mark_unchanged();
            changes += 1;
        }
    }
    let most = started.elapsed().as_millis() / 10 + 1;
    assert!((1..=most).contains(&changes), "{changes} of at most {most}");
    let last = log.finish().progress.expect("a report");
    assert_eq!((last.done, last.total), (99_999.0, Some(100_000.0)));
    assert_eq!(seen.borrow().as_ref(), Some(&last));
}

#[test]
fn progress_is_a_number_and_its_message_is_short() {
    let log = log(0);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        log.report(bad, None, "");
        assert_eq!(log.finish().progress, None);
    }
    log.report(1.5, Some(f64::NAN), &"é\n".repeat(2_000));
    let report = log.finish().progress.expect("a report");
    assert_eq!((report.done, report.total), (1.5, None));
    assert!((1_020..=1_024).contains(&report.message.len()));
}

#[test]
fn what_was_written_is_counted_under_log() {
    let gate = Door::new("").gate();
    let log = LogBuffer::new(gate.clone(), Instant::now(), 1_000);
    assert!(gate.usage().is_empty());
    log.write(Source::Stdout, b"12345\n67");
    log.record("info", "89", &[("k".to_owned(), "v".to_owned())]);
    log.finish();
    let usage = gate.usage();
    assert_eq!((&*usage[0].capability, usage[0].bytes_out), ("log", 11));
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    /// Whatever is written in whatever pieces: what comes out is bounded, single
    /// lines without control characters, and nothing is lost within the limit.
    #[test]
    fn fuzz_any_bytes_come_out_bounded_and_harmless(
        pieces in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), 0..20),
        limit in 1u64..5_000,
    ) {
        let log = log(limit);
        for (at, piece) in pieces.iter().enumerate() {
            match at % 3 {
                0 => log.write(Source::Stdout, piece),
                1 => log.write(Source::Stderr, piece),
                _ => log.record("info", &String::from_utf8_lossy(piece), &[]),
            }
        }
        let output = log.finish();
        let text: usize = output.records.iter().map(|r| r.message.len()).sum();
        prop_assert!(text as u64 <= limit + 100);
        for record in &output.records {
            prop_assert!(!record.message.contains(char::is_control), "{:?}", record.message);
        }
        let again = log.finish();
        prop_assert!(again.records.len() <= 1);
    }
}
