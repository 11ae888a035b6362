//! What an agent is given, checked: each error names the field and what it may be.

use std::ops::RangeInclusive;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// What an answer has room for, where the input does not say: what it may have is set
/// aside before it is asked for.
const ANSWER_TOKENS: u32 = 8_192;

/// # Errors
/// The input is wrong: this.
pub fn wrong<T>(what: impl Into<String>) -> Result<T, Error> {
    Err(Error::InvalidInput(what.into()))
}

/// A number, or the usual one.
///
/// # Errors
/// It is out of its range.
pub fn within(
    what: &str,
    given: Option<u32>,
    usual: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, Error> {
    let given = given.unwrap_or(usual);
    match range.contains(&given) {
        true => Ok(given),
        false => wrong(format!("{what}: {} to {}", range.start(), range.end())),
    }
}

/// The most tokens of an answer.
///
/// # Errors
/// There is no such answer.
pub fn answer_tokens(given: Option<u32>) -> Result<u32, Error> {
    within("answer_tokens_max", given, ANSWER_TOKENS, 256..=1_000_000)
}

/// # Errors
/// It has more bytes than that.
pub fn at_most(what: &str, bytes: usize, most: usize) -> Result<(), Error> {
    match bytes > most {
        true => wrong(format!("{what}: it has {bytes} bytes; at most {most}")),
        false => Ok(()),
    }
}

/// # Errors
/// The goal says nothing.
pub fn goal(goal: &str) -> Result<(), Error> {
    match goal.trim().is_empty() {
        true => wrong("goal: it is empty; say what is to be reached"),
        false => Ok(()),
    }
}

/// A JSON Schema of a result, where there is one.
///
/// # Errors
/// It is none, or too large.
pub fn schema(given: Option<&Value>, bytes_max: usize) -> Result<(), Error> {
    let Some(schema) = given else {
        return Ok(());
    };
    if !schema.is_object() {
        return wrong("output_schema: a JSON Schema is an object");
    }
    at_most("output_schema", crate::size(schema), bytes_max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let text = |result: Result<(), Error>| match result {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        let rounds = |given| text(within("rounds", given, 5, 2..=20).map(drop));
        let large = json!({ "title": "x".repeat(20) });
        for (found, expect) in [
            (rounds(None), "fine"),
            (rounds(Some(2)), "fine"),
            (rounds(Some(20)), "fine"),
            (rounds(Some(1)), "invalid-input: rounds: 2 to 20"),
            (rounds(Some(21)), "invalid-input: rounds: 2 to 20"),
            (text(at_most("context", 7, 7)), "fine"),
            (
                text(at_most("context", 8, 7)),
                "invalid-input: context: it has 8 bytes; at most 7",
            ),
            (text(goal("find it")), "fine"),
            (
                text(goal(" \n")),
                "invalid-input: goal: it is empty; say what is to be reached",
            ),
            (text(schema(None, 7)), "fine"),
            (text(schema(Some(&json!({})), 7)), "fine"),
            (
                text(schema(Some(&large), 7)),
                "invalid-input: output_schema: it has 32 bytes; at most 7",
            ),
            (
                text(schema(Some(&json!(true)), 7)),
                "invalid-input: output_schema: a JSON Schema is an object",
            ),
            (
                text(answer_tokens(Some(255)).map(drop)),
                "invalid-input: answer_tokens_max: 256 to 1000000",
            ),
        ] {
            assert_eq!(found, expect);
        }
        assert_eq!(within("rounds", None, 5, 2..=20), Ok(5));
        assert_eq!(within("rounds", Some(7), 5, 2..=20), Ok(7));
        assert_eq!(answer_tokens(None), Ok(8_192));
    }
}
