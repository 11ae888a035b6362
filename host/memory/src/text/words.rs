//! Words: what is searched for, and what is found.
//!
//! A word is a run of letters and digits in lower case. Scripts that are written
//! without spaces have no such runs: there each character is a word, and a phrase
//! of them is what is meant. Of a longer word the first 64 bytes count, in texts as
//! in queries.

use std::collections::HashMap;
use std::str::CharIndices;

/// Bytes of a word that count.
const WORD_BYTES_MAX: usize = 64;

/// The words of a text, one after another.
#[derive(Debug)]
pub(crate) struct Words<'t> {
    chars: CharIndices<'t>,
    /// A character that was read and is not used yet.
    ahead: Option<(usize, char)>,
    len: usize,
}

impl<'t> Words<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            chars: text.char_indices(),
            ahead: None,
            len: text.len(),
        }
    }

    /// Writes the next word into `word` and tells where it is, in bytes.
    pub(crate) fn next_into(&mut self, word: &mut String) -> Option<(usize, usize)> {
        word.clear();
        let start = loop {
            let (at, c) = self.take()?;
            if stands_alone(c) {
                push(word, c);
                return Some((at, at + c.len_utf8()));
            }
            if c.is_alphanumeric() {
                push(word, c);
                break at;
            }
        };
        while let Some((at, c)) = self.take() {
            if !c.is_alphanumeric() || stands_alone(c) {
                self.ahead = Some((at, c));
                return Some((start, at));
            }
            push(word, c);
        }
        Some((start, self.len))
    }

    fn take(&mut self) -> Option<(usize, char)> {
        self.ahead.take().or_else(|| self.chars.next())
    }
}

/// Adds a character in lower case, if there is room.
fn push(word: &mut String, c: char) {
    if c.is_ascii() {
        if word.len() < WORD_BYTES_MAX {
            word.push(c.to_ascii_lowercase());
        }
        return;
    }
    for c in c.to_lowercase() {
        // What comes after a character that did not fit must not take its place.
        if word.len() + c.len_utf8() > WORD_BYTES_MAX {
            while word.len() < WORD_BYTES_MAX {
                word.push('\0');
            }
            return;
        }
        word.push(c);
    }
}

/// Han, Hiragana and Katakana.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
        && c.is_alphanumeric()
}

/// All words of a text, with where each stands among them.
#[derive(Debug, Default)]
pub(crate) struct WordList {
    words: HashMap<Box<str>, Vec<u32>>,
    count: u32,
}

impl WordList {
    pub(crate) fn of(text: &str) -> Self {
        let (mut words, mut word) = (Words::new(text), String::new());
        let mut list = Self::default();
        while words.next_into(&mut word).is_some() {
            match list.words.get_mut(word.as_str()) {
                Some(places) => places.push(list.count),
                None => {
                    list.words.insert(word.as_str().into(), vec![list.count]);
                }
            }
            list.count += 1;
        }
        list
    }

    /// How many words the text has.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The different words.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = &str> {
        self.words.keys().map(|word| &**word)
    }

    /// How often a word is there.
    pub(crate) fn count_of(&self, word: &str) -> u32 {
        self.words.get(word).map_or(0, |places| places.len() as u32)
    }

    /// How often the words are there one after another.
    pub(crate) fn count_of_phrase(&self, phrase: &[String]) -> u32 {
        let places: Option<Vec<&Vec<u32>>> = phrase
            .iter()
            .map(|word| self.words.get(word.as_str()))
            .collect();
        let Some([first, rest @ ..]) = places.as_deref() else {
            return 0;
        };
        let follows = |at: u32| {
            let mut next = (at + 1..).zip(rest);
            next.all(|(at, places)| places.binary_search(&at).is_ok())
        };
        first.iter().filter(|at| follows(**at)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let (mut words, mut word, mut all) = (Words::new(text), String::new(), Vec::new());
        while let Some((from, to)) = words.next_into(&mut word) {
            assert!(text.is_char_boundary(from) && text.is_char_boundary(to) && from < to);
            assert!(word.len() <= WORD_BYTES_MAX, "{text:?}");
            all.push(word.clone());
        }
        all
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let long = "x".repeat(1 << 20);
        let cases: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("\0\u{202e} ... \n", &[]),
            ("one", &["one"]),
            ("One, TWO-3 four_5.", &["one", "two", "3", "four", "5"]),
            ("a\0b", &["a", "b"]),
            ("Ärger über ß", &["ärger", "über", "ß"]),
            ("東京タワーabc", &["東", "京", "タ", "ワ", "ー", "abc"]),
            ("x東y", &["x", "東", "y"]),
            ("مرحبا بالعالم", &["مرحبا", "بالعالم"]),
            (&long, &[&long[..64]]),
            ("e\u{301}t", &["e", "t"]),
            ("don't", &["don", "t"]),
        ];
        for (text, words) in cases {
            assert_eq!(all(text), words, "{:?}", &text[..text.len().min(40)]);
        }
        let wide = "ä".repeat(1000);
        assert_eq!(all(&wide), ["ä".repeat(32)]);
        let uneven = format!("a{}", "ä".repeat(1000));
        assert_eq!(all(&uneven), [format!("a{}\0", "ä".repeat(31))]);
    }

    #[test]
    fn phrases_are_words_one_after_another() {
        let list = WordList::of("to be or not to be, to be");
        let phrase = |text: &str| list.count_of_phrase(&all(text));
        assert_eq!(
            (list.count(), list.count_of("be"), list.count_of("x")),
            (8, 3, 0)
        );
        assert_eq!(list.distinct().count(), 4);
        let cases = [
            ("to be", 3),
            ("be to", 1),
            ("or not to", 1),
            ("be or be", 0),
            ("to x", 0),
        ];
        for (text, count) in cases {
            assert_eq!(phrase(text), count, "{text}");
        }
        assert_eq!(list.count_of_phrase(&[]), 0);
    }
}
