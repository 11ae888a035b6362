//! What a server answers, searched for what it was told and must not tell on: the key
//! of the request, and whatever else is a secret of the host.
//!
//! What must stay true: how much of a stream is held back follows from the key's length
//! and from how much came, never from what it says: what is late would tell that it
//! begins a key.

use super::find::{of_secrets, read_through, replaced};
use super::{Redactor, SECRET};
use crate::error::Failed;
use crate::names::Names;
use crate::protocol::failure;
use crate::secret::{Key, Mask, Secret};

/// Most bytes of JSON for one of a value's.
const ESCAPED: usize = 6;

/// What is searched for in one attempt.
pub(crate) struct Search {
    /// All of them.
    secrets: Vec<Secret>,
    /// The key that is sent: the only one that the server was told.
    key: Vec<Secret>,
    mask: Option<Mask>,
}

/// A text that is searched piece by piece.
#[derive(Default)]
pub(crate) struct Held {
    text: String,
    /// Bytes of it that were not searched yet.
    fresh: usize,
}

impl Search {
    /// For secrets that are known, and the key that is sent: its value may be another
    /// one by now.
    pub(crate) fn new(known: &[Secret], sent: Option<Key>) -> Self {
        let (key, mask) = sent.map(|key| (key.value, key.mask)).unzip();
        let key = Vec::from_iter(key);
        Self {
            secrets: known.iter().chain(&key).cloned().collect(),
            key,
            mask: mask.flatten(),
        }
    }

    /// A whole text, or JSON: nothing that ends a text of JSON is put in.
    pub(crate) fn whole(&self, text: &str) -> String {
        self.masked(without(&self.secrets, text))
    }

    /// The name of the tool that is called. Those of the request are the agent's own.
    pub(crate) fn name(&self, names: &Names, spelling: &str) -> String {
        match names.meant(spelling) {
            own if names.offers(own) => own.to_owned(),
            other => self.whole(other),
        }
    }

    /// The id that the answer's call with this number has for its agent: what must not
    /// be told makes another one.
    pub(crate) fn id(&self, names: &Names, given: &str, number: usize) -> String {
        match self.whole(given) == given {
            true => names.id(given),
            false => names.id(&format!("call_{number}")),
        }
    }

    /// What a provider said of a failure, fit to be told: searched whole, then cut.
    pub(crate) fn told(&self, redactor: &Redactor, mut failed: Failed) -> Failed {
        failed.error = failed.error.map_text(|text| {
            let text = redactor.scrub(&self.secrets, text);
            failure::bounded(&self.masked(text))
        });
        failed
    }

    /// Without the key in the other spellings that the host knows.
    fn masked(&self, text: String) -> String {
        let masked = self.mask.as_ref().and_then(|mask| mask(text.as_bytes()));
        masked.map_or(text, |masked| String::from_utf8_lossy(&masked).into_owned())
    }

    /// What can be told after another piece of a text, or of one that is JSON.
    pub(crate) fn piece(&self, held: &mut Held, text: &str, json: bool) -> String {
        held.text.push_str(text);
        held.fresh += text.len();
        let spread = if json { ESCAPED } else { 1 };
        let key_bytes = self.key.first().map_or(0, |key| key.reveal().len());
        let kept = (key_bytes * spread).saturating_sub(1);
        // Searched by the stretch, not anew for each letter.
        if held.fresh <= kept / 4 || held.text.len() <= kept {
            return String::new();
        }
        held.fresh = 0;
        let mut searched = without(&self.key, &held.text);
        let settled = searched.floor_char_boundary(searched.len().saturating_sub(kept));
        held.text = searched.split_off(settled);
        searched
    }

    /// The rest, once nothing more comes.
    pub(crate) fn rest(&self, held: &mut Held) -> String {
        held.fresh = 0;
        without(&self.key, &std::mem::take(&mut held.text))
    }
}

fn without(secrets: &[Secret], text: &str) -> String {
    let found = read_through(text, |text| of_secrets(secrets, text));
    replaced(text, found, |_, _| format!("[{SECRET}]"))
}
