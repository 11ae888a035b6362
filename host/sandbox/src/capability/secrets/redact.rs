//! Takes a secret's value out of what comes back: plain, and as common formats
//! write it, whichever of its bytes they escape, also where it is split over
//! frames.
//!
//! What must stay true: masking keeps the length; nothing is passed on that
//! could still turn out to be the beginning of a match.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::automaton::Automaton;
use super::encodings::{Fold, exact, folded, hexadecimal};
use super::secret::Secret;
use super::syntax::Syntax::{Backslash, Digits, Entity, Equals, Lines, Percent};
use super::syntax::{Reader, Syntax, Token};

/// A cut-off value of this many bytes or more is masked at the end of a stream.
const TAIL_BYTES_MIN: usize = 8;

/// The words to look for after reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
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
}

impl Matcher {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let values: Vec<&[u8]> = secrets.into_iter().map(Secret::expose).collect();
        Self {
            exact: Automaton::new(values.iter().flat_map(|value| exact(value))),
            folded: Automaton::new(values.iter().flat_map(|value| folded(value))),
            hexadecimal: Automaton::new(values.iter().flat_map(|value| hexadecimal(value))),
        }
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
        let mut window = Window { held: BytesMut::from(text), start: 0 };
        for mut way in ways() {
            way.push(self, text, 0, &mut window);
            way.end(self, &mut window);
        }
        (window.held != text).then(|| window.held.to_vec())
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

fn ways() -> impl Iterator<Item = Way> {
    WAYS.iter().map(|(syntaxes, table)| Way {
        readers: syntaxes.iter().map(|syntax| Reader::new(*syntax)).collect(),
        cursor: Cursor { table: *table, fold: Fold::default(), state: 0, starts: VecDeque::new() },
    })
}

/// One way of reading, and how far it is.
struct Way {
    readers: Vec<Reader>,
    cursor: Cursor,
}

impl Way {
    /// Reads `chunk`, which begins at `at` in the answer.
    fn push(&mut self, matcher: &Matcher, chunk: &[u8], at: u64, window: &mut Window) {
        let Self { readers, cursor } = self;
        let automaton = matcher.automaton(cursor.table);
        for (start, byte) in (at..).zip(chunk) {
            let token = Token { byte: *byte, start, end: start + 1 };
            read(readers, token, &mut |token| cursor.step(automaton, token, window));
        }
    }

    fn end(&mut self, matcher: &Matcher, window: &mut Window) {
        let Self { readers, cursor } = self;
        let automaton = matcher.automaton(cursor.table);
        for at in 0..readers.len() {
            let (before, after) = readers.split_at_mut(at + 1);
            before[at].end(&mut |token| {
                read(after, token, &mut |token| cursor.step(automaton, token, window));
            });
        }
    }

    /// Masks a value that the end of the answer cuts off.
    fn tail(&self, window: &mut Window) {
        if self.cursor.starts.len() >= TAIL_BYTES_MIN {
            window.mask(self.cursor.starts[0], window.end());
        }
    }

    /// Where the first byte is that may belong to a match.
    fn pending(&self) -> Option<u64> {
        let readers = self.readers.iter().filter_map(Reader::pending);
        readers.chain(self.cursor.starts.front().copied()).min()
    }
}

fn read(readers: &mut [Reader], token: Token, out: &mut dyn FnMut(Token)) {
    match readers.split_first_mut() {
        None => out(token),
        Some((first, rest)) => first.push(token, &mut |token| read(rest, token, out)),
    }
}

/// A place in an automaton.
struct Cursor {
    table: Table,
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
        self.starts.drain(..self.starts.len() - automaton.depth(self.state));
        let found = automaton.found(self.state);
        if found > 0 {
            window.mask(self.starts[self.starts.len() - found], token.end);
        }
    }
}

/// Masks a stream. Bytes that may be the beginning of a match are held back until
/// it is known.
pub(crate) struct Redactor {
    matcher: Arc<Matcher>,
    ways: Vec<Way>,
    window: Window,
}

impl Redactor {
    pub(crate) fn new(matcher: Arc<Matcher>) -> Self {
        Self { matcher, ways: ways().collect(), window: Window::default() }
    }

    /// Takes the next bytes, and returns those that are settled.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Bytes {
        let at = self.window.end();
        self.window.held.extend_from_slice(chunk);
        for way in &mut self.ways {
            way.push(&self.matcher, chunk, at, &mut self.window);
        }
        let pending = self.ways.iter().filter_map(Way::pending).min();
        self.release(pending.unwrap_or(self.window.end()))
    }

    /// The rest, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        for way in &mut self.ways {
            way.tail(&mut self.window);
            way.end(&self.matcher, &mut self.window);
            way.tail(&mut self.window);
        }
        self.ways = ways().collect();
        self.release(self.window.end())
    }

    fn release(&mut self, to: u64) -> Bytes {
        let count = usize::try_from(to - self.window.start).expect("within what is held");
        self.window.start = to;
        self.window.held.split_to(count).freeze()
    }
}
