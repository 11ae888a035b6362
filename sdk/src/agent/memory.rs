//! The host's memory for agents: the same as [`crate::memory`], as requests of a run.
//! An answer is kept: the run is given the same after a crash. A change happens once,
//! whatever dies.
//!
//! ```no_run
//! # use airlock_sdk::Error;
//! use airlock_sdk::agent::memory;
//! use airlock_sdk::memory::{Document, Search};
//!
//! # async fn run() -> Result<(), Error> {
//! let found = memory::search(&Search::new(["shared/handbook"]).text("daily allowance")).await?;
//! for hit in &found.hits {
//!     let from = hit.entry.source.clone().unwrap_or_default();
//!     airlock_sdk::agent::log(&format!("{} page {:?}: {}", from.uri, from.page, hit.snippet));
//! }
//! memory::put("run", &Document::new("seen").text("the allowance is in the handbook")).await?;
//! # Ok(())
//! # }
//! ```

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Request;
use crate::Error;
use crate::backend::host;
use crate::memory::{Delete, Document, Expect, Hits, Listed, Put, Search, Stored, requests};

/// Any request, as docs/memory.md has it.
pub fn ask<T: DeserializeOwned>(request: &Value) -> Request<T> {
    Request::new(host::memory(&request.to_string()))
}

/// A document, if there is one.
pub fn get(namespace: &str, id: &str) -> Request<Option<Stored>> {
    ask(&requests::get(namespace, id))
}

/// Writes a document, whole, over what is there.
pub fn put(namespace: &str, document: &Document) -> Request<Put> {
    put_if(namespace, document, Expect::Any)
}

/// Writes a document if what is there is what is expected.
pub fn put_if(namespace: &str, document: &Document, expect: Expect) -> Request<Put> {
    ask(&requests::put(namespace, document, expect))
}

/// Removes a document.
pub fn delete(namespace: &str, id: &str) -> Request<Delete> {
    delete_if(namespace, id, Expect::Any)
}

/// Removes a document if it is what is expected.
pub fn delete_if(namespace: &str, id: &str, expect: Expect) -> Request<Delete> {
    ask(&requests::delete(namespace, id, expect))
}

/// Documents of which the ids begin so, behind `after`, 100 at most.
pub fn list(namespace: &str, prefix: &str, after: Option<&str>) -> Request<Listed> {
    ask(&requests::list(namespace, prefix, after))
}

/// Looks for documents by words, and by what means the same: the vector of the
/// search's text is asked of a role of language models first, which must be granted
/// (`models`) and be the one that made the vectors of the namespaces.
///
/// # Errors
/// Those of [`embed`](super::embed) and of [`search`].
pub async fn search_near(role: &str, text: &str, search: Search) -> Result<Hits, Error> {
    let mut made = super::embed(role, &[text]).await?;
    let vector = made.vectors.pop().unwrap_or_default();
    let search = search.text(text).vector(vector);
    self::search(&search).await
}

/// Looks for documents.
pub fn search(search: &Search) -> Request<Hits> {
    ask(&requests::search(search))
}
