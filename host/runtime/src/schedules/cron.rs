//! The five fields of a cron line, over local time. Pure: knows no zone.
//!
//! What must stay true: a line that never comes due, or that other crons read in
//! different ways, is refused and not guessed at.

/// Seconds of a day.
pub(super) const DAY_S: i64 = 86_400;
/// Every line that ever comes due does so within this: 29 February may be eight
/// years away.
pub(super) const SEARCH_S: i64 = 12 * 366 * DAY_S;

/// A field: its name, its least and largest number, names for its numbers.
struct Field(&'static str, u32, u32, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    Field("minute", 0, 59, &[]),
    Field("hour", 0, 23, &[]),
    Field("day of month", 1, 31, &[]),
    Field(
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    Field(
        "day of week",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// Short words for whole lines.
const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A cron line. Each field is a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The day of the month, the day of the week begin with `*`: the other one
    /// decides alone.
    any_day: bool,
    any_weekday: bool,
    /// The hours begin with `*`: it follows the time that goes by, not the
    /// clock on the wall.
    pub(super) each_hour: bool,
}

impl Cron {
    /// Reads a line: five fields, or one of the words as `@daily`.
    ///
    /// # Errors
    /// What is wrong, for whoever wrote it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let word = WORDS.iter().find(|(word, _)| *word == line);
        let parts: Vec<&str> = word
            .map_or(line, |(_, line)| line)
            .split_whitespace()
            .collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(format!(
                "a cron line has 5 fields (minute, hour, day of month, month, day of week) or is a word as `@daily`; this has {}",
                parts.len()
            ));
        };
        let mut sets = [0; 5];
        for ((set, text), field) in sets.iter_mut().zip(&parts).zip(&FIELDS) {
            *set = set_of(field, text)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let cron = Self {
            minutes,
            hours,
            days,
            months,
            // 7 is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            each_hour: hour.starts_with('*'),
        };
        match cron.first_in(0, SEARCH_S) {
            Some(_) => Ok(cron),
            None => Err(format!(
                "`{minute} {hour} {day} {month} {weekday}` never comes due: no such month has such a day"
            )),
        }
    }

    /// The first minute from `from` on and before `to` that the line names, all
    /// in seconds of local time since 1970.
    pub(super) fn first_in(&self, from: i64, to: i64) -> Option<i64> {
        let mut minute = from.div_euclid(60) + i64::from(from.rem_euclid(60) > 0);
        while minute * 60 < to {
            let day = minute.div_euclid(1_440);
            if self.has_day(day)
                && let Some(of_day) = self.minute_of_day(minute.rem_euclid(1_440))
            {
                let at = day * DAY_S + of_day * 60;
                return (at < to).then_some(at);
            }
            minute = (day + 1) * 1_440;
        }
        None
    }

    fn minute_of_day(&self, from: i64) -> Option<i64> {
        (from / 60..24)
            .filter(|hour| has(self.hours, *hour))
            .find_map(|hour| {
                let first = if hour == from / 60 { from % 60 } else { 0 };
                let minute = (first..60).find(|minute| has(self.minutes, *minute));
                minute.map(|minute| hour * 60 + minute)
            })
    }

    fn has_day(&self, day: i64) -> bool {
        let (month, of_month) = month_and_day(day);
        if !has(self.months, month) {
            return false;
        }
        let by_day = has(self.days, of_month);
        // 1 January 1970 was a Thursday.
        let by_weekday = has(self.weekdays, (day + 4).rem_euclid(7));
        match self.any_day || self.any_weekday {
            true => by_day && by_weekday,
            false => by_day || by_weekday,
        }
    }
}

fn has(set: u64, number: i64) -> bool {
    set & (1 << number) != 0
}

/// Month and day of month of a day since 1970 (the proleptic Gregorian calendar,
/// after Hinnant's `civil_from_days`).
fn month_and_day(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (month, of_month)
}

fn set_of(field: &Field, text: &str) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        set |= part_of(field, part)?;
    }
    Ok(set)
}

/// `*`, `3`, `3-7`, each with `/2`.
fn part_of(field: &Field, part: &str) -> Result<u64, String> {
    let Field(name, least, most, _) = *field;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (first, last) = match (range, range.split_once('-')) {
        ("*", _) => (least, most),
        (_, Some((first, last))) => (number(field, first)?, number(field, last)?),
        // `5/10`: from 5 on.
        (_, None) if step.is_some() => (number(field, range)?, most),
        (_, None) => {
            let one = number(field, range)?;
            (one, one)
        }
    };
    if first > last {
        return Err(format!(
            "{name}: `{range}` goes backwards; write the two ranges, with a comma between"
        ));
    }
    let step = match step.map(str::parse::<u32>) {
        None => 1,
        Some(Ok(step)) if (1..=most).contains(&step) => step,
        Some(_) => return Err(format!("{name}: the step in `{part}` is 1 to {most}")),
    };
    let numbers = (first..=last).step_by(step as usize);
    Ok(numbers.fold(0, |set, number| set | 1 << number))
}

fn number(field: &Field, text: &str) -> Result<u32, String> {
    let Field(name, least, most, names) = field;
    let known = names
        .iter()
        .position(|name| text.eq_ignore_ascii_case(name));
    if let Some(at) = known {
        return Ok(at as u32 + least);
    }
    let parsed = text
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(&number));
    parsed.ok_or_else(|| {
        let text = text.escape_debug();
        let words = names.first().zip(names.last());
        let words = words.map_or_else(String::new, |(a, b)| format!(" or `{a}` to `{b}`"));
        format!("{name}: `{text}` is not {least} to {most}{words}")
    })
}
