//! Durable storage. What must survive goes through [`Store`]: small
//! transactional maps and hash-chained, append-only streams. Backends are small;
//! everything that has a meaning (audit, leases, run journals) is built above
//! the trait, once. Rows are opaque bytes to a backend.
//!
//! What must stay true: an acknowledged commit survives; a reader never sees
//! what is not yet durable; after a failed write or sync the store is poisoned
//! and acknowledges nothing more.

pub mod audit;
pub mod chain;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "conformance"))]
pub mod decorator;
pub mod memory;
mod rows;
pub mod sqlite;
pub mod store;
pub mod views;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::{Batch, Committed, Hash, Head, Op, Record, Store, StoreError};
pub use views::Views;
