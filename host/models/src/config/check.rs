//! Whether a configuration can be used, and what is wrong with it.

use std::collections::BTreeSet;

use super::{Config, Kind, Model, Problem, Provider, Redaction, Role};
use crate::client::BaseUrl;
use crate::redact::Redactor;

const NAME_BYTES_MAX: usize = 64;
const ID_BYTES_MAX: usize = 256;
const TOKENS_MAX: u32 = 100_000_000;
const CONCURRENCY_MAX: u32 = 10_000;
const QUEUE_MAX: u32 = 100_000;
const MS_MAX: u64 = 24 * 3_600_000;
const RETRIES_MAX: u32 = 10;
const ROLE_MODELS_MAX: usize = 16;
const ANSWER_BYTES_MAX: usize = 256 << 20;

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            at: at.into(),
            message: message.into(),
        });
    }

    fn within<T>(&mut self, at: String, value: T, least: T, most: T)
    where
        T: PartialOrd + std::fmt::Display,
    {
        if value < least || value > most {
            self.add(at, format!("it is {value}; {least} to {most}"));
        }
    }

    fn name(&mut self, at: &str, name: &str) {
        let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(usable) {
            self.add(
                at,
                format!(
                    "a name is 1 to {NAME_BYTES_MAX} lower-case letters, digits, `.`, `_` and `-`"
                ),
            );
        }
    }
}

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    if !config.models.is_empty() && config.currency.trim().is_empty() {
        problems.add("currency", "say what prices are in, e.g. \"USD\"");
    }
    for (name, provider) in &config.providers {
        let at = format!("providers.{name}");
        problems.name(&at, name);
        check_provider(&mut problems, &at, provider);
    }
    for (name, model) in &config.models {
        let at = format!("models.{name}");
        problems.name(&at, name);
        check_model(&mut problems, &at, config, model);
    }
    for (name, role) in &config.roles {
        let at = format!("roles.{name}");
        problems.name(&at, name);
        check_role(&mut problems, &at, config, role);
    }
    check_redaction(&mut problems, config);
    problems.0
}

/// A word of so many letters and digits, and nothing else, is taken for a key.
const KEY_LETTERS_MIN: usize = 24;

/// As `airlock secret set` takes one, and not what looks like a key.
fn names_a_secret(name: &str) -> bool {
    let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let looks = Redactor::new(&Redaction::default(), "");
    // Words have something between them, keys often have not.
    let one_word = name.chars().all(|c| c.is_ascii_alphanumeric());
    let is_key = looks.is_ok_and(|looks| looks.scrub(&[], name) != name)
        || (one_word && name.len() >= KEY_LETTERS_MIN);
    begins && name.len() <= NAME_BYTES_MAX && name.chars().all(usable) && !is_key
}

fn check_provider(problems: &mut Problems, at: &str, provider: &Provider) {
    let url = BaseUrl::parse(&provider.base_url);
    if let Err(message) = &url {
        problems.add(format!("{at}.base_url"), message.clone());
    }
    match &provider.key {
        Some(key) if key.is_empty() => {
            problems.add(format!("{at}.key"), "name a secret, or leave it out");
        }
        Some(key) if !names_a_secret(key) => {
            problems.add(
                format!("{at}.key"),
                "this is no name of a secret, and not repeated, since it may be a key: put that \
                 in with `airlock secret set NAME`, and write the name here",
            );
        }
        None if provider.kind != Kind::OpenaiCompatible => {
            let loopback = url.is_ok_and(|url| url.is_loopback());
            if !loopback {
                problems.add(
                    format!("{at}.key"),
                    "this provider takes no request without a key: name the secret that is it",
                );
            }
        }
        _ => {}
    }
}

fn check_model(problems: &mut Problems, at: &str, config: &Config, model: &Model) {
    let provider = config.providers.get(&model.provider);
    match provider {
        None => {
            let message = format!("there is no provider `{}`", model.provider);
            problems.add(format!("{at}.provider"), message);
        }
        Some(provider) if model.embeddings && provider.kind == Kind::Anthropic => {
            problems.add(format!("{at}.embeddings"), "this protocol has none");
        }
        Some(_) => {}
    }
    if model.id.is_empty()
        || model.id.len() > ID_BYTES_MAX
        || model.id.chars().any(char::is_control)
    {
        problems.add(
            format!("{at}.id"),
            format!("1 to {ID_BYTES_MAX} bytes, as the provider writes it"),
        );
    }
    problems.within(
        format!("{at}.context_tokens"),
        model.context_tokens,
        1,
        TOKENS_MAX,
    );
    let output = format!("{at}.output_tokens_max");
    if model.embeddings && model.output_tokens_max != 0 {
        problems.add(
            output,
            "a model that makes vectors writes nothing: leave it out",
        );
    } else if !model.embeddings {
        problems.within(output, model.output_tokens_max, 1, model.context_tokens);
    }
    if model.embeddings && model.image_tokens_max != 0 {
        problems.add(
            format!("{at}.image_tokens_max"),
            "a model that makes vectors sees nothing: leave it out",
        );
    }
    problems.within(
        format!("{at}.image_tokens_max"),
        model.image_tokens_max,
        0,
        TOKENS_MAX,
    );
    check_bounds(problems, at, model);
}

fn check_bounds(problems: &mut Problems, at: &str, model: &Model) {
    problems.within(
        format!("{at}.concurrency"),
        model.concurrency,
        1,
        CONCURRENCY_MAX,
    );
    problems.within(format!("{at}.queue"), model.queue, 0, QUEUE_MAX);
    problems.within(format!("{at}.queue_ms"), model.queue_ms, 1, MS_MAX);
    if let Some(rate) = model.requests_per_minute {
        problems.within(format!("{at}.requests_per_minute"), rate, 1, 1_000_000);
    }
    let times = &model.timeouts;
    let all = [
        ("connect_ms", times.connect_ms),
        ("first_byte_ms", times.first_byte_ms),
        ("idle_ms", times.idle_ms),
        ("total_ms", times.total_ms),
    ];
    for (name, value) in all {
        problems.within(format!("{at}.timeouts.{name}"), value, 1, MS_MAX);
    }
    problems.within(
        format!("{at}.answer_bytes_max"),
        model.answer_bytes_max,
        1_024,
        ANSWER_BYTES_MAX,
    );
    problems.within(
        format!("{at}.breaker.failures"),
        model.breaker.failures,
        1,
        1_000,
    );
    problems.within(
        format!("{at}.breaker.open_ms"),
        model.breaker.open_ms,
        1,
        MS_MAX,
    );
}

fn check_role(problems: &mut Problems, at: &str, config: &Config, role: &Role) {
    let models_at = format!("{at}.models");
    if role.models.is_empty() || role.models.len() > ROLE_MODELS_MAX {
        problems.add(&models_at, format!("1 to {ROLE_MODELS_MAX} models"));
    }
    let mut seen = BTreeSet::new();
    for name in &role.models {
        if !seen.insert(name) {
            problems.add(&models_at, format!("`{name}` is there twice"));
        }
        if !config.models.contains_key(name) {
            problems.add(&models_at, format!("there is no model `{name}`"));
        }
    }
    let models: Vec<&Model> = role
        .models
        .iter()
        .filter_map(|name| config.models.get(name))
        .collect();
    let making = models.iter().filter(|model| model.embeddings).count();
    if making != 0 && making != models.len() {
        problems.add(
            &models_at,
            "some make vectors and some answers: a role is for one of both",
        );
    }
    // Vectors of different models can't be compared.
    let ids: BTreeSet<&str> = models.iter().map(|model| model.id.as_str()).collect();
    if making != 0 && ids.len() > 1 {
        problems.add(&models_at, "vectors of different models can't be compared: only the same `id` at several providers can stand in for one another");
    }
    problems.within(format!("{at}.retries"), role.retries, 0, RETRIES_MAX);
    problems.within(format!("{at}.backoff_ms"), role.backoff_ms, 1, MS_MAX);
    let distinct: BTreeSet<_> = role.fallback.iter().collect();
    if distinct.len() < role.fallback.len() {
        problems.add(format!("{at}.fallback"), "a word is there twice");
    }
}

fn check_redaction(problems: &mut Problems, config: &Config) {
    let patterns = &config.redaction.patterns;
    let distinct: BTreeSet<_> = patterns.iter().collect();
    if distinct.len() < patterns.len() {
        problems.add("redaction.patterns", "a pattern is there twice");
    }
    if config
        .redaction
        .patterns_file
        .as_ref()
        .is_some_and(|path| path.as_os_str().is_empty())
    {
        problems.add("redaction.patterns_file", "name a file, or leave it out");
    }
}
