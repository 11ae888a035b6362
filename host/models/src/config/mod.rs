//! What the administrator configures: providers, models, roles, redaction.
//!
//! What must stay true: an unknown key is an error; what is wrong is said all at
//! once, each with its place; a key is named here and never written.

mod check;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::price::{Price, Prices};
pub use crate::redact::Builtin;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What prices are in; a word for people, e.g. `USD`.
    pub currency: String,
    /// Who answers.
    pub providers: BTreeMap<String, Provider>,
    /// What can be asked.
    pub models: BTreeMap<String, Model>,
    /// What agents ask for.
    pub roles: BTreeMap<String, Role>,
    /// What leaves the host in another form.
    pub redaction: Redaction,
    /// What all agents together may use.
    pub budget: Budget,
}

/// What all agents together may use in a day (UTC). No bound where absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Tokens, in and out.
    pub day_tokens: Option<u64>,
    /// Cost, in the currency.
    pub day_cost: Option<Price>,
}

/// The protocol that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// OpenAI's chat completions.
    OpenaiChat,
    /// OpenAI's responses.
    OpenaiResponses,
    /// Chat completions of a server that speaks as OpenAI did: Ollama, llama.cpp,
    /// vLLM.
    OpenaiCompatible,
    /// Anthropic's messages.
    Anthropic,
}

/// A service, or a server of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its protocol.
    pub kind: Kind,
    /// Where it is, the version included, e.g. `https://api.openai.com/v1`. Requests
    /// are in clear text only where this says `http://`.
    pub base_url: String,
    /// The name of the secret that is its key. None is sent where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The provider's name.
    pub provider: String,
    /// What the provider calls it.
    pub id: String,
    /// Tokens that a request and its answer may have together.
    pub context_tokens: u32,
    /// Most tokens of an answer. 0 for one that makes vectors.
    #[serde(default)]
    pub output_tokens_max: u32,
    /// It makes vectors, and no answers.
    #[serde(default)]
    pub embeddings: bool,
    /// Most tokens that one image counts for. It sees none where 0.
    #[serde(default)]
    pub image_tokens_max: u32,
    /// Its answers are asked for as streams, where somebody is told of them. For a
    /// server that can't, or that says nothing of the tokens then: `false`.
    #[serde(default = "yes")]
    pub stream: bool,
    /// What it costs.
    pub prices: Prices,
    /// Requests at once.
    #[serde(default = "eight")]
    pub concurrency: u32,
    /// Requests that wait for their turn.
    #[serde(default = "sixty_four")]
    pub queue: u32,
    /// How long one waits for its turn, milliseconds.
    #[serde(default = "half_a_minute_ms")]
    pub queue_ms: u64,
    /// Requests begun in a minute; no bound where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// How long its answers may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Largest answer, bytes.
    #[serde(default = "answer_bytes_max")]
    pub answer_bytes_max: usize,
    /// When it is left alone.
    #[serde(default)]
    pub breaker: BreakerConfig,
}

/// Bounds in time, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Name, connection and TLS.
    pub connect_ms: u64,
    /// From the request's end to the answer's first byte.
    pub first_byte_ms: u64,
    /// Between two pieces of an answer.
    pub idle_ms: u64,
    /// One attempt in all.
    pub total_ms: u64,
}

/// When a model is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures one after another.
    pub failures: u32,
    /// For how long, milliseconds; then one request is let through.
    pub open_ms: u64,
}

/// What agents ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Models in the order in which they are asked.
    pub models: Vec<String>,
    /// After what the next one is asked. A model that was not reached at all, or
    /// can't do what is asked, is always passed over.
    #[serde(default = "usual_fallback")]
    pub fallback: Vec<Fallback>,
    /// How often one model is asked again, after failures that may pass.
    #[serde(default = "one")]
    pub retries: u32,
    /// The wait before it is asked again, milliseconds; doubled each time, with up
    /// to as much again at random. A provider that asks for a longer one gets it.
    #[serde(default = "half_a_second_ms")]
    pub backoff_ms: u64,
}

/// After what the next model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The provider failed, broke off, answered nonsense or refused the host's key.
    Error,
    /// A bound in time passed.
    Timeout,
    /// Rate limits and accounts that are used up.
    RateLimit,
    /// The model or a filter declined.
    Refusal,
    /// The provider refused the request.
    Rejected,
    /// The answer has faults that the agent could repair.
    Faulty,
}

/// What leaves the host in another form. The host's secrets always do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redaction {
    /// Patterns that are known here.
    pub patterns: Vec<Builtin>,
    /// A file with more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns_file: Option<PathBuf>,
    /// Whether answers get back what was redacted in their request. The host's
    /// secrets never come back.
    pub reversible: bool,
}

impl Default for Redaction {
    fn default() -> Self {
        Self {
            patterns: vec![Builtin::Key],
            patterns_file: None,
            reversible: false,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            first_byte_ms: 120_000,
            idle_ms: 60_000,
            total_ms: 600_000,
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_ms: 30_000,
        }
    }
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn eight() -> u32 {
    8
}

fn sixty_four() -> u32 {
    64
}

fn half_a_minute_ms() -> u64 {
    30_000
}

fn half_a_second_ms() -> u64 {
    500
}

fn answer_bytes_max() -> usize {
    16 << 20
}

fn usual_fallback() -> Vec<Fallback> {
    vec![Fallback::Error, Fallback::Timeout, Fallback::RateLimit]
}

/// Something that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as the keys lead there, e.g. `models.small.prices`.
    pub at: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Why a configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no TOML, or has another form: an unknown or missing key, a value of
    /// another type. The text names the line and column, and repeats no value.
    #[error("{0}")]
    Form(String),
    /// Values that can't be used, all of them.
    #[error("{}", listed(.0))]
    Values(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.at, problem.message))
        .collect();
    lines.join("\n")
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError::Form(told::told(&error, text)))?;
        config.check()?;
        Ok(config)
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// [`ConfigError::Values`] with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        match check::problems(self) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ConfigError::Values(problems)),
        }
    }
}
