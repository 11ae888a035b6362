//! Patterns that are known here.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A pattern by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Numbers of payment cards: 13 to 19 digits, alone or in groups, that begin with
    /// 2 to 6 and whose check digit (Luhn) is right.
    Card,
    /// E-mail addresses.
    Email,
    /// Keys and tokens by the form that well-known services give them, JSON web
    /// tokens, private keys in PEM, passwords in URLs.
    Key,
    /// Telephone numbers: with a country code, as in North America, or with a
    /// leading 0 and groups.
    Phone,
}

/// Words end where ASCII's do: that is fast on any text, and finds more, not less.
const PHONE: &str = r"(?x)
    (?:\+|(?-u:\b)00)[1-9](?:[\ \u{a0}.()/-]{0,2}[0-9]){6,14}(?-u:\b)
  | \([2-9][0-9]{2}\)[\ ]?[0-9]{3}[-.\ ][0-9]{4}(?-u:\b)
  | (?-u:\b)[2-9][0-9]{2}[-.][0-9]{3}[-.][0-9]{4}(?-u:\b)
  | (?-u:\b)0[1-9][0-9]{1,4}[\ /-]{1,3}[0-9]{3,8}(?:[\ -][0-9]{2,8}){0,3}(?-u:\b)
";

const KEY: &str = r"(?x)
    (?-u:\b)[srp]k-[A-Za-z0-9_-]{16,}
  | (?-u:\b)[srp]k_(?:live|test)_[A-Za-z0-9]{16,}
  | (?-u:\b)gh[oprsu]_[A-Za-z0-9]{30,} | (?-u:\b)github_pat_[A-Za-z0-9_]{22,}
  | (?-u:\b)glpat-[A-Za-z0-9_-]{20,}
  | (?-u:\b)xox[abeprs]-[A-Za-z0-9-]{10,}
  | (?-u:\b)A(?:KIA|SIA)[0-9A-Z]{16}(?-u:\b)
  | (?-u:\b)AIza[A-Za-z0-9_-]{30,} | (?-u:\b)ya29\.[A-Za-z0-9_-]{20,}
  | (?-u:\b)hf_[A-Za-z0-9]{30,} | (?-u:\b)npm_[A-Za-z0-9]{30,}
  | (?s)-----BEGIN\ [A-Z\ ]{0,30}PRIVATE\ KEY-----.*?(?:-----END\ [A-Z\ ]{0,30}PRIVATE\ KEY-----|\z)
  | (?-u:\b)[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,128}:[^\s/@]{1,256}@
";

/// Fewest letters of a web token's first two parts, behind those that they all have.
const TOKEN_LETTERS_MIN: usize = 8;

/// Longest parts of an address, characters.
const LOCAL_CHARS_MAX: usize = 64;
const DOMAIN_CHARS_MAX: usize = 253;

/// Digits with single separators between them.
const DIGITS: &str = r"[0-9](?:[ \u{a0}.-]?[0-9]){12,}";

static CARD_DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(DIGITS).ok());
static PHONES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(PHONE).ok());
static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(KEY).ok());

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Card, Self::Email, Self::Key, Self::Phone];

    /// The word for it in placeholders.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Email => "email",
            Self::Key => "key",
            Self::Phone => "phone",
        }
    }

    /// Where it is found in a text.
    pub(super) fn find(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Card => {
                let runs = matches(&CARD_DIGITS, text);
                runs.flat_map(|run| cards(text, run)).collect()
            }
            Self::Email => emails(text),
            Self::Key => matches(&KEYS, text).chain(web_tokens(text)).collect(),
            Self::Phone => matches(&PHONES, text).collect(),
        }
    }
}

fn matches<'t>(
    regex: &'static LazyLock<Option<Regex>>,
    text: &'t str,
) -> impl Iterator<Item = Range<usize>> + use<'t> {
    // The patterns are constants, and a test compiles them.
    let regex = regex.as_ref().expect("a pattern that compiles");
    regex.find_iter(text).map(|found| found.range())
}

/// JSON web tokens, from each `.` between two parts in both directions. As a way of the
/// expression for keys, which goes on to the end of the letters before it fails, each
/// key that is found among them would begin that anew.
fn web_tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices(".eyJ").filter_map(|(dot, _)| {
        let bytes = text.as_bytes();
        let before = bytes[..dot]
            .iter()
            .rev()
            .take_while(|byte| is_token(**byte));
        let from = dot - before.count();
        // It begins where a word does.
        let mut begins = text[from..dot]
            .match_indices("eyJ")
            .map(|(at, _)| from + at);
        let start = begins.find(|at| !at.checked_sub(1).is_some_and(|at| is_word(bytes[at])))?;
        let part = |from: usize| {
            let part = bytes[from..].iter().take_while(|byte| is_token(**byte));
            from + part.count()
        };
        let second = part(dot + 1);
        let long = |from: usize, to: usize| to - from >= "eyJ".len() + TOKEN_LETTERS_MIN;
        let end = match bytes.get(second) {
            Some(b'.') => part(second + 1),
            _ => second,
        };
        (long(start, dot) && long(dot + 1, second)).then_some(start..end)
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// Addresses, from each `@` in both directions: that takes time by the text's length
/// alone, which no expression for it does.
fn emails(text: &str) -> Vec<Range<usize>> {
    let signs = text.match_indices('@');
    signs.filter_map(|(at, _)| email(text, at)).collect()
}

fn email(text: &str, at: usize) -> Option<Range<usize>> {
    let local = |c: &char| c.is_alphanumeric() || "._%+'-".contains(*c);
    let before = text[..at].chars().rev().take(LOCAL_CHARS_MAX);
    let bytes: usize = before.take_while(local).map(char::len_utf8).sum();
    let name = text[at - bytes..at].trim_start_matches(|c: char| !c.is_alphanumeric());
    let domain = |c: &char| c.is_alphanumeric() || "-.".contains(*c);
    let after = text[at + 1..].chars().take(DOMAIN_CHARS_MAX);
    let bytes: usize = after.take_while(domain).map(char::len_utf8).sum();
    let host = text[at + 1..at + 1 + bytes].trim_end_matches(['.', '-']);
    let mut labels = host.split('.');
    let begins = labels.next()?.starts_with(char::is_alphanumeric);
    let ends = |label: &str| label.chars().take_while(|c| c.is_alphabetic()).count() >= 2;
    let is_address = !name.is_empty() && begins && labels.any(ends);
    is_address.then(|| at - name.len()..at + 1 + host.len())
}

/// Card numbers in a run of digits: whole groups of it, so that a number with
/// others beside it is found and a part of a longer one is not.
fn cards(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let groups = groups(text, run);
    let mut found = Vec::new();
    let mut from = 0;
    while from < groups.len() {
        match card_groups(text, &groups[from..]) {
            0 => from += 1,
            count => {
                found.push(groups[from].start..groups[from + count - 1].end);
                from += count;
            }
        }
    }
    found
}

/// How many groups, from the first on, are a card's number; as many as can be.
fn card_groups(text: &str, groups: &[Range<usize>]) -> usize {
    let mut digits = Vec::with_capacity(CARD_DIGITS_MAX);
    let mut most = 0;
    for (at, group) in groups.iter().enumerate() {
        if digits.len() + group.len() > CARD_DIGITS_MAX {
            break;
        }
        digits.extend(text[group.clone()].chars().filter_map(|c| c.to_digit(10)));
        if !(2..=6).contains(&digits[0]) {
            break;
        }
        if digits.len() >= CARD_DIGITS_MIN && luhn(&digits) {
            most = at + 1;
        }
    }
    most
}

/// Fewest and most digits of a card.
const CARD_DIGITS_MIN: usize = 13;
const CARD_DIGITS_MAX: usize = 19;

fn groups(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, c) in text[run.clone()].char_indices() {
        let at = run.start + at;
        if !c.is_ascii_digit() {
            continue;
        }
        match groups.last_mut() {
            Some(group) if group.end == at => group.end += 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}
