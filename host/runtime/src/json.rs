//! What a text of JSON says to whoever reads it.
//!
//! What must stay true: what people are shown of a text is what each of its readers
//! reads; where that can't be told, they are shown the text itself.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Number, Value};

/// Something in a text of JSON that may be read in more than one way.
enum Part<'a> {
    Opens {
        object: bool,
    },
    Closes,
    /// The name of a member, with its quotes.
    Name(&'a str),
    Number(&'a str),
}

/// The name of a member that one object of a text of JSON has twice. Readers take the
/// first, the last or both.
#[must_use]
pub fn member_twice(json: &str) -> Option<String> {
    let mut open: Vec<Option<HashSet<Cow<'_, str>>>> = Vec::new();
    for part in parts(json) {
        match part {
            Part::Opens { object } => open.push(object.then(HashSet::new)),
            Part::Closes => drop(open.pop()),
            Part::Name(quoted) => {
                let name = unquoted(quoted);
                let names = open.last_mut().and_then(Option::as_mut);
                if names.is_some_and(|names| !names.insert(name.clone())) {
                    return Some(name.into_owned());
                }
            }
            Part::Number(_) => {}
        }
    }
    None
}

/// A text of JSON as it is shown: its value, where that is all it says, else the text.
pub(crate) fn shown(json: &str) -> Value {
    let text = || Value::from(json);
    let whole = |part| !matches!(part, Part::Number(number) if !is_told(number));
    match serde_json::from_str(json) {
        Ok(value) if parts(json).all(whole) && member_twice(json).is_none() => value,
        _ => text(),
    }
}

/// Whether a number is the same once it was read.
fn is_told(number: &str) -> bool {
    let read = serde_json::from_str::<Number>(number);
    read.is_ok_and(|read| decimal(&read.to_string()) == decimal(number))
}

/// A number's digits without zeros at its ends, and where its point is.
fn decimal(number: &str) -> (String, Option<i64>) {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => ("-", whole),
        None => ("", whole),
    };
    let digits = format!("{whole}{part}");
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len() - significant.len();
    let power = power.parse::<i64>().ok();
    let power = power.and_then(|power| power.checked_add(zeros as i64 - part.len() as i64));
    match significant.trim_start_matches('0') {
        "" => (String::new(), Some(0)),
        digits => (format!("{sign}{digits}"), power),
    }
}

/// A text that was read as JSON, part by part. Of any other it says something or
/// nothing.
fn parts(json: &str) -> impl Iterator<Item = Part<'_>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            let from = at;
            at += 1;
            match byte {
                b'{' | b'[' => {
                    let object = *byte == b'{';
                    return Some(Part::Opens { object });
                }
                b'}' | b']' => return Some(Part::Closes),
                b'"' => {
                    at = behind_text(bytes, at);
                    let after = bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace());
                    if after == Some(&b':') {
                        return json.get(from..at).map(Part::Name);
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let more = bytes[at..].iter().take_while(|byte| is_of_number(byte));
                    at += more.count();
                    return json.get(from..at).map(Part::Number);
                }
                _ => {}
            }
        }
        None
    })
}

/// Where a text ends whose opening quote is before `at`.
fn behind_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_of_number(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// A name as it is read; one that is no text of Unicode stays as it was written.
fn unquoted(quoted: &str) -> Cow<'_, str> {
    match quoted.contains('\\') {
        true => Cow::from(serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned())),
        false => Cow::from(quoted.trim_matches('"')),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_is_there_twice_is_found_wherever_it_is() {
        let table = [
            (r#"{"amount":123,"to":"x","amount":1}"#, Some("amount")),
            (r#"{"a":1, "\u0061" : 2}"#, Some("a")),
            (r#"{"a":{"b":[{"c":1,"c":1}]}}"#, Some("c")),
            (r#"[{"a":1},{"a":1}]"#, None),
            (r#"{"a":{"a":{"a":1}},"b":["a","a"]}"#, None),
            (r#"{"a":"\"a\":","b":"{\"a\":1,\"a\":2}"}"#, None),
            (r#"{"a":"\\","a":1}"#, Some("a")),
            (r#"{"":1,"":2}"#, Some("")),
            (r#"{"ä":1,"\u00e4":2}"#, Some("ä")),
            (r#"{"\ud800":1,"\ud800":2}"#, Some(r#""\ud800""#)),
            (r#"{"a":1,"A":2}"#, None),
            ("1", None),
            ("", None),
            (r#"{"a":"never ends"#, None),
            (r#"{"a":1,"a\"#, None),
            (r#"}}{"a":1"#, None),
        ];
        for (json, expect) in table {
            assert_eq!(member_twice(json).as_deref(), expect, "{json}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(member_twice(&deep), None);
    }

    #[test]
    fn what_is_shown_is_all_that_the_text_says() {
        let values = [
            (
                r#"{"a": 1, "b": [true, null, "x"]}"#,
                json!({ "a": 1, "b": [true, null, "x"] }),
            ),
            ("0.1", json!(0.1)),
            ("1.50", json!(1.5)),
            ("-0", json!(-0.0)),
            ("1e2", json!(100.0)),
            ("1E+2", json!(100.0)),
            ("0.30000000000000004", json!(0.300_000_000_000_000_04)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("100000000000000000000000", json!(1e23)),
            (r#""1e999""#, json!("1e999")),
        ];
        for (json, expect) in values {
            assert_eq!(shown(json), expect, "{json}");
        }
        let texts = [
            r#"{"amount":123,"amount":1}"#,
            r#"{"amount":18446744073709551616}"#,
            "9007199254740993.0",
            "0.1000000000000000055511151231257827",
            "1e999",
            "1e-999",
            r#""\ud800""#,
            "no JSON",
            "",
        ];
        for json in texts {
            assert_eq!(shown(json), json!(json), "{json}");
        }
    }
}
