//! One call of a tool, as a step of a run.
//!
//! What must stay true: the agent's grant is asked before each attempt; a tool that may
//! not be repeated is called under the step's own key, so that what became of an
//! earlier attempt is found.

use std::sync::Arc;

use airlock_journal::audit::AuditRecord;
use airlock_sandbox::agent::{Answer, RequestId};
use airlock_sandbox::capability::{Capability, tools};
use airlock_sandbox::{CallError, Denial, EffectClass};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::approval::{Verdict, verdict};
use super::effects::may_repeat;
use super::fold::Asked;
use super::session::Session;
use crate::calls::{CallRefused, ToolCall};
use crate::idempotency::StoredReply;
use crate::ids;
use crate::principal::{Principal, Role};
use crate::problem::Failure;
use crate::runtime::Runtime;
use airlock_sandbox::gate::Allowed;

/// Makes the call and gives what the agent is told; `None`: the host stops, and
/// what became of the call is found at the next start.
pub(super) async fn call(
    runtime: &Arc<Runtime>,
    session: &Session,
    id: RequestId,
    asked: &Asked,
    tool: &str,
    input: &str,
) -> Option<Answer> {
    let answer = made(runtime, session, id, asked, tool, input).await;
    let cut_short = match &answer {
        Err(CallError::Cancelled | CallError::Transient { .. } | CallError::Unknown { .. }) => {
            runtime.ready().is_err()
        }
        _ => false,
    };
    (!cut_short).then_some(answer)
}

async fn made(
    runtime: &Arc<Runtime>,
    session: &Session,
    id: RequestId,
    asked: &Asked,
    tool: &str,
    input: &str,
) -> Answer {
    let Some(start) = session.lock().state.start.clone() else {
        return Err(CallError::Cancelled);
    };
    let Some((plugin, name)) = tool.split_once('/') else {
        return Err(CallError::NotFound {
            message: format!("`{tool}` is not `plugin/tool`"),
        });
    };
    let safe = may_repeat(runtime.class_of(tool));
    if !safe && expired(runtime, asked) {
        return Err(CallError::Unknown {
            message: "the call is older than replies are kept: it may have happened".to_owned(),
        });
    }
    let who = Principal {
        name: start.by.clone(),
        token_id: None,
        roles: [Role::Caller].into(),
        plugins: start.scope.clone(),
    };
    let call = ToolCall {
        log: false,
        plugin: plugin.to_owned(),
        tool: name.to_owned(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        timeout: None,
        idempotency_key: Some(key(&session.id, id, asked, safe)),
        stage: None,
    };
    let made = runtime.call_step(&Arc::new(who), call, !safe).await;
    match made {
        Ok(reply) => answered(&reply),
        Err(refused) => Err(refusal(&refused)),
    }
}

/// Equal for all attempts that may be the same effect: a person who says that an
/// unknown one is to be tried again asks for a new one.
fn key(run: &str, id: RequestId, asked: &Asked, safe: bool) -> String {
    match (safe, asked.attempt) {
        (true, _) | (false, 1) => format!("{run}.{id}"),
        (false, attempt) => format!("{run}.{id}.{attempt}"),
    }
}

fn expired(runtime: &Runtime, asked: &Asked) -> bool {
    let kept = runtime.config().idempotency_keep.as_millis() as u64;
    let since = asked.at_ms.max(asked.not_before_ms);
    ids::now_ms().saturating_sub(since) >= kept / 2
}

/// The agent's rule for a tool.
fn permitted(runtime: &Runtime, agent: &str, tool: &str) -> Result<tools::Rule, Denial> {
    let op = tools::Op {
        tool: tool.to_owned(),
    };
    let missing = |rule: String| Denial {
        capability: tools::Tools::NAME.to_owned(),
        operation: op.to_string(),
        rule,
    };
    let Some((_, active)) = runtime.registry.get(agent) else {
        return Err(missing(format!("`{agent}` is no longer installed")));
    };
    let grants = &active.grants.grants;
    match tools::Tools::decide(grants, &op) {
        Ok(Allowed::Rule(rule)) => Ok(grants.tools[rule].clone()),
        Ok(Allowed::Ambient) => Err(missing("a tool is never called without a rule".to_owned())),
        Err(rule) => Err(missing(rule.0)),
    }
}

/// What the agent's grant and the run's autonomy make of a call. A denial is on
/// record when this returns.
pub(super) async fn judge(
    runtime: &Runtime,
    session: &Session,
    tool: &str,
) -> Result<(tools::Rule, Verdict), CallError> {
    let Some(start) = session.lock().state.start.clone() else {
        return Err(CallError::Cancelled);
    };
    let class = runtime.class_of(tool).unwrap_or_default();
    let judged = permitted(runtime, &start.agent, tool).and_then(|rule| {
        match verdict(start.autonomy, class, rule.approval) {
            Verdict::Withhold => Err(Denial {
                capability: "autonomy".to_owned(),
                operation: format!("call {}", tool.escape_debug()),
                rule: "the run only observes: this was not called".to_owned(),
            }),
            verdict => Ok((rule, verdict)),
        }
    });
    match judged {
        Ok(judged) => Ok(judged),
        Err(denial) => {
            denied(runtime, &session.id, &start, &denial).await?;
            Err(CallError::Denied(denial))
        }
    }
}

/// Whether whoever started the run may approve this call.
pub(super) fn own_approval(runtime: &Runtime, agent: &str, tool: &str) -> bool {
    permitted(runtime, agent, tool).is_ok_and(|rule| rule.own_approval)
}

async fn denied(
    runtime: &Runtime,
    run: &str,
    start: &super::event::Start,
    denial: &Denial,
) -> Result<(), CallError> {
    let record = AuditRecord::now(&*start.by, "denied", &*start.agent)
        .outcome("denied")
        .detail(json!({
            "run": run,
            "capability": denial.capability,
            "operation": denial.operation,
            "rule": denial.rule,
        }));
    let kept = runtime.audit.append(&record).await;
    kept.map(drop).map_err(|error| {
        tracing::error!(run, %error, "a denial is not on record");
        CallError::Unknown {
            message: "the denial could not be put on record".to_owned(),
        }
    })
}

#[derive(Deserialize)]
struct Success<'a> {
    #[serde(borrow)]
    output: &'a RawValue,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    retry_after_s: Option<u64>,
    #[serde(default)]
    denial: Option<Denial>,
    #[serde(default)]
    limit: Option<String>,
    #[serde(default)]
    value: Option<String>,
}

/// From the API's reply to what the contract says.
fn answered(reply: &StoredReply) -> Answer {
    let unreadable = |error: serde_json::Error| CallError::Permanent {
        message: format!("the reply can't be read: {error}"),
    };
    if reply.status == 200 {
        let success: Success<'_> = serde_json::from_slice(&reply.body).map_err(unreadable)?;
        return Ok(success.output.get().to_owned());
    }
    let problem: Problem = serde_json::from_slice(&reply.body).map_err(unreadable)?;
    let detail = problem.detail;
    let message = detail
        .strip_prefix(&format!("{}: ", problem.code.replace('-', " ")))
        .unwrap_or(&detail)
        .to_owned();
    Err(match (&*problem.code, problem.denial, problem.limit) {
        ("invalid-input", ..) => CallError::InvalidInput { message },
        ("denied", Some(denial), _) => CallError::Denied(denial),
        ("not-found", ..) => CallError::NotFound { message },
        ("transient", ..) => CallError::Transient {
            message,
            retry_after_ms: problem.retry_after_s.map(|seconds| seconds * 1_000),
        },
        ("escalate" | "component-missing" | "component-altered", ..) => {
            CallError::Escalate { message }
        }
        ("limit", _, Some(limit)) => CallError::Limit {
            limit,
            value: problem.value.unwrap_or_default(),
        },
        ("cancelled", ..) => CallError::Cancelled,
        ("unknown", ..) => CallError::Unknown { message },
        _ => CallError::Permanent { message },
    })
}

/// A call that was not made, or whose outcome nobody knows.
fn refusal(refused: &CallRefused) -> CallError {
    let message = refused.detail();
    match refused.code() {
        "unknown" | "outcome_unknown" | "reply-not-kept" | "idempotency-in-flight" => {
            CallError::Unknown { message }
        }
        _ if refused.retry_after().is_some() || refused.status() == 503 => CallError::Transient {
            message,
            retry_after_ms: refused.retry_after().map(|wait| wait.as_millis() as u64),
        },
        "not-found" | "plugin-not-found" | "tool-not-found" => CallError::NotFound { message },
        _ if refused.status() < 500 => CallError::InvalidInput { message },
        _ => CallError::Permanent { message },
    }
}

impl Runtime {
    /// The class a tool, `plugin/tool`, is called under now.
    pub(crate) fn class_of(&self, tool: &str) -> Option<EffectClass> {
        let (plugin, tool) = tool.split_once('/')?;
        let (_, active) = self.registry.get(plugin)?;
        active.tool(tool).map(|terms| terms.class)
    }
}
