//! Cron lines over random input: nothing panics, and what comes due is what a
//! plain search finds, minute by minute and through the zone's own rules.

use std::collections::BTreeSet;

use airlock_fuzz::cases;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::sample::select;

use super::cron::Cron;
use super::when::When;

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
];

/// One field, of which some are no numbers.
fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = move || least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => number().prop_map(|n| n.to_string()),
        1 => (2..most).prop_map(|step| format!("*/{step}")),
        1 => (number(), 1..6_u32).prop_map(|(from, step)| format!("{from}/{step}")),
        1 => (number(), number()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (number(), number()).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn line() -> impl Strategy<Value = [String; 5]> {
    let time = (field(0, 59), field(0, 23));
    (time, field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|((minute, hour), day, month, weekday)| [minute, hour, day, month, weekday])
}

/// Whether a field of numbers from `least` to `most` names `number`, read in
/// another way than the parser does.
fn names(field: &str, least: i8, most: i8, number: i8) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: i8 = step.parse().expect("a step");
        let parse = |text: &str| text.parse::<i8>().expect("a number");
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (parse(from), parse(to)),
            (one, None) if part.contains('/') => (parse(one), most),
            (one, None) => (parse(one), parse(one)),
        };
        (from..=to).contains(&number) && (number - from) % step == 0
    })
}

fn fits(line: &[String; 5], at: DateTime) -> bool {
    let [minute, hour, day, month, weekday] = line;
    let of_week = at.weekday().to_sunday_zero_offset();
    let by_day = names(day, 1, 31, at.day());
    let by_weekday = names(weekday, 0, 7, of_week) || (of_week == 0 && names(weekday, 0, 7, 7));
    let days = match day.starts_with('*') || weekday.starts_with('*') {
        true => by_day && by_weekday,
        false => by_day || by_weekday,
    };
    let time = names(minute, 0, 59, at.minute()) && names(hour, 0, 23, at.hour());
    time && names(month, 1, 12, at.month()) && days
}

/// What comes due between two times, by looking at every local minute.
fn plain(line: &[String; 5], zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<u64> {
    let each_hour = line[1].starts_with('*');
    let mut found = BTreeSet::new();
    let start = zone.to_datetime(from).with().second(0).build();
    let mut at = start.expect("a time") - 3.hours();
    let end = zone.to_datetime(to) + 3.hours();
    while at < end {
        if fits(line, at) {
            let instant = |offset: jiff::tz::Offset| offset.to_timestamp(at).expect("a time");
            match zone.to_ambiguous_timestamp(at).offset() {
                AmbiguousOffset::Unambiguous { offset } => drop(found.insert(instant(offset))),
                AmbiguousOffset::Fold { before, after } => {
                    found.insert(instant(before));
                    if each_hour {
                        found.insert(instant(after));
                    }
                }
                AmbiguousOffset::Gap { after, .. } if !each_hour => {
                    // With the offset after the gap it is before the change.
                    let change = zone.following(instant(after)).next();
                    found.insert(change.expect("a change").timestamp());
                }
                AmbiguousOffset::Gap { .. } => {}
            }
        }
        at += 1.minute();
    }
    let within = found.into_iter().filter(|due| *due > from && *due <= to);
    within
        .map(|due| u64::try_from(due.as_millisecond()).expect("after 1970"))
        .collect()
}

proptest! {
    #![proptest_config(cases(60))]

    /// Days around the changes of the clocks of 2026, and others.
    #[test]
    fn fuzz_what_comes_due_is_what_a_plain_search_finds(
        line in line(),
        zone in select(ZONES.to_vec()),
        start in prop_oneof![
            select(vec!["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"])
                .prop_map(str::to_owned),
            (1..13_u32, 1..28_u32).prop_map(|(month, day)| format!("2028-{month:02}-{day:02}")),
        ],
        minute in 0..1_440_i64,
    ) {
        let text = line.join(" ");
        let Ok(when) = When::parse(&text, zone) else {
            return Ok(());
        };
        let start: Timestamp = format!("{start}T00:00:00Z").parse().expect("a time");
        let from = start + minute.minutes();
        let to = from + 50.hours();
        let tz = TimeZone::get(zone).expect("a zone");
        let mut at = u64::try_from(from.as_millisecond()).expect("after 1970");
        let end = u64::try_from(to.as_millisecond()).expect("after 1970");
        let mut found = Vec::new();
        while let Some(due) = when.next(at).filter(|due| *due <= end) {
            prop_assert!(due > at);
            found.push(due);
            at = due;
        }
        prop_assert_eq!(found, plain(&line, &tz, from, to), "{} in {}", text, zone);
    }

    #[test]
    fn fuzz_no_line_makes_the_reader_panic(
        noise in prop_oneof![
            any::<String>(),
            "[0-9*/,@a-z -]{0,40}",
            proptest::collection::vec("[0-9*/,-]{1,8}", 5).prop_map(|fields| fields.join(" ")),
        ],
        zone in prop_oneof![any::<String>(), select(ZONES.to_vec()).prop_map(str::to_owned)],
        at in any::<u64>(),
    ) {
        if Cron::parse(&noise).is_ok() {
            prop_assert!(When::parse(&noise, "UTC").is_ok());
        }
        if let Ok(when) = When::parse(&noise, &zone) {
            prop_assert!(when.next(at).is_none_or(|due| due > at));
            prop_assert!(when.next(1_800_000_000_000).is_some(), "{noise:?}");
        }
    }
}
