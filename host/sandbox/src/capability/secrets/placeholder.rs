//! The placeholders of one call: opaque words that stand for secrets, made up
//! anew for each call, so that one that leaks is of no use to anybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PREFIX: &str = "airlock-secret-";
const RANDOM_BYTES: usize = 16;

/// Length of every placeholder, bytes.
pub(crate) const PLACEHOLDER_BYTES: usize = PREFIX.len() + 2 * RANDOM_BYTES;

/// Most secrets one call can ask for.
const NAMES_MAX: usize = 64;

/// The placeholders of one call. Clones share them.
#[derive(Clone, Default)]
pub struct Placeholders {
    issued: Arc<Mutex<Vec<Issued>>>,
}

struct Issued {
    word: String,
    name: String,
}

impl Placeholders {
    /// The placeholder of a secret; `None` when the call asked for too many.
    pub(crate) fn issue(&self, name: &str) -> Option<String> {
        let mut issued = self.lock();
        if let Some(known) = issued.iter().find(|one| one.name == name) {
            return Some(known.word.clone());
        }
        if issued.len() >= NAMES_MAX {
            return None;
        }
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).ok()?;
        let mut word = PREFIX.to_owned();
        for byte in random {
            word.push_str(&format!("{byte:02x}"));
        }
        issued.push(Issued {
            word: word.clone(),
            name: name.to_owned(),
        });
        Some(word)
    }

    /// Whether the call asked for none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The names of the secrets that the call asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().iter().map(|one| one.name.clone()).collect()
    }

    /// The names of the secrets whose placeholders occur in `text`.
    pub(crate) fn names_in(&self, text: &[u8]) -> Vec<String> {
        let issued = self.lock();
        if issued.is_empty() || !contains(text, PREFIX.as_bytes()) {
            return Vec::new();
        }
        let found = issued
            .iter()
            .filter(|one| contains(text, one.word.as_bytes()));
        found.map(|one| one.name.clone()).collect()
    }

    /// `text` with the placeholder of `name` replaced by `value`; `None` where it
    /// does not occur.
    pub(crate) fn replace(&self, text: &[u8], name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let issued = self.lock();
        let word = issued.iter().find(|one| one.name == name)?.word.as_bytes();
        let mut replaced = Vec::with_capacity(text.len() + value.len());
        let (mut rest, mut any) = (text, false);
        while let Some(at) = find(rest, word) {
            replaced.extend_from_slice(&rest[..at]);
            replaced.extend_from_slice(value);
            rest = &rest[at + word.len()..];
            any = true;
        }
        replaced.extend_from_slice(rest);
        any.then_some(replaced)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Issued>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    find(text, word).is_some()
}
