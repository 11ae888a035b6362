//! The best documents for a text, of the index on disk and of the changes before
//! it, as if they were one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound as End;
use std::sync::Arc;

use bytes::Bytes;
use tantivy::collector::{Collector, SegmentCollector, TopDocs};
use tantivy::fieldnorm::FieldNormReader;
use tantivy::query::{
    Bm25Weight, BooleanQuery, ConstScoreQuery, Occur, Query, RangeQuery, TermQuery, Weight,
};
use tantivy::schema::{IndexRecordOption, Schema};
use tantivy::{Searcher, SegmentOrdinal, SegmentReader, TantivyDocument, TantivyError, Term};

use super::{TextIndex, View};
use crate::error::MemoryError;
use crate::rows::DocRow;
use crate::text::disk::{Fields, Statistics};
use crate::text::phrase::{Phrase, PhraseQuery};
use crate::text::query::TextQuery;
use crate::text::tail::{Changes, TailDoc};
use crate::wanted::Bound;

/// Where a search looks, and what it leaves out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Of namespaces.
    pub(crate) numbers: Vec<u64>,
    /// Documents in them.
    pub(crate) documents: u64,
    /// Words of their texts.
    pub(crate) words: u64,
    /// All of these have to be there.
    pub(crate) labels: BTreeMap<String, String>,
    /// Not written before.
    pub(crate) from_ms: Option<u64>,
    /// Written before.
    pub(crate) to_ms: Option<u64>,
    pub(crate) now_ms: u64,
}

impl Scope {
    /// Whether a document may be in the answer.
    pub(crate) fn has(&self, row: &DocRow) -> bool {
        let labels = self.labels.iter();
        row.is_alive(self.now_ms)
            && self.from_ms.is_none_or(|from| row.updated_ms >= from)
            && self.to_ms.is_none_or(|to| row.updated_ms < to)
            && { labels }.all(|(name, value)| row.labels.get(name) == Some(value))
    }
}

/// Documents by their keys, the best first.
#[derive(Debug, Default)]
pub(crate) struct Top {
    pub(crate) hits: Vec<(f32, Bytes)>,
    /// Whether there may be more behind the last.
    pub(crate) more: bool,
}

impl TextIndex {
    /// Up to `limit` documents and those of the changes that are as good. No lock is
    /// held while they are looked for: neither writes nor other searches wait.
    pub(crate) fn top(
        &self,
        query: &TextQuery,
        scope: &Scope,
        limit: usize,
        bound: &Bound,
    ) -> Result<Top, MemoryError> {
        let (seen, changed) = self.read().see(query, scope);
        let statistics = seen.statistics(scope, &changed);
        let changed = changed.scores(&seen.fields, query, scope, (&statistics, bound))?;
        let found = seen.on_disk(query, scope, limit, (&statistics, bound));
        // One that was ended is no failure of the index, and no answer.
        bound.check()?;
        let (mut hits, more) = match found {
            Ok(found) => found,
            Err(error) => {
                // It is made again.
                self.close();
                return Err(MemoryError::index("searching")(error));
            }
        };
        let worst = hits.last().map_or(f32::MIN, |(score, _)| *score);
        hits.retain(|(_, key)| !seen.changes.contains_key(key));
        // Behind the last of the index there may be better ones on disk.
        hits.extend(
            changed
                .into_iter()
                .filter(|(score, _)| !more || *score >= worst),
        );
        hits.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        Ok(Top { hits, more })
    }
}

/// What one search reads, as it was when it began.
struct Seen {
    searcher: Searcher,
    fields: Fields,
    changes: Arc<Changes>,
}

/// Of the changes what a search needs: documents with its words.
struct Changed<'q> {
    docs: Vec<Arc<TailDoc>>,
    /// How many of the changes have each of the words.
    frequencies: HashMap<&'q str, u64>,
}

impl View {
    fn see<'q>(&self, query: &'q TextQuery, scope: &Scope) -> (Seen, Changed<'q>) {
        let (mut docs, mut frequencies) = (HashMap::new(), HashMap::new());
        let words: HashSet<&str> = query.all_words().collect();
        for word in words {
            let mut frequency = 0;
            for (slot, doc) in self.tail.with_word(word) {
                if scope.numbers.contains(&doc.number) {
                    frequency += 1;
                    docs.entry(slot).or_insert_with(|| Arc::clone(doc));
                }
            }
            frequencies.insert(word, frequency);
        }
        let seen = Seen {
            searcher: self.searcher.clone(),
            fields: self.fields,
            changes: self.tail.changes(),
        };
        let docs = docs.into_values().collect();
        (seen, Changed { docs, frequencies })
    }
}

impl Seen {
    /// How frequent the query's words are in the scope.
    fn statistics(&self, scope: &Scope, changed: &Changed<'_>) -> Statistics {
        let mut frequencies = HashMap::new();
        for (word, changed) in &changed.frequencies {
            let terms: Vec<Term> = scope
                .numbers
                .iter()
                .map(|number| self.fields.word(*number, word))
                .collect();
            let on_disk = terms
                .iter()
                .map(|term| self.searcher.doc_freq(term).unwrap_or(0));
            let frequency = on_disk.sum::<u64>() + changed;
            frequencies.extend(terms.into_iter().map(|term| (term, frequency)));
        }
        Statistics {
            documents: scope.documents,
            words: scope.words,
            frequencies,
        }
    }

    /// What the index has, and whether there may be more. Where the bound is over it
    /// is cut short.
    fn on_disk(
        &self,
        query: &TextQuery,
        scope: &Scope,
        limit: usize,
        (statistics, bound): (&Statistics, &Bound),
    ) -> tantivy::Result<(Vec<(f32, Bytes)>, bool)> {
        let query = on_disk_query(&self.fields, query, scope, bound);
        let collector = Bounded {
            inner: TopDocs::with_limit(limit).order_by_score(),
            bound,
        };
        let found = self
            .searcher
            .search_with_statistics_provider(&*query, &collector, statistics)?;
        let more = found.len() == limit;
        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            let document: TantivyDocument = self.searcher.doc(address)?;
            let key = self.fields.key_of(&document);
            hits.extend(key.map(|key| (score, key.into())));
        }
        Ok((hits, more))
    }
}

impl Changed<'_> {
    /// Those that are found, with the scores that the index gives them.
    fn scores(
        self,
        fields: &Fields,
        query: &TextQuery,
        scope: &Scope,
        (statistics, bound): (&Statistics, &Bound),
    ) -> Result<Vec<(f32, Bytes)>, MemoryError> {
        if self.docs.is_empty() {
            return Ok(Vec::new());
        }
        // A word weighs the same in each namespace.
        let number = scope.numbers.first().copied().unwrap_or_default();
        let weights = Weights::new(query, |words| {
            let terms = words.iter().map(|word| fields.word(number, word));
            Bm25Weight::for_terms(statistics, &terms.collect::<Vec<_>>())
        });
        let weights = weights.map_err(MemoryError::index("searching"))?;
        let mut scores = Vec::new();
        for doc in self.docs.iter().filter(|doc| scope.has(&doc.row)) {
            bound.check()?;
            scores.extend(weights.score(doc).map(|score| (score, doc.key.clone())));
        }
        Ok(scores)
    }
}

/// A collector that begins with no segment once the bound is over.
struct Bounded<'b, C> {
    inner: C,
    bound: &'b Bound,
}

impl<C: Collector> Collector for Bounded<'_, C> {
    type Fruit = C::Fruit;
    type Child = C::Child;

    fn check_schema(&self, schema: &Schema) -> tantivy::Result<()> {
        self.inner.check_schema(schema)
    }

    fn for_segment(
        &self,
        number: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<C::Child> {
        self.inner.for_segment(number, segment)
    }

    fn requires_scoring(&self) -> bool {
        self.inner.requires_scoring()
    }

    fn merge_fruits(
        &self,
        fruits: Vec<<C::Child as SegmentCollector>::Fruit>,
    ) -> tantivy::Result<C::Fruit> {
        self.inner.merge_fruits(fruits)
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        number: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<<C::Child as SegmentCollector>::Fruit> {
        if self.bound.is_over() {
            let why = "the search was ended".to_owned();
            return Err(TantivyError::InternalError(why));
        }
        self.inner.collect_segment(weight, number, segment)
    }
}

/// What each part of a query weighs.
struct Weights<'q> {
    words: Vec<(&'q str, Bm25Weight)>,
    phrases: Vec<(Phrase<&'q str>, Bm25Weight)>,
}

impl<'q> Weights<'q> {
    fn new(
        query: &'q TextQuery,
        weight: impl Fn(&[String]) -> tantivy::Result<Bm25Weight>,
    ) -> tantivy::Result<Self> {
        let words = query.words.iter();
        let words = words.map(|word| Ok((word.as_str(), weight(std::slice::from_ref(word))?)));
        let phrases = query.phrases.iter().map(|words| {
            let phrase = Phrase::new(words.iter().map(String::as_str));
            Ok((phrase, weight(words)?))
        });
        Ok(Self {
            words: words.collect::<tantivy::Result<_>>()?,
            phrases: phrases.collect::<tantivy::Result<_>>()?,
        })
    }

    /// The document's score; `None`: it is not found.
    fn score(&self, doc: &TailDoc) -> Option<f32> {
        let length = FieldNormReader::fieldnorm_to_id(doc.words.count());
        let mut score = None;
        let mut add = |weight: &Bm25Weight, count: u32| {
            let part = weight.score(length, count);
            *score.get_or_insert(0.0) += part;
        };
        for (phrase, weight) in &self.phrases {
            match doc.words.count_of_phrase(phrase) {
                0 => return None,
                count => add(weight, count),
            }
        }
        for (word, weight) in &self.words {
            match doc.words.count_of(word) {
                0 => {}
                count => add(weight, count),
            }
        }
        score
    }
}

/// The query as the index understands it. Words of one or several namespaces are
/// one union, which the index cuts short.
fn on_disk_query(
    fields: &Fields,
    query: &TextQuery,
    scope: &Scope,
    bound: &Bound,
) -> Box<dyn Query> {
    let clauses: Vec<(Occur, Box<dyn Query>)> = match query.phrases.is_empty() {
        true => { scope.numbers.iter() }
            .flat_map(|number| words(fields, *number, query))
            .collect(),
        false => { scope.numbers.iter() }
            .map(|number| {
                let phrases = query
                    .phrases
                    .iter()
                    .map(|part| phrase(fields, *number, part, bound));
                let mut all: Vec<_> = phrases.map(|query| (Occur::Must, query)).collect();
                all.extend(words(fields, *number, query));
                let all: Box<dyn Query> = Box::new(BooleanQuery::new(all));
                (Occur::Should, all)
            })
            .collect(),
    };
    let text: Box<dyn Query> = Box::new(BooleanQuery::new(clauses));
    let mut filters = filters(fields, scope);
    if filters.is_empty() {
        return text;
    }
    filters.push((Occur::Must, text));
    Box::new(BooleanQuery::new(filters))
}

fn words(fields: &Fields, number: u64, query: &TextQuery) -> Vec<(Occur, Box<dyn Query>)> {
    let each = query.words.iter().map(|word| {
        let query: Box<dyn Query> = one_word(fields, number, word);
        (Occur::Should, query)
    });
    each.collect()
}

fn one_word(fields: &Fields, number: u64, word: &str) -> Box<dyn Query> {
    let term = fields.word(number, word);
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn phrase(fields: &Fields, number: u64, words: &[String], bound: &Bound) -> Box<dyn Query> {
    match words {
        [word] => one_word(fields, number, word),
        words => {
            let terms = words.iter().map(|word| fields.word(number, word));
            Box::new(PhraseQuery::new(terms.collect(), bound))
        }
    }
}

/// What leaves documents out and does not change scores.
fn filters(fields: &Fields, scope: &Scope) -> Vec<(Occur, Box<dyn Query>)> {
    let mut filters: Vec<Box<dyn Query>> = Vec::new();
    for (name, value) in &scope.labels {
        let term = fields.label(name, value);
        filters.push(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
    }
    if scope.from_ms.is_some() || scope.to_ms.is_some() {
        let from = scope
            .from_ms
            .map(|from| End::Included(fields.updated(from)));
        let to = scope.to_ms.map(|to| End::Excluded(fields.updated(to)));
        filters.push(Box::new(RangeQuery::new(
            from.unwrap_or(End::Unbounded),
            to.unwrap_or(End::Unbounded),
        )));
    }
    let quiet = |query| Box::new(ConstScoreQuery::new(query, 0.0)) as Box<dyn Query>;
    filters
        .into_iter()
        .map(|query| (Occur::Must, quiet(query)))
        .collect()
}
