//! What goes to models and what comes back, in the journal's terms.
//!
//! What must stay true: what may have been used counts; a conversation's key follows
//! from its run alone.

use airlock_models::{
    Allowance, Answer, Attempt, ConversationKey, EmbedRequest, Embeddings, Failure, Message,
    ModelError, Part, Request as ModelRequest, Spent as ModelSpent,
};
use airlock_sandbox::capability::{Capability, models};
use airlock_sandbox::{CallError, Denial};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::fold::RunState;
use super::spending::Spent;
use super::talks;
use crate::models::{DayBounds, InForce, Took};

/// Attempts at models that a request may set something aside for: one that fails
/// without a word takes its part, and the next one needs its own.
pub(crate) const ATTEMPTS_RESERVED: u64 = 3;

/// Largest answer that is kept, bytes of JSON.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What the redaction's key is derived for.
const KEY_OF: &[u8] = b"airlock models conversation";

/// What is asked, as models get it.
pub(super) enum Prepared {
    Chat(Box<ModelRequest>),
    Embed(EmbedRequest),
}

impl Prepared {
    pub(super) fn role(&self) -> &str {
        match self {
            Self::Chat(request) => &request.role,
            Self::Embed(request) => &request.role,
        }
    }

    pub(super) fn images(&self) -> bool {
        let Self::Chat(request) = self else {
            return false;
        };
        let has = |part: &Part| matches!(part, Part::Image { .. });
        request.messages.iter().any(|message| match message {
            Message::User { parts } => parts.iter().any(has),
            _ => false,
        })
    }

    /// What one attempt may use at most.
    pub(super) fn bound(&self, now: &InForce) -> Result<Allowance, ModelError> {
        match self {
            Self::Chat(request) => now.router.bound(request),
            Self::Embed(request) => now.router.bound_embed(request),
        }
    }
}

/// What a model said, in the journal's form.
pub(super) struct Said {
    pub(super) answer: Result<String, CallError>,
    pub(super) spent: ModelSpent,
    pub(super) attempts: Vec<Attempt>,
    pub(super) model: Option<String>,
}

impl Took {
    pub(super) fn spent(self) -> Spent {
        Spent {
            model_tokens: self.tokens,
            model_micros: self.micros,
            ..Spent::default()
        }
    }
}

/// What is set aside for a request: its bound as often as attempts may be needed, as
/// far as there is so much left, and at least once.
pub(super) fn reserved(
    state: &RunState,
    rule: &models::Rule,
    bound: Allowance,
    day: DayBounds,
) -> Result<Took, CallError> {
    let (left, used) = (state.left_now(), used_of_models(state));
    let run_micros = rule.run_cost.map(|cost| cost.micros);
    let of_rule = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
    let tokens = [
        ("model_tokens", Some(left.model_tokens)),
        ("run_tokens", of_rule(rule.run_tokens, used.model_tokens)),
        ("day_tokens", day.agent.tokens),
        ("host_day_tokens", day.host.tokens),
    ];
    let micros = [
        ("model_micros", Some(left.model_micros)),
        ("run_cost_micros", of_rule(run_micros, used.model_micros)),
        ("day_cost_micros", day.agent.micros),
        ("host_day_cost_micros", day.host.micros),
    ];
    Ok(Took {
        tokens: part(bound.tokens, tokens)?,
        micros: part(bound.cost_micros, micros)?,
    })
}

/// What is set aside within all of these, each with its name.
fn part(bound: u64, within: [(&str, Option<u64>); 4]) -> Result<u64, CallError> {
    let mut part = bound.saturating_mul(ATTEMPTS_RESERVED);
    for (name, most) in within {
        match most {
            Some(most) if bound > most => {
                return Err(CallError::Limit {
                    limit: name.to_owned(),
                    value: format!("{most} left, {bound} may be needed"),
                });
            }
            Some(most) => part = part.min(most),
            None => {}
        }
    }
    Ok(part)
}

/// What a run used of models, its own requests under way included. What a child used
/// counts once it has ended; what is set aside for one is no use yet.
fn used_of_models(state: &RunState) -> Spent {
    let mut used = state.spent;
    for (id, part) in &state.reserved {
        let asked = state.requests.get(id);
        if asked.is_some_and(|asked| talks::is_model(&asked.request)) {
            used.add(part);
        }
    }
    used
}

/// What placeholders of a run's conversations are made from: the same after a crash,
/// another one in each other run.
pub(super) fn conversation_key(seed: &str) -> ConversationKey {
    let mut key = [0; 32];
    if let Ok(mac) = Hmac::<Sha256>::new_from_slice(seed.as_bytes()) {
        key.copy_from_slice(&mac.chain_update(KEY_OF).finalize().into_bytes());
    }
    ConversationKey::new(key)
}

/// All that counts: what is not sure too.
pub(super) fn spent(spent: &ModelSpent) -> Spent {
    Spent {
        model_tokens: spent.tokens.saturating_add(spent.unsure_tokens),
        model_micros: spent.cost_micros.saturating_add(spent.unsure_micros),
        ..Spent::default()
    }
}

pub(super) fn error_of(error: ModelError) -> CallError {
    match error {
        ModelError::InvalidInput { message } => CallError::InvalidInput { message },
        ModelError::Denied { message } => CallError::Denied(Denial {
            capability: models::Models::NAME.to_owned(),
            operation: "ask".to_owned(),
            rule: message,
        }),
        ModelError::Transient {
            message,
            retry_after_ms,
        } => CallError::Transient {
            message,
            retry_after_ms,
        },
        ModelError::Permanent { message } => CallError::Permanent { message },
        ModelError::Limit { limit, value } => CallError::Limit { limit, value },
        ModelError::Cancelled => CallError::Cancelled,
        ModelError::Unknown { message } => CallError::Unknown { message },
    }
}

/// An answer as it is kept.
fn kept<T: serde::Serialize>(answer: &T) -> Result<String, CallError> {
    let text = serde_json::to_string(answer).map_err(|error| CallError::Permanent {
        message: format!("the answer can't be kept: {error}"),
    })?;
    match text.len() > ANSWER_BYTES_MAX {
        true => Err(CallError::Limit {
            limit: "answer_bytes".to_owned(),
            value: ANSWER_BYTES_MAX.to_string(),
        }),
        false => Ok(text),
    }
}

impl From<Result<Answer, Failure>> for Said {
    fn from(came: Result<Answer, Failure>) -> Self {
        match came {
            Ok(answer) => Self {
                answer: kept(&answer),
                spent: answer.spent,
                attempts: answer.attempts,
                model: Some(answer.model),
            },
            Err(failure) => failure.into(),
        }
    }
}

impl From<Result<Embeddings, Failure>> for Said {
    fn from(came: Result<Embeddings, Failure>) -> Self {
        match came {
            Ok(vectors) => Self {
                answer: kept(&vectors),
                spent: vectors.spent,
                attempts: vectors.attempts,
                model: Some(vectors.model),
            },
            Err(failure) => failure.into(),
        }
    }
}

impl From<Failure> for Said {
    fn from(failure: Failure) -> Self {
        Self {
            answer: Err(error_of(failure.error)),
            spent: failure.spent,
            attempts: failure.attempts,
            model: None,
        }
    }
}
