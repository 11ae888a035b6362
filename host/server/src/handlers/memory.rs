//! Documents that agents and tools keep: what there is, and what administrators do
//! with it.

use airlock_runtime::{DocumentPut, DocumentsQuery, MemoryImport, MemoryQuery, MemorySearch};

use schemars::JsonSchema;
use serde::Deserialize;

use super::plugins::WhyQuery;
use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Why a document goes, and in which version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteQuery {
    /// Why, for the audit.
    #[serde(default)]
    why: String,
    /// Only in this version.
    #[serde(default)]
    expect: Option<u64>,
}

/// The namespace in the path.
fn namespace(call: &Call) -> String {
    format!("{}/{}", call.param("kind"), call.param("name"))
}

pub(crate) async fn namespaces(call: Call) -> Result<Reply, Refusal> {
    let query: MemoryQuery = call.query()?;
    Reply::json(&call.runtime().memory_namespaces(&call.who, query).await?)
}

pub(crate) async fn documents(call: Call) -> Result<Reply, Refusal> {
    let query: DocumentsQuery = call.query()?;
    let namespace = namespace(&call);
    let listed = call
        .runtime()
        .memory_documents(&call.who, &namespace, query);
    Reply::json(&listed.await?)
}

pub(crate) async fn delete_namespace(call: Call) -> Result<Reply, Refusal> {
    let query: WhyQuery = call.query()?;
    let namespace = namespace(&call);
    let deleted = call
        .runtime()
        .delete_memory_namespace(&call.who, &namespace, &query.why);
    Reply::json(&deleted.await?)
}

pub(crate) async fn document(call: Call) -> Result<Reply, Refusal> {
    let namespace = namespace(&call);
    let got = call
        .runtime()
        .memory_document(&call.who, &namespace, call.param("id"));
    Reply::json(&got.await?)
}

pub(crate) async fn put(call: Call) -> Result<Reply, Refusal> {
    let document: DocumentPut = call.json()?;
    let namespace = namespace(&call);
    let put = call
        .runtime()
        .put_memory_document(&call.who, &namespace, call.param("id"), document);
    Reply::json(&put.await?)
}

pub(crate) async fn delete(call: Call) -> Result<Reply, Refusal> {
    let query: DeleteQuery = call.query()?;
    let namespace = namespace(&call);
    let how = (query.expect, query.why.as_str());
    let deleted =
        call.runtime()
            .delete_memory_document(&call.who, &namespace, call.param("id"), how);
    deleted.await?;
    Ok(Reply::nothing())
}

pub(crate) async fn search(call: Call) -> Result<Reply, Refusal> {
    let search: MemorySearch = call.json()?;
    Reply::json(&call.runtime().search_memory(&call.who, search).await?)
}

pub(crate) async fn import(call: Call) -> Result<Reply, Refusal> {
    let import: MemoryImport = call.json()?;
    Reply::json(&call.runtime().import_memory(&call.who, import).await?)
}
