//! Takes a secret's value out of what comes back: plain, and in the encodings
//! that servers commonly echo in, also where it is split over frames.
//!
//! What must stay true: masking keeps the length; nothing is passed on that
//! could still turn out to be the beginning of a match.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroize;

use super::encodings::encodings;
use super::secret::Secret;

/// A cut-off value of this many bytes or more is masked at the end of a stream.
const TAIL_BYTES_MIN: usize = 8;

/// Finds values in all their encodings (Aho and Corasick's automaton). A node's
/// children are a list: `child` is the first of them, `sibling` the next.
pub(crate) struct Matcher {
    nodes: Vec<Node>,
    /// The root's children by byte; 0: none.
    first: Box<[u32; 256]>,
}

#[derive(Default, Clone, Copy)]
struct Node {
    byte: u8,
    child: u32,
    sibling: u32,
    fail: u32,
    depth: u32,
    /// Length of the longest encoding that ends here; 0: none.
    found: u32,
}

impl Matcher {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut matcher = Self { nodes: vec![Node::default()], first: Box::new([0; 256]) };
        for secret in secrets {
            for word in encodings(secret.expose()) {
                matcher.insert(&word);
            }
        }
        matcher.link();
        matcher
    }

    fn insert(&mut self, word: &[u8]) {
        let mut at = 0;
        for byte in word {
            at = self.child(at, *byte).unwrap_or_else(|| self.add(at, *byte));
        }
        let node = &mut self.nodes[at as usize];
        node.found = node.depth;
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let added = u32::try_from(self.nodes.len()).expect("a few encodings of a few KiB");
        let Node { depth, child: sibling, .. } = self.nodes[parent as usize];
        self.nodes.push(Node { byte, sibling, depth: depth + 1, ..Node::default() });
        self.nodes[parent as usize].child = added;
        if parent == 0 {
            self.first[usize::from(byte)] = added;
        }
        added
    }

    /// Breadth first: what a node falls back to is linked before it.
    fn link(&mut self) {
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            let mut next = self.nodes[at as usize].child;
            while next != 0 {
                let byte = self.nodes[next as usize].byte;
                let fail = match at {
                    0 => 0,
                    _ => self.step(self.nodes[at as usize].fail, byte),
                };
                let inherited = self.nodes[fail as usize].found;
                let node = &mut self.nodes[next as usize];
                node.fail = fail;
                node.found = node.found.max(inherited);
                queue.push_back(next);
                next = node.sibling;
            }
        }
    }

    fn child(&self, at: u32, byte: u8) -> Option<u32> {
        if at == 0 {
            return Some(self.first[usize::from(byte)]).filter(|child| *child != 0);
        }
        let mut next = self.nodes[at as usize].child;
        while next != 0 && self.nodes[next as usize].byte != byte {
            next = self.nodes[next as usize].sibling;
        }
        Some(next).filter(|child| *child != 0)
    }

    fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            match self.child(at, byte) {
                Some(next) => return next,
                None if at == 0 => return 0,
                None => at = self.nodes[at as usize].fail,
            }
        }
    }

    /// A copy of `text` with every match masked; `None` where there is none.
    pub(crate) fn mask(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut masked = text.to_vec();
        let mut state = 0;
        let any = self.run(&mut state, &mut masked, 0);
        any.then_some(masked)
    }

    /// Goes over `text` from `from` on, masking as it goes.
    fn run(&self, state: &mut u32, text: &mut [u8], from: usize) -> bool {
        let mut any = false;
        for at in from..text.len() {
            *state = self.step(*state, text[at]);
            let found = self.nodes[*state as usize].found as usize;
            if found > 0 {
                text[at + 1 - found..=at].fill(b'*');
                any = true;
            }
        }
        any
    }
}

impl Drop for Matcher {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.byte.zeroize();
        }
        self.first.zeroize();
    }
}

/// Masks a stream. Bytes that may be the beginning of a match are held back until
/// it is known.
pub(crate) struct Redactor {
    matcher: Arc<Matcher>,
    state: u32,
    held: BytesMut,
}

impl Redactor {
    pub(crate) fn new(matcher: Arc<Matcher>) -> Self {
        Self { matcher, state: 0, held: BytesMut::new() }
    }

    /// Takes the next bytes, and returns those that are settled.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Bytes {
        let from = self.held.len();
        self.held.extend_from_slice(chunk);
        self.matcher.run(&mut self.state, &mut self.held, from);
        let settled = self.held.len() - self.pending();
        self.held.split_to(settled).freeze()
    }

    /// The rest, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        if self.pending() >= TAIL_BYTES_MIN {
            self.held.fill(b'*');
        }
        self.state = 0;
        self.held.split().freeze()
    }

    fn pending(&self) -> usize {
        self.matcher.nodes[self.state as usize].depth as usize
    }
}
