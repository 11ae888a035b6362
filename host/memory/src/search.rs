//! Search by words, by a vector, or by both.
//!
//! What must stay true: what is shown was read from the store after it was found,
//! is in a namespace that was asked for, has what the filters say, and is not over.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::error::{MemoryError, bounded, limited};
use crate::limits::{CANDIDATES_MAX, HITS_MAX, SEARCH_NAMESPACES_MAX};
use crate::memory::Shared;
use crate::model::{Entry, Namespace, check_labels};
use crate::prepare::unit;
use crate::recent::Read;
use crate::rows::{self, DOCS, NameRow};
use crate::text::Scope;
use crate::text::query::TextQuery;
use crate::text::snippet::snippet;
use crate::vectors::Vectors;
use crate::vectors::flat::VectorFilter;
use crate::wanted::{Bound, Wanted};

/// Candidates more than were asked for: some may be over by the time they are read.
const SPARE: usize = 2;
/// How many of each list are fused, at least.
const FUSED_MIN: usize = 100;
/// The constant of reciprocal rank fusion: Cormack, Clarke and Büttcher, "Reciprocal
/// rank fusion outperforms Condorcet and individual rank learning methods", SIGIR
/// 2009.
const RANK_CONSTANT: f32 = 60.0;

/// What is searched for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// Where. Of one that does not exist nothing is found.
    pub namespaces: Vec<Namespace>,
    /// Words: the more of them, and the rarer, the better. What stands in double
    /// quotes has to be there as it stands.
    pub text: Option<String>,
    /// An embedding: the nearer the better. With `text` both are fused by rank.
    pub vector: Option<Vec<f32>>,
    /// All of these labels.
    pub labels: BTreeMap<String, String>,
    /// Written at this moment or later, milliseconds since 1970.
    pub from_ms: Option<u64>,
    /// Written before this moment.
    pub to_ms: Option<u64>,
    /// Answers, at most; 1 to [`HITS_MAX`].
    pub limit: usize,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// What is known of it.
    pub entry: Entry,
    /// Higher is better, within one answer: BM25 for words, the cosine for vectors,
    /// the sum of reciprocal ranks for both.
    pub score: f32,
    /// A part of the text.
    pub snippet: String,
}

/// Keys with scores, the best first, and whether there may be more.
type Ranked = (Vec<(f32, Bytes)>, bool);

/// Ends soon after nobody wants its answer any more.
pub(crate) fn search(
    shared: &Shared,
    search: &Search,
    wanted: &Wanted,
) -> Result<Vec<Hit>, MemoryError> {
    let running = Running::new(shared, search, Bound::of(wanted))?;
    let both = running.text.is_some() && running.vector.is_some();
    let mut depth = match both {
        true => (2 * search.limit).max(FUSED_MIN),
        false => search.limit + SPARE,
    };
    loop {
        let (ranked, more) = running.ranked(depth)?;
        let hits = running.hits(&ranked)?;
        if hits.len() >= search.limit || !more || depth >= CANDIDATES_MAX {
            return Ok(hits);
        }
        depth = (4 * depth).min(CANDIDATES_MAX);
    }
}

/// What is looked for, where the search is one that can be made.
pub(crate) fn check(search: &Search) -> Result<(Option<TextQuery>, Option<Vec<f32>>), MemoryError> {
    let asked = search.namespaces.len();
    limited(search.limit, HITS_MAX, "hits")?;
    bounded("namespaces", asked, SEARCH_NAMESPACES_MAX, "namespaces")?;
    check_labels(&search.labels)?;
    let missing = match (&search.text, &search.vector) {
        _ if asked == 0 => Some(("namespaces", "there is none to search in")),
        (None, None) => Some(("search", "there is neither a text nor a vector")),
        _ => None,
    };
    if let Some((what, why)) = missing {
        return Err(MemoryError::invalid(what, why));
    }
    let text = search.text.as_deref().map(TextQuery::parse).transpose()?;
    let vector = search.vector.clone();
    let vector = vector.map(|vector| unit("vector", vector)).transpose()?;
    Ok((text, vector))
}

/// A search that is valid, with what it needs.
struct Running<'s> {
    shared: &'s Shared,
    limit: usize,
    text: Option<TextQuery>,
    vector: Option<Vec<f32>>,
    spaces: Vec<(Namespace, NameRow)>,
    scope: Scope,
    bound: Bound,
}

impl<'s> Running<'s> {
    fn new(shared: &'s Shared, search: &Search, bound: Bound) -> Result<Self, MemoryError> {
        let (text, vector) = check(search)?;
        let mut spaces: BTreeMap<&Namespace, NameRow> = BTreeMap::new();
        for namespace in &search.namespaces {
            if let Some(name) = shared.name(namespace)? {
                spaces.insert(namespace, name);
            }
        }
        let scope = Scope {
            numbers: spaces.values().map(|name| name.number).collect(),
            documents: spaces.values().map(|name| name.documents).sum(),
            words: spaces.values().map(|name| name.words).sum(),
            labels: search.labels.clone(),
            from_ms: search.from_ms,
            to_ms: search.to_ms,
            now_ms: shared.clock.now_ms(),
        };
        let spaces = spaces
            .into_iter()
            .map(|(namespace, name)| (namespace.clone(), name));
        Ok(Self {
            shared,
            limit: search.limit,
            text,
            vector,
            spaces: spaces.collect(),
            scope,
            bound,
        })
    }

    fn ranked(&self, depth: usize) -> Result<Ranked, MemoryError> {
        match (&self.text, &self.vector) {
            (Some(text), None) => self.by_text(text, depth),
            (None, Some(vector)) => self.by_vector(vector, depth),
            (Some(text), Some(vector)) => {
                let (by_text, more_text) = self.by_text(text, depth)?;
                let (by_vector, more_vector) = self.by_vector(vector, depth)?;
                Ok((fuse(&[by_text, by_vector]), more_text || more_vector))
            }
            (None, None) => Ok((Vec::new(), false)),
        }
    }

    fn by_text(&self, text: &TextQuery, depth: usize) -> Result<Ranked, MemoryError> {
        if text.is_empty() || self.spaces.is_empty() {
            return Ok((Vec::new(), false));
        }
        let top = self
            .shared
            .text
            .top(text, &self.scope, depth, &self.bound)?;
        Ok((top.hits, top.more))
    }

    fn by_vector(&self, vector: &[f32], depth: usize) -> Result<Ranked, MemoryError> {
        let labels = &self.scope.labels;
        let filter = VectorFilter {
            from_ms: self.scope.from_ms,
            to_ms: self.scope.to_ms,
            now_ms: self.scope.now_ms,
            labels: rows::label_hashes(labels),
        };
        let (mut ranked, mut more) = (Vec::new(), false);
        for (namespace, name) in &self.spaces {
            self.bound.check()?;
            let Some(dimension) = name.dimension.map(|dimension| dimension as usize) else {
                continue;
            };
            if dimension != vector.len() {
                return Err(MemoryError::Dimension {
                    namespace: namespace.to_string(),
                    found: vector.len(),
                    expected: dimension,
                });
            }
            let vectors = Vectors {
                number: name.number,
                count: name.vectors,
                dimension,
            };
            let top = self
                .shared
                .vectors
                .top(vectors, (vector, &filter), depth, &self.bound)?;
            more |= top.len() == depth;
            let keys = top.into_iter();
            ranked.extend(keys.map(|(score, id)| (score, rows::doc_key(name.number, &id))));
        }
        sort(&mut ranked);
        Ok((ranked, more))
    }

    /// The best that are still there, as they are in the store.
    fn hits(&self, ranked: &[(f32, Bytes)]) -> Result<Vec<Hit>, MemoryError> {
        let nothing = TextQuery::default();
        let text = self.text.as_ref().unwrap_or(&nothing);
        let mut hits = Vec::with_capacity(self.limit.min(ranked.len()));
        let mut ranked = ranked.iter();
        while hits.len() < self.limit {
            // No more are read than can be shown.
            let some: Vec<&(f32, Bytes)> = ranked.by_ref().take(self.limit - hits.len()).collect();
            if some.is_empty() {
                break;
            }
            self.bound.check()?;
            let keys: Vec<Bytes> = some.iter().map(|(_, key)| key.clone()).collect();
            let read = self.shared.recent.get_all(&*self.shared.store, &keys)?;
            for ((score, key), read) in some.into_iter().zip(read) {
                hits.extend(self.hit(text, *score, key, read.as_deref())?);
            }
        }
        Ok(hits)
    }

    /// What is shown of a document, if it is.
    fn hit(
        &self,
        text: &TextQuery,
        score: f32,
        key: &Bytes,
        read: Option<&Read>,
    ) -> Result<Option<Hit>, MemoryError> {
        let (number, id) = rows::split_doc_key(DOCS, key)?;
        let space = self.spaces.iter().find(|(_, name)| name.number == number);
        let (Some((namespace, _)), Some(read)) =
            (space, read.filter(|read| self.scope.has(&read.row)))
        else {
            return Ok(None);
        };
        Ok(Some(Hit {
            snippet: snippet(&read.text, text),
            entry: read
                .row
                .clone()
                .into_entry(namespace.clone(), id.to_owned()),
            score,
        }))
    }
}

/// Reciprocal rank fusion: each list gives `1 / (60 + rank)`, ranks from 1.
fn fuse(lists: &[Vec<(f32, Bytes)>]) -> Vec<(f32, Bytes)> {
    let mut scores: HashMap<&Bytes, f32> = HashMap::new();
    for list in lists {
        for (at, (_, key)) in list.iter().enumerate() {
            *scores.entry(key).or_default() += 1.0 / (RANK_CONSTANT + (at + 1) as f32);
        }
    }
    let fused = scores.into_iter().map(|(key, score)| (score, key.clone()));
    let mut fused: Vec<(f32, Bytes)> = fused.collect();
    sort(&mut fused);
    fused
}

/// The best first; equals in the order of their keys.
fn sort(ranked: &mut [(f32, Bytes)]) {
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
}
