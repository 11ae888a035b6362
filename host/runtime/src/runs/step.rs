//! One call of a tool, as a step of a run.
//!
//! What must stay true: the agent's grant is asked before each attempt, and what it
//! permits is called; a tool that may not be repeated is called under the step's own
//! key, so that what became of an earlier attempt is found.

use std::sync::Arc;

use airlock_journal::Op;
use airlock_sandbox::agent::{Answer, Request, RequestId};
use airlock_sandbox::capability::tools::{self, Tools};
use airlock_sandbox::gate::RunPermit;
use airlock_sandbox::{CallError, Denial, EffectClass};
use bytes::Bytes;

use super::approval::{Verdict, verdict};
use super::effects::may_repeat;
use super::event::{Autonomy, Start};
use super::fold::{Asked, RunState};
use super::permit::permit;
use super::session::{Inner, Session};
use super::spending::Spent;
use super::under_way::UnderWay;
use crate::calls::{CallRefused, Cut, Judged, Step, StepMade, Turn};
use crate::halt::OfRun;
use crate::principal::{Principal, Role};
use crate::problem::Failure;
use crate::runtime::Runtime;

/// What came of an attempt.
pub(super) enum Came {
    /// The tool's own end.
    Answer {
        answer: Answer,
        audit: Vec<Op>,
        used: Spent,
    },
    /// Nothing of it happened.
    NotMade(CallError),
    /// It was ended while it ran, as it was told.
    Cancelled { audit: Vec<Op>, used: Spent },
    /// The host stops: what becomes of the call is found when it goes on.
    CutByHost { audit: Vec<Op> },
}

/// Makes the call that is permitted, as an attempt whose intent is durable; `None`:
/// what is in force is not what it was judged by, and nothing of it happened.
pub(super) async fn made(
    work: &UnderWay,
    asked: &Asked,
    permit: &RunPermit<Tools>,
    input: &str,
    judged: &Judged,
    turn: Option<Turn>,
) -> Option<Came> {
    let of = work.session.lock().state.start.as_ref().map(|start| {
        let who = Arc::new(principal(start));
        (who, start.agent.clone())
    });
    let Some((who, agent)) = of else {
        return Some(Came::NotMade(CallError::Cancelled));
    };
    let tool = &permit.op().tool;
    if !tool.contains('/') {
        return Some(Came::NotMade(CallError::NotFound {
            message: format!("`{tool}` is not `plugin/tool`"),
        }));
    }
    let run = OfRun {
        id: &work.session.id,
        first: &work.session.first,
        agent: &agent,
    };
    let safe = may_repeat(judged.class());
    let step = Step {
        run,
        request: work.id,
        attempt: asked.attempt,
        cancel: &work.effect.cancel,
        judged,
        permit,
        input: Bytes::copy_from_slice(input.as_bytes()),
        key: key(&work.session.id, work.id, asked, safe),
    };
    Some(match work.runtime.call_step(&who, &step, turn).await {
        Ok(made) => came(made, judged.class()),
        Err(CallRefused::Changed) => return None,
        Err(CallRefused::Interrupted) => Came::Answer {
            answer: Err(CallError::Unknown {
                message: "the host failed during the call".to_owned(),
            }),
            audit: Vec::new(),
            used: Spent::default(),
        },
        Err(refused) => Came::NotMade(refusal(&refused)),
    })
}

/// What ended before its tool said how may have happened, unless it only reads.
fn came(made: StepMade, class: Option<EffectClass>) -> Came {
    let lost = made.lost && class != Some(EffectClass::ReadOnly);
    let (audit, used) = (made.ops, Spent::of_call(&made.usage));
    match (made.cut, made.result) {
        (Some(Cut::Host), _) => Came::CutByHost { audit },
        (Some(Cut::Caller), _) => Came::Cancelled { audit, used },
        (
            None,
            Err(CallError::ComponentMissing { message } | CallError::ComponentAltered { message }),
        ) => {
            let answer = Err(CallError::Escalate { message });
            Came::Answer {
                answer,
                audit,
                used,
            }
        }
        (None, Err(error)) if lost && !matches!(error, CallError::Unknown { .. }) => {
            let message = format!("it may have happened: {error}");
            let answer = Err(CallError::Unknown { message });
            Came::Answer {
                answer,
                audit,
                used,
            }
        }
        (None, answer) => Came::Answer {
            answer,
            audit,
            used,
        },
    }
}

/// In whose name a run acts: that of whoever started it.
pub(super) fn principal(start: &Start) -> Principal {
    Principal {
        name: start.by.clone(),
        token_id: None,
        roles: [Role::Caller].into(),
        plugins: start.scope.clone(),
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

/// What denies a call that a run which observes would have made.
pub(super) const AUTONOMY: &str = "autonomy";

/// Asks the agent's grants for a permit to call a tool.
fn permitted(runtime: &Runtime, agent: &str, tool: &str) -> Result<RunPermit<Tools>, Denial> {
    let tool = tool.to_owned();
    permit(runtime, agent, tools::Op { tool })
}

/// What the agent's grant and the run's autonomy make of a call.
pub(super) fn judge(
    runtime: &Runtime,
    session: &Session,
    tool: &str,
) -> Result<(RunPermit<Tools>, Verdict), Denial> {
    judged(runtime, &session.lock().state, tool)
}

fn judged(
    runtime: &Runtime,
    state: &RunState,
    tool: &str,
) -> Result<(RunPermit<Tools>, Verdict), Denial> {
    let (agent, autonomy) = match &state.start {
        Some(start) => (&*start.agent, start.autonomy),
        None => ("", Autonomy::Observe),
    };
    let class = runtime.class_of(tool).unwrap_or_default();
    let permit = permitted(runtime, agent, tool)?;
    match verdict(autonomy, class, permit.rule().approval) {
        Verdict::Withhold => Err(Denial {
            capability: AUTONOMY.to_owned(),
            operation: format!("call {}", tool.escape_debug()),
            rule: "the run only observes: this was not called".to_owned(),
        }),
        verdict => Ok((permit, verdict)),
    }
}

/// The class of a call that is made as soon as it is asked for: its request is
/// its intent. One that waits for a person or for its turn has an intent of its
/// own, so that it is not held for begun meanwhile.
pub(super) fn begins_at_once(
    session: &Session,
    inner: &Inner,
    request: &Request,
) -> Option<EffectClass> {
    let Request::Call { tool, .. } = request else {
        return None;
    };
    let runtime = session.runtime.upgrade()?;
    let (plugin, name) = tool.split_once('/')?;
    let (slot, active) = runtime.registry.get(plugin)?;
    let class = active.tool(name)?.class;
    // Each of those that are about to begin takes a place.
    let free = runtime.ready().is_ok() && slot.admission.is_free(inner.intended.len());
    let made = matches!(judged(&runtime, &inner.state, tool), Ok((_, Verdict::Make)));
    (free && made).then_some(class)
}

/// The agent's rule for a tool, if there is one.
pub(super) fn rule(runtime: &Runtime, session: &Session, tool: &str) -> Option<tools::Rule> {
    let inner = session.lock();
    let start = inner.state.start.as_ref()?;
    let permit = permitted(runtime, &start.agent, tool).ok()?;
    Some(permit.rule().clone())
}

/// Why a call was not made.
pub(super) fn refusal(refused: &CallRefused) -> CallError {
    let message = refused.detail();
    match refused.code() {
        "cancelled" => CallError::Cancelled,
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
