//! What a run asks of its host for its agent: the grants are asked in one place.
//!
//! What must stay true: what is done for an agent takes the permit that is made here;
//! a denial is on record.

use airlock_journal::Op;
use airlock_journal::audit::AuditRecord;
use airlock_sandbox::Denial;
use airlock_sandbox::capability::Capability;
use airlock_sandbox::gate::RunPermit;
use serde_json::json;

use super::session::Session;
use crate::record;
use crate::runtime::Runtime;

/// Asks the grants of an agent, as they stand, for a permit to do `op` in its run.
pub(super) fn permit<C: Capability>(
    runtime: &Runtime,
    agent: &str,
    op: C::Op,
) -> Result<RunPermit<C>, Denial> {
    match runtime.registry.get(agent) {
        Some((_, active)) => active.grants.grants.permit_run(op),
        None => {
            let missing = format!("`{agent}` is no longer installed");
            Err(Denial::clipped(C::NAME, &op.to_string(), &missing))
        }
    }
}

/// The record of a denial.
pub(super) fn denied(session: &Session, denial: &Denial) -> Vec<Op> {
    let inner = session.lock();
    let start = inner.state.start.as_ref();
    let (by, agent) = start.map_or(("", ""), |start| (&*start.by, &*start.agent));
    let record = AuditRecord::now(by, "denied", agent)
        .outcome("denied")
        .detail(json!({
            "run": session.id,
            "capability": denial.capability,
            "operation": denial.operation,
            "rule": denial.rule,
        }));
    vec![record::op(&record)]
}
