//! The best documents for a text, of the index on disk and of the changes before
//! it, as if they were one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use tantivy::collector::TopDocs;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::query::{
    Bm25Weight, BooleanQuery, ConstScoreQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery,
};
use tantivy::schema::IndexRecordOption;
use tantivy::{TantivyDocument, Term};

use super::{TextIndex, View};
use crate::error::MemoryError;
use crate::rows::DocRow;
use crate::text::disk::{Fields, Statistics};
use crate::text::query::TextQuery;
use crate::text::tail::TailDoc;

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
    /// Up to `limit` documents and those of the changes that are as good.
    pub(crate) fn top(
        &self,
        query: &TextQuery,
        scope: &Scope,
        limit: usize,
    ) -> Result<Top, MemoryError> {
        let view = self.read();
        let statistics = view.statistics(query, scope);
        let found = view.on_disk(query, scope, limit, &statistics);
        let (mut hits, more) = match found {
            Ok(found) => found,
            Err(error) => {
                drop(view);
                // It is made again.
                self.close();
                return Err(MemoryError::index("searching")(error));
            }
        };
        let worst = hits.last().map_or(f32::MIN, |(score, _)| *score);
        hits.retain(|(_, key)| !view.tail.hides(key));
        let changed = view.in_tail(query, scope, &statistics);
        let changed = changed.map_err(MemoryError::index("searching"))?;
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

impl View {
    /// How frequent the query's words are in the scope.
    fn statistics(&self, query: &TextQuery, scope: &Scope) -> Statistics {
        let mut frequencies = HashMap::new();
        let words: HashSet<&str> = query.all_words().collect();
        for word in words {
            let terms: Vec<Term> = scope
                .numbers
                .iter()
                .map(|number| self.fields.word(*number, word))
                .collect();
            let on_disk = terms
                .iter()
                .map(|term| self.searcher.doc_freq(term).unwrap_or(0));
            let changed = self.tail.with_word(word);
            let changed = changed.filter(|(_, doc)| scope.numbers.contains(&doc.number));
            let frequency = on_disk.sum::<u64>() + changed.count() as u64;
            frequencies.extend(terms.into_iter().map(|term| (term, frequency)));
        }
        Statistics {
            documents: scope.documents,
            words: scope.words,
            frequencies,
        }
    }

    /// What the index has, and whether there may be more.
    fn on_disk(
        &self,
        query: &TextQuery,
        scope: &Scope,
        limit: usize,
        statistics: &Statistics,
    ) -> tantivy::Result<(Vec<(f32, Bytes)>, bool)> {
        let query = on_disk_query(&self.fields, query, scope);
        let collector = TopDocs::with_limit(limit).order_by_score();
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

    /// What the changes have.
    fn in_tail(
        &self,
        query: &TextQuery,
        scope: &Scope,
        statistics: &Statistics,
    ) -> tantivy::Result<Vec<(f32, Bytes)>> {
        if self.tail.is_empty() {
            return Ok(Vec::new());
        }
        // A word weighs the same in each namespace.
        let number = scope.numbers.first().copied().unwrap_or_default();
        let weight = |words: &[String]| {
            let terms = words.iter().map(|word| self.fields.word(number, word));
            Bm25Weight::for_terms(statistics, &terms.collect::<Vec<_>>())
        };
        let words = query.words.iter();
        let words: tantivy::Result<Vec<_>> = words
            .map(|word| Ok((word.as_str(), weight(std::slice::from_ref(word))?)))
            .collect();
        let phrases = query.phrases.iter();
        let phrases: tantivy::Result<Vec<_>> = phrases
            .map(|phrase| Ok((phrase.as_slice(), weight(phrase)?)))
            .collect();
        let weights = Weights {
            words: words?,
            phrases: phrases?,
        };
        let candidates: HashMap<u32, &TailDoc> = query
            .all_words()
            .flat_map(|word| self.tail.with_word(word))
            .collect();
        let inside = candidates
            .into_values()
            .filter(|doc| scope.numbers.contains(&doc.number) && scope.has(&doc.row));
        Ok(inside
            .filter_map(|doc| Some((weights.score(doc)?, doc.key.clone())))
            .collect())
    }
}

/// What each part of a query weighs.
struct Weights<'q> {
    words: Vec<(&'q str, Bm25Weight)>,
    phrases: Vec<(&'q [String], Bm25Weight)>,
}

impl Weights<'_> {
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
fn on_disk_query(fields: &Fields, query: &TextQuery, scope: &Scope) -> Box<dyn Query> {
    let clauses: Vec<(Occur, Box<dyn Query>)> = match query.phrases.is_empty() {
        true => { scope.numbers.iter() }
            .flat_map(|number| words(fields, *number, query))
            .collect(),
        false => { scope.numbers.iter() }
            .map(|number| {
                let phrases = query
                    .phrases
                    .iter()
                    .map(|part| phrase(fields, *number, part));
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

fn phrase(fields: &Fields, number: u64, words: &[String]) -> Box<dyn Query> {
    match words {
        [word] => one_word(fields, number, word),
        words => {
            let terms = words.iter().map(|word| fields.word(number, word));
            Box::new(PhraseQuery::new(terms.collect()))
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
            .map(|from| Bound::Included(fields.updated(from)));
        let to = scope.to_ms.map(|to| Bound::Excluded(fields.updated(to)));
        filters.push(Box::new(RangeQuery::new(
            from.unwrap_or(Bound::Unbounded),
            to.unwrap_or(Bound::Unbounded),
        )));
    }
    let quiet = |query| Box::new(ConstScoreQuery::new(query, 0.0)) as Box<dyn Query>;
    filters
        .into_iter()
        .map(|query| (Occur::Must, quiet(query)))
        .collect()
}
