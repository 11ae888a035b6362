//! Vectors that an administrator has made: of what is imported, put or looked for.

use std::sync::{Arc, Mutex};

use airlock_memory::import::Embed;
use airlock_models::{Allowance, Ask, ConversationKey, EmbedRequest, ModelError, Spent};
use tokio::runtime::Handle;

use super::MemoryFailure;
use crate::ids;
use crate::models::InForce;
use crate::principal::{Principal, Role};
use crate::problem::Failure;
use crate::runtime::Runtime;

/// Makes vectors with a role of the host's models.
pub(super) struct Embedder {
    runtime: Arc<Runtime>,
    io: Handle,
    role: String,
    who: Principal,
    /// Tokens and millionths that were used, and may have been.
    used: Mutex<(u64, u64)>,
}

impl Embedder {
    /// In the name of `who`. What it costs counts in no budget, so that only an
    /// administrator of the whole host may.
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        role: &str,
        who: &Principal,
    ) -> Result<Self, MemoryFailure> {
        if who.is_scoped() || !who.has_one_of(&[Role::Admin]) {
            return Err(MemoryFailure::EmbedNeedsAdmin);
        }
        Ok(Self {
            runtime: Arc::clone(runtime),
            io: Handle::current(),
            role: role.to_owned(),
            who: who.clone(),
            used: Mutex::default(),
        })
    }

    pub(super) fn role(&self) -> &str {
        &self.role
    }

    fn request(&self, texts: Vec<String>) -> EmbedRequest {
        EmbedRequest {
            role: self.role.clone(),
            texts,
            dimensions: None,
        }
    }

    /// What a request may take at most.
    fn bound(&self, now: &InForce, request: &EmbedRequest) -> Result<Allowance, MemoryFailure> {
        let bound = now.administered(&self.who).bound_embed(request);
        bound.map_err(|error| match error {
            ModelError::InvalidInput { message } => {
                MemoryFailure::Invalid(format!("embed {}: {message}", self.role))
            }
            error => MemoryFailure::Embedding(error.to_string()),
        })
    }

    /// Whether there is such a role, and it makes vectors.
    pub(super) fn check(&self) -> Result<(), MemoryFailure> {
        let now = self.runtime.models.in_force()?;
        self.bound(&now, &self.request(vec!["x".to_owned()]))?;
        Ok(())
    }

    /// One vector for each text, for as long as there is somebody to give them to.
    pub(super) async fn vectors(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, MemoryFailure> {
        let failed = |why: String| MemoryFailure::Embedding(why);
        let now = self.runtime.models.in_force()?;
        let request = self.request(texts);
        let allowance = self.bound(&now, &request)?;
        let conversation = ConversationKey::new(ids::random::<32>());
        let permitted = || {
            let holds = self.runtime.check_holds(&self.who);
            holds.map_err(|error| error.detail())
        };
        let ask = Ask {
            caller: &self.who.name,
            conversation: &conversation,
            allowance,
            told: None,
            meter: None,
            permitted: Some(&permitted),
        };
        let made = now.administered(&self.who).embed(&request, ask).await;
        let spent = match &made {
            Ok(made) => made.spent,
            Err(failure) => failure.spent,
        };
        if let Ok(mut used) = self.used.lock() {
            *used = with(*used, &spent);
        }
        // Models may take their time.
        self.runtime.check_holds(&self.who)?;
        match made {
            Ok(made) => Ok(made.vectors),
            Err(failure) => Err(failed(failure.error.to_string())),
        }
    }

    /// Tokens and millionths of the currency so far.
    pub(super) fn used(&self) -> (u64, u64) {
        self.used.lock().map(|used| *used).unwrap_or_default()
    }
}

/// What was used, and may have been. A provider counts as it likes.
fn with(used: (u64, u64), spent: &Spent) -> (u64, u64) {
    let add = |used: u64, sure: u64, unsure: u64| used.saturating_add(sure).saturating_add(unsure);
    (
        add(used.0, spent.tokens, spent.unsure_tokens),
        add(used.1, spent.cost_micros, spent.unsure_micros),
    )
}

/// On a thread that may block.
impl Embed for Embedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        let made = self.io.block_on(self.vectors(texts));
        made.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_counts_never_wraps() {
        let spent = |tokens, cost_micros, unsure_tokens, unsure_micros| Spent {
            tokens,
            cost_micros,
            unsure_tokens,
            unsure_micros,
        };
        let table = [
            ((1, 2), spent(10, 20, 100, 200), (111, 222)),
            (
                (1, 2),
                spent(u64::MAX, u64::MAX, 1, 1),
                (u64::MAX, u64::MAX),
            ),
            (
                (u64::MAX, 0),
                spent(u64::MAX, 0, 0, u64::MAX),
                (u64::MAX, u64::MAX),
            ),
        ];
        for (used, spent, expected) in table {
            assert_eq!(with(used, &spent), expected);
        }
    }
}
