//! A run that asks the same and is told the same, over and over.
//!
//! What must stay true: what is counted follows from the journal alone.

use std::collections::HashMap;

use airlock_sandbox::agent::Request;
use sha2::{Digest, Sha256};

use super::event::{Block, Told};
use super::fold::RunState;

/// How often each call gave each answer, since a person last let the run go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Repeats(HashMap<[u8; 16], u64>);

impl Repeats {
    /// One more call and its answer; gives the tool and how often that was.
    pub(super) fn count(&mut self, request: &Request, answer: &Told) -> Option<(String, u64)> {
        let Request::Call { tool, input } = request else {
            return None;
        };
        let times = self.0.entry(hash(tool, input, answer)).or_default();
        *times += 1;
        Some((tool.clone(), *times))
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn hash(tool: &str, input: &str, answer: &Told) -> [u8; 16] {
    let answer = match answer {
        Told::Ok(output) => format!("+{output}"),
        Told::Error(error) => format!("-{error}"),
    };
    let mut hash = Sha256::new();
    for part in [tool, input, &answer] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

/// Whether the last answer was one too many of its kind.
pub(super) fn found(state: &RunState) -> Option<Block> {
    let (tool, times) = state.repeated.clone()?;
    let most = state.start.as_ref()?.budget.repeats.max(2);
    let looped = times >= most && state.blocked.is_none();
    looped.then_some(Block::Loop { tool, times })
}
