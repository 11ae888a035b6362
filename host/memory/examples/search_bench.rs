//! How fast search is with 100,000 documents, beside tantivy alone with the same
//! words, settings and commits in the same run.
//!
//! `cargo run --release -p airlock-memory --example search_bench [DOCUMENTS]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use airlock_journal::SqliteStore;
use airlock_memory::{
    Change, Expect, Memory, Namespace, NewDocument, Options, Provenance, Quota, Search, SystemClock,
};
use tantivy::collector::TopDocs;
use tantivy::indexer::LogMergePolicy;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Index, IndexReader, TantivyDocument, Term};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const VOCABULARY: usize = 50_000;
const WORDS: usize = 120;
const DIMENSION: usize = 384;
const QUERIES: usize = 2_000;
/// Queries before those that are measured, and other ones.
const WARM: usize = 500;
const BATCH: usize = 500;
/// Changes after which the memory commits its index; the peer commits as often.
const COMMIT: usize = 2_000;
const LIMIT: usize = 10;

/// Numbers that are the same in each run: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank by Zipf's law with exponent 1, about: the inverse of `ln`.
    fn rank(&mut self) -> usize {
        let rank = ((VOCABULARY as f64).ln() * self.part()).exp();
        rank as usize % VOCABULARY
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION)
            .map(|_| (self.part() + self.part() - 1.0) as f32)
            .collect()
    }
}

/// The word of a rank: short and pronounceable, longer the rarer.
fn word(rank: usize) -> String {
    let (mut left, mut word) = (rank + 7, String::new());
    while left > 0 {
        word.push(char::from(b"bdfgklmnprstvz"[left % 14]));
        word.push(char::from(b"aeiou"[left / 14 % 5]));
        left /= 70;
    }
    word
}

struct Text {
    id: String,
    text: String,
    vector: Vec<f32>,
    group: usize,
}

fn texts(count: usize) -> impl Iterator<Item = Text> {
    let mut numbers = Numbers(1);
    (0..count).map(move |n| Text {
        id: format!("doc-{n:06}"),
        text: { (0..WORDS).map(|_| word(numbers.rank())) }
            .collect::<Vec<_>>()
            .join(" "),
        vector: numbers.vector(),
        group: n % 100,
    })
}

/// Words and vectors that are searched for.
fn queries() -> Vec<(String, Vec<f32>)> {
    let mut numbers = Numbers(2);
    let query = |_| {
        let words = 1 + (numbers.next() % 4) as usize;
        let words: Vec<String> = (0..words).map(|_| word(numbers.rank())).collect();
        (words.join(" "), numbers.vector())
    };
    (0..QUERIES + WARM).map(query).collect()
}

/// Tantivy alone.
struct Peer {
    reader: IndexReader,
    id: Field,
    text: Field,
}

impl Peer {
    fn load(dir: &std::path::Path, count: usize) -> Fallible<Self> {
        let mut schema = Schema::builder();
        let id = schema.add_text_field("id", STRING | STORED);
        let text = schema.add_text_field("text", TEXT | STORED);
        let index = Index::create_in_dir(dir, schema.build())?;
        let mut writer = index.writer_with_num_threads(1, 32 << 20)?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(6);
        writer.set_merge_policy(Box::new(policy));
        for (n, one) in texts(count).enumerate() {
            let mut document = TantivyDocument::new();
            document.add_text(id, &one.id);
            document.add_text(text, &one.text);
            writer.add_document(document)?;
            if (n + 1) % COMMIT == 0 {
                writer.commit()?;
            }
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        let reader = index.reader()?;
        reader.reload()?;
        Ok(Self { reader, id, text })
    }

    /// Finds the best and reads what it has stored of them.
    fn search(&self, words: &str) -> Fallible<usize> {
        let searcher = self.reader.searcher();
        let mut words: Vec<&str> = words.split(' ').collect();
        words.sort_unstable();
        words.dedup();
        let clauses = words.into_iter().map(|word| {
            let term = Term::from_field_text(self.text, word);
            let query: Box<dyn Query> =
                Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            (Occur::Should, query)
        });
        let query = BooleanQuery::new(clauses.collect());
        let found = searcher.search(&query, &TopDocs::with_limit(LIMIT).order_by_score())?;
        let mut bytes = 0;
        for (_, address) in found {
            let document: TantivyDocument = searcher.doc(address)?;
            for field in [self.id, self.text] {
                let value = document.get_first(field).and_then(|value| value.as_str());
                bytes += value.map_or(0, str::len);
            }
        }
        Ok(bytes)
    }
}

async fn load(memory: &Memory, namespace: &Namespace, count: usize) -> Fallible<Duration> {
    let begun = Instant::now();
    let mut all = texts(count).peekable();
    while all.peek().is_some() {
        let changes = all.by_ref().take(BATCH).map(|one| {
            let document = NewDocument {
                id: one.id,
                text: one.text,
                vector: Some(one.vector),
                labels: [("group".to_owned(), one.group.to_string())].into(),
                ..NewDocument::default()
            };
            Change::put(document, Expect::Absent)
        });
        memory
            .write(namespace, changes.collect(), &author(), anything())
            .await?;
    }
    memory.flush()?;
    Ok(begun.elapsed())
}

/// Runs some queries to warm up, then the others, and prints the spread; gives the
/// mean, the middle and the 99th of a hundred, in microseconds.
fn measure(name: &str, mut run: impl FnMut(usize) -> Fallible<()>) -> Fallible<[f64; 3]> {
    (QUERIES..QUERIES + WARM).try_for_each(&mut run)?;
    let mut took = Vec::with_capacity(QUERIES);
    for n in 0..QUERIES {
        let begun = Instant::now();
        run(n)?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let (middle, high) = (at(0.5), at(0.99));
    println!(
        "{name:44} p50 {middle:8.0} us   p99 {high:8.0} us   max {:8.0} us",
        at(1.0)
    );
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    Ok([mean, middle, high])
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(100_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let store = SqliteStore::open(dir.path().join("store"))?;
    let options = Options {
        tail_changes_max: COMMIT,
        ..Options::default()
    };
    let memory = Memory::open(
        Arc::<SqliteStore>::clone(&store),
        dir.path().join("index"),
        Arc::new(SystemClock),
        options,
    )?;
    let namespace = Namespace::parse("shared/bench")?;
    let took = load(&memory, &namespace, count).await?;
    println!("{count} documents of {WORDS} words and {DIMENSION} numbers loaded in {took:.1?}");
    let peer_dir = dir.path().join("peer");
    std::fs::create_dir(&peer_dir)?;
    let peer = Peer::load(&peer_dir, count)?;
    compare(&memory, &namespace, &peer)?;
    fresh(&memory, &namespace).await?;
    busy(&memory, &namespace)?;
    drop(memory);
    again(&store, dir.path(), count)
}

/// Searches while another thread writes one document after another.
fn busy(memory: &Memory, namespace: &Namespace) -> Fallible<()> {
    let stop = AtomicBool::new(false);
    let queries = queries();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            let runtime = tokio::runtime::Builder::new_current_thread();
            let Ok(runtime) = { runtime }.build() else {
                return written;
            };
            while !stop.load(Ordering::Relaxed) {
                let text = queries[written % QUERIES].0.repeat(20);
                let document = NewDocument {
                    id: format!("busy-{}", written % 5_000),
                    text,
                    ..NewDocument::default()
                };
                let put = memory.put(namespace, document, Expect::Any, &author(), anything());
                if runtime.block_on(put).is_err() {
                    break;
                }
                written += 1;
            }
            written
        });
        let begun = Instant::now();
        let measured = measure("memory, words, while another writes", |n| {
            std::hint::black_box(memory.search(&Search {
                namespaces: vec![namespace.clone()],
                text: Some(queries[n].0.clone()),
                limit: LIMIT,
                ..Search::default()
            })?);
            Ok(())
        });
        let took = begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap_or_default();
        println!(
            "{:44} {:.0} a second",
            "writes meanwhile",
            f64::from(written as u32) / took
        );
        measured.map(drop)
    })
}

/// How long opening takes, with the index and without.
fn again(store: &Arc<SqliteStore>, dir: &std::path::Path, count: usize) -> Fallible<()> {
    for name in ["open", "open, the index is gone"] {
        let begun = Instant::now();
        let store: Arc<SqliteStore> = Arc::clone(store);
        let memory = Memory::open(
            store,
            dir.join("index"),
            Arc::new(SystemClock),
            Options::default(),
        )?;
        println!("{name:44} {:.2?} for {count} documents", begun.elapsed());
        drop(memory);
        std::fs::remove_dir_all(dir.join("index"))?;
    }
    Ok(())
}

fn author() -> Provenance {
    Provenance {
        by: "bench".to_owned(),
        ..Provenance::default()
    }
}

fn anything() -> Quota {
    Quota {
        documents_max: u64::MAX,
        bytes_max: u64::MAX,
    }
}

fn compare(memory: &Memory, namespace: &Namespace, peer: &Peer) -> Fallible<()> {
    let queries = queries();
    let base = Search {
        namespaces: vec![namespace.clone()],
        limit: LIMIT,
        ..Search::default()
    };
    let run = |search: Search| -> Fallible<()> {
        std::hint::black_box(memory.search(&search)?);
        Ok(())
    };
    let words = |n: usize| Search {
        text: Some(queries[n].0.clone()),
        ..base.clone()
    };
    let plain = measure("tantivy alone, words", |n| {
        std::hint::black_box(peer.search(&queries[n].0)?);
        Ok(())
    })?;
    let first = measure("memory, words, documents read first", |n| run(words(n)))?;
    let ours = measure("memory, words, the same again", |n| run(words(n)))?;
    measure("memory, words and a label (1 of 100)", |n| {
        let labels = [("group".to_owned(), (n % 100).to_string())].into();
        run(Search { labels, ..words(n) })
    })?;
    measure("memory, phrases of two words", |n| {
        let text = Some(format!("\"{} {}\"", word(n % 40), word(n % 30)));
        run(Search {
            text,
            ..base.clone()
        })
    })?;
    let vector = |n: usize| Some(queries[n].1.clone());
    measure("memory, vectors", |n| {
        run(Search {
            vector: vector(n),
            ..base.clone()
        })
    })?;
    measure("memory, both fused", |n| {
        run(Search {
            vector: vector(n),
            ..words(n)
        })
    })?;
    let again = measure("tantivy alone, words, again", |n| {
        std::hint::black_box(peer.search(&queries[n].0)?);
        Ok(())
    })?;
    for (name, ours) in [("documents read first", first), ("the same again", ours)] {
        let against = |ours: f64, a: f64, b: f64| ours / ((a + b) / 2.0);
        println!(
            "memory against tantivy alone, {name}: mean {:.2}, p50 {:.2}, p99 {:.2} (limit 1.5)",
            against(ours[0], plain[0], again[0]),
            against(ours[1], plain[1], again[1]),
            against(ours[2], plain[2], again[2]),
        );
    }
    Ok(())
}

/// A write and the search that sees it, one after another.
async fn fresh(memory: &Memory, namespace: &Namespace) -> Fallible<()> {
    let (mut writes, mut searches) = (Vec::new(), Vec::new());
    for n in 0..500 {
        let document = NewDocument {
            id: format!("fresh-{n}"),
            text: format!("fresh{n} {} {}", word(n), word(n * 7)),
            ..NewDocument::default()
        };
        let begun = Instant::now();
        memory
            .put(namespace, document, Expect::Absent, &author(), anything())
            .await?;
        writes.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        let found = memory.search(&Search {
            namespaces: vec![namespace.clone()],
            text: Some(format!("fresh{n} {}", word(n))),
            limit: LIMIT,
            ..Search::default()
        })?;
        searches.push(begun.elapsed().as_secs_f64() * 1e6);
        let first = found.first().ok_or("nothing was found")?;
        assert_eq!(
            first.entry.id,
            format!("fresh-{n}"),
            "a search sees the write before it"
        );
    }
    for (name, took) in [
        ("write", &mut writes),
        ("search right after", &mut searches),
    ] {
        took.sort_by(f64::total_cmp);
        println!(
            "{name:44} p50 {:8.0} us   p99 {:8.0} us",
            took[250], took[494]
        );
    }
    Ok(())
}
