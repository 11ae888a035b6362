//! What may be read of a memory that may never have been used: nothing is opened, or
//! made on disk, for a look at nothing.
//!
//! What must stay true: what is refused of a memory with documents is refused of one
//! without.

use std::sync::Arc;

use crate::error::{MemoryError, limited};
use crate::limits::PAGE_MAX;
use crate::memory::{Memory, Page};
use crate::model::{Document, Entry, Namespace, Usage, check_id};
use crate::search::{self, Hit, Search};
use crate::wanted::Wanted;

/// The reads of a memory; where it was never used, their answers are empty.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    memory: Option<Arc<Memory>>,
    wanted: Wanted,
}

impl From<Arc<Memory>> for Reads {
    fn from(memory: Arc<Memory>) -> Self {
        Some(memory).into()
    }
}

impl From<Option<Arc<Memory>>> for Reads {
    fn from(memory: Option<Arc<Memory>>) -> Self {
        let wanted = Wanted::default();
        Self { memory, wanted }
    }
}

impl Reads {
    /// As these, for somebody who may stop waiting: their searches end then.
    #[must_use]
    pub fn wanted(self, wanted: &Wanted) -> Self {
        let wanted = wanted.clone();
        Self { wanted, ..self }
    }

    /// As [`Memory::get`].
    ///
    /// # Errors
    /// The same.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<Option<Document>, MemoryError> {
        match &self.memory {
            Some(memory) => memory.get(namespace, id),
            None => check_id(id).map(|()| None),
        }
    }

    /// As [`Memory::list`].
    ///
    /// # Errors
    /// The same.
    pub fn list(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, MemoryError> {
        match &self.memory {
            Some(memory) => memory.list(namespace, prefix, after, limit),
            None => limited(limit, PAGE_MAX, "documents").map(|()| Page::default()),
        }
    }

    /// As [`Memory::walk`].
    ///
    /// # Errors
    /// The same.
    pub fn walk(
        &self,
        namespace: &Namespace,
        prefix: &str,
        (after, limit): (Option<&str>, usize),
        take: impl FnMut(Entry) -> bool,
    ) -> Result<Option<String>, MemoryError> {
        match &self.memory {
            Some(memory) => memory.walk(namespace, prefix, (after, limit), take),
            None => limited(limit, PAGE_MAX, "documents").map(|()| None),
        }
    }

    /// As [`Memory::search_while`].
    ///
    /// # Errors
    /// The same.
    pub fn search(&self, asked: &Search) -> Result<Vec<Hit>, MemoryError> {
        match &self.memory {
            Some(memory) => memory.search_while(asked, &self.wanted),
            None => search::check(asked).map(|_| Vec::new()),
        }
    }

    /// As [`Memory::usage`].
    ///
    /// # Errors
    /// The same.
    pub fn usage(&self, namespace: &Namespace) -> Result<Option<Usage>, MemoryError> {
        match &self.memory {
            Some(memory) => memory.usage(namespace),
            None => Ok(None),
        }
    }
}
