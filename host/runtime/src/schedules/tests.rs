//! Cron lines, time zones and decisions, over times that the tables give.

use jiff::Timestamp;

use super::due::{CatchUp, Due, due};
use super::when::When;

/// Milliseconds of a time as `2026-03-29T01:00:00Z`.
fn ms(time: &str) -> u64 {
    let time: Timestamp = time.parse().expect("a time");
    u64::try_from(time.as_millisecond()).expect("after 1970")
}

fn when(cron: &str, zone: &str) -> When {
    When::parse(cron, zone).expect("a schedule")
}

fn text(ms: u64) -> String {
    let ms = i64::try_from(ms).expect("a time");
    Timestamp::from_millisecond(ms).expect("a time").to_string()
}

/// The due times after a moment, as text.
fn after(when: &When, from: &str, count: usize) -> Vec<String> {
    let mut at = ms(from);
    let mut found = Vec::new();
    for _ in 0..count {
        at = when.next(at).expect("it comes due");
        found.push(text(at));
    }
    found
}

#[test]
fn lines_come_due_when_they_say() {
    let table: [(&str, &str, &[&str]); 12] = [
        (
            "*/20 9-10 * * *",
            "2026-01-01T09:59:00Z",
            &[
                "2026-01-01T10:00:00Z",
                "2026-01-01T10:20:00Z",
                "2026-01-01T10:40:00Z",
                "2026-01-02T09:00:00Z",
            ],
        ),
        (
            "30 6 * * mon-fri",
            "2026-01-02T06:30:00Z",
            &["2026-01-05T06:30:00Z", "2026-01-06T06:30:00Z"],
        ),
        (
            "0 0 * * 7",
            "2026-01-01T00:00:00Z",
            &["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"],
        ),
        (
            "0 0 29 2 *",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        ),
        (
            "0 0 29 2 *",
            "2096-03-01T00:00:00Z",
            &["2104-02-29T00:00:00Z"],
        ),
        (
            "0 0 31 * *",
            "2026-01-31T00:00:00Z",
            &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"],
        ),
        // Both days named: either.
        (
            "0 0 13 * fri",
            "2026-02-01T00:00:00Z",
            &[
                "2026-02-06T00:00:00Z",
                "2026-02-13T00:00:00Z",
                "2026-02-20T00:00:00Z",
            ],
        ),
        // One begins with `*`: both.
        (
            "0 0 */2 * fri",
            "2026-02-01T00:00:00Z",
            &["2026-02-13T00:00:00Z", "2026-02-27T00:00:00Z"],
        ),
        (
            "5/20 0 1 jan,jul *",
            "2026-01-01T00:05:00Z",
            &[
                "2026-01-01T00:25:00Z",
                "2026-01-01T00:45:00Z",
                "2026-07-01T00:05:00Z",
            ],
        ),
        ("@weekly", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]),
        ("@yearly", "2026-01-01T00:00:00Z", &["2027-01-01T00:00:00Z"]),
        (
            "0 0 * * *",
            "2026-01-01T00:00:00.001Z",
            &["2026-01-02T00:00:00Z"],
        ),
    ];
    for (cron, from, expect) in table {
        let found = after(&when(cron, "UTC"), from, expect.len());
        assert_eq!(found, expect, "{cron} after {from}");
    }
}

/// In 2026 Berlin's clocks go from 02:00 to 03:00 on 29 March (01:00 UTC) and from
/// 03:00 to 02:00 on 25 October (01:00 UTC); New York's from 02:00 to 03:00 on 8
/// March (07:00 UTC) and from 02:00 to 01:00 on 1 November (06:00 UTC).
#[test]
fn changes_of_the_clocks_lose_nothing_and_double_nothing() {
    let (berlin, new_york) = ("Europe/Berlin", "America/New_York");
    let table: [(&str, &str, &str, &[&str]); 15] = [
        // It does not exist: at the first moment after the gap.
        (
            "30 2 * * *",
            berlin,
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "30 2 * * *",
            new_york,
            "2026-03-07T12:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        // Those of one gap, and what is due after it anyway, once.
        (
            "0,15,30 2,3 * * *",
            berlin,
            "2026-03-28T12:00:00Z",
            &[
                "2026-03-29T01:00:00Z",
                "2026-03-29T01:15:00Z",
                "2026-03-29T01:30:00Z",
                "2026-03-30T00:00:00Z",
            ],
        ),
        // Only on the day of the gap.
        (
            "30 2 29 3 *",
            berlin,
            "2026-01-01T00:00:00Z",
            &["2026-03-29T01:00:00Z", "2027-03-29T00:30:00Z"],
        ),
        // Just before and after the gap.
        (
            "59 1 * * *",
            berlin,
            "2026-03-28T12:00:00Z",
            &["2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"],
        ),
        (
            "0 3 * * *",
            berlin,
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"],
        ),
        // It exists twice: the first time.
        (
            "30 2 * * *",
            berlin,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "30 1 * * *",
            new_york,
            "2026-10-31T12:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        // Asked between the two.
        (
            "30 2 * * *",
            berlin,
            "2026-10-25T00:30:00Z",
            &["2026-10-26T01:30:00Z"],
        ),
        (
            "30 2 * * *",
            berlin,
            "2026-10-25T01:10:00Z",
            &["2026-10-26T01:30:00Z"],
        ),
        (
            "0 3 * * *",
            berlin,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T02:00:00Z"],
        ),
        // Each hour: what goes by, not what the wall says.
        (
            "30 * * * *",
            berlin,
            "2026-03-28T23:45:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"],
        ),
        (
            "30 * * * *",
            berlin,
            "2026-10-24T23:45:00Z",
            &[
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:30:00Z",
            ],
        ),
        (
            "30 * * * *",
            new_york,
            "2026-11-01T04:45:00Z",
            &[
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:30:00Z",
                "2026-11-01T07:30:00Z",
            ],
        ),
        (
            "0 12 * * *",
            berlin,
            "2026-03-27T12:00:00Z",
            &["2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"],
        ),
    ];
    for (cron, zone, from, expect) in table {
        let found = after(&when(cron, zone), from, expect.len());
        assert_eq!(found, expect, "{cron} in {zone} after {from}");
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_what_is_wrong() {
    let table = [
        ("0 0 31 2 *", "UTC", "never comes due"),
        ("0 0 30,31 2 *", "UTC", "never comes due"),
        ("0 0 31 4,6,9,11 *", "UTC", "never comes due"),
        ("* * * *", "UTC", "has 5 fields"),
        ("* * * * * *", "UTC", "this has 6"),
        ("@often", "UTC", "this has 1"),
        ("60 * * * *", "UTC", "minute: `60` is not 0 to 59"),
        ("* 24 * * *", "UTC", "hour: `24`"),
        ("* * 0 * *", "UTC", "day of month: `0` is not 1 to 31"),
        (
            "* * * foo *",
            "UTC",
            "month: `foo` is not 1 to 12 or `jan` to `dec`",
        ),
        ("* * * * 8", "UTC", "day of week: `8`"),
        ("* 22-2 * * *", "UTC", "hour: `22-2` goes backwards"),
        ("*/0 * * * *", "UTC", "minute: the step in `*/0`"),
        ("*/99999999999 * * * *", "UTC", "the step"),
        ("* * L * *", "UTC", "day of month: `L`"),
        ("1,,2 * * * *", "UTC", "minute: ``"),
        ("* * * * *", "Berlin", "did you mean `Europe/Berlin`?"),
        ("* * * * *", "Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("* * * * *", "CEST-2", "there is no time zone"),
        ("* * * * *", "../../etc/passwd", "there is no time zone"),
        ("* * * * *", "", "there is no time zone"),
    ];
    for (cron, zone, expect) in table {
        let error = When::parse(cron, zone).expect_err(cron);
        assert!(error.contains(expect), "{cron} {zone}: {error}");
    }
    assert!(
        When::parse("0 0 31 2 fri", "UTC").is_ok(),
        "either day will do"
    );
}

#[test]
fn missed_times_are_made_up_for_as_asked() {
    let hourly = when("0 * * * *", "UTC");
    let decided = "2026-01-01T00:00:00Z";
    // Now; the policy; what fires; how many are passed over; decided up to.
    let table: [(&str, CatchUp, &[&str], u64, &str); 13] = [
        ("2026-01-01T00:59:59Z", CatchUp::All, &[], 0, decided),
        (
            "2026-01-01T01:00:00Z",
            CatchUp::Skip,
            &["2026-01-01T01:00:00Z"],
            0,
            "2026-01-01T01:00:00Z",
        ),
        (
            "2026-01-01T01:01:00Z",
            CatchUp::Skip,
            &["2026-01-01T01:00:00Z"],
            0,
            "2026-01-01T01:00:00Z",
        ),
        (
            "2026-01-01T01:01:01Z",
            CatchUp::Skip,
            &[],
            1,
            "2026-01-01T01:00:00Z",
        ),
        (
            "2026-01-01T03:00:05Z",
            CatchUp::Skip,
            &["2026-01-01T03:00:00Z"],
            2,
            "2026-01-01T03:00:00Z",
        ),
        (
            "2026-01-01T03:30:00Z",
            CatchUp::Once,
            &["2026-01-01T03:00:00Z"],
            2,
            "2026-01-01T03:00:00Z",
        ),
        (
            "2026-01-01T02:30:00Z",
            CatchUp::All,
            &["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"],
            0,
            "2026-01-01T02:00:00Z",
        ),
        (
            "2026-01-01T05:30:00Z",
            CatchUp::All,
            &[
                "2026-01-01T03:00:00Z",
                "2026-01-01T04:00:00Z",
                "2026-01-01T05:00:00Z",
            ],
            2,
            "2026-01-01T05:00:00Z",
        ),
        // The clock was set back: nothing comes due twice.
        ("2025-12-31T23:00:00Z", CatchUp::All, &[], 0, decided),
        ("2025-01-01T00:00:00Z", CatchUp::Once, &[], 0, decided),
        // It was set forward, or nothing ran for years.
        (
            "2036-01-01T00:30:00Z",
            CatchUp::All,
            &[
                "2035-12-31T22:00:00Z",
                "2035-12-31T23:00:00Z",
                "2036-01-01T00:00:00Z",
            ],
            997,
            "2036-01-01T00:00:00Z",
        ),
        (
            "2036-01-01T00:30:00Z",
            CatchUp::Once,
            &["2036-01-01T00:00:00Z"],
            999,
            "2036-01-01T00:00:00Z",
        ),
        (
            "2036-01-01T00:30:00Z",
            CatchUp::Skip,
            &[],
            1_000,
            "2036-01-01T00:00:00Z",
        ),
    ];
    for (now, catch_up, fire, passed_over, up_to) in table {
        let found = due(&hourly, catch_up, 3, ms(decided), ms(now));
        let expect = Due {
            fire: fire.iter().map(|time| ms(time)).collect(),
            passed_over,
            decided_ms: ms(up_to),
        };
        assert_eq!(found, expect, "{catch_up:?} at {now}");
    }
}

/// However the clock moves and whenever it is looked at, no due time fires twice,
/// and those that are all made up for all fire.
#[test]
fn no_due_time_fires_twice_however_the_clock_moves() {
    for (cron, zone) in [
        ("*/15 * * * *", "Europe/Berlin"),
        ("30 1,2 * * *", "America/New_York"),
    ] {
        let when = when(cron, zone);
        let mut decided = ms("2026-10-20T00:00:00Z");
        let (mut now, mut fired) = (decided, Vec::new());
        for step in 0..4_000_u64 {
            // Minutes forward, and now and then back.
            let minutes = step * 7_919 % 23;
            now = match step % 11 {
                0 => now - 45 * 60_000,
                _ => now + minutes * 60_000,
            };
            let due = due(&when, CatchUp::All, 100, decided, now);
            assert_eq!(due.passed_over, 0);
            assert!(due.fire.iter().all(|due| *due <= now));
            fired.extend(due.fire);
            decided = due.decided_ms;
        }
        assert!(fired.windows(2).all(|two| two[0] < two[1]), "{cron}");
        let mut all = Vec::new();
        let mut at = ms("2026-10-20T00:00:00Z");
        while let Some(next) = when.next(at).filter(|next| *next <= decided) {
            all.push(next);
            at = next;
        }
        assert_eq!(fired, all, "{cron}");
        assert!(all.len() > 20, "{cron}: only {}", all.len());
    }
}
