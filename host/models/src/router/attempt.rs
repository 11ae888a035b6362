//! One attempt at one model: may it, is it its turn, what came of it.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue, header};
use tokio::time::timeout;

use super::breaker::{Pass, Report};
use super::turns::Place;
use super::{Allowance, Ask, Lane, Router};
use crate::answer::{Spent, Usage};
use crate::at_length::at_length;
use crate::client::{Bounds, Outgoing, Reply};
use crate::config::Kind;
use crate::error::{Failed, Fate, ModelError, Why};
use crate::protocol::{anthropic, failure};
use crate::redact::Search;
use crate::secret::{Key, Secret};

type Headers = Vec<(HeaderName, HeaderValue)>;

/// What is asked.
pub(super) trait Job: Sync {
    /// What comes back.
    type Out: Send;

    /// The request for this model, or why it can't be asked.
    fn prepare(&self, lane: &Lane) -> Result<Prepared, Failed>;

    /// Bytes that are worked on to make a request ready.
    fn weight(&self) -> usize;

    /// Reads the answer of a request that succeeded.
    fn read(
        &self,
        reply: Reply,
        lane: &Lane,
        search: &Search,
    ) -> impl Future<Output = Result<Read<Self::Out>, Failed>> + Send;

    /// Why another model might do better.
    fn verdict(&self, out: &Self::Out) -> Option<Why>;
}

/// A request that is ready.
pub(super) struct Prepared {
    pub(super) path: &'static str,
    pub(super) body: String,
    pub(super) stream: bool,
    pub(super) most: Usage,
    pub(super) bound: Allowance,
}

/// What was read.
pub(super) struct Read<T> {
    pub(super) out: T,
    pub(super) usage: Option<Usage>,
    /// Bytes of the answer itself: its tokens are no more.
    pub(super) bytes: u64,
}

/// An answer.
pub(super) struct Got<T> {
    pub(super) out: T,
    pub(super) usage: Usage,
    pub(super) took_ms: u64,
}

/// An attempt that came to nothing, and what it may have used.
pub(super) struct Lost {
    pub(super) failed: Failed,
    pub(super) bound: Allowance,
}

impl From<Failed> for Lost {
    fn from(failed: Failed) -> Self {
        let bound = Allowance {
            tokens: 0,
            cost_micros: 0,
        };
        Self { failed, bound }
    }
}

impl Prepared {
    pub(super) fn new(
        lane: &Lane,
        (path, body, stream): (&'static str, String, bool),
        most: Usage,
    ) -> Self {
        let prices = &lane.model.prices;
        Self {
            path,
            body,
            stream,
            most,
            bound: Allowance {
                tokens: most.input_tokens + most.output_tokens,
                cost_micros: prices.most_micros(most.input_tokens, most.output_tokens),
            },
        }
    }
}

pub(super) fn unfit(message: &str) -> Failed {
    Failed {
        why: Why::Unfit,
        fate: Fate::NotSent,
        error: ModelError::invalid(message),
    }
}

/// Leave of the breaker; what is not reported was given up.
struct Reporting<'a> {
    lane: &'a Lane,
    router: &'a Router,
    pass: Pass,
    report: Report,
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        let now_ms = self.router.clock.now_ms();
        self.lane.breaker().report(self.pass, self.report, now_ms);
    }
}

impl Router {
    pub(super) async fn attempt<J: Job>(
        &self,
        lane: &Lane,
        job: &J,
        ask: Ask<'_>,
        (spent, secrets): (&Spent, &[Secret]),
    ) -> Result<Got<J::Out>, Lost> {
        let prepared = at_length(job.weight(), || job.prepare(lane))?;
        affordable(&prepared, ask.allowance, spent)?;
        let (headers, key) = self.headers(lane, prepared.stream)?;
        // What is sent now is what may come back, whatever the key is by then.
        let search = Search::new(secrets, key);
        // Whoever would not be let through need not wait for that.
        if let Some(wait_ms) = lane.breaker().wait_ms(self.clock.now_ms()) {
            return Err(resting(wait_ms).into());
        }
        let _place = place(lane, ask.caller).await?;
        ask.still_permitted()?;
        let mut reporting = self.leave(lane)?;
        let bound = prepared.bound;
        ask.used(spent.and_unsure(bound));
        let began = Instant::now();
        match self.exchange(lane, job, prepared, (headers, &search)).await {
            Ok((read, most)) => {
                reporting.report = Report::Works;
                let usage = read.usage.unwrap_or_else(|| estimated(most, read.bytes));
                Ok(Got {
                    out: read.out,
                    usage,
                    took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                })
            }
            Err(failed) => {
                reporting.report = report(failed.why);
                if let Some(wait_ms) = failed.retry_after_ms() {
                    let until_ms = self.clock.now_ms().saturating_add(wait_ms);
                    lane.breaker().hold(until_ms);
                }
                let failed = search.told(&self.redactor, failed);
                Err(Lost { failed, bound })
            }
        }
    }

    /// Leave to begin now: the breaker's, and the rate's.
    fn leave<'a>(&'a self, lane: &'a Lane) -> Result<Reporting<'a>, Failed> {
        let now_ms = self.clock.now_ms();
        let pass = lane.breaker().pass(now_ms).map_err(resting)?;
        let reporting = Reporting {
            lane,
            router: self,
            pass,
            report: Report::Nothing,
        };
        let mut rate = lane
            .rate
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        rate.begin(now_ms).map_err(|wait_ms| Failed {
            why: Why::RateLimit,
            fate: Fate::NotSent,
            error: ModelError::Transient {
                message: "the model's rate is used up".to_owned(),
                retry_after_ms: Some(wait_ms),
            },
        })?;
        Ok(reporting)
    }

    /// The headers, and the key in them.
    fn headers(&self, lane: &Lane, stream: bool) -> Result<(Headers, Option<Key>), Failed> {
        let accept = match stream {
            true => "text/event-stream",
            false => "application/json",
        };
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static(accept))];
        let anthropic = lane.provider.kind == Kind::Anthropic;
        if anthropic {
            let version = HeaderValue::from_static(anthropic::VERSION);
            headers.push((HeaderName::from_static("anthropic-version"), version));
        }
        let Some(name) = &lane.provider.key else {
            return Ok((headers, None));
        };
        // The name is the administrator's business, and could be a key by mistake.
        let no_key = |message: &str| Failed {
            why: Why::Key,
            fate: Fate::NotSent,
            error: ModelError::Permanent {
                message: message.to_owned(),
            },
        };
        let key = self.secrets.key(name);
        let key = key.ok_or_else(|| no_key("the host has no key for this model"))?;
        let value = key.value.reveal();
        let (header, value) = match anthropic {
            true => (HeaderName::from_static("x-api-key"), value.to_owned()),
            false => (header::AUTHORIZATION, format!("Bearer {value}")),
        };
        let value = zeroize::Zeroizing::new(value);
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| no_key("the host's key for this model can't stand in a header"))?;
        value.set_sensitive(true);
        headers.push((header, value));
        Ok((headers, Some(key)))
    }

    async fn exchange<J: Job>(
        &self,
        lane: &Lane,
        job: &J,
        prepared: Prepared,
        (headers, search): (Headers, &Search),
    ) -> Result<(Read<J::Out>, Usage), Failed> {
        let outgoing = Outgoing {
            base: &lane.base,
            path: prepared.path,
            headers,
            body: prepared.body,
        };
        let mut reply = self.client.send(outgoing, bounds(lane)).await?;
        if !reply.status.is_success() {
            let (status, headers) = (reply.status, reply.headers.clone());
            // What it says is a help, not the answer: a part will do.
            let body = reply.all().await.unwrap_or_default();
            return Err(failure::of_response(
                status,
                &headers,
                &body,
                SystemTime::now(),
            ));
        }
        let most = prepared.most;
        Ok((job.read(reply, lane, search).await?, most))
    }
}

fn bounds(lane: &Lane) -> Bounds {
    let times = &lane.model.timeouts;
    Bounds {
        connect: Duration::from_millis(times.connect_ms),
        first_byte: Duration::from_millis(times.first_byte_ms),
        idle: Duration::from_millis(times.idle_ms),
        total: Duration::from_millis(times.total_ms),
        answer_bytes_max: lane.model.answer_bytes_max,
    }
}

async fn place(lane: &Lane, caller: &str) -> Result<Place, Failed> {
    let patience = Duration::from_millis(lane.model.queue_ms);
    match timeout(patience, lane.turns.place(caller)).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) => Err(Failed::transient(Why::Busy, "too many wait for the model")),
        Err(_) => Err(Failed::transient(
            Why::Busy,
            "the model was busy for too long",
        )),
    }
}

fn resting(wait_ms: u64) -> Failed {
    Failed {
        why: Why::CircuitOpen,
        fate: Fate::NotSent,
        error: ModelError::Transient {
            message: format!(
                "the model failed lately, or asked for peace, and is left alone for {wait_ms} ms more"
            ),
            retry_after_ms: Some(wait_ms),
        },
    }
}

fn affordable(prepared: &Prepared, allowance: Allowance, spent: &Spent) -> Result<(), Failed> {
    let used = [
        (
            spent.tokens,
            spent.unsure_tokens,
            prepared.bound.tokens,
            allowance.tokens,
            "tokens",
        ),
        (
            spent.cost_micros,
            spent.unsure_micros,
            prepared.bound.cost_micros,
            allowance.cost_micros,
            "cost_micros",
        ),
    ];
    for (spent, unsure, next, most, limit) in used {
        if spent.saturating_add(unsure).saturating_add(next) > most {
            return Err(Failed {
                why: Why::Budget,
                fate: Fate::NotSent,
                error: ModelError::Limit {
                    limit: limit.to_owned(),
                    value: most.to_string(),
                },
            });
        }
    }
    Ok(())
}

fn report(why: Why) -> Report {
    match why {
        Why::Connect | Why::Timeout | Why::Server | Why::Cut | Why::Garbled => Report::Failed,
        Why::Refusal | Why::Rejected | Why::Faulty => Report::Works,
        _ => Report::Nothing,
    }
}

/// Where the provider did not count: no token is less than a byte.
fn estimated(most: Usage, bytes: u64) -> Usage {
    Usage {
        input_tokens: most.input_tokens,
        cached_tokens: 0,
        output_tokens: bytes.min(most.output_tokens),
        estimated: true,
    }
}
