//! One request to a role by an administrator: whether its models answer.
//!
//! What must stay true: it is on record before it is sent, with what it may cost;
//! nobody but an administrator makes one, since no agent's budget counts it.

use std::fmt::Write as _;
use std::time::Instant;

use airlock_models::{
    Allowance, Ask, Attempt, ConversationKey, EmbedRequest, Failure, Message, Part, Request,
    Router, Spent,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ModelsError;
use crate::principal::Principal;
use crate::problem::Failure as _;
use crate::runs::ATTEMPTS_RESERVED;
use crate::runtime::Runtime;

/// Most tokens of the answer.
const OUTPUT_TOKENS: u32 = 200;
/// Longest text, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

fn hello() -> String {
    "Say hello in one short sentence.".to_owned()
}

/// What is asked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TryModel {
    /// The role.
    pub role: String,
    /// The text, at most 64 KiB.
    #[serde(default = "hello")]
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelTrial {
    /// The model that answered, by its name in the configuration.
    pub model: String,
    /// Its answer; empty where the role makes vectors.
    pub text: String,
    /// Length of the vector, where the role makes vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Tokens, in and out, attempts that failed included.
    pub tokens: u64,
    /// Cost, millionths of the configured currency.
    pub cost_micros: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Attempts before it that came to nothing, in words.
    pub failed: Vec<String>,
}

impl Runtime {
    /// Asks the models of a role once, as an agent would.
    ///
    /// # Errors
    /// There are no models, the text is too long, it could not be put on record, or
    /// no model answered.
    pub async fn try_model(
        &self,
        who: &Principal,
        asked: TryModel,
    ) -> Result<ModelTrial, ModelsError> {
        let now = self.models.in_force()?;
        self.ready().map_err(ModelsError::NotReady)?;
        if asked.text.len() > TEXT_BYTES_MAX {
            return Err(ModelsError::Text(asked.text.len()));
        }
        let router = now.administered(who);
        let role = now.config.roles.get(&asked.role).ok_or_else(|| {
            let known: Vec<&str> = router.roles().collect();
            ModelsError::Role(asked.role.clone(), known.join(", "))
        })?;
        let embeds = |name: &String| now.config.models.get(name).is_some_and(|m| m.embeddings);
        let ask = Asked::new(&asked, role.models.iter().any(embeds));
        let allowance = ask.allowance(router)?;
        let detail = json!({ "role": asked.role, "tokens_max": allowance.tokens, "cost_micros_max": allowance.cost_micros });
        let act = self.act_of(who, "models.try", &asked.role, detail)?;
        self.audit.append(&act).await?;
        let caller = format!("try {}", who.name);
        let permitted = || self.check_holds(who).map_err(|error| error.detail());
        let terms = Ask {
            caller: &caller,
            conversation: &ConversationKey::new(crate::ids::random()),
            allowance,
            told: Some(&|_| {}),
            meter: None,
            permitted: Some(&permitted),
        };
        let began = Instant::now();
        let answer = match &ask {
            Asked::Chat(request) => router.ask(request, terms).await.map(|answer| {
                let said = answer.refusal.unwrap_or(answer.text);
                (answer.model, said, None, answer.spent, answer.attempts)
            }),
            Asked::Embed(request) => router.embed(request, terms).await.map(|answer| {
                let length = answer.vectors.first().map_or(0, Vec::len);
                let none = String::new();
                (
                    answer.model,
                    none,
                    Some(length),
                    answer.spent,
                    answer.attempts,
                )
            }),
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (model, text, dimensions, spent, attempts) =
            answer.map_err(|failure| ModelsError::Failed(why(&failure)))?;
        let Spent {
            tokens,
            cost_micros,
            ..
        } = spent;
        Ok(ModelTrial {
            model,
            text,
            dimensions,
            tokens,
            cost_micros,
            took_ms,
            failed: attempts.iter().map(told).collect(),
        })
    }
}

enum Asked {
    Chat(Request),
    Embed(EmbedRequest),
}

impl Asked {
    /// As much as an agent sets aside, so that another model can be asked.
    fn allowance(&self, router: &Router) -> Result<Allowance, ModelsError> {
        let once = match self {
            Self::Chat(request) => router.bound(request),
            Self::Embed(request) => router.bound_embed(request),
        };
        let once = once.map_err(|error| ModelsError::Failed(error.to_string()))?;
        Ok(Allowance {
            tokens: once.tokens.saturating_mul(ATTEMPTS_RESERVED),
            cost_micros: once.cost_micros.saturating_mul(ATTEMPTS_RESERVED),
        })
    }

    fn new(asked: &TryModel, embeds: bool) -> Self {
        let (role, text) = (asked.role.clone(), asked.text.clone());
        if embeds {
            return Self::Embed(EmbedRequest {
                role,
                texts: vec![text],
                dimensions: None,
            });
        }
        let parts = vec![Part::Text { text }];
        Self::Chat(Request {
            role,
            messages: vec![Message::User { parts }],
            tools: Vec::new(),
            tool_choice: Default::default(),
            output: None,
            max_tokens: Some(OUTPUT_TOKENS),
            temperature_milli: None,
            stop: Vec::new(),
            seed: None,
        })
    }
}

fn told(attempt: &Attempt) -> String {
    let Attempt { model, message, .. } = attempt;
    format!("{model}: {}: {message}", attempt.why.name())
}

fn why(failure: &Failure) -> String {
    let mut text = failure.error.to_string();
    for attempt in &failure.attempts {
        let _ = write!(text, "; {}", told(attempt));
    }
    text
}
