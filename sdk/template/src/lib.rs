//! A plugin for Airlock. Replace the tool by your own.

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;

/// A text to count in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    /// The text.
    text: String,
    /// How many of the most frequent words to give; 10 unless given.
    #[serde(default = "ten")]
    top: usize,
}

fn ten() -> usize {
    10
}

/// What was counted.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// How many words there are.
    words: usize,
    /// The most frequent words with their numbers, the most frequent first.
    top: Vec<(String, usize)>,
}

/// Counts the words of a text and gives the most frequent ones.
#[tool(read_only, title = "Count words")]
fn count(input: Text) -> Result<Counts, Error> {
    if input.top == 0 {
        return Err(Error::invalid_input("top: must be at least 1"));
    }
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for word in input.text.split_whitespace() {
        *numbers.entry(word.to_lowercase()).or_default() += 1;
    }
    let words = numbers.values().sum();
    let mut top: Vec<(String, usize)> = numbers.into_iter().collect();
    top.sort_by(|left, right| right.1.cmp(&left.1));
    top.truncate(input.top);
    Ok(Counts { words, top })
}

plugin! {
    tools: [count],
    // What the plugin would like to be granted, and why. For example:
    // want!(http, r#"{ url = "https://api.example.com/*", methods = ["GET"] }"#, "To look up prices."),
    wants: [],
}

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::call;
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_counted() {
        let counts = call(&PLUGIN, "count", json!({ "text": "a B b  c\nb", "top": 2 })).unwrap();
        assert_eq!(counts, json!({ "words": 5, "top": [["b", 3], ["a", 1]] }));
    }

    #[test]
    fn wrong_input_names_the_field() {
        for (input, part) in [
            (json!({}), "missing field `text`"),
            (json!({ "text": 5 }), "input.text"),
            (json!({ "text": "a", "top": 0 }), "top: must be"),
            (json!({ "text": "a", "extra": 1 }), "unknown field `extra`"),
        ] {
            let refused = call(&PLUGIN, "count", input).unwrap_err().to_string();
            assert!(refused.starts_with("invalid-input") && refused.contains(part), "{refused}");
        }
    }
}
