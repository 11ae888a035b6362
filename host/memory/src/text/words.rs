//! Words: what is searched for, and what is found.
//!
//! A word is a run of letters and digits, with the marks on them, in lower case and in
//! one of the forms that Unicode has for it (NFKC): words that are the same are the
//! same, however they are written. Scripts that are written without spaces have no
//! such runs: there each character is a word, and a phrase of them is what is meant. A
//! sign that stands for words is these words. Of a longer word the first 64 bytes
//! count, in texts as in queries.
//!
//! What must stay true: where a word is, is a place of the text as it was given.

use std::collections::HashMap;
use std::ops::Range;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

use crate::text::phrase::{Phrase, Places};

/// Bytes of a word that count.
const WORD_BYTES_MAX: usize = 64;
/// Characters of a letter with its marks that count.
const MARKS_MAX: usize = 64;

/// The words of a text, one after another.
#[derive(Debug)]
pub(crate) struct Words<'t> {
    text: &'t str,
    at: usize,
    /// What was read last, in its one form.
    form: String,
    /// What one sign stands for, where its next word begins, and where the sign is.
    sign: String,
    sign_at: usize,
    sign_place: (usize, usize),
}

/// What a character, with its marks, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Part of a word.
    Letter,
    /// Words by itself, or none.
    Sign,
}

impl<'t> Words<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            form: String::new(),
            sign: String::new(),
            sign_at: 0,
            sign_place: (0, 0),
        }
    }

    /// Writes the next word into `word` and tells where it is, in bytes.
    pub(crate) fn next_into(&mut self, word: &mut String) -> Option<(usize, usize)> {
        word.clear();
        loop {
            if let Some(Range { start, end }) = next_run(&self.sign, self.sign_at) {
                self.sign[start..end].chars().for_each(|c| push(word, c));
                self.sign_at = end;
                return Some(self.sign_place);
            }
            let (start, mut end) = match self.take()? {
                (place, What::Letter) => place,
                (place, What::Sign) => {
                    self.begin_sign(place);
                    continue;
                }
            };
            self.form.chars().for_each(|c| push(word, c));
            loop {
                match self.take() {
                    None => return Some((start, end)),
                    Some(((_, to), What::Letter)) => {
                        self.form.chars().for_each(|c| push(word, c));
                        end = to;
                    }
                    Some((place, What::Sign)) => {
                        self.begin_sign(place);
                        return Some((start, end));
                    }
                }
            }
        }
    }

    fn begin_sign(&mut self, place: (usize, usize)) {
        std::mem::swap(&mut self.sign, &mut self.form);
        (self.sign_at, self.sign_place) = (0, place);
    }

    /// Reads a character with its marks into `form`.
    fn take(&mut self) -> Option<((usize, usize), What)> {
        let start = self.at;
        let rest = &self.text[start..];
        let mut chars = rest.char_indices();
        let (_, first) = chars.next()?;
        let behind = chars.find(|(_, c)| c.is_ascii() || !goes_with_the_one_before(*c));
        let len = behind.map_or(rest.len(), |(at, _)| at);
        self.at = start + len;
        self.form.clear();
        let place = (start, self.at);
        if len == 1 {
            self.form.push(first.to_ascii_lowercase());
            let what = match first.is_ascii_alphanumeric() {
                true => What::Letter,
                false => What::Sign,
            };
            return Some((place, what));
        }
        match len == first.len_utf8() && has_one_form(first) {
            true => self.form.extend(first.to_lowercase().flat_map(folded)),
            false => one_form(&rest[..len], &mut self.form),
        }
        let joins = first.is_alphanumeric()
            && self
                .form
                .chars()
                .all(|c| (c.is_alphanumeric() || is_mark(c)) && !stands_alone(c));
        let what = if joins { What::Letter } else { What::Sign };
        Some((place, what))
    }
}

/// The next word of what one sign stands for.
fn next_run(form: &str, from: usize) -> Option<Range<usize>> {
    let mut chars = form[from..].char_indices();
    let (start, first) = chars.find(|(_, c)| c.is_alphanumeric())?;
    let alone = stands_alone(first);
    let goes_on = |c: char| is_mark(c) || !alone && c.is_alphanumeric() && !stands_alone(c);
    let end = chars.find(|(_, c)| !goes_on(*c));
    let end = end.map_or(form.len(), |(at, _)| from + at);
    Some(from + start..end)
}

/// The one form of a character with its marks: lower case, then NFKC, then what of
/// that is no lower case, without what is not shown.
fn one_form(text: &str, form: &mut String) {
    let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
    let shown = text.chars().take(MARKS_MAX).filter(|c| !is_unseen(*c));
    let lower = shown.flat_map(char::to_lowercase);
    let whole = nfkc.normalize_iter(lower);
    form.extend(whole.flat_map(char::to_lowercase).flat_map(folded));
}

/// Letters of which lower case is not all that upper case can mean.
fn folded(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ß' => ('s', Some('s')),
        'ς' => ('σ', None),
        c => (c, None),
    };
    std::iter::once(first).chain(second)
}

/// Letters by the thousand that NFKC leaves as they are.
fn has_one_form(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{131}' | '\u{400}'..='\u{45f}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fe}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Marks, parts of a Korean syllable, and what is not shown.
fn goes_with_the_one_before(c: char) -> bool {
    // Nothing before it does, and much is there.
    c >= '\u{ad}'
        && !has_one_form(c)
        && (is_unseen(c)
            || is_mark(c)
            || matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7fb}'
                | '\u{ff9e}' | '\u{ff9f}'))
}

fn is_mark(c: char) -> bool {
    let categories = const { CodePointMapData::<GeneralCategory>::new() };
    c >= '\u{300}' && GeneralCategoryGroup::Mark.contains(categories.get(c))
}

/// What is in a word without a sign of its own.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Adds a character, if there is room.
fn push(word: &mut String, c: char) {
    if word.len() + c.len_utf8() <= WORD_BYTES_MAX {
        word.push(c);
        return;
    }
    // What comes after a character that did not fit must not take its place.
    while word.len() < WORD_BYTES_MAX {
        word.push('\0');
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
    pub(crate) fn count_of_phrase(&self, phrase: &Phrase<&str>) -> u32 {
        let mut places = Places::default();
        for (which, word) in phrase.words().enumerate() {
            match self.words.get(*word) {
                Some(at) => places.add(which, at),
                None => return 0,
            }
        }
        phrase.count(&mut places)
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
        let cases: [(&str, &[&str]); 14] = [
            ("", &[]),
            ("\0\u{202e} ... \n", &[]),
            ("one", &["one"]),
            ("One, TWO-3 four_5.", &["one", "two", "3", "four", "5"]),
            ("a\0b", &["a", "b"]),
            ("Ärger über ß", &["ärger", "über", "ss"]),
            ("東京タワーabc", &["東", "京", "タ", "ワ", "ー", "abc"]),
            ("x東y", &["x", "東", "y"]),
            ("مرحبا بالعالم", &["مرحبا", "بالعالم"]),
            (&long, &[&long[..64]]),
            ("e\u{301}t", &["ét"]),
            ("Foo™ 5㎏ 3½", &["foo", "tm", "5", "kg", "3", "1", "2"]),
            ("x\u{302}y 👩\u{200d}💻 \u{301} a", &["x\u{302}y", "a"]),
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

    /// However they are written: composed or not, as signs of their own, with what
    /// is not shown in them, in capitals.
    #[test]
    fn words_that_are_the_same_are_the_same() {
        let table = [
            ("Zürich café", "Zu\u{308}rich cafe\u{301}"),
            ("ZÜRICH CAFÉ", "zu\u{308}rich cafe\u{301}"),
            ("office file", "oﬃce ﬁle"),
            ("Ａｉｒｌｏｃｋ １２", "airlock 12"),
            ("Donaudampf", "Donau\u{ad}dampf"),
            ("STRASSE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("οδός", "ΟΔΟ\u{301}Σ"),
            ("ǰ", "J\u{30c}"),
            ("ガギ", "ｶﾞｷﾞ"),
            ("ガ", "カ\u{3099}"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
            ("H2O m2", "H₂O m²"),
            ("株式会社", "㍿"),
            ("ệ", "e\u{302}\u{323}"),
            ("e\u{323}\u{302}", "e\u{302}\u{323}"),
            ("क\u{93c}", "\u{958}"),
            ("كتاب", "ﻛﺘﺎﺏ"),
            ("नमस्ते", "नमस्\u{200d}ते"),
            ("ℌello", "hello"),
            ("İ", "i\u{307}"),
        ];
        for (one, other) in table {
            assert_eq!(all(one), all(other), "{one} {other}");
        }
        assert_eq!(all("नमस्ते हिन्दी").len(), 2);
        assert_ne!(all("cafe"), all("café"));
        // The places are those of the text as it is written.
        let text = "a Zu\u{308}rich, ﬁn";
        let (mut words, mut word, mut places) = (Words::new(text), String::new(), Vec::new());
        while let Some((from, to)) = words.next_into(&mut word) {
            places.push(&text[from..to]);
        }
        assert_eq!(places, ["a", "Zu\u{308}rich", "ﬁn"]);
    }

    /// What is not worth a look at NFKC is what that leaves as it is.
    #[test]
    fn letters_of_one_form_have_one_form() {
        let nfkc = ComposingNormalizerBorrowed::new_nfkc();
        for c in ('\0'..char::MAX).filter(|c| has_one_form(*c)) {
            let same: String = nfkc.normalize_iter(std::iter::once(c)).collect();
            assert_eq!(same, c.to_string(), "{c:?}");
            assert!(!is_mark(c) && !is_unseen(c), "{c:?}");
        }
        // Marks without an end are one letter.
        let endless = format!("e{}x y", "\u{301}".repeat(100_000));
        assert_eq!(all(&endless).len(), 2);
    }

    #[test]
    fn phrases_are_words_one_after_another() {
        let list = WordList::of("to be or not to be, to be");
        let phrase = |text: &str| {
            let words = all(text);
            list.count_of_phrase(&Phrase::new(words.iter().map(String::as_str)))
        };
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
        assert_eq!(phrase(""), 0);
    }
}
