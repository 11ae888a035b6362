//! Exact search among the vectors of one namespace.
//!
//! All vectors have length 1, so a dot product is the cosine. Each is there twice:
//! in 8 bits a number, and whole. The first pass reads the small form, whose dot
//! product is off by a bound that is known for each vector; the second computes
//! those whole that could be among the best by that bound. What comes out is what
//! computing all of them whole would give.
//!
//! Let `x̂`, `ŷ` be the small forms of `x`, `y`. By Cauchy and Schwarz
//! `|x·y − x̂·ŷ| ≤ |x − x̂| |y| + |x̂| |y − ŷ| ≤ r + (1 + r) s` with `r = |x − x̂|`,
//! `s = |y − ŷ|`, `|y| = 1`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::rows::VectorRow;

/// What floating point adds to the bound, for vectors of up to 4,096 numbers.
const ROUNDING: f32 = 1e-4;

/// What a search leaves out.
#[derive(Debug, Clone, Default)]
pub(crate) struct VectorFilter {
    pub(crate) from_ms: Option<u64>,
    pub(crate) to_ms: Option<u64>,
    pub(crate) now_ms: u64,
    /// Hashes of labels that all have to be there.
    pub(crate) labels: Vec<u64>,
}

impl VectorFilter {
    /// Whether a document may be in the answer.
    pub(crate) fn has(&self, updated_ms: u64, expires_ms: u64, labels: &[u64]) -> bool {
        self.now_ms < expires_ms
            && self.from_ms.is_none_or(|from| updated_ms >= from)
            && self.to_ms.is_none_or(|to| updated_ms < to)
            && self
                .labels
                .iter()
                .all(|label| labels.binary_search(label).is_ok())
    }
}

/// The vectors of one namespace.
#[derive(Debug)]
pub(crate) struct FlatSet {
    dimension: usize,
    places: HashMap<Box<str>, usize>,
    rows: Vec<Row>,
    whole: Vec<f32>,
    small: Vec<i8>,
}

#[derive(Debug)]
struct Row {
    id: Box<str>,
    updated_ms: u64,
    expires_ms: u64,
    labels: Box<[u64]>,
    scale: f32,
    /// `|x − x̂|`.
    off: f32,
}

/// A score that is ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score(pub(crate) f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl FlatSet {
    pub(crate) fn new(dimension: usize) -> Self {
        Self {
            dimension,
            places: HashMap::new(),
            rows: Vec::new(),
            whole: Vec::new(),
            small: Vec::new(),
        }
    }

    /// What a vector of this length needs in memory, bytes, about.
    pub(crate) fn bytes_of(dimension: usize) -> usize {
        5 * dimension + 160
    }

    pub(crate) fn bytes(&self) -> usize {
        self.rows.len() * Self::bytes_of(self.dimension)
    }

    /// Adds the vector or takes it in the place of the one that was there.
    pub(crate) fn put(&mut self, id: &str, row: &VectorRow) {
        self.remove(id);
        if self.rows.is_empty() {
            self.dimension = row.vector.len();
        }
        if row.vector.len() != self.dimension {
            tracing::error!(id, "a vector of another length than its namespace's");
            return;
        }
        let (scale, small, off) = smaller(&row.vector);
        self.places.insert(id.into(), self.rows.len());
        self.rows.push(Row {
            id: id.into(),
            updated_ms: row.updated_ms,
            expires_ms: row.expires_ms,
            labels: row.labels.clone().into(),
            scale,
            off,
        });
        self.small.extend(small);
        self.whole.extend(&row.vector);
    }

    /// Removes a vector if it is there; the last one takes its place.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else {
            return;
        };
        let (last, n) = (self.rows.len() - 1, self.dimension);
        if place != last {
            self.small.copy_within(last * n.., place * n);
            self.whole.copy_within(last * n.., place * n);
            let moved = self.places.get_mut(&self.rows[last].id);
            moved.into_iter().for_each(|moved| *moved = place);
        }
        self.small.truncate(last * n);
        self.whole.truncate(last * n);
        self.rows.swap_remove(place);
    }

    /// The `limit` vectors next to `query`, the nearest first.
    pub(crate) fn top(
        &self,
        query: &[f32],
        filter: &VectorFilter,
        limit: usize,
    ) -> Vec<(f32, &str)> {
        let mut best = Best::new(limit);
        for place in self.candidates(query, filter, limit) {
            let row = &self.whole[place * self.dimension..][..self.dimension];
            best.add(dot(query, row), place);
        }
        let best = best.into_sorted().into_iter();
        best.map(|(score, place)| (score, &*self.rows[place].id))
            .collect()
    }

    /// Places of all vectors that can be among the best.
    fn candidates(&self, query: &[f32], filter: &VectorFilter, limit: usize) -> Vec<usize> {
        let (scale, small, off) = smaller(query);
        let small: Vec<i16> = small.into_iter().map(i16::from).collect();
        // The least that each of the best `limit` so far has.
        let mut least: BinaryHeap<Reverse<Score>> = BinaryHeap::new();
        let mut enough = f32::NEG_INFINITY;
        let mut candidates = Vec::new();
        let rows = self
            .small
            .chunks_exact(self.dimension.max(1))
            .zip(&self.rows);
        for (place, (numbers, row)) in rows.enumerate() {
            let near = dot_small(&small, numbers) as f32 * scale * row.scale;
            let bound = row.off + (1.0 + row.off) * off + ROUNDING;
            if near + bound < enough || !filter.has(row.updated_ms, row.expires_ms, &row.labels) {
                continue;
            }
            candidates.push((near + bound, place));
            least.push(Reverse(Score(near - bound)));
            if least.len() > limit {
                least.pop();
            }
            if least.len() == limit {
                enough = least.peek().map_or(enough, |Reverse(score)| score.0);
            }
        }
        candidates.retain(|(most, _)| *most >= enough);
        candidates.into_iter().map(|(_, place)| place).collect()
    }
}

/// The `limit` best of what is added.
#[derive(Debug)]
pub(crate) struct Best<T> {
    limit: usize,
    heap: BinaryHeap<Reverse<(Score, T)>>,
}

impl<T: Ord> Best<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let heap = BinaryHeap::new();
        Self { limit, heap }
    }

    pub(crate) fn add(&mut self, score: f32, what: T) {
        self.heap.push(Reverse((Score(score), what)));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    /// The best first.
    pub(crate) fn into_sorted(self) -> Vec<(f32, T)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted
            .map(|Reverse((score, what))| (score.0, what))
            .collect()
    }
}

/// The vector in 8 bits a number: the scale, the numbers, and how far it is off.
fn smaller(vector: &[f32]) -> (f32, Vec<i8>, f32) {
    let largest = vector
        .iter()
        .fold(0.0_f32, |largest, part| largest.max(part.abs()));
    let scale = (largest / 127.0).max(f32::MIN_POSITIVE);
    let small: Vec<i8> = vector
        .iter()
        .map(|part| (part / scale).round() as i8)
        .collect();
    let off = vector.iter().zip(&small);
    let off: f32 = off
        .map(|(part, small)| (part - f32::from(*small) * scale).powi(2))
        .sum();
    (scale, small, off.sqrt())
}

/// Written so that the compiler makes vector instructions of it, also of those that
/// every processor of the kind has: 16 bits are multiplied and added in one.
fn dot_small(query: &[i16], row: &[i8]) -> i32 {
    let ((query, query_rest), (row, row_rest)) = (query.as_chunks::<32>(), row.as_chunks::<32>());
    let product = |(a, b): (&i16, i16)| i32::from(*a) * i32::from(b);
    let mut sum = 0;
    for (query, row) in query.iter().zip(row) {
        let row = row.map(i16::from);
        sum += query.iter().zip(row).map(product).sum::<i32>();
    }
    let rest = row_rest.iter().map(|part| i16::from(*part));
    sum + query_rest.iter().zip(rest).map(product).sum::<i32>()
}

/// With eight sums at once: a sum of floats keeps its order otherwise.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for at in 0..8 {
            sums[at] += a[at] * b[at];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
