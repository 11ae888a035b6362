//! Models as administrators see them: what is configured, what was used.

use std::collections::BTreeMap;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::days::Counted;
use super::{ModelsError, day_of};
use crate::ids;
use crate::principal::Principal;
use crate::runtime::Runtime;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelsView {
    /// What costs are in.
    pub currency: String,
    /// What agents ask for.
    pub roles: BTreeMap<String, RoleView>,
    /// The models.
    pub models: BTreeMap<String, ModelView>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleView {
    /// Its models, in the order in which they are asked.
    pub models: Vec<String>,
    /// It makes vectors, not answers.
    pub embeddings: bool,
}

/// A model; nothing of its provider's key is here but the secret's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelView {
    /// The provider's name in the configuration.
    pub provider: String,
    /// What the provider calls it.
    pub id: String,
    /// Where it is.
    pub base_url: String,
    /// The name of the secret that is its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether there is a secret of that name.
    pub key_is_set: bool,
    /// Tokens of a request and its answer.
    pub context_tokens: u32,
    /// Most tokens of an answer.
    pub output_tokens_max: u32,
}

/// Which day's use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelUsageQuery {
    /// A day (UTC) such as `2026-01-31`; today unless given.
    #[serde(default)]
    pub day: Option<String>,
}

/// What agents used on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelUsagePage {
    /// The day, UTC.
    pub day: String,
    /// What costs are in.
    pub currency: String,
    /// All agents together.
    pub all: Counted,
    /// By agent.
    pub agents: BTreeMap<String, Counted>,
    /// By run, those that used most first, at most 100.
    pub runs: Vec<ModelUsage>,
}

/// What one run used on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelUsage {
    /// The run.
    pub run: String,
    /// Its agent.
    pub agent: String,
    /// What it used, parts that are set aside included.
    #[serde(flatten)]
    pub used: Counted,
}

/// Runs that are told of.
const RUNS_MAX: usize = 100;

impl Runtime {
    /// What models are configured.
    ///
    /// # Errors
    /// [`ModelsError::NotConfigured`].
    pub fn models(&self) -> Result<ModelsView, ModelsError> {
        let now = self.models.in_force()?;
        let known = self.vault.list().unwrap_or_default();
        let config = &now.config;
        let models = config.models.iter().map(|(name, model)| {
            let provider = config.providers.get(&model.provider);
            let key = provider.and_then(|provider| provider.key.clone());
            let view = ModelView {
                provider: model.provider.clone(),
                id: model.id.clone(),
                base_url: provider.map(|p| p.base_url.clone()).unwrap_or_default(),
                key_is_set: key
                    .as_ref()
                    .is_some_and(|key| known.iter().any(|s| s.name == *key)),
                key,
                context_tokens: model.context_tokens,
                output_tokens_max: model.output_tokens_max,
            };
            (name.clone(), view)
        });
        let embeds = |name: &String| config.models.get(name).is_some_and(|m| m.embeddings);
        let roles = config.roles.iter().map(|(name, role)| {
            let view = RoleView {
                models: role.models.clone(),
                embeddings: role.models.iter().any(embeds),
            };
            (name.clone(), view)
        });
        Ok(ModelsView {
            currency: config.currency.clone(),
            roles: roles.collect(),
            models: models.collect(),
        })
    }

    /// Reads the file of models anew and puts it in force; one that can't be used
    /// changes nothing. Requests under way end on what they began with.
    ///
    /// # Errors
    /// [`ModelsError`].
    pub async fn reload_models(&self, who: &Principal) -> Result<ModelsView, ModelsError> {
        let _turn = self.models.turn.lock().await;
        let file = self.models.file();
        let file = file.ok_or(ModelsError::NotConfigured)?;
        let read = self.models.read(&file)?;
        let detail = json!({
            "roles": read.config.roles.iter().map(|(name, role)| (name, &role.models)).collect::<BTreeMap<_, _>>(),
            "models": read.config.models.len(),
        });
        let act = self.act_of(who, "models.reload", "models", detail)?;
        self.audit.append(&act).await?;
        self.models.put(read);
        self.models()
    }

    /// What agents used on a day.
    ///
    /// # Errors
    /// The day is none, or the store failed.
    pub fn model_usage(&self, query: &ModelUsageQuery) -> Result<ModelUsagePage, ModelsError> {
        let day = match &query.day {
            None => day_of(ids::now_ms()),
            Some(text) => day_named(text)?,
        };
        let used = self.models.days.used(day)?;
        let (mut all, mut agents) = (Counted::default(), BTreeMap::<String, Counted>::new());
        for ((agent, _), counted) in &used {
            all.merge(*counted);
            agents.entry(agent.clone()).or_default().merge(*counted);
        }
        let runs = used
            .into_iter()
            .map(|((agent, run), used)| ModelUsage { run, agent, used });
        let mut runs: Vec<ModelUsage> = runs.collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.used.micros, run.used.tokens)));
        runs.truncate(RUNS_MAX);
        let now = self.models.now();
        Ok(ModelUsagePage {
            day: day_name(day),
            currency: now
                .map(|now| now.config.currency.clone())
                .unwrap_or_default(),
            all,
            agents,
            runs,
        })
    }
}

const EPOCH: Date = Date::constant(1970, 1, 1);

fn day_named(text: &str) -> Result<u64, ModelsError> {
    let refused = || ModelsError::Day(text.to_owned());
    if text.len() != "2026-01-31".len() {
        return Err(refused());
    }
    let date: Date = text.parse().map_err(|_| refused())?;
    let days = EPOCH.until(date).map_err(|_| refused())?.get_days();
    u64::try_from(days).map_err(|_| refused())
}

fn day_name(day: u64) -> String {
    let days = i64::try_from(day).unwrap_or(i64::MAX);
    let date = jiff::Span::new()
        .try_days(days)
        .and_then(|span| EPOCH.checked_add(span));
    date.map(|date| date.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_as_it_is_asked_for() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("1970-02-01", 31),
            ("2026-11-22", 20_779),
        ] {
            assert_eq!(day_named(text).expect(text), day);
            assert_eq!(day_name(day), text);
        }
        for text in ["", "today", "2026-13-01", "1969-12-31", "2026-11-22T00:00"] {
            assert!(day_named(text).is_err(), "{text}");
        }
    }
}
