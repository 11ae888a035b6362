//! Verification of the log against itself, its signed checkpoints and a head
//! that was kept elsewhere. It reads rows as they are stored and goes on after a
//! finding, so that one damaged record does not hide the next.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::keys::TrustedKey;
use super::sign::{SignedHead, hex};
use super::{CHECKPOINTS, Checkpoint, Line, STREAM, UNSIGNED_MAX};
use crate::chain;
use crate::store::{Hash, Record, Store, StoreError};

const PAGE: usize = 512;
/// Records in a row that can't be read, after which the rest is given up.
const UNREADABLE_MAX: u64 = 10_000;

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind: `edited`, `missing`, `unreadable`, `head`, `cut-off`,
    /// `replaced`, `checkpoint-missing`, `checkpoint-signature`,
    /// `checkpoint-unreadable`, `checkpoint-changed`, `unsigned`,
    /// `empty`, `external-head`, `head-not-authentic`, `store`.
    pub code: &'static str,
    /// The first record concerned, when it is about records.
    pub seq: Option<u64>,
    /// A sentence for people.
    pub text: String,
}

/// A log in which nothing was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records in the log.
    pub len: u64,
    /// The chain hash over them, in hex.
    pub hash: String,
    /// Checkpoints that were verified.
    pub checkpoints: usize,
    /// Records since the last checkpoint: chained, but not signed yet.
    pub unsigned: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "record {seq}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Verifies the whole log. `keys` are the keys that may have signed it, none of
/// them taken from the data; `external` is a head that was emitted earlier and kept elsewhere: only it
/// shows that a log was cut back together with its checkpoints.
///
/// # Errors
/// Everything that was found wrong, in the order of the log.
pub fn verify<K: Into<TrustedKey> + Copy>(
    store: &dyn Store,
    keys: &[K],
    external: Option<&SignedHead>,
) -> Result<Report, Vec<Finding>> {
    let mut verifier = Verifier {
        keys: keys.iter().copied().map(Into::into).collect(),
        findings: Vec::new(),
        checkpoints: BTreeMap::new(),
        external: None,
        present: BTreeMap::new(),
        partial: false,
        last_good: 0,
        replaced: false,
        given_up: false,
        next: 0,
        hash: Some(Hash::default()),
    };
    if let Some(head) = external
        && verifier.check_signature(head, "head-not-authentic", "the given head")
    {
        verifier.external = Some((head.len, head.hash));
    }
    if let Err(error) = verifier.load_checkpoints(store) {
        verifier.partial = true;
        verifier.find("checkpoint-unreadable", None, cause(&error));
    }
    verifier.walk(store);
    verifier.finish(store)
}

struct Verifier {
    keys: Vec<TrustedKey>,
    findings: Vec<Finding>,
    /// By length; removed as the walk passes them.
    checkpoints: BTreeMap<u64, Checkpoint>,
    external: Option<(u64, Hash)>,
    /// Of every checkpoint that exists: its length and when it says it was made.
    present: BTreeMap<u64, u64>,
    /// Whether not all checkpoints could be read, so that none counts as removed.
    partial: bool,
    last_good: u64,
    replaced: bool,
    /// Whether the walk ended before the log, so that its end says nothing.
    given_up: bool,
    /// The sequence number the next record must have.
    next: u64,
    /// The stored hash before it; `None` after a gap.
    hash: Option<Hash>,
}

impl Verifier {
    fn find(&mut self, code: &'static str, seq: Option<u64>, text: impl Into<String>) {
        let text = text.into();
        self.findings.push(Finding { code, seq, text });
    }

    fn check_signature(&mut self, head: &SignedHead, code: &'static str, what: &str) -> bool {
        let mut keys = self.keys.iter();
        let complaint = match keys.find(|known| known.key.id() == head.key_id) {
            Some(known) if known.signed(head) => return true,
            Some(TrustedKey {
                key,
                until: Some(until),
            }) if key.signed(head) => format!(
                "{what} is signed by the key {}, which was replaced at record {until}",
                head.key_id
            ),
            Some(_) => format!("the signature of {what} is wrong"),
            None => format!("{what} is signed by an unknown key, {}", head.key_id),
        };
        self.find(code, None, complaint);
        false
    }

    fn load_checkpoints(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut from = Vec::new();
        loop {
            let page = store.range(CHECKPOINTS, &from, None, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            from = [last.as_ref(), &[0]].concat();
            for (key, value) in &page {
                self.load_checkpoint(key, value);
            }
        }
    }

    fn load_checkpoint(&mut self, key: &[u8], value: &[u8]) {
        let len = key.try_into().map(u64::from_be_bytes);
        let parsed = serde_json::from_slice::<Checkpoint>(value);
        let (Ok(len), Ok(checkpoint)) = (len, parsed) else {
            let key = key.escape_ascii();
            self.find(
                "checkpoint-unreadable",
                None,
                format!("checkpoint {key} is unreadable"),
            );
            return;
        };
        self.present.insert(len, checkpoint.at_ms);
        let what = format!("checkpoint {len}");
        if checkpoint.head.len != len {
            let text = format!("{what} was moved: it signs {} records", checkpoint.head.len);
            self.find("checkpoint-signature", None, text);
        } else if self.check_signature(&checkpoint.head, "checkpoint-signature", &what) {
            self.checkpoints.insert(len, checkpoint);
        }
    }

    fn walk(&mut self, store: &dyn Store) {
        self.compare_at(0);
        while !self.given_up {
            match store.raw(STREAM.as_bytes(), self.next, PAGE) {
                Ok(page) if page.is_empty() => return,
                Ok(page) => page.iter().for_each(|record| self.record(record)),
                Err(_) => self.step(store),
            }
        }
    }

    /// Reads the one next record of a page that can't be read, or passes those
    /// that can't be read themselves.
    fn step(&mut self, store: &dyn Store) {
        let one = |seq| store.raw(STREAM.as_bytes(), seq, 1);
        let from = self.next;
        let Err(error) = one(from).map(|page| page.iter().for_each(|record| self.record(record)))
        else {
            return;
        };
        let Some(after) = (from + 1..=from + UNREADABLE_MAX).find(|seq| one(*seq).is_ok()) else {
            self.given_up = true;
            self.find("store", Some(from), cause(&error));
            return;
        };
        let others = match after - from {
            1 => String::new(),
            _ => format!(", and all up to {}", after - 1),
        };
        let text = format!("can't be read{others}: {}", cause(&error));
        self.find("unreadable", Some(from), text);
        self.pass_over(after);
    }

    /// Goes on at `seq`. What was signed over the records before it can't be
    /// compared; that they are not there has been found.
    fn pass_over(&mut self, seq: u64) {
        let passed = self.next + 1..=seq;
        self.checkpoints.retain(|len, _| !passed.contains(len));
        self.external = self.external.filter(|(len, _)| !passed.contains(len));
        self.hash = None;
        self.next = seq;
    }

    fn record(&mut self, record: &Record) {
        let seq = record.seq;
        if seq > self.next {
            let text = match seq - self.next {
                1 => "is missing".to_owned(),
                _ => format!("is missing, and all up to {}", seq - 1),
            };
            self.find("missing", Some(self.next), text);
            self.pass_over(seq);
        }
        if let Some(before) = self.hash
            && chain::next(&before, STREAM.as_bytes(), seq, &record.payload) != record.hash
        {
            self.find(
                "edited",
                Some(seq),
                "was edited: it does not match its hash",
            );
        }
        match Line::parse(&record.payload) {
            Some(audit) if audit.action == "checkpoint" => self.announced_checkpoint(seq, &audit),
            Some(_) => {}
            None => self.find("unreadable", Some(seq), "is not an audit record"),
        }
        self.hash = Some(record.hash);
        self.next = seq + 1;
        self.compare_at(self.next);
    }

    /// A checkpoint's record stands in the chain: the checkpoint must be there.
    fn announced_checkpoint(&mut self, seq: u64, audit: &Line<'_>) {
        let len = audit.detail::<Value>()["len"].as_u64().unwrap_or(seq);
        match self.present.get(&len) {
            None if self.partial => {}
            None => {
                let text = format!("announces checkpoint {len}, which was removed");
                self.find("checkpoint-missing", Some(seq), text);
            }
            Some(at_ms) if *at_ms != audit.at_ms => {
                let text = format!("announces checkpoint {len}, whose time was changed");
                self.find("checkpoint-changed", Some(seq), text);
            }
            Some(_) => {}
        }
    }

    /// Compares the hash of the first `len` records with what was signed.
    fn compare_at(&mut self, len: u64) {
        if let Some(checkpoint) = self.checkpoints.remove(&len) {
            if self.hash == Some(checkpoint.head.hash) {
                self.last_good = len;
            } else if !self.replaced {
                // What was signed after it cannot fit either.
                self.replaced = true;
                let text = format!(
                    "or a later one before {len} was replaced and the chain rehashed: \
                     checkpoint {len} signs another hash"
                );
                self.find("replaced", Some(self.last_good), text);
            }
        }
        if let Some((external, hash)) = self.external
            && external == len
        {
            self.external = None;
            if self.hash != Some(hash) {
                let text = format!("the log's first {len} records are not those of the given head");
                self.find("external-head", None, text);
            }
        }
    }

    fn finish(mut self, store: &dyn Store) -> Result<Report, Vec<Finding>> {
        if self.given_up {
            return Err(self.findings);
        }
        let len = self.next;
        match store.head(STREAM.as_bytes()) {
            Err(error) => self.find("head", None, format!("the log's end: {}", cause(&error))),
            Ok(head) if head.len != len => {
                let text = format!(
                    "the log's head counts {} records, {len} are there",
                    head.len
                );
                self.find("head", None, text);
            }
            Ok(_) => {}
        }
        if let Some((&signed, _)) = self.checkpoints.last_key_value() {
            let text = format!("is missing: cut off, checkpoint {signed} signs {signed} records");
            self.find("cut-off", Some(len), text);
        }
        if let Some((external, _)) = self.external {
            let text = format!("the given head has {external} records, the log only {len}");
            self.find("external-head", Some(len), text);
        }
        let unsigned = len - self.last_good;
        if len == 0 {
            self.find(
                "empty",
                None,
                "the log is empty, even of its first checkpoint",
            );
        } else if unsigned > UNSIGNED_MAX || (self.present.is_empty() && !self.partial) {
            let text = format!("and the {unsigned} from it on are signed by no checkpoint");
            self.find("unsigned", Some(self.last_good), text);
        }
        if !self.findings.is_empty() {
            return Err(self.findings);
        }
        Ok(Report {
            len,
            hash: hex(&self.hash.unwrap_or_default()),
            checkpoints: self.present.len(),
            unsigned,
        })
    }
}

fn cause(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
