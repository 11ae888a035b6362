//! When a schedule comes due: a cron line in a time zone.
//!
//! What must stay true, wherever clocks are changed: a line with fixed hours
//! comes due once for each time it names. One that does not exist (clocks go
//! forward over it) comes due at the first moment after the gap; one that exists
//! twice (clocks go back) the first time. A line whose hours begin with `*`
//! follows the time that goes by instead: it skips what does not exist and comes
//! due both times.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cron::{Cron, SEARCH_S};

/// A cron line in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct When {
    cron: Cron,
    zone: TimeZone,
}

impl When {
    /// Reads a line and the name of a zone (IANA, e.g. `Europe/Berlin`).
    ///
    /// # Errors
    /// What is wrong, for whoever wrote it.
    pub(crate) fn parse(cron: &str, zone: &str) -> Result<Self, String> {
        let cron = Cron::parse(cron).map_err(|error| format!("cron: {error}"))?;
        let known = TimeZone::get(zone);
        let zone = known.map_err(|_| format!("zone: {}", unknown(zone)))?;
        Ok(Self { cron, zone })
    }

    /// The first time after `after_ms` that it comes due, milliseconds since
    /// 1970.
    pub(crate) fn next(&self, after_ms: u64) -> Option<u64> {
        let after = i64::try_from(after_ms / 1_000).ok()?;
        let next = self.next_s(after)?;
        u64::try_from(next).ok()?.checked_mul(1_000)
    }

    /// The last time before one that it comes due, milliseconds since 1970.
    pub(crate) fn before(&self, due_ms: u64) -> Option<u64> {
        let is_before = |at_ms: u64| self.next(at_ms).is_some_and(|next| next < due_ms);
        let mut span_ms = 60_000_u64;
        while !is_before(due_ms.saturating_sub(span_ms)) {
            let longest_ms = due_ms.min(u64::try_from(SEARCH_S).ok()? * 1_000);
            if span_ms >= longest_ms {
                return None;
            }
            span_ms = span_ms.saturating_mul(2);
        }
        let (mut from, mut to) = (due_ms.saturating_sub(span_ms), due_ms);
        while to - from > 1_000 {
            let middle = from.midpoint(to);
            match is_before(middle) {
                true => from = middle,
                false => to = middle,
            }
        }
        self.next(from)
    }

    /// Between two changes of the clocks local time and time are a fixed number
    /// of seconds apart: the line is searched from change to change.
    fn next_s(&self, after: i64) -> Option<i64> {
        let until = after.checked_add(SEARCH_S)?;
        let mut from = after + 1;
        while from < until {
            let offset = self.offset(from)?;
            let end = self.change_after(from)?.min(until);
            let first = (from + offset).max(self.seen_until(from)?);
            if let Some(local) = self.cron.first_in(first, end + offset) {
                return Some(local - offset);
            }
            if !self.cron.each_hour {
                let (gap_from, gap_to) = (end + offset, end + self.offset(end)?);
                if self.cron.first_in(gap_from, gap_to).is_some() {
                    return Some(end);
                }
            }
            from = end;
        }
        None
    }

    /// Local time that was there before the last change of the clocks: a line
    /// with fixed hours does not come due in it again.
    fn seen_until(&self, at: i64) -> Option<i64> {
        if self.cron.each_hour {
            return Some(i64::MIN);
        }
        let after = Timestamp::from_second(at + 1).ok()?;
        let Some(change) = self.zone.preceding(after).next() else {
            return Some(i64::MIN);
        };
        let change = change.timestamp().as_second();
        Some(change + self.offset(change - 1)?)
    }

    /// The next change of the clocks, or a time beyond every search.
    fn change_after(&self, at: i64) -> Option<i64> {
        let at = Timestamp::from_second(at).ok()?;
        let change = self.zone.following(at).next();
        Some(change.map_or(i64::MAX / 2, |change| change.timestamp().as_second()))
    }

    /// Seconds that local time is ahead at a moment.
    fn offset(&self, at: i64) -> Option<i64> {
        let at = Timestamp::from_second(at).ok()?;
        Some(i64::from(self.zone.to_offset(at).seconds()))
    }
}

fn unknown(zone: &str) -> String {
    let names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // `Berlin` for `Europe/Berlin`.
    let end = |name: &&&str| {
        let city = name.rsplit('/').next().unwrap_or_default();
        city.eq_ignore_ascii_case(zone)
    };
    let hint = match names.iter().find(end) {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => crate::nearest::hint(zone, &names),
    };
    let zone: String = zone.chars().take(64).collect();
    format!(
        "there is no time zone `{}`{hint}: write its name in the IANA database, as `Europe/Berlin` or `UTC`",
        zone.escape_debug()
    )
}
