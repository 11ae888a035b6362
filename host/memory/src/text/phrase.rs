//! Words that have to stand one after another.
//!
//! What must stay true: a text is worth one look at each place where one of the words
//! is, however often the phrase repeats them; and what index and changes count is the
//! same.

use std::sync::Arc;

use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::query::{Bm25Weight, EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

use crate::limits::QUERY_WORDS_MAX;
use crate::wanted::Bound;

/// Places between two looks at whether the search goes on.
const LOOK_EVERY: usize = 4096;

/// Each word of a phrase has a bit.
type Bits = u32;
const _: () = assert!(QUERY_WORDS_MAX <= Bits::BITS as usize);

/// Different words, and where in the phrase each of them is.
#[derive(Debug, Clone)]
pub(crate) struct Phrase<W> {
    words: Vec<(W, Bits)>,
    last: Bits,
}

/// Where the words of a phrase are in one text: the place, and which word it is.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Vec<u64>,
}

impl<W: PartialEq> Phrase<W> {
    /// Of no more than [`QUERY_WORDS_MAX`] words, at least one; those behind do not
    /// count.
    pub(crate) fn new(all: impl IntoIterator<Item = W>) -> Self {
        let (mut words, mut last) = (Vec::<(W, Bits)>::new(), 0);
        for (at, word) in all.into_iter().take(QUERY_WORDS_MAX).enumerate() {
            last = 1 << at;
            match words.iter_mut().find(|(known, _)| *known == word) {
                Some((_, places)) => *places |= last,
                None => words.push((word, last)),
            }
        }
        Self { words, last }
    }

    /// The different words.
    pub(crate) fn words(&self) -> impl Iterator<Item = &W> {
        self.words.iter().map(|(word, _)| word)
    }

    /// How often the phrase is in a text where its words have these places. Each bit of
    /// `begun` is a beginning of the phrase that ends at the place.
    pub(crate) fn count(&self, places: &mut Places) -> u32 {
        // Parts that are in order are merged, not sorted.
        places.all.sort();
        let (mut begun, mut next, mut count) = (0, 0, 0);
        for place in &places.all {
            let (at, word) = (place >> WORD_BITS, place & WORD_MASK);
            if at != next {
                begun = 0;
            }
            begun = ((begun << 1) | 1) & self.words[word as usize].1;
            count += u32::from(begun & self.last != 0);
            next = at + 1;
        }
        count
    }
}

const WORD_BITS: u32 = 8;
const WORD_MASK: u64 = (1 << WORD_BITS) - 1;
const _: () = assert!(QUERY_WORDS_MAX < 1 << WORD_BITS);

impl Places {
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// Adds the places of a word of the phrase, the lowest first.
    pub(crate) fn add(&mut self, word: usize, at: &[u32]) {
        let place = |at: &u32| (u64::from(*at) << WORD_BITS) | word as u64;
        self.all.extend(at.iter().map(place));
    }
}

/// A phrase, as the index is asked for it; it ends with the search's bound.
#[derive(Debug, Clone)]
pub(crate) struct PhraseQuery {
    /// As they follow one another.
    terms: Vec<Term>,
    phrase: Arc<Phrase<Term>>,
    bound: Bound,
}

impl PhraseQuery {
    pub(crate) fn new(terms: Vec<Term>, bound: &Bound) -> Self {
        Self {
            phrase: Arc::new(Phrase::new(terms.iter().cloned())),
            terms,
            bound: bound.clone(),
        }
    }
}

impl Query for PhraseQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let score = match scoring {
            EnableScoring::Enabled {
                statistics_provider,
                ..
            } => Some(Bm25Weight::for_terms(statistics_provider, &self.terms)?),
            EnableScoring::Disabled { .. } => None,
        };
        Ok(Box::new(PhraseWeight {
            phrase: Arc::clone(&self.phrase),
            bound: self.bound.clone(),
            score,
        }))
    }
}

struct PhraseWeight {
    phrase: Arc<Phrase<Term>>,
    bound: Bound,
    score: Option<Bm25Weight>,
}

impl PhraseWeight {
    /// `None`: a word is in no document.
    fn found(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Option<Found>> {
        let mut words = Vec::new();
        for (word, term) in self.phrase.words().enumerate() {
            let index = reader.inverted_index(term.field())?;
            let read = index.read_postings(term, IndexRecordOption::WithFreqsAndPositions)?;
            let Some(postings) = read else {
                return Ok(None);
            };
            words.push((word, postings));
        }
        // The rarest leads.
        words.sort_by_key(|(_, postings)| postings.doc_freq());
        let field = self.phrase.words().next().map(Term::field);
        let Some(field) = field else {
            return Ok(None);
        };
        let mut found = Found {
            phrase: Arc::clone(&self.phrase),
            bound: self.bound.clone(),
            score: self.score.as_ref().map(|score| score.boost_by(boost)),
            lengths: reader.get_fieldnorms_reader(field)?,
            words,
            places: Places::default(),
            read: Vec::new(),
            looked_at: 0,
            doc: 0,
            count: 0,
        };
        found.go_to(0);
        Ok(Some(found))
    }
}

impl Weight for PhraseWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(match self.found(reader, boost)? {
            Some(found) => Box::new(found),
            None => Box::new(EmptyScorer),
        })
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let found = self.found(reader, 1.0)?;
        match found.map(|mut found| (found.seek(doc), found)) {
            Some((at, mut found)) if at == doc => Ok(Explanation::new("a phrase", found.score())),
            _ => Err(TantivyError::InvalidArgument(format!(
                "document {doc} does not match"
            ))),
        }
    }
}

/// The documents of a segment that have the phrase.
struct Found {
    phrase: Arc<Phrase<Term>>,
    bound: Bound,
    score: Option<Bm25Weight>,
    lengths: FieldNormReader,
    /// Which of the phrase's different words, and where it is.
    words: Vec<(usize, SegmentPostings)>,
    places: Places,
    read: Vec<u32>,
    looked_at: usize,
    doc: DocId,
    count: u32,
}

impl Found {
    /// Goes to the first document from `from` on that has the phrase.
    fn go_to(&mut self, from: DocId) -> DocId {
        let mut next = from;
        loop {
            self.doc = self.with_all(next);
            if self.doc == TERMINATED {
                return TERMINATED;
            }
            if self.looked_at >= LOOK_EVERY {
                self.looked_at = 0;
                if self.bound.is_over() {
                    // Whoever asked looks at the bound too.
                    self.doc = TERMINATED;
                    return TERMINATED;
                }
            }
            self.count = self.count_here();
            if self.count > 0 {
                return self.doc;
            }
            next = self.doc + 1;
        }
    }

    /// The first document from `from` on that has all the words.
    fn with_all(&mut self, from: DocId) -> DocId {
        let mut doc = from;
        'next: loop {
            for (_, postings) in &mut self.words {
                let at = match postings.doc() < doc {
                    true => postings.seek(doc),
                    false => postings.doc(),
                };
                self.looked_at += 1;
                if at == TERMINATED {
                    return TERMINATED;
                }
                if at > doc {
                    doc = at;
                    continue 'next;
                }
            }
            return doc;
        }
    }

    fn count_here(&mut self) -> u32 {
        self.places.clear();
        for (word, postings) in &mut self.words {
            postings.positions(&mut self.read);
            self.places.add(*word, &self.read);
            self.looked_at += self.read.len();
        }
        self.phrase.count(&mut self.places)
    }
}

impl DocSet for Found {
    fn advance(&mut self) -> DocId {
        match self.doc {
            TERMINATED => TERMINATED,
            doc => self.go_to(doc + 1),
        }
    }

    fn seek(&mut self, target: DocId) -> DocId {
        match self.doc >= target {
            true => self.doc,
            false if target == TERMINATED => {
                self.doc = TERMINATED;
                TERMINATED
            }
            false => self.go_to(target),
        }
    }

    fn doc(&self) -> DocId {
        self.doc
    }

    fn size_hint(&self) -> u32 {
        self.words
            .first()
            .map_or(0, |(_, postings)| postings.size_hint())
    }

    fn cost(&self) -> u64 {
        // The places of all words are read.
        u64::from(self.size_hint()) * 10 * self.words.len() as u64
    }
}

impl Scorer for Found {
    fn score(&mut self) -> Score {
        let length = self.lengths.fieldnorm_id(self.doc);
        let score = self.score.as_ref();
        score.map_or(1.0, |score| score.score(length, self.count))
    }
}

#[cfg(test)]
mod tests {
    use tantivy::collector::Count;
    use tantivy::schema::{Schema, TEXT};
    use tantivy::{Index, doc};

    use super::*;
    use crate::wanted::Wanted;

    /// As a plain look at every place does.
    fn plain(text: &[&str], phrase: &[&str]) -> u32 {
        let windows = text.windows(phrase.len());
        windows.filter(|window| window == &phrase).count() as u32
    }

    fn counted(text: &[&str], phrase: &[&str]) -> u32 {
        let phrase = Phrase::new(phrase.iter().copied());
        let mut places = Places::default();
        for (which, word) in phrase.words().enumerate() {
            let at = text.iter().enumerate().filter(|(_, other)| *other == word);
            let at: Vec<u32> = at.map(|(at, _)| at as u32).collect();
            places.add(which, &at);
        }
        phrase.count(&mut places)
    }

    #[test]
    fn a_phrase_is_counted_as_a_plain_look_counts_it() {
        let texts = [
            "to be or not to be to be",
            "a a a a a",
            "a b a b a b c a b a c",
            "a",
            "",
            "b a a b a a a b",
            "x a b c y a b",
        ];
        let phrases = [
            "a", "a a", "a a a", "a b", "b a", "a b a", "a b a b", "to be", "be to be", "a b a c",
            "b a a", "c", "x y", "a b c",
        ];
        for text in texts {
            let text: Vec<&str> = text.split_whitespace().collect();
            for phrase in phrases {
                let phrase: Vec<&str> = phrase.split_whitespace().collect();
                let (found, wanted) = (counted(&text, &phrase), plain(&text, &phrase));
                assert_eq!(found, wanted, "{phrase:?} in {text:?}");
            }
        }
        // As many words as there may be.
        let text = ["a"; 40];
        assert_eq!(counted(&text, &["a"; QUERY_WORDS_MAX]), 9);
    }

    /// A search that is over reads no more than some further places.
    #[test]
    fn a_search_that_is_over_ends_within_a_segment() {
        let mut schema = Schema::builder();
        let text = schema.add_text_field("text", TEXT);
        let index = Index::create_in_ram(schema.build());
        let mut writer = index
            .writer_with_num_threads(1, 16 << 20)
            .expect("a writer");
        for n in 0..3000 {
            // One in three has the words, but no phrase.
            let words = if n % 3 == 0 { "word any" } else { "any word" };
            writer
                .add_document(doc!(text => words))
                .expect("a document");
        }
        writer.commit().expect("a commit");
        let searcher = index.reader().expect("a reader").searcher();
        let terms = ["any", "word"].map(|word| Term::from_field_text(text, word));
        let wanted = Wanted::default();
        let query = PhraseQuery::new(terms.to_vec(), &Bound::of(&wanted));
        let count = || searcher.search(&query, &Count).expect("a count");
        assert_eq!(count(), 2000);
        drop(wanted.waiting());
        let part = count();
        assert!(part < 1000, "{part}");
    }
}
