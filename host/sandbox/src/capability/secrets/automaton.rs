//! Looks for many words at once in one pass over a stream.

use std::collections::VecDeque;

use zeroize::{Zeroize, Zeroizing};

/// Aho and Corasick's automaton. A state is the number of a node, 0 at first. A node's
/// children are a list: `child` is the first of them, `sibling` the next.
pub(super) struct Automaton {
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
    /// Length of the longest word that ends here; 0: none.
    found: u32,
}

impl Automaton {
    pub(super) fn new(words: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) -> Self {
        let mut made = Self {
            nodes: vec![Node::default()],
            first: Box::new([0; 256]),
        };
        for word in words {
            made.insert(&word);
        }
        made.link();
        made
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
        let Node {
            depth,
            child: sibling,
            ..
        } = self.nodes[parent as usize];
        self.nodes.push(Node {
            byte,
            sibling,
            depth: depth + 1,
            ..Node::default()
        });
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

    /// The state after `byte`.
    pub(super) fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            match self.child(at, byte) {
                Some(next) => return next,
                None if at == 0 => return 0,
                None => at = self.nodes[at as usize].fail,
            }
        }
    }

    /// The state of the next shorter beginning of a word.
    pub(super) fn shorter(&self, state: u32) -> u32 {
        self.nodes[state as usize].fail
    }

    /// How many bytes at the end of what was read begin a word.
    pub(super) fn depth(&self, state: u32) -> usize {
        self.nodes[state as usize].depth as usize
    }

    /// Whether a word begins with `byte`.
    pub(super) fn begins(&self, byte: u8) -> bool {
        self.first[usize::from(byte)] != 0
    }

    /// Whether a word begins with `byte` and `next`.
    pub(super) fn begins_with(&self, byte: u8, next: u8) -> bool {
        self.child(0, byte)
            .is_some_and(|at| self.child(at, next).is_some())
    }

    /// Length of the longest word that ends here; 0: none.
    pub(super) fn found(&self, state: u32) -> usize {
        self.nodes[state as usize].found as usize
    }
}

impl Drop for Automaton {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.byte.zeroize();
        }
        self.first.zeroize();
    }
}
