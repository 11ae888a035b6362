//! What a run that was due at some time is told of that.
//!
//! What must stay true: it follows from the schedule and the due time alone, so that
//! a run that is made up for later, or decided again after a crash, is told the same;
//! what the schedule's input says stands.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::when::When;

/// The members of an input that a schedule fills in.
const MOMENT: &str = "logical_time";
const INTERVAL: &str = "interval";

/// Fills in which time a run stands for, where its agent's input has places for it:
/// the interval from the due time before to its own, and the moment that begins it,
/// as a back-fill does.
pub(super) fn fill(input: &mut Value, schema: Option<&Value>, when: &When, due_ms: u64) {
    // An agent may have something else of that name.
    let takes = |name: &str, kind: &str| {
        schema.is_some_and(|schema| match &schema["properties"][name] {
            Value::Null => false,
            place => match &place["type"] {
                Value::String(one) => one == kind,
                Value::Array(some) => some.iter().any(|one| one == kind),
                _ => true,
            },
        })
    };
    let Some(input) = input.as_object_mut().filter(|input| is_silent(input)) else {
        return;
    };
    let moment = |ms: u64| {
        let ms = i64::try_from(ms).ok()?;
        Timestamp::from_millisecond(ms)
            .ok()
            .map(|at| at.to_string())
    };
    let start = moment(when.before(due_ms).unwrap_or(due_ms));
    let (Some(start), Some(end)) = (start, moment(due_ms)) else {
        return;
    };
    if takes(INTERVAL, "object") {
        let interval = json!({ "start": start, "end": end });
        input.insert(INTERVAL.to_owned(), interval);
    }
    if takes(MOMENT, "string") {
        input.insert(MOMENT.to_owned(), start.into());
    }
}

/// Whether an input says nothing of either.
fn is_silent(input: &Map<String, Value>) -> bool {
    !input.contains_key(MOMENT) && !input.contains_key(INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        let at: Timestamp = text.parse().expect("a moment");
        u64::try_from(at.as_millisecond()).expect("after 1970")
    }

    #[test]
    fn an_interval_goes_from_the_due_time_before() {
        let table = [
            (
                "0 3 * * *",
                "UTC",
                "2026-05-02T03:00:00Z",
                "2026-05-01T03:00:00Z",
            ),
            (
                "*/15 * * * *",
                "UTC",
                "2026-05-02T00:00:00Z",
                "2026-05-01T23:45:00Z",
            ),
            (
                "0 9 * * mon-fri",
                "UTC",
                "2026-05-04T09:00:00Z",
                "2026-05-01T09:00:00Z",
            ),
            // An hour less, where the clocks go forward.
            (
                "0 3 * * *",
                "Europe/Berlin",
                "2026-03-29T01:00:00Z",
                "2026-03-28T02:00:00Z",
            ),
            (
                "* * * 1 *",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2025-01-31T23:59:00Z",
            ),
            (
                "0 0 29 2 *",
                "UTC",
                "2028-02-29T00:00:00Z",
                "2024-02-29T00:00:00Z",
            ),
        ];
        for (cron, zone, due, before) in table {
            let when = When::parse(cron, zone).expect(cron);
            assert_eq!(when.before(ms(due)), Some(ms(before)), "{cron}");
            let schema = json!({ "properties": { "logical_time": {}, "interval": {} } });
            let mut input = json!({ "n": 1 });
            fill(&mut input, Some(&schema), &when, ms(due));
            let interval = json!({ "start": before, "end": due });
            let told = json!({ "n": 1, "logical_time": before, "interval": interval });
            assert_eq!(input, told, "{cron}");
        }
        let first = When::parse("0 0 1 1 *", "UTC").expect("a line");
        assert_eq!(first.before(0), None);
    }

    /// An agent without a place for it is given none, and what is written stands.
    #[test]
    fn only_places_that_are_free_are_filled() {
        let when = When::parse("@daily", "UTC").expect("a line");
        let both = json!({ "properties": { "logical_time": {}, "interval": {} } });
        let moment = json!({ "properties": { "logical_time": {} } });
        let (written, due) = (json!({ "logical_time": "x" }), ms("2026-05-02T00:00:00Z"));
        let other = json!({ "properties": { "interval": { "type": ["integer", "null"] } } });
        let number = json!({ "properties": { "logical_time": { "type": "integer" } } });
        let table = [
            (json!({}), Some(other), json!({})),
            (json!({}), Some(number), json!({})),
            (json!({}), None, json!({})),
            (json!({}), Some(json!({})), json!({})),
            (
                json!({}),
                Some(json!({ "properties": { "n": {} } })),
                json!({}),
            ),
            (
                json!({}),
                Some(moment),
                json!({ "logical_time": "2026-05-01T00:00:00Z" }),
            ),
            (written.clone(), Some(both), written),
        ];
        for (mut input, schema, expect) in table {
            fill(&mut input, schema.as_ref(), &when, due);
            assert_eq!(input, expect, "{schema:?}");
        }
    }
}
