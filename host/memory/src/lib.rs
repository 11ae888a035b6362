//! Documents that agents keep and look up: the store and the search behind the
//! capability `memory`.
//!
//! Documents are in namespaces (`run/…`, `agent/…`, `shared/…`), with versions,
//! quotas, labels, an end, and who wrote them. They are found by words, by vectors,
//! or by both; [`import`] makes them of files.
//!
//! The truth is in [`airlock_journal`]'s store, where a document, its vector, its
//! namespace's usage and a line of a log change in one batch. The full-text index
//! follows the log and says itself how far it got; what it has not taken yet is
//! searched in memory. Vectors are searched in memory as the store has them.
//!
//! What must stay true: an acknowledged write is found by every search that begins
//! then; nothing is found that was deleted, is over, or is in a namespace that was
//! not asked for; whatever becomes of the index's files, the answers are the same.

mod draft;
mod error;
mod home;
pub mod import;
pub mod limits;
mod memory;
mod model;
mod places;
mod prepare;
mod reads;
mod recent;
mod rows;
mod search;
mod sweep;
#[cfg(test)]
mod tests;
mod text;
mod vectors;
mod wait;
mod wanted;
mod writer;

pub use error::MemoryError;
pub use home::MemoryHome;
pub use limits::Quota;
pub use memory::{Clock, Memory, Options, Page, SystemClock};
pub use model::{
    Change, Document, Entry, Expect, Json, Kind, Namespace, NewDocument, Provenance, Source, Usage,
    Written,
};
pub use reads::Reads;
pub use search::{Hit, Search};
pub use sweep::Swept;
pub use wanted::{Waiting, Wanted};
