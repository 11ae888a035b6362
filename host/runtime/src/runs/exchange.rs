//! What goes to models and what comes back, in the journal's terms.
//!
//! What must stay true: what may have been used counts; a conversation's key follows
//! from its run alone.

use airlock_models::{
    ANSWER_BYTES_MAX, Allowance, Answer, Ask, Attempt, ConversationKey, EmbedRequest, Embeddings,
    Failure, Message, ModelError, Part, Request as ModelRequest, Spent as ModelSpent,
};
use airlock_sandbox::capability::Capability;
use airlock_sandbox::capability::models::{self, Models};
use airlock_sandbox::gate::RunPermit;
use airlock_sandbox::{CallError, Denial};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::fold::RunState;
use super::spending::Spent;
use super::talks;
use crate::models::{DayLeft, InForce, Took};

/// Attempts at models that a request may set something aside for: one that fails
/// without a word takes its part, and the next one needs its own.
pub(crate) const ATTEMPTS_RESERVED: u64 = 3;

/// For those after the first no more than this part of what is left: others need
/// some too.
const PART_OF_LEFT: u64 = 4;

/// What the redaction's key is derived for.
const KEY_OF: &[u8] = b"airlock models conversation";

/// What is asked, as models get it.
pub(super) enum Prepared {
    Chat(Box<ModelRequest>),
    Embed(EmbedRequest),
}

impl Prepared {
    fn role(&self) -> &str {
        match self {
            Self::Chat(request) => &request.role,
            Self::Embed(request) => &request.role,
        }
    }

    fn images(&self) -> bool {
        let Self::Chat(request) = self else {
            return false;
        };
        let has = |part: &Part| matches!(part, Part::Image { .. });
        request.messages.iter().any(|message| match message {
            Message::User { parts } => parts.iter().any(has),
            _ => false,
        })
    }

    fn op(&self) -> models::Op {
        models::Op {
            role: self.role().to_owned(),
            images: self.images(),
        }
    }
}

/// What is asked, and that the run's agent may ask it.
pub(super) struct Permitted {
    prepared: Prepared,
    permit: RunPermit<Models>,
}

impl Permitted {
    /// Within the bounds of the rule that allows it. `permit` asks the agent's grants.
    pub(super) fn new(
        mut prepared: Prepared,
        permit: impl FnOnce(models::Op) -> Result<RunPermit<Models>, Denial>,
    ) -> Result<Self, Denial> {
        let permit = permit(prepared.op())?;
        if let (Prepared::Chat(request), Some(most)) = (&mut prepared, permit.rule().output_tokens)
        {
            request.max_tokens = Some(request.max_tokens.map_or(most, |asked| asked.min(most)));
        }
        Ok(Self { prepared, permit })
    }

    pub(super) fn op(&self) -> &models::Op {
        self.permit.op()
    }

    pub(super) fn role(&self) -> &str {
        &self.permit.op().role
    }

    pub(super) fn rule(&self) -> &models::Rule {
        self.permit.rule()
    }

    /// What one attempt may use at most.
    pub(super) fn bound(&self, now: &InForce) -> Result<Allowance, ModelError> {
        let router = now.permitted(&self.permit);
        match &self.prepared {
            Prepared::Chat(request) => router.bound(request),
            Prepared::Embed(request) => router.bound_embed(request),
        }
    }

    /// Asks the models.
    pub(super) async fn ask(&self, now: &InForce, ask: Ask<'_>) -> Said {
        let router = now.permitted(&self.permit);
        match &self.prepared {
            Prepared::Chat(request) => router.ask(request, ask).await.into(),
            Prepared::Embed(request) => router.embed(request, ask).await.into(),
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

impl Said {
    /// What was under way is not wanted any more; what it used, or may have, counts.
    pub(super) fn denied(message: String, spent: ModelSpent) -> Self {
        Self {
            answer: Err(error_of(ModelError::Denied { message })),
            spent,
            attempts: Vec::new(),
            model: None,
        }
    }
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

/// Whether what a request may use can be set aside.
pub(super) enum Fits {
    Now(Took),
    /// Once others have settled: which bound is too small for now, and whether
    /// requests of other runs count in it.
    Later {
        bound: &'static str,
        of_day: bool,
    },
}

/// A bound that a request has to fit in.
struct Room {
    name: &'static str,
    of_day: bool,
    /// What is left of it; all where it is none.
    now: u64,
    /// Once all requests under way have settled, if they used nothing.
    later: u64,
}

/// What is set aside for a request: its bound; more, for attempts after one that
/// failed without a word, as far as others are left enough.
pub(super) fn reserved(
    state: &RunState,
    rule: &models::Rule,
    bound: Allowance,
    day: DayLeft,
) -> Result<Fits, CallError> {
    let (left, used, aside) = (state.left_now(), state.spent, under_way(state));
    let of_run = |name, left: u64, aside: u64| Room {
        name,
        of_day: false,
        now: left,
        later: left.saturating_add(aside),
    };
    let of_rule = |name, most: Option<u64>, used: u64, aside: u64| {
        let left = |used| most.map_or(u64::MAX, |most| most.saturating_sub(used));
        Room {
            name,
            of_day: false,
            now: left(used.saturating_add(aside)),
            later: left(used),
        }
    };
    let of_day = |name, now: Option<u64>, later: Option<u64>| Room {
        name,
        of_day: true,
        now: now.unwrap_or(u64::MAX),
        later: later.unwrap_or(u64::MAX),
    };
    let (now, later) = (day.now, day.later);
    let (most, cost) = (rule.run_tokens, rule.run_cost.map(|cost| cost.micros));
    let tokens = [
        of_run("model_tokens", left.model_tokens, aside.tokens),
        of_rule("run_tokens", most, used.model_tokens, aside.tokens),
        of_day("day_tokens", now.agent.tokens, later.agent.tokens),
        of_day("host_day_tokens", now.host.tokens, later.host.tokens),
    ];
    let micros = [
        of_run("model_micros", left.model_micros, aside.micros),
        of_rule("run_cost_micros", cost, used.model_micros, aside.micros),
        of_day("day_cost_micros", now.agent.micros, later.agent.micros),
        of_day("host_day_cost_micros", now.host.micros, later.host.micros),
    ];
    fits(bound, &tokens, &micros)
}

fn fits(bound: Allowance, tokens: &[Room], micros: &[Room]) -> Result<Fits, CallError> {
    let needs = [(bound.tokens, tokens), (bound.cost_micros, micros)];
    for (need, rooms) in needs {
        if let Some(room) = rooms.iter().find(|room| room.later < need) {
            return Err(CallError::Limit {
                limit: room.name.to_owned(),
                value: format!("{} left, {need} may be needed", room.later),
            });
        }
    }
    let full = needs.map(|(need, rooms)| rooms.iter().find(|room| room.now < need));
    if let Some(room) = full.into_iter().flatten().next() {
        return Ok(Fits::Later {
            bound: room.name,
            of_day: room.of_day,
        });
    }
    let [tokens, micros] = needs.map(|(need, rooms)| part(need, rooms));
    Ok(Fits::Now(Took { tokens, micros }))
}

/// What is set aside of these for a request that needs so much.
fn part(need: u64, rooms: &[Room]) -> u64 {
    let left = rooms.iter().map(|room| room.now).min().unwrap_or(0);
    let much = need.saturating_mul(ATTEMPTS_RESERVED);
    need.max(much.min(left / PART_OF_LEFT))
}

/// What is set aside for the run's own requests under way. What a child used
/// counts once it has ended; what is set aside for one is no use yet, and is not
/// waited for: a child may wait for its parent.
pub(super) fn under_way(state: &RunState) -> Took {
    let mut aside = Spent::default();
    for (id, part) in &state.reserved {
        let asked = state.requests.get(id);
        if asked.is_some_and(|asked| talks::is_model(&asked.request)) {
            aside.add(part);
        }
    }
    Took {
        tokens: aside.model_tokens,
        micros: aside.model_micros,
    }
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
            capability: Models::NAME.to_owned(),
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
