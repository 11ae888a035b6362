//! From a role to an answer: which model is asked, when, and what is done when it
//! does not answer.
//!
//! What must stay true: no attempt begins that could cost more than is left; what
//! was used is told whatever the end; an attempt that may have been worked on is
//! never counted as if it had not.

mod attempt;
mod breaker;
mod chat;
mod embed;
mod rate;
mod tell;
mod turns;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::attempt::{Got, Job, Lost};
use self::breaker::Breaker;
pub(crate) use self::chat::Said;
use self::rate::Rate;
use self::turns::Turns;
use crate::answer::{Answer, Attempt, EmbedRequest, Embeddings, Event, Failure, Meter, Spent};
use crate::at_length::at_length;
use crate::client::{BaseUrl, Client};
use crate::config::{Config, ConfigError, Fallback, Model, Problem, Provider, Role};
use crate::error::{Failed, Fate, ModelError, Why};
use crate::redact::{ConversationKey, Redactor, Veil};
use crate::request::Request;
use crate::secret::{Secret, Secrets};

#[cfg(test)]
pub(crate) mod parts {
    //! What tests look at.
    pub(crate) use super::breaker::{Breaker, Report};
    pub(crate) use super::rate::Rate;
    pub(crate) use super::tell::Teller;
    pub(crate) use super::turns::{Full, Turns};
}

/// The longest wait between two attempts at one model, milliseconds. A provider
/// that asks for more is left for the next one, or for the caller's patience.
const RETRY_WAIT_MS_MAX: u64 = 30_000;

/// The time, for whoever wants to set it.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since some moment; never goes back.
    fn now_ms(&self) -> u64;
}

/// The process's own clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Who asks, and with what.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Callers take turns at a model: an agent and its principal, for example.
    pub caller: &'a str,
    /// What placeholders are made from.
    pub conversation: &'a ConversationKey,
    /// What may be used, over all attempts: what the caller reserved.
    pub allowance: Allowance,
    /// Is told the answer as it comes, and must not wait for anything. Without it
    /// the answer comes whole.
    pub told: Option<&'a (dyn Fn(Event) + Send + Sync)>,
    /// Says what was used by now, also when this is given up.
    pub meter: Option<&'a Meter>,
    /// Is asked before each attempt is sent whether it still may, and says why not.
    pub permitted: Option<&'a Permitted<'a>>,
}

/// Whether something may be sent now, else why not.
pub type Permitted<'a> = dyn Fn() -> Result<(), String> + Send + Sync + 'a;

impl Ask<'_> {
    /// It may have been taken away while others were asked, or waited for.
    fn still_permitted(&self) -> Result<(), Failed> {
        let asked = self.permitted.map_or(Ok(()), |permitted| permitted());
        asked.map_err(|message| Failed {
            why: Why::Denied,
            fate: Fate::NotSent,
            error: ModelError::Denied { message },
        })
    }

    fn used(&self, spent: Spent) {
        if let Some(meter) = self.meter {
            meter.set(spent);
        }
    }
}

/// How much may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Tokens in and out.
    pub tokens: u64,
    /// Millionths of the configuration's currency.
    pub cost_micros: u64,
}

/// Asks models.
pub struct Router {
    roles: BTreeMap<String, Role>,
    lanes: BTreeMap<String, Lane>,
    redactor: Redactor,
    client: Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("roles", &self.roles.keys())
            .finish_non_exhaustive()
    }
}

/// A model with what is shared by all who ask it.
pub(crate) struct Lane {
    name: String,
    model: Model,
    provider: Provider,
    base: BaseUrl,
    turns: Arc<Turns>,
    breaker: Mutex<Breaker>,
    rate: Mutex<Rate>,
}

impl Lane {
    fn new(name: &str, model: &Model, provider: &Provider, base: BaseUrl) -> Self {
        Self {
            name: name.to_owned(),
            model: model.clone(),
            provider: provider.clone(),
            base,
            turns: Turns::new(model.concurrency, model.queue),
            breaker: Mutex::new(Breaker::new(model.breaker)),
            rate: Mutex::new(Rate::new(model.requests_per_minute)),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request used so far, and what came to nothing.
#[derive(Default)]
struct Log {
    attempts: Vec<Attempt>,
    errors: Vec<Failed>,
    spent: Spent,
}

impl Spent {
    /// With an attempt of which nobody knows what it used.
    fn and_unsure(self, bound: Allowance) -> Self {
        Self {
            unsure_tokens: self.unsure_tokens.saturating_add(bound.tokens),
            unsure_micros: self.unsure_micros.saturating_add(bound.cost_micros),
            ..self
        }
    }
}

impl Log {
    fn add(&mut self, lane: &Lane, lost: Lost, took_ms: u64) {
        let Lost { failed, bound, .. } = lost;
        // What was answered and can't be read may be on the provider's bill too.
        if failed.fate == Fate::Unknown || failed.why == Why::Garbled {
            let spent = &mut self.spent;
            *spent = spent.and_unsure(bound);
        }
        let (model, why) = (&lane.name, failed.why);
        tracing::debug!(%model, ?why, took_ms, "an attempt at a model came to nothing");
        self.attempts.push(Attempt {
            model: lane.name.clone(),
            why: failed.why,
            fate: failed.fate,
            message: failed.error.to_string(),
            took_ms,
            usage: None,
        });
        self.errors.push(failed);
    }

    fn count<T>(&mut self, lane: &Lane, got: &Got<T>) {
        let usage = &got.usage;
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let cost_micros = lane.model.prices.cost_micros(usage);
        self.spent.tokens = self.spent.tokens.saturating_add(tokens);
        self.spent.cost_micros = self.spent.cost_micros.saturating_add(cost_micros);
    }

    /// The error that says most: that nothing may be sent any more, else of an attempt
    /// that was made, else of the last; and
    /// the shortest wait after which another may do better.
    fn failure(self, asked: &str) -> Failure {
        let made = self
            .errors
            .iter()
            .rfind(|failed| failed.fate != Fate::NotSent || failed.why == Why::Denied);
        let error = match made.or(self.errors.last()) {
            Some(failed) => failed.error.clone(),
            None => ModelError::invalid(format!("no model for `{asked}`")),
        };
        let waits = self.errors.iter().filter_map(Failed::retry_after_ms);
        let error = match (error, waits.min()) {
            (ModelError::Transient { message, .. }, retry_after_ms) => ModelError::Transient {
                message,
                retry_after_ms,
            },
            (error, _) => error,
        };
        Failure {
            error,
            attempts: self.attempts,
            spent: self.spent,
        }
    }
}

/// What a job ended with.
struct Done<T> {
    got: Got<T>,
    model: String,
    attempts: Vec<Attempt>,
    spent: Spent,
}

impl Router {
    /// A router for a configuration.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        config: &Config,
        redactor: Redactor,
        client: Client,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut lanes = BTreeMap::new();
        for (name, model) in &config.models {
            let provider = config.providers.get(&model.provider);
            let base = provider.map(|provider| BaseUrl::parse(&provider.base_url));
            let (Some(provider), Some(Ok(base))) = (provider, base) else {
                let message = "its provider can't be used".to_owned();
                let at = format!("models.{name}");
                return Err(ConfigError::Values(vec![Problem { at, message }]));
            };
            lanes.insert(name.clone(), Lane::new(name, model, provider, base));
        }
        Ok(Self {
            roles: config.roles.clone(),
            lanes,
            redactor,
            client,
            secrets,
            clock: Arc::new(SystemClock::default()),
        })
    }

    /// With another clock for rates and breakers.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The roles that can be asked for.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The most that one attempt at a request can use, whichever of the role's models
    /// is asked: what to reserve, at least. Where an attempt's end is not known, its
    /// part of the reserve is gone, and another begins only if there is enough left.
    /// Only what a provider counts beyond its own limits can exceed it.
    ///
    /// # Errors
    /// The request can't be asked.
    pub fn bound(&self, request: &Request) -> Result<Allowance, ModelError> {
        let conversation = ConversationKey::new([0; 32]);
        let secrets = self.known_secrets();
        at_length(request.bytes(), || {
            request.check()?;
            let mut veil = Veil::new(&self.redactor, &conversation, &secrets);
            let chat = chat::Chat::new(request, &mut veil, None)?;
            self.bound_of(&request.role, &chat)
        })
    }

    /// As [`Router::bound`].
    ///
    /// # Errors
    /// The request can't be asked.
    pub fn bound_embed(&self, request: &EmbedRequest) -> Result<Allowance, ModelError> {
        request.check()?;
        let conversation = ConversationKey::new([0; 32]);
        let secrets = self.known_secrets();
        at_length(embed::Embed { request }.weight(), || {
            // As it will leave: what is redacted may become longer.
            let veiled = Veil::new(&self.redactor, &conversation, &secrets).embed(request);
            self.bound_of(&request.role, &embed::Embed { request: &veiled })
        })
    }

    fn bound_of<J: Job>(&self, role: &str, job: &J) -> Result<Allowance, ModelError> {
        let bounds = self.role(role)?.models.iter().filter_map(|name| {
            let lane = self.lanes.get(name)?;
            Some(job.prepare(lane).map(|prepared| prepared.bound))
        });
        let (mut most, mut refused) = (None, None);
        for bound in bounds {
            match bound {
                Ok(bound) => {
                    let most: &mut Allowance = most.get_or_insert(bound);
                    most.tokens = most.tokens.max(bound.tokens);
                    most.cost_micros = most.cost_micros.max(bound.cost_micros);
                }
                Err(failed) => refused = Some(failed.error),
            }
        }
        most.ok_or_else(|| refused.unwrap_or_else(|| no_role(role)))
    }

    /// Asks the models of the request's role until one answers. Dropping the future
    /// ends it; what it used by then is what `meter` says, and at most the allowance.
    ///
    /// # Errors
    /// [`Failure`], with what was used.
    pub async fn ask(&self, request: &Request, ask: Ask<'_>) -> Result<Answer, Failure> {
        let secrets = self.known_secrets();
        let chat = at_length(request.bytes(), || {
            request.check()?;
            let mut veil = Veil::new(&self.redactor, ask.conversation, &secrets);
            chat::Chat::new(request, &mut veil, ask.told)
        });
        let chat = chat.map_err(before)?;
        let done = self.run(&request.role, &chat, ask, &secrets).await?;
        let said = done.got.out;
        Ok(Answer {
            text: said.text,
            refusal: said.refusal,
            calls: said.calls,
            faults: said.faults,
            finish: said.finish,
            usage: done.got.usage,
            model: done.model,
            attempts: done.attempts,
            spent: done.spent,
        })
    }

    /// Asks for vectors, as [`Router::ask`].
    ///
    /// # Errors
    /// [`Failure`], with what was used.
    pub async fn embed(&self, request: &EmbedRequest, ask: Ask<'_>) -> Result<Embeddings, Failure> {
        request.check().map_err(before)?;
        let secrets = self.known_secrets();
        let veiled = at_length(embed::Embed { request }.weight(), || {
            Veil::new(&self.redactor, ask.conversation, &secrets).embed(request)
        });
        let job = embed::Embed { request: &veiled };
        let done = self.run(&request.role, &job, ask, &secrets).await?;
        Ok(Embeddings {
            vectors: done.got.out,
            usage: done.got.usage,
            model: done.model,
            attempts: done.attempts,
            spent: done.spent,
        })
    }

    /// The host's secrets, and the providers' keys among them.
    fn known_secrets(&self) -> Vec<Secret> {
        let mut known = self.secrets.all();
        let keys = self
            .lanes
            .values()
            .filter_map(|lane| lane.provider.key.as_ref());
        known.extend(keys.filter_map(|name| self.secrets.get(name)));
        known
    }

    fn role(&self, name: &str) -> Result<&Role, ModelError> {
        self.roles.get(name).ok_or_else(|| no_role(name))
    }

    async fn run<J: Job>(
        &self,
        name: &str,
        job: &J,
        ask: Ask<'_>,
        secrets: &[Secret],
    ) -> Result<Done<J::Out>, Failure> {
        let role = self.role(name).map_err(before)?;
        let mut log = Log::default();
        // An answer that another model might better, and where its attempt stands.
        let mut kept: Option<(Got<J::Out>, &Lane, usize)> = None;
        for lane in role.models.iter().filter_map(|name| self.lanes.get(name)) {
            match self.tries(role, lane, job, ask, secrets, &mut log).await {
                Ok((got, None)) => return Ok(done(got, lane, log)),
                Ok((got, Some(why))) if falls_back(role, why, Fate::Answered) => {
                    log.set_aside(lane, why, &got);
                    kept = Some((got, lane, log.attempts.len() - 1));
                }
                Ok((got, Some(_))) => return Ok(done(got, lane, log)),
                Err((why, fate)) if !falls_back(role, why, fate) => break,
                Err(_) => {}
            }
        }
        match kept {
            Some((got, lane, at)) => {
                log.attempts.remove(at);
                Ok(done(got, lane, log))
            }
            None => Err(log.failure(name)),
        }
    }

    /// Asks one model, again where that may help. An answer with a reason to look for
    /// a better one has it beside it.
    async fn tries<J: Job>(
        &self,
        role: &Role,
        lane: &Lane,
        job: &J,
        ask: Ask<'_>,
        secrets: &[Secret],
        log: &mut Log,
    ) -> Result<(Got<J::Out>, Option<Why>), (Why, Fate)> {
        let mut retries = 0;
        loop {
            let began = Instant::now();
            let used = (&log.spent, secrets);
            let lost = match self.attempt(lane, job, ask, used).await {
                Ok(got) => {
                    log.count(lane, &got);
                    ask.used(log.spent);
                    let why = job.verdict(&got.out);
                    return Ok((got, why));
                }
                Err(lost) => lost,
            };
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (why, fate) = (lost.failed.why, lost.failed.fate);
            let asked_ms = lost.failed.retry_after_ms();
            let tried = fate != Fate::NotSent || why == Why::Connect;
            log.add(lane, lost, took_ms);
            ask.used(log.spent);
            let wait_ms = backoff_ms(role, retries).max(asked_ms.unwrap_or(0));
            let again = tried && passes(why) && retries < role.retries;
            if !again || wait_ms > RETRY_WAIT_MS_MAX {
                return Err((why, fate));
            }
            retries += 1;
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

impl Log {
    /// An answer that counts only if no other comes.
    fn set_aside<T>(&mut self, lane: &Lane, why: Why, got: &Got<T>) {
        self.attempts.push(Attempt {
            model: lane.name.clone(),
            why,
            fate: Fate::Answered,
            message: "the answer was set aside for another model's".to_owned(),
            took_ms: got.took_ms,
            usage: Some(got.usage),
        });
    }
}

fn done<T>(got: Got<T>, lane: &Lane, log: Log) -> Done<T> {
    Done {
        got,
        model: lane.name.clone(),
        attempts: log.attempts,
        spent: log.spent,
    }
}

fn no_role(name: &str) -> ModelError {
    ModelError::invalid(format!("there is no role `{name}`"))
}

/// A failure before anything was tried.
fn before(error: ModelError) -> Failure {
    Failure {
        error,
        attempts: Vec::new(),
        spent: Spent::default(),
    }
}

/// Whether the same model may do better in a moment. One that let time pass is not
/// asked to let it pass again.
fn passes(why: Why) -> bool {
    matches!(why, Why::Connect | Why::RateLimit | Why::Server | Why::Cut)
}

/// Whether the next model is asked: always where this one was sent nothing, unless
/// nothing may be sent.
fn falls_back(role: &Role, why: Why, fate: Fate) -> bool {
    if why == Why::Denied {
        return false;
    }
    if fate == Fate::NotSent {
        return true;
    }
    let class = match why {
        Why::Timeout => Fallback::Timeout,
        Why::RateLimit | Why::Quota => Fallback::RateLimit,
        Why::Refusal => Fallback::Refusal,
        Why::Rejected => Fallback::Rejected,
        Why::Faulty => Fallback::Faulty,
        _ => Fallback::Error,
    };
    role.fallback.contains(&class)
}

fn backoff_ms(role: &Role, retries: u32) -> u64 {
    let base_ms = role.backoff_ms.saturating_mul(1 << retries.min(16));
    let random = std::hash::RandomState::new().build_hasher().finish();
    base_ms.saturating_add(random % base_ms.max(1))
}
