//! A memory in the test's own memory. What is found is what has one of the words, or
//! is near; the order is not the host's, which knows how rare a word is. Documents do
//! not end, and moments are the numbers of the changes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::memory::{Document, Entry, Expect, Hit, Provenance, Source, Stored};

/// Documents that a tool or an agent under test has, and may write where that was
/// granted. Clones share them.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    /// Namespaces that may be read, and whether they may be written.
    granted: BTreeMap<String, bool>,
    documents: BTreeMap<(String, String), Kept>,
    /// The highest version that was removed of each namespace.
    floors: BTreeMap<String, u64>,
    changes: u64,
}

#[derive(Clone)]
struct Kept {
    stored: Stored,
    vector: Option<Vec<f32>>,
}

/// As the host reads it.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Get {
        namespace: String,
        id: String,
    },
    Put {
        namespace: String,
        document: Box<Parts>,
        #[serde(default)]
        expect: Expect,
    },
    Delete {
        namespace: String,
        id: String,
        #[serde(default)]
        expect: Expect,
    },
    List {
        namespace: String,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        after: Option<String>,
        #[serde(default = "many")]
        limit: usize,
    },
    Search(Box<Looked>),
}

#[derive(Deserialize)]
struct Parts {
    id: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Looked {
    namespaces: Vec<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    from_ms: Option<u64>,
    #[serde(default)]
    to_ms: Option<u64>,
    #[serde(default = "few")]
    limit: usize,
}

/// Documents of a list, and hits of a search, at most.
const LIST_MAX: usize = 1_000;
const SEARCH_MAX: usize = 100;

fn limited(limit: usize, max: usize) -> Result<(), Error> {
    match (1..=max).contains(&limit) {
        true => Ok(()),
        false => Err(Error::invalid_input(format!(
            "limit: it is {limit}; 1 to {max}"
        ))),
    }
}

fn many() -> usize {
    100
}

fn few() -> usize {
    10
}

impl Memory {
    /// With nothing in it, and nothing granted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants a namespace to be read and written.
    #[must_use]
    pub fn write(self, namespace: &str) -> Self {
        self.grant(namespace, true);
        self
    }

    /// Grants a namespace to be read, with these documents in it.
    #[must_use]
    pub fn documents(self, namespace: &str, documents: impl IntoIterator<Item = Document>) -> Self {
        self.grant(namespace, false);
        for document in documents {
            let parts = serde_json::to_value(&document).unwrap_or_default();
            if let Ok(parts) = serde_json::from_value(parts) {
                self.0
                    .borrow_mut()
                    .put(namespace, parts, Provenance::default());
            }
        }
        self
    }

    fn grant(&self, namespace: &str, write: bool) {
        let mut inner = self.0.borrow_mut();
        *inner.granted.entry(namespace.to_owned()).or_default() |= write;
    }

    /// A document that is there.
    #[must_use]
    pub fn get(&self, namespace: &str, id: &str) -> Option<Stored> {
        let key = (namespace.to_owned(), id.to_owned());
        let inner = self.0.borrow();
        inner.documents.get(&key).map(|kept| kept.stored.clone())
    }

    /// The ids of a namespace, in order.
    #[must_use]
    pub fn ids(&self, namespace: &str) -> Vec<String> {
        let inner = self.0.borrow();
        let keys = inner.documents.keys();
        keys.filter(|(of, _)| of == namespace)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// Answers as the host does.
    pub(crate) fn ask(&self, request: &str) -> Result<String, Error> {
        let request: Request = serde_json::from_str(request)
            .map_err(|error| Error::InvalidInput(format!("the request: {error}")))?;
        let answer = self.0.borrow_mut().ask(request)?;
        Ok(answer.to_string())
    }
}

impl Inner {
    fn may(&self, op: &str, namespace: &str, writes: bool) -> Result<(), Error> {
        let rule = match (self.granted.get(namespace), writes) {
            (Some(true), _) | (Some(false), false) => return Ok(()),
            (Some(false), true) => {
                "it may be read alone (in a test: `testing::Memory::write`)".to_owned()
            }
            (None, _) => format!(
                "no memory rule covers `{namespace}`; needed: memory = [{{ namespace = \
                 \"{namespace}\" }}] (in a test: `testing::Memory`)"
            ),
        };
        Err(Error::denied("memory", format!("{op} {namespace}"), rule))
    }

    fn version(&self, namespace: &str, id: &str) -> Option<u64> {
        let key = (namespace.to_owned(), id.to_owned());
        let kept = self.documents.get(&key);
        kept.map(|kept| kept.stored.entry.version)
    }

    fn conflict(&self, namespace: &str, id: &str, expect: Expect) -> Option<Value> {
        let found = self.version(namespace, id);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Version(version) => found == Some(version),
        };
        (!holds).then(|| json!({ "conflict": { "found": found } }))
    }

    fn put(&mut self, namespace: &str, parts: Parts, provenance: Provenance) -> u64 {
        self.changes += 1;
        let before = self.version(namespace, &parts.id);
        let floor = || self.floors.get(namespace).copied().unwrap_or_default();
        let version = before.unwrap_or_else(floor) + 1;
        let key = (namespace.to_owned(), parts.id.clone());
        let before = self.documents.get(&key);
        let created = before.map_or(self.changes, |kept| kept.stored.entry.created_ms);
        let stored = Stored {
            entry: Entry {
                namespace: namespace.to_owned(),
                id: parts.id,
                version,
                created_ms: created,
                updated_ms: self.changes,
                expires_ms: None,
                labels: parts.labels,
                provenance,
                source: parts.source,
            },
            text: parts.text,
            value: parts.value,
        };
        let vector = parts.vector;
        self.documents.insert(key, Kept { stored, vector });
        version
    }

    fn ask(&mut self, request: Request) -> Result<Value, Error> {
        match request {
            Request::Get { namespace, id } => {
                self.may("get", &namespace, false)?;
                let kept = self.documents.get(&(namespace, id));
                Ok(json!(kept.map(|kept| &kept.stored)))
            }
            Request::Put {
                namespace,
                document,
                expect,
            } => {
                self.may("put", &namespace, true)?;
                if document.id.is_empty() {
                    return Err(Error::invalid_input("id: it is empty"));
                }
                if let Some(conflict) = self.conflict(&namespace, &document.id, expect) {
                    return Ok(conflict);
                }
                let by = Provenance {
                    plugin: Some("test".to_owned()),
                    ..Provenance::default()
                };
                Ok(json!({ "version": self.put(&namespace, *document, by) }))
            }
            Request::Delete {
                namespace,
                id,
                expect,
            } => {
                self.may("delete", &namespace, true)?;
                if let Some(conflict) = self.conflict(&namespace, &id, expect) {
                    return Ok(conflict);
                }
                let version = self.version(&namespace, &id);
                let floor = self.floors.entry(namespace.clone()).or_default();
                *floor = version.unwrap_or_default().max(*floor);
                let deleted = self.documents.remove(&(namespace, id)).is_some();
                Ok(json!({ "deleted": deleted }))
            }
            Request::List {
                namespace,
                prefix,
                after,
                limit,
            } => {
                self.may("list", &namespace, false)?;
                limited(limit, LIST_MAX)?;
                let of = |key: &&(String, String)| {
                    let (of, id) = key;
                    let behind = after.as_ref().is_none_or(|after| id > after);
                    *of == namespace && id.starts_with(&prefix) && behind
                };
                let keys: Vec<&(String, String)> = self.documents.keys().filter(of).collect();
                let next = (keys.len() > limit).then(|| keys[limit - 1].1.clone());
                let shown = keys.iter().take(limit);
                let entries = shown.map(|key| &self.documents[*key].stored.entry);
                let entries: Vec<&Entry> = entries.collect();
                Ok(json!({ "entries": entries, "next": next }))
            }
            Request::Search(looked) => self.search(&looked),
        }
    }

    fn search(&self, looked: &Looked) -> Result<Value, Error> {
        for namespace in &looked.namespaces {
            self.may("search", namespace, false)?;
        }
        limited(looked.limit, SEARCH_MAX)?;
        if looked.namespaces.is_empty() || (looked.text.is_none() && looked.vector.is_none()) {
            let why = "namespaces and a text or a vector are needed";
            return Err(Error::invalid_input(why));
        }
        let mut hits: Vec<Hit> = self
            .documents
            .values()
            .filter(|kept| looked.has(&kept.stored.entry))
            .filter_map(|kept| looked.hit(kept))
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(looked.limit);
        Ok(json!({ "hits": hits }))
    }
}

impl Looked {
    fn has(&self, entry: &Entry) -> bool {
        let labels = &entry.labels;
        let mut wanted = self.labels.iter();
        self.namespaces.contains(&entry.namespace)
            && wanted.all(|(name, value)| labels.get(name) == Some(value))
            && self.from_ms.is_none_or(|from| entry.updated_ms >= from)
            && self.to_ms.is_none_or(|to| entry.updated_ms < to)
    }

    fn hit(&self, kept: &Kept) -> Option<Hit> {
        let by_words = self.text.as_ref().map_or(0.0, |text| {
            let there = words(&kept.stored.text);
            words(text).intersection(&there).count() as f32
        });
        let near = match (&self.vector, &kept.vector) {
            (Some(a), Some(b)) if a.len() == b.len() => cosine(a, b),
            _ => 0.0,
        };
        let score = by_words + near;
        (score > 0.0).then(|| Hit {
            entry: kept.stored.entry.clone(),
            score,
            snippet: kept.stored.text.chars().take(320).collect(),
        })
    }
}

fn words(text: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    parts
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let length = |v: &[f32]| v.iter().map(|part| part * part).sum::<f32>().sqrt();
    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    let lengths = length(a) * length(b);
    if lengths > 0.0 {
        product / lengths
    } else {
        0.0
    }
}
