//! Takes a secret's value out of what comes back: plain, and as common formats
//! write it, whichever of its bytes they escape, also where it is split over
//! frames.
//!
//! What must stay true: masking keeps the length; nothing is passed on that
//! could still turn out to be the beginning of a match; how much is held back
//! follows from lengths alone; what is not a whole match is not masked. Else
//! whoever can have a server repeat its words would learn from what is late, or
//! masked, that they begin a secret, and have the whole of it character by
//! character.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::automaton::Automaton;
use super::encodings::{Fold, exact, folded, hexadecimal};
use super::secret::Secret;
use super::skim::Skim;
use super::syntax::Syntax::{Backslash, Digits, Entity, Equals, Lines, Percent};
use super::syntax::{READERS_BYTES_MAX, Reader, Syntax, Token};

/// How many bytes of an answer a value may be spread over and be found: for each
/// of its own, and at the least. More than any of the formats takes, each byte
/// escaped on its own.
pub(super) const SPREAD: usize = 12;
const SPREAD_BYTES_MIN: usize = 512;

/// The words to look for after reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Exact,
    Folded,
    Hexadecimal,
}

/// The ways in which an answer is read: one syntax, or one inside another.
const WAYS: &[(&[Syntax], Table)] = &[
    (&[], Table::Exact),
    (&[Percent], Table::Exact),
    (&[Backslash], Table::Exact),
    (&[Entity], Table::Exact),
    (&[Lines], Table::Exact),
    (&[Backslash, Lines], Table::Exact),
    (&[Equals], Table::Exact),
    (&[], Table::Folded),
    (&[Percent], Table::Folded),
    (&[Percent, Percent], Table::Folded),
    (&[Backslash], Table::Folded),
    (&[Backslash, Backslash], Table::Folded),
    (&[Backslash, Percent], Table::Folded),
    (&[Backslash, Entity], Table::Folded),
    (&[Entity], Table::Folded),
    (&[Entity, Backslash], Table::Folded),
    (&[Entity, Percent], Table::Folded),
    (&[Equals], Table::Folded),
    (&[Digits], Table::Hexadecimal),
];

/// Finds the values of some secrets.
pub(crate) struct Matcher {
    exact: Automaton,
    folded: Automaton,
    hexadecimal: Automaton,
    /// For each of [`WAYS`].
    skims: Vec<Skim>,
    /// Most bytes of an answer between the beginning and the end of a match.
    span: u64,
}

impl Matcher {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let values: Vec<&[u8]> = secrets.into_iter().map(Secret::expose).collect();
        let longest = values.iter().map(|value| value.len()).max().unwrap_or(0);
        let mut made = Self {
            exact: Automaton::new(values.iter().flat_map(|value| exact(value))),
            folded: Automaton::new(values.iter().flat_map(|value| folded(value))),
            hexadecimal: Automaton::new(values.iter().flat_map(|value| hexadecimal(value))),
            skims: Vec::new(),
            span: (SPREAD * longest).max(SPREAD_BYTES_MIN) as u64,
        };
        let skim = |(syntaxes, table): &(&[Syntax], Table)| {
            Skim::new(syntaxes, *table, made.automaton(*table))
        };
        made.skims = WAYS.iter().map(skim).collect();
        made
    }

    /// How many bytes at the end of what came may belong to a match that is not
    /// whole yet: a longer one than the span is none, and what comes next is read
    /// from no further back than the readers hold.
    pub(super) fn held_bytes(&self) -> u64 {
        self.span + READERS_BYTES_MAX as u64
    }

    fn automaton(&self, table: Table) -> &Automaton {
        match table {
            Table::Exact => &self.exact,
            Table::Folded => &self.folded,
            Table::Hexadecimal => &self.hexadecimal,
        }
    }

    /// A copy of `text` with every match masked; `None` where there is none.
    pub(crate) fn mask(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut window = Window {
            held: BytesMut::from(text),
            start: 0,
        };
        for (mut way, skim) in self.ways().zip(&self.skims) {
            way.push(self, skim, text, 0, &mut window);
            way.end(self, &mut window);
        }
        (window.held != text).then(|| window.held.to_vec())
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        WAYS.iter().map(|(syntaxes, table)| Way {
            outer: syntaxes.first().copied().map(Reader::new),
            inner: syntaxes.get(1).copied().map(Reader::new),
            cursor: Cursor {
                table: *table,
                span: self.span,
                fold: Fold::default(),
                state: 0,
                starts: VecDeque::new(),
            },
            #[cfg(test)]
            read: 0,
        })
    }
}

/// What is held back of an answer, and where in the answer it begins.
#[derive(Default)]
struct Window {
    held: BytesMut,
    start: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.held.len() as u64
    }

    fn mask(&mut self, from: u64, to: u64) {
        let place = |at: u64| usize::try_from(at - self.start).expect("within what is held");
        let (from, to) = (place(from), place(to));
        self.held[from..to].fill(b'*');
    }
}

/// One way of reading, and how far it is.
struct Way {
    outer: Option<Reader>,
    /// Of what the outer one reads.
    inner: Option<Reader>,
    cursor: Cursor,
    /// Bytes that were not passed over.
    #[cfg(test)]
    read: u64,
}

impl Way {
    /// Reads `chunk`, which begins at `at` in the answer.
    fn push(&mut self, matcher: &Matcher, skim: &Skim, chunk: &[u8], at: u64, window: &mut Window) {
        let automaton = matcher.automaton(self.cursor.table);
        let mut place = 0;
        while place < chunk.len() {
            let passed = match self.is_idle() {
                true => skim.pass(&chunk[place..], automaton),
                false => 0,
            };
            place += passed;
            if passed > 0 {
                self.readers_mut().for_each(Reader::passed);
                self.cursor.fold.passed(chunk[place - 1]);
                continue;
            }
            let start = at + place as u64;
            let token = Token {
                byte: chunk[place],
                start,
                end: start + 1,
            };
            self.read(token, automaton, window);
            place += 1;
            #[cfg(test)]
            {
                self.read += 1;
            }
        }
    }

    /// Whether nothing that was read matters to what comes.
    fn is_idle(&self) -> bool {
        self.cursor.state == 0 && self.readers().all(Reader::is_idle)
    }

    fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.outer.iter().chain(&self.inner)
    }

    fn readers_mut(&mut self) -> impl Iterator<Item = &mut Reader> {
        self.outer.iter_mut().chain(&mut self.inner)
    }

    fn read(&mut self, token: Token, automaton: &Automaton, window: &mut Window) {
        let Self {
            outer,
            inner,
            cursor,
            ..
        } = self;
        let mut step = |token| cursor.step(automaton, token, window);
        match (outer, inner) {
            (None, _) => step(token),
            (Some(outer), None) => outer.push(token, &mut step),
            (Some(outer), Some(inner)) => {
                outer.push(token, &mut |token| inner.push(token, &mut step));
            }
        }
    }

    fn end(&mut self, matcher: &Matcher, window: &mut Window) {
        let Self {
            outer,
            inner,
            cursor,
            ..
        } = self;
        let automaton = matcher.automaton(cursor.table);
        let mut step = |token| cursor.step(automaton, token, window);
        match (outer, inner) {
            (None, _) => {}
            (Some(outer), None) => outer.end(&mut step),
            (Some(outer), Some(inner)) => {
                outer.end(&mut |token| inner.push(token, &mut step));
                inner.end(&mut step);
            }
        }
    }
}

/// A place in an automaton.
struct Cursor {
    table: Table,
    /// Most bytes of the answer that a match is spread over.
    span: u64,
    fold: Fold,
    state: u32,
    /// Where in the answer the bytes are that led to the state.
    starts: VecDeque<u64>,
}

impl Cursor {
    fn step(&mut self, automaton: &Automaton, token: Token, window: &mut Window) {
        let byte = match self.table {
            Table::Folded => self.fold.fold(token.byte),
            Table::Exact | Table::Hexadecimal => Some(token.byte),
        };
        let Some(byte) = byte else { return };
        self.state = automaton.step(self.state, byte);
        self.starts.push_back(token.start);
        self.keep(automaton);
        while self
            .starts
            .front()
            .is_some_and(|start| token.end - start > self.span)
        {
            self.state = automaton.shorter(self.state);
            self.keep(automaton);
        }
        let found = automaton.found(self.state);
        if found > 0 {
            window.mask(self.starts[self.starts.len() - found], token.end);
        }
    }

    /// Keeps the places of what leads to the state.
    fn keep(&mut self, automaton: &Automaton) {
        while self.starts.len() > automaton.depth(self.state) {
            self.starts.pop_front();
        }
    }
}

/// Masks a stream, of which the last [`Matcher::held_bytes`] are always held back.
pub(crate) struct Redactor {
    matcher: Arc<Matcher>,
    ways: Vec<Way>,
    window: Window,
}

impl Redactor {
    pub(crate) fn new(matcher: Arc<Matcher>) -> Self {
        Self {
            ways: matcher.ways().collect(),
            matcher,
            window: Window::default(),
        }
    }

    /// Takes the next bytes, and returns those before them that are settled.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Bytes {
        let at = self.window.end();
        self.window.held.extend_from_slice(chunk);
        for (way, skim) in self.ways.iter_mut().zip(&self.matcher.skims) {
            way.push(&self.matcher, skim, chunk, at, &mut self.window);
        }
        let settled = self.window.end().saturating_sub(self.matcher.held_bytes());
        self.release(settled.max(self.window.start))
    }

    /// The rest, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        for way in &mut self.ways {
            way.end(&self.matcher, &mut self.window);
        }
        self.ways = self.matcher.ways().collect();
        self.release(self.window.end())
    }

    /// How many ways of reading there are.
    #[cfg(test)]
    pub(super) fn ways(&self) -> usize {
        self.ways.len()
    }

    /// Bytes that were taken apart, summed over all ways of reading.
    #[cfg(test)]
    pub(super) fn read(&self) -> u64 {
        self.ways.iter().map(|way| way.read).sum()
    }

    fn release(&mut self, to: u64) -> Bytes {
        let count = usize::try_from(to - self.window.start).expect("within what is held");
        self.window.start = to;
        self.window.held.split_to(count).freeze()
    }
}
