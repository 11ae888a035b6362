//! A request to a language model, brought to its answer.
//!
//! What must stay true: nothing is sent before what it may use is set aside and
//! durable; what may have been used counts, whatever dies; an answer that is in the
//! journal is never paid for again; nobody is asked for what the agent let go of.

mod room;

use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::Op;
use airlock_journal::audit::AuditRecord;
use airlock_models::{Allowance, Ask, Attempt, Meter};
use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::models::{self, Models};
use airlock_sandbox::{CallError, Denial};
use serde_json::json;

use self::room::{Reserve, Reserved, Unsent};
use super::event::Event;
use super::exchange::{Permitted, Prepared, Said, conversation_key, error_of, spent};
use super::fold::{Asked, RunState};
use super::session::Stop;
use super::spending::Spent;
use super::under_way::{Goes, Perform, UnderWay};
use super::{permit, policy, talks};
use crate::ids;
use crate::metrics::ModelRequest;
use crate::models::InForce;
use crate::record;
use crate::runtime::Runtime;

/// A request that is brought to its answer.
pub(super) struct ModelStep {
    work: UnderWay,
}

/// What a request to a model may have used whose end nobody knows: what was set
/// aside for it, once it was begun.
pub(super) fn lost(state: &RunState, id: RequestId) -> Spent {
    let begun = state
        .requests
        .get(&id)
        .filter(|asked| asked.begun.is_some());
    let model = begun.is_some_and(|asked| talks::is_model(&asked.request));
    let reserved = state.reserved.get(&id).filter(|_| model);
    reserved.copied().unwrap_or_default()
}

impl Perform for ModelStep {
    fn work(&self) -> &UnderWay {
        &self.work
    }

    async fn attempt(&mut self, asked: Asked) -> Goes {
        let asked = &asked;
        if self.work.session.block_if_full() || self.work.stands_still(None) {
            return Goes::PutOff;
        }
        if asked.detached {
            let used = lost(&self.work.session.lock().state, self.work.id);
            self.settle(None, Err(CallError::Cancelled), used, Vec::new(), None);
            return Goes::Over;
        }
        if asked.begun.is_some() {
            return self.began_before(asked);
        }
        let prepared = match self.prepared(asked) {
            Ok(prepared) => prepared,
            Err(error) => return self.told(None, Err(error)),
        };
        let permitted = match self.permitted(prepared) {
            Ok(permitted) => permitted,
            Err(denial) => return self.work.denied(denial),
        };
        let rule = permitted.rule();
        let Some(now) = self.work.runtime.models.now() else {
            let message = "the host has no models: its administrator configures them".to_owned();
            return self.told(Some(rule), Err(CallError::Permanent { message }));
        };
        let part = match self.reserve(&now, &permitted, asked.attempt) {
            Ok(Reserved::Part(part)) => part,
            Ok(Reserved::Over) => return Goes::Over,
            Ok(Reserved::Later(short)) => return self.waits(short).await,
            Err(error) => return self.told(Some(rule), Err(error)),
        };
        let agent = self.agent();
        let days = &self.work.runtime.models.days;
        let _under_way = days.under_way(part.day, &agent, part.took);
        // Also where this task is ended while it waits.
        let mut unsent = Unsent::new(self, part);
        if !self.work.session.durable().await {
            return Goes::Over;
        }
        // Its own records may be the last that fit; it is sent all the same.
        if self.work.is_held(None) {
            unsent.is_settled();
            return self.not_sent(asked, part);
        }
        let _place = self.work.runtime.models.asking.take();
        if self.work.begins().is_none() {
            // Ended before a byte was sent; whoever did so answered.
            return Goes::Over;
        }
        unsent.is_settled();
        let (began, meter) = (Instant::now(), Meter::default());
        let said = tokio::select! {
            biased;
            () = self.work.effect.cancel.notified() => None,
            () = self.cut_off() => None,
            said = self.said(&now, &permitted, part, &meter) => Some(said),
        };
        let used = spent(
            &said
                .as_ref()
                .map_or_else(|| meter.spent(), |said| said.spent),
        );
        self.measured(permitted.role(), said.as_ref(), &used, began.elapsed());
        match said {
            Some(said) => self.came(asked, rule, part, (said, used)),
            None => self.ended(asked, rule, part, used),
        }
    }
}

impl ModelStep {
    pub(super) fn new(work: UnderWay) -> Self {
        Self { work }
    }

    /// For the figures of the host.
    fn measured(&self, role: &str, said: Option<&Said>, used: &Spent, wall: Duration) {
        let failed = said.into_iter().flat_map(|said| &said.attempts);
        self.work.runtime.metrics().model(ModelRequest {
            role,
            model: said.and_then(|said| said.model.as_deref()),
            outcome: match said.map(|said| &said.answer) {
                None => "cut-off",
                Some(Ok(_)) => "ok",
                Some(Err(error)) => crate::calls::code_of(error),
            },
            tokens: used.model_tokens,
            micros: used.model_micros,
            failed: failed
                .map(|attempt| (attempt.model.as_str(), attempt.why.name()))
                .collect(),
            wall,
        });
    }

    /// Begun by a host that is gone, or cut off: what it had set aside is used.
    fn began_before(&self, asked: &Asked) -> Goes {
        let used = lost(&self.work.session.lock().state, self.work.id);
        let rule = self.rule(asked);
        let retry = rule
            .as_ref()
            .and_then(|rule| rule.retry)
            .unwrap_or_default();
        let why = "the host stopped while the request was under way";
        if asked.attempt < retry.attempts {
            let again = [
                Event::Used { used },
                self.retried(asked.attempt + 1, 0, why.to_owned()),
            ];
            self.work.session.push(again);
            return Goes::On;
        }
        let message = format!("{why}, and so did each of {} attempts", asked.attempt);
        self.settle(
            rule.as_ref(),
            Err(CallError::Unknown { message }),
            used,
            Vec::new(),
            None,
        );
        Goes::Over
    }

    fn retried(&self, attempt: u32, wait_ms: u64, why: String) -> Event {
        Event::Retried {
            id: self.work.id,
            attempt,
            after_ms: ids::now_ms().saturating_add(wait_ms),
            why,
            lost: false,
        }
    }

    fn prepared(&self, asked: &Asked) -> Result<Prepared, CallError> {
        let (conversations, tools) = {
            let inner = self.work.session.lock();
            (inner.state.talks.clone(), Arc::clone(&inner.state.tools))
        };
        match &asked.request {
            Request::Chat { request, after } => {
                let request = conversations.request(request, *after, &tools)?;
                request.check().map_err(error_of)?;
                Ok(Prepared::Chat(Box::new(request)))
            }
            Request::Embed { request } => talks::embed(request).map(Prepared::Embed),
            _ => Err(CallError::Permanent {
                message: "no request to a model".to_owned(),
            }),
        }
    }

    /// Asks the agent's grants for a permit.
    fn permitted(&self, prepared: Prepared) -> Result<Permitted, Denial> {
        let ask = |op| permit::permit::<Models>(&self.work.runtime, &self.agent(), op);
        Permitted::new(prepared, ask)
    }

    /// The rule of a request's role as it stands now.
    fn rule(&self, asked: &Asked) -> Option<models::Rule> {
        let permitted = self.permitted(self.prepared(asked).ok()?).ok()?;
        Some(permitted.rule().clone())
    }

    fn agent(&self) -> String {
        let inner = self.work.session.lock();
        let start = inner.state.start.as_ref();
        start.map_or_else(String::new, |start| start.agent.clone())
    }

    async fn said(
        &self,
        now: &InForce,
        permitted: &Permitted,
        part: Reserve,
        meter: &Meter,
    ) -> Said {
        let (seed, caller) = {
            let inner = self.work.session.lock();
            let start = inner.state.start.as_ref();
            start.map_or_else(Default::default, |start| {
                (start.seed.clone(), format!("{} {}", start.agent, start.by))
            })
        };
        let conversation = conversation_key(&seed);
        let (agent, op) = (self.agent(), permitted.op());
        let still = || still_permitted(&self.work.runtime, &agent, op);
        let telling = self
            .work
            .runtime
            .runs
            .deltas
            .begin(&self.work.session.id, self.work.id);
        let told = |event| telling.tell(event);
        let ask = Ask {
            caller: &caller,
            conversation: &conversation,
            allowance: Allowance {
                tokens: part.took.tokens,
                cost_micros: part.took.micros,
            },
            told: Some(&told),
            meter: Some(meter),
            permitted: Some(&still),
        };
        tokio::select! {
            biased;
            why = self.taken_away(&agent, op) => Said::denied(why, meter.spent()),
            said = permitted.ask(now, ask) => said,
        }
    }

    /// Resolves when the agent's rule for it is gone.
    async fn taken_away(&self, agent: &str, op: &models::Op) -> String {
        let mut changes = self.work.runtime.registry.changes();
        loop {
            if let Err(why) = still_permitted(&self.work.runtime, agent, op) {
                return why;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Resolves when the kill switch reaches the run, or the host ends what is under
    /// way.
    async fn cut_off(&self) {
        let halted = |inner: &mut super::session::Inner| inner.is_halted().then_some(());
        let mut stop = self.work.runtime.stop.subscribe();
        tokio::select! {
            () = self.work.session.wait_for(halted) => {}
            // The sender lives as long as this runtime.
            _ = stop.wait_for(|stop| *stop == crate::stop::Stop::Now) => {}
        }
    }

    /// It was cut off: by its agent, by the run's end, or by the host, which asks
    /// again when the kill switch is lifted, or when it starts.
    fn ended(&self, asked: &Asked, rule: &models::Rule, part: Reserve, used: Spent) -> Goes {
        let audit = self.audit(&rule.role, "cut-off", None, &used, &[]);
        if !self.work.effect.is_done() {
            let ended = Err(CallError::Cancelled);
            self.settle(Some(rule), ended, used, audit, Some(part));
            return Goes::Over;
        }
        let why = "it was cut off by the host".to_owned();
        self.again(part, used, self.retried(asked.attempt, 0, why), audit);
        Goes::PutOff
    }

    /// What an attempt used, and that there is another one.
    fn again(&self, part: Reserve, used: Spent, retried: Event, audit: Vec<Op>) {
        self.counted(part, &used, |row| {
            let used = (!used.is_nothing()).then_some(Event::Used { used });
            let events = used.into_iter().chain([retried]);
            let row = row.into_iter().collect();
            self.work.session.lock().add(events, row, audit);
        });
    }

    fn came(
        &self,
        asked: &Asked,
        rule: &models::Rule,
        part: Reserve,
        (said, used): (Said, Spent),
    ) -> Goes {
        let goes_on = self.work.effect.is_done();
        let outcome = match &said.answer {
            Ok(_) => "ok",
            Err(error) => crate::calls::code_of(error),
        };
        let model = said.model.as_deref();
        let audit = self.audit(&rule.role, outcome, model, &used, &said.attempts);
        let retry = rule.retry.unwrap_or_default();
        let again = goes_on && asked.attempt < retry.attempts;
        if let (
            true,
            Err(CallError::Transient {
                message,
                retry_after_ms,
            }),
        ) = (again, &said.answer)
        {
            let wait_ms = policy::backoff(retry, asked.attempt, *retry_after_ms);
            let retried = self.retried(asked.attempt + 1, wait_ms, message.clone());
            self.again(part, used, retried, audit);
            return Goes::On;
        }
        self.settle(Some(rule), said.answer, used, audit, Some(part));
        Goes::Over
    }

    /// The request is answered without having been sent.
    fn told(&self, rule: Option<&models::Rule>, answer: Result<String, CallError>) -> Goes {
        self.settle(rule, answer, Spent::default(), Vec::new(), None);
        Goes::Over
    }

    /// Answers; where the grant says so, the run ends with it.
    fn settle(
        &self,
        rule: Option<&models::Rule>,
        answer: Result<String, CallError>,
        used: Spent,
        audit: Vec<Op>,
        part: Option<Reserve>,
    ) {
        let end = match (&answer, rule) {
            (Err(error), Some(rule)) => {
                policy::end_by(&rule.on_error, &format!("`{}`", rule.role), error)
            }
            _ => None,
        };
        let answered = Event::Answered {
            id: self.work.id,
            answer: answer.into(),
            by: None,
            used,
        };
        let ends = end.is_some();
        let events = [Some(answered), end.map(|end| Event::GivenUp { end })];
        let settled = |row: Option<Op>| {
            // One write, which the records of the audit are in too.
            let audit = audit.into_iter().chain(row).collect();
            let events = events.into_iter().flatten();
            self.work
                .session
                .lock()
                .settle_all(self.work.id, events, audit)
        };
        let mut done = None;
        match part {
            Some(part) => self.counted(part, &used, |row| done = Some(settled(row))),
            None => done = Some(settled(None)),
        }
        let is_new = done.is_some_and(|done| self.work.session.settled(done));
        if is_new && ends {
            self.work.session.stop(Stop::Cancelled);
        }
    }

    /// What was asked of whom, and what it took; no text.
    fn audit(
        &self,
        role: &str,
        outcome: &str,
        model: Option<&str>,
        used: &Spent,
        attempts: &[Attempt],
    ) -> Vec<Op> {
        let by = {
            let inner = self.work.session.lock();
            let start = inner.state.start.as_ref();
            start.map_or_else(String::new, |start| start.by.clone())
        };
        let attempts: Vec<_> = attempts
            .iter()
            .map(|attempt| json!({ "model": attempt.model, "why": attempt.why, "fate": attempt.fate }))
            .collect();
        let record = AuditRecord::now(&by, "model.ask", self.agent())
            .outcome(outcome)
            .detail(json!({
                "run": self.work.session.id,
                "request": self.work.id,
                "role": role,
                "model": model,
                "tokens": used.model_tokens,
                "cost_micros": used.model_micros,
                "attempts": attempts,
            }));
        vec![record::op(&record)]
    }
}

/// Whether an agent would get a permit now; else the rule that is missing.
fn still_permitted(runtime: &Runtime, agent: &str, op: &models::Op) -> Result<(), String> {
    let permitted = permit::permit::<Models>(runtime, agent, op.clone());
    permitted.map(drop).map_err(|denial| denial.rule)
}
