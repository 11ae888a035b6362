//! A call's records in the audit.

use airlock_journal::Op;
use airlock_journal::audit::AuditRecord;
use airlock_sandbox::{CallReport, Denial};
use serde_json::json;

use crate::calls::reply;
use crate::principal::Principal;
use crate::record;

/// Who called what.
#[derive(Debug, Clone)]
pub(crate) struct CallInfo {
    pub(crate) call_id: String,
    pub(crate) plugin: String,
    pub(crate) tool: String,
    pub(crate) digest: String,
    pub(crate) grants_version: u64,
    pub(crate) subject: String,
}

/// The record of an ended call: the last of its batch.
pub(crate) fn done(who: &Principal, info: &CallInfo, report: &CallReport) -> AuditRecord {
    let usage = &report.usage;
    let mut detail = json!({
        "call_id": info.call_id,
        "plugin": info.plugin,
        "tool": info.tool,
        "digest": info.digest,
        "grants_version": info.grants_version,
        "outcome": reply::outcome(&report.result),
        "wall_us": usage.wall_us,
        "cpu_us": usage.cpu_us,
        "peak_memory_bytes": usage.peak_memory_bytes,
        "usage": usage.capabilities,
    });
    if let serde_json::Value::Object(members) = &mut detail {
        if let Some(token_id) = &who.token_id {
            members.insert("token_id".to_owned(), json!(token_id));
        }
        if !report.denials.is_empty() {
            members.insert("denials".to_owned(), json!(report.denials));
        }
    }
    AuditRecord::now(&*who.name, "call.done", &*info.subject)
        .outcome(reply::outcome(&report.result))
        .detail(detail)
}

/// One record per denied operation.
pub(crate) fn denials<'a>(
    who: &'a Principal,
    info: &'a CallInfo,
    denials: &'a [Denial],
) -> impl Iterator<Item = Op> + 'a {
    denials.iter().map(move |denial| {
        let detail = json!({
            "call_id": info.call_id,
            "capability": denial.capability,
            "operation": denial.operation,
            "rule": denial.rule,
        });
        let record = AuditRecord::now(&*who.name, "denied", &*info.subject)
            .outcome("denied")
            .detail(detail);
        record::op(&record)
    })
}
