//! Durable storage. What must survive goes through [`Store`]: small
//! transactional maps and hash-chained, append-only streams. Backends are small;
//! everything that has a meaning (audit, leases, run journals) is built above
//! the trait, once. Rows are opaque bytes to a backend.
//!
//! What must stay true: an acknowledged commit survives; a reader never sees
//! what is not yet durable; after a failed write or sync the store is poisoned
//! and acknowledges nothing more.

pub mod store;

pub use store::{Batch, Committed, Head, Op, Record, Store, StoreError};
