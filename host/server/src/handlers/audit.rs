//! The audit.

use std::sync::Arc;

use airlock_runtime::{AuditFailure, AuditQuery, Runtime, VerifyRequest};
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dispatch::Call;
use crate::reply::{NDJSON, Refusal, Reply};

/// Records that an export reads at once.
const EXPORT_PAGE: usize = 500;

/// From where to export.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// From this record on; absent: from the first.
    #[serde(default)]
    from: u64,
}

pub(crate) async fn page(call: Call) -> Result<Reply, Refusal> {
    let query: AuditQuery = call.query()?;
    Reply::json(&call.runtime().audit(query).await?)
}

pub(crate) async fn verify(call: Call) -> Result<Reply, Refusal> {
    let request: VerifyRequest = call.json()?;
    Reply::json(&call.runtime().audit_verify(request.head).await?)
}

/// A page at a time, as fast as the client reads. A damaged record breaks the
/// connection off, so that a short export can't be taken for a whole one.
pub(crate) async fn export(call: Call) -> Result<Reply, Refusal> {
    let query: ExportQuery = call.query()?;
    let runtime = Arc::clone(call.runtime());
    let pages = stream::try_unfold(Some(query.from), move |from| {
        let runtime = Arc::clone(&runtime);
        async move {
            let Some(from) = from else { return Ok(None) };
            let (lines, next) = lines(&runtime, from).await?;
            Ok::<_, AuditFailure>(Some((lines, next)))
        }
    });
    let body = call.parts(pages);
    Ok(Reply {
        body,
        ..Reply::bytes(200, NDJSON, Bytes::new())
    })
}

async fn lines(runtime: &Runtime, from: u64) -> Result<(Bytes, Option<u64>), AuditFailure> {
    let query = AuditQuery {
        from: Some(from),
        before: None,
        limit: Some(EXPORT_PAGE),
    };
    let page = runtime.audit(query).await?;
    let mut lines = Vec::new();
    for record in &page.records {
        // An audit record came from JSON.
        if serde_json::to_writer(&mut lines, record).is_ok() {
            lines.push(b'\n');
        }
    }
    Ok((lines.into(), page.next))
}
