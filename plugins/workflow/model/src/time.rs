//! Durations and moments as they are written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::DURATION_MS_MAX;

/// Reads a duration: `90s`, `1h30m`, `2d`, `500ms`, `1w`; largest unit first.
///
/// # Errors
/// What is wrong and how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] = [
        ("ms", 1),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let wrong = || {
        format!(
            "`{}` is no duration: write e.g. `90s`, `1h30m` or `2d`",
            crate::problem::shown(text)
        )
    };
    let (mut rest, mut sum, mut least) = (text.trim(), 0_u64, u64::MAX);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = UNITS.iter().find(|(name, _)| rest.starts_with(name));
        let (name, ms) = unit.ok_or_else(wrong)?;
        if *ms >= least {
            return Err(wrong());
        }
        least = *ms;
        sum = sum.saturating_add(number.saturating_mul(*ms));
        rest = &rest[name.len()..];
    }
    match sum > DURATION_MS_MAX {
        true => Err("a duration is ten years at most".to_owned()),
        false => Ok(Duration::from_millis(sum)),
    }
}

/// A duration as [`duration`] reads it.
#[must_use]
pub fn spelled(time: Duration) -> String {
    let ms = time.as_millis();
    for (unit, size) in [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// Reads a moment of RFC 3339, e.g. `2027-01-15T08:00:00Z`; a date alone is its
/// midnight in UTC. Years from 1970 to 9999.
///
/// # Errors
/// What is wrong and how to write it.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    let wrong = || {
        let text = crate::problem::shown(text);
        format!("`{text}` is no moment: write RFC 3339, e.g. `2027-01-15T08:00:00Z`")
    };
    let ms = parse_moment(text).ok_or_else(wrong)?;
    Ok(UNIX_EPOCH + Duration::from_millis(ms))
}

fn parse_moment(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let sign = |at: usize, signs: &str| text.get(at..=at).is_some_and(|c| signs.contains(c));
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let is_date = sign(4, "-") && sign(7, "-") && (1..=12).contains(&month);
    if !is_date || day < 1 || day > days_in(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * 86_400_000;
    if text.len() == 10 {
        return u64::try_from(midnight).ok();
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_time = sign(10, "Tt ") && sign(13, ":") && sign(16, ":");
    if !is_time || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let digits = match rest.strip_prefix('.') {
        Some(rest) => rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len(),
        None => 0,
    };
    if rest.starts_with('.') && !(1..=9).contains(&digits) {
        return None;
    }
    let fraction: String = rest
        .chars()
        .skip(1)
        .take(digits)
        .chain("000".chars())
        .take(3)
        .collect();
    let zone = if digits > 0 {
        &rest[digits + 1..]
    } else {
        rest
    };
    let milliseconds =
        ((hour * 60 + minute) * 60 + second) * 1000 + fraction.parse::<i64>().ok()?;
    u64::try_from(midnight + milliseconds - offset_ms(zone)?).ok()
}

/// `Z` or `+02:00`.
fn offset_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two = |part: &str| -> Option<i64> {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// A moment as RFC 3339 in UTC, to the millisecond where it has any.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let ms = moment
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let days = ms.div_euclid(86_400_000) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, part) = (ms.rem_euclid(86_400_000) / 1000, ms.rem_euclid(1000));
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match part {
        0 => String::new(),
        part => format!(".{part:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Whole intervals, and where the last one ends.
pub type Intervals = (Vec<(SystemTime, SystemTime)>, SystemTime);

/// The intervals of so long from one moment to another, oldest first, and where the
/// last one ends; only whole ones count, so that may be before the other moment.
///
/// # Errors
/// What is wrong: no time between them, or more than `most`.
pub fn intervals(
    from: SystemTime,
    to: SystemTime,
    every: Duration,
    most: usize,
) -> Result<Intervals, String> {
    if every < Duration::from_secs(1) {
        return Err("an interval is a second at least".to_owned());
    }
    let mut found = Vec::new();
    let mut start = from;
    while let Some(end) = start.checked_add(every).filter(|end| *end <= to) {
        if found.len() == most {
            return Err(format!(
                "more than {most} intervals: take a part of the time"
            ));
        }
        found.push((start, end));
        start = end;
    }
    match found.is_empty() {
        true => Err(format!(
            "no whole interval of {} lies between the two",
            spelled(every)
        )),
        false => Ok((found, start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spelled() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            (" 5m ", 300_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "1m1h",
            "1s1s",
            "1.5h",
            "99999999w",
            "99999999999999999999s",
            "5é",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (ms, text) in [(0, "0ms"), (1, "1ms"), (90_000, "90s"), (7_200_000, "2h")] {
            assert_eq!(spelled(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn moments_are_read_and_written() {
        for (text, back) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2027-01-15", "2027-01-15T00:00:00Z"),
            ("2028-02-29T23:59:59.5Z", "2028-02-29T23:59:59.500Z"),
            ("2027-01-15T00:30:00+02:00", "2027-01-14T22:30:00Z"),
            (
                "2027-12-31T23:00:00.123456789-01:30",
                "2028-01-01T00:30:00.123Z",
            ),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(moment(text).map(rfc3339), Ok(back.to_owned()), "{text}");
        }
        for text in [
            "",
            "2027",
            "2027-13-01",
            "2027-02-29",
            "2027-01-01T",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:00:00",
            "2027-01-01T00:00:00.Z",
            "2027-01-01T00:00:00+2:00",
            "1969-12-31T23:59:59Z",
            "2027-01-0é",
            "+027-01-01",
            "2027-01-01T00:00:00Zé",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_are_whole() {
        let at = |text| moment(text).expect("a moment");
        let day = Duration::from_secs(86_400);
        let (from, to) = (at("2026-05-01"), at("2026-05-03T12:00:00Z"));
        let (found, rest) = intervals(from, to, day, 10).expect("two days");
        assert_eq!(rest, at("2026-05-03"));
        let spelled: Vec<String> = found.iter().map(|(start, _)| rfc3339(*start)).collect();
        assert_eq!(spelled, ["2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"]);
        assert!(intervals(from, to, day, 1).is_err());
        assert!(intervals(to, from, day, 10).is_err());
        assert!(intervals(from, to, Duration::ZERO, 10).is_err());
    }
}
