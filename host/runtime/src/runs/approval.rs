//! Whether a call of a run is made, asked about, or only written down.
//!
//! What must stay true: an approval holds for the very call it was given for; a
//! change of the input, the component or the grants asks again.

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::tools::{Approval, Rule};
use airlock_sandbox::{CallError, Denial, EffectClass};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::event::{Autonomy, Event, Start, Told};
use super::fold::Asked;
use super::types::{ApprovalView, AtDue, Decide};
use crate::runtime::Runtime;
use crate::{ids, json};

/// What becomes of a call before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Make,
    /// A person is asked first.
    Ask,
    /// It is only on record.
    Withhold,
}

/// By the run's autonomy, the class in force and the agent's rule.
pub(super) fn verdict(autonomy: Autonomy, class: EffectClass, rule: Approval) -> Verdict {
    let reads = class == EffectClass::ReadOnly;
    match (autonomy, rule) {
        (Autonomy::Observe, _) if !reads => Verdict::Withhold,
        (_, Approval::Always) => Verdict::Ask,
        (Autonomy::Ask, Approval::ByAutonomy) if !reads => Verdict::Ask,
        (Autonomy::Supervised, Approval::ByAutonomy) if class == EffectClass::Destructive => {
            Verdict::Ask
        }
        _ => Verdict::Make,
    }
}

/// The hash of what an approval is given for: tool, input, component, grants, and
/// who has to give it until when.
pub(super) fn binding(runtime: &Runtime, tool: &str, input: &str, rule: &Rule) -> String {
    let plugin = tool.split_once('/').map_or(tool, |(plugin, _)| plugin);
    let (digest, version) = match runtime.registry.get(plugin) {
        Some((_, active)) => (active.manifest.digest.clone(), active.grants.version),
        None => (String::new(), 0),
    };
    let due = (rule.due, rule.on_due, rule.escalate_to);
    let terms = json!([rule.approvers, rule.approver_role, rule.own_approval, due]);
    let mut hash = Sha256::new();
    for part in [tool, input, &digest, &terms.to_string()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(version.to_le_bytes());
    format!("sha256:{}", ids::hex(&hash.finalize()))
}

/// The choices about a call.
pub(super) const APPROVE: &str = "approve";
const DENY: &str = "deny";

/// What a person is asked about a request, if anything.
pub(super) fn question(
    run: &str,
    start: &Start,
    id: RequestId,
    asked: &Asked,
) -> Option<ApprovalView> {
    if !asked.is_question() {
        return None;
    }
    let mut view = ApprovalView {
        id: format!("{run}.{id}"),
        run: run.to_owned(),
        agent: start.agent.clone(),
        by: start.by.clone(),
        text: String::new(),
        tool: None,
        tool_class: None,
        tool_description: None,
        sandboxed: true,
        choices: Vec::new(),
        payload: None,
        payload_bytes: None,
        binding: None,
        role: asked.terms.role,
        approvers: asked.terms.approvers,
        approvals: asked.approvals.clone(),
        at_ms: asked.at_ms,
        due_ms: asked.terms.due_ms,
        on_due: None,
        escalates_to: None,
    };
    match &asked.request {
        Request::Ask {
            text,
            choices,
            payload,
            due_ms,
        } => {
            view.text.clone_from(text);
            view.choices.clone_from(choices);
            view.payload = payload.as_deref().map(json::shown);
            view.due_ms = *due_ms;
            view.on_due = due_ms.map(|_| AtDue::TellsAgent);
        }
        Request::Call { tool, input } => {
            view.binding = Some(asked.to_approve.clone()?);
            view.choices = [APPROVE, DENY].map(str::to_owned).to_vec();
            view.tool = Some(tool.clone());
            view.text = format!("May `{}` call `{tool}` with this input?", start.agent);
            view.payload = Some(json::shown(input));
            view.escalates_to = asked.terms.escalate.as_ref().map(|escalate| escalate.to);
            view.on_due = view.due_ms.map(|_| match view.escalates_to {
                Some(_) => AtDue::Escalates,
                None => AtDue::Denies,
            });
        }
        Request::Timer { .. }
        | Request::Signal { .. }
        | Request::Record { .. }
        | Request::Start { .. }
        | Request::Chat { .. }
        | Request::Embed { .. }
        | Request::Memory { .. } => return None,
    }
    Some(view)
}

/// The record of a decision that is one of the choices.
pub(super) fn decided(id: RequestId, asked: &Asked, decide: &Decide, by: &str) -> Option<Event> {
    let answered = |answer| Event::Answered {
        id,
        answer,
        by: Some(by.to_owned()),
        used: super::spending::Spent::default(),
    };
    Some(match &asked.request {
        Request::Ask { .. } => {
            let answer = json!({ "choice": decide.decision, "note": decide.note });
            answered(Told::Ok(answer.to_string()))
        }
        Request::Call { tool, .. } if decide.decision == DENY => {
            let note = decide.note.as_deref().unwrap_or("no reason was given");
            answered(Told::Error(CallError::Denied(Denial {
                capability: "approval".to_owned(),
                operation: format!("call {tool}"),
                rule: format!("a person said no: {note}"),
            })))
        }
        Request::Call { .. } => Event::Approved {
            id,
            binding: asked.to_approve.clone()?,
            by: by.to_owned(),
            note: decide.note.clone(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_autonomy_asks_what_it_says() {
        use Approval::{Always, ByAutonomy, Never};
        use Autonomy::{Ask, Autonomous, Observe, Supervised};
        use EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
        let table = [
            (Observe, ReadOnly, ByAutonomy, Verdict::Make),
            (Observe, ReadOnly, Always, Verdict::Ask),
            (Observe, Idempotent, ByAutonomy, Verdict::Withhold),
            (Observe, Plain, Never, Verdict::Withhold),
            (Observe, Destructive, Always, Verdict::Withhold),
            (Ask, ReadOnly, ByAutonomy, Verdict::Make),
            (Ask, Idempotent, ByAutonomy, Verdict::Ask),
            (Ask, Plain, ByAutonomy, Verdict::Ask),
            (Ask, Plain, Never, Verdict::Make),
            (Supervised, Plain, ByAutonomy, Verdict::Make),
            (Supervised, Destructive, ByAutonomy, Verdict::Ask),
            (Supervised, Destructive, Never, Verdict::Make),
            (Supervised, ReadOnly, Always, Verdict::Ask),
            (Autonomous, Destructive, ByAutonomy, Verdict::Make),
            (Autonomous, Plain, Always, Verdict::Ask),
        ];
        for (autonomy, class, rule, expect) in table {
            let got = verdict(autonomy, class, rule);
            assert_eq!(got, expect, "{autonomy:?} {class:?} {rule:?}");
        }
    }
}
