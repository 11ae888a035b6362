//! What a search asks for, from plain text. No text is an error but one that is too
//! long: words are searched for, and what stands in quotes is one phrase.

use crate::error::{MemoryError, bounded};
use crate::limits::{QUERY_BYTES_MAX, QUERY_PHRASES_MAX, QUERY_WORDS_MAX};
use crate::text::words::Words;

/// Words that make a document better, and phrases that it must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TextQuery {
    /// Each once.
    pub(crate) words: Vec<String>,
    /// Each of one word or more.
    pub(crate) phrases: Vec<Vec<String>>,
}

impl TextQuery {
    pub(crate) fn parse(text: &str) -> Result<Self, MemoryError> {
        bounded("query", text.len(), QUERY_BYTES_MAX, "bytes")?;
        let (mut query, mut left) = (Self::default(), QUERY_WORDS_MAX);
        let parts: Vec<&str> = text.split('"').collect();
        for (at, part) in parts.iter().enumerate() {
            // A quote that nothing closes is none.
            let quoted = at % 2 == 1 && at + 1 < parts.len();
            let mut phrase = Vec::new();
            let (mut words, mut word) = (Words::new(part), String::new());
            while left > 0 && words.next_into(&mut word).is_some() {
                match quoted {
                    true => phrase.push(word.clone()),
                    false if query.words.contains(&word) => continue,
                    false => query.words.push(word.clone()),
                }
                left -= 1;
            }
            if !phrase.is_empty() {
                query.phrases.push(phrase);
            }
        }
        bounded("query", query.phrases.len(), QUERY_PHRASES_MAX, "phrases")?;
        Ok(query)
    }

    /// Whether nothing can be found.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.phrases.is_empty()
    }

    /// All words, those of phrases among them.
    pub(crate) fn all_words(&self) -> impl Iterator<Item = &str> {
        let phrases = self.phrases.iter().flatten();
        self.words.iter().chain(phrases).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_query() {
        let phrase = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let many = (0..100).map(|n| format!("w{n} ")).collect::<String>();
        let cases: [(&str, &str, &[&str]); 11] = [
            ("", "", &[]),
            ("+a -b (c:d^2)~ AND *", "a b c d 2 and", &[]),
            ("a A a", "a", &[]),
            ("x \"One two\" y", "x y", &["one two"]),
            ("\"a\"\"b c\"", "", &["a", "b c"]),
            ("\"open end", "open end", &[]),
            ("a \"b\" \"open", "a open", &["b"]),
            ("\"\" \" \" \"!\"", "", &[]),
            ("\0\u{202e}\u{1b}[31m x\0y", "31m x y", &[]),
            ("\"to be or not to be\"", "", &["to be or not to be"]),
            (
                &many,
                &many.split(' ').take(32).collect::<Vec<_>>().join(" "),
                &[],
            ),
        ];
        for (text, words, phrases) in cases {
            let query = TextQuery::parse(text).expect("it is a query");
            assert_eq!(query.words.join(" "), words, "{text:?}");
            let phrases: Vec<_> = phrases.iter().map(|text| phrase(text)).collect();
            assert_eq!(query.phrases, phrases, "{text:?}");
        }
    }

    #[test]
    fn queries_are_bounded() {
        let cases = [
            ("x".repeat(QUERY_BYTES_MAX), None),
            (
                "x".repeat(QUERY_BYTES_MAX + 1),
                Some("query: 4097 bytes, at most 4096 are allowed"),
            ),
            ("\"a\" ".repeat(8), None),
            (
                "\"a\" ".repeat(9),
                Some("query: 9 phrases, at most 8 are allowed"),
            ),
        ];
        for (text, expected) in cases {
            let error = TextQuery::parse(&text).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), expected);
        }
    }
}
