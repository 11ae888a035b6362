//! What a request sets going, once it is durable: a timer, a call, a wait for a
//! person.
//!
//! What must stay true: a call of a tool that may not be repeated is made at most
//! once, whatever dies; when that can't be told, a person decides.

use std::sync::Arc;
use std::time::Duration;

use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::tools::{OnUnknown, Rule};
use airlock_sandbox::{CallError, Denial, EffectClass};

use super::approval::{self, Verdict};
use super::children;
use super::effect::{self, Effect, cut_off};
use super::event::{Block, Event, Told};
use super::fold::Asked;
use super::memory::MemoryStep;
use super::model::ModelStep;
use super::people::Terms;
use super::session::{Session, Stop};
use super::spending::Spent;
use super::step::{self, Came};
use super::under_way::{Goes, Perform, UnderWay, called, perform};
use super::{permit, policy};
use crate::calls::{Judged, Turn, check_json};
use crate::ids;

/// A request became durable, or was found open. `begun`: the class of a call
/// whose intent was made durable just now.
pub(crate) fn begin(session: &Arc<Session>, id: RequestId, begun: Option<EffectClass>) {
    let (Some(runtime), Some(asked)) = (session.runtime.upgrade(), asked(session, id)) else {
        return;
    };
    if !runtime.runs.is_owner() {
        return;
    }
    if let Request::Ask { due_ms: None, .. } | Request::Signal { .. } = asked.request {
        return;
    }
    if session.lock().state.cancelling && !children::goes_on(&asked) {
        // Whoever ends the run answers.
        return;
    }
    if let Request::Start { .. } = asked.request
        && session.lock().holds_back(id)
    {
        return;
    }
    let Some(guests) = runtime.sandbox.guest_runtime().cloned() else {
        return;
    };
    let effect = Arc::new(Effect::default());
    if !session.performing(id, &effect) {
        return;
    }
    let (own, io) = (Arc::clone(session), runtime.runs.io.clone());
    let work = |session, runtime| UnderWay {
        session,
        runtime,
        id,
        effect: Arc::clone(&effect),
    };
    let task = match asked.request {
        Request::Timer { due_ms } => io.spawn(async move {
            until(due_ms).await;
            own.answer(id, Told::Ok("null".to_owned()), None, Vec::new());
        }),
        Request::Ask { due_ms, .. } => io.spawn(async move {
            until(due_ms.unwrap_or(u64::MAX)).await;
            own.answer(id, Told::Error(nobody_answered()), None, Vec::new());
        }),
        Request::Signal { .. } | Request::Record { .. } => return,
        Request::Start { .. } => io.spawn(children::begin(own, id, Arc::clone(&effect))),
        Request::Chat { .. } | Request::Embed { .. } => {
            io.spawn(perform(ModelStep::new(work(own, runtime))))
        }
        Request::Memory { .. } => io.spawn(perform(MemoryStep::new(work(own, runtime)))),
        Request::Call { .. } => {
            let work = work(own, runtime);
            // Where the tool runs, and most often its agent: no change of thread.
            guests.spawn(perform(CallStep { work, begun }))
        }
    };
    effect.performed_by(task.abort_handle());
}

/// Whether a call of this class may be made again when nobody knows what became
/// of it.
pub(crate) fn may_repeat(class: Option<EffectClass>) -> bool {
    matches!(class, Some(EffectClass::ReadOnly | EffectClass::Idempotent))
}

/// Whether a call that was begun under this class may have had its effect.
fn may_have_happened(begun: Option<EffectClass>) -> bool {
    begun.is_some_and(|class| class != EffectClass::ReadOnly)
}

fn asked(session: &Session, id: RequestId) -> Option<Asked> {
    session.lock().state.requests.get(&id).cloned()
}

fn nobody_answered() -> CallError {
    CallError::Transient {
        message: "nobody answered in time".to_owned(),
        retry_after_ms: None,
    }
}

/// Sleeps until a moment of the wall clock, looking at it now and then: it may
/// be set.
pub(crate) async fn until(due_ms: u64) {
    const LOOK: Duration = Duration::from_secs(60);
    loop {
        let left = Duration::from_millis(due_ms.saturating_sub(ids::now_ms()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// A call that is brought to its answer.
pub(super) struct CallStep {
    pub(super) work: UnderWay,
    /// Its class, where its intent was made durable just now: of the first attempt.
    begun: Option<EffectClass>,
}

impl Perform for CallStep {
    fn work(&self) -> &UnderWay {
        &self.work
    }

    async fn attempt(&mut self, mut asked: Asked) -> Goes {
        let begun = self.begun.take();
        // Begun by a host that is gone, or cut off by the kill switch.
        asked.lost |= begun.is_none() && may_have_happened(asked.begun);
        match &asked.request {
            Request::Call { tool, input } => self.attempt_at(&asked, tool, input, begun).await,
            _ => Goes::Over,
        }
    }
}

impl CallStep {
    async fn attempt_at(
        &self,
        asked: &Asked,
        tool: &str,
        input: &str,
        begun: Option<EffectClass>,
    ) -> Goes {
        if self.work.session.block_if_full() || self.work.stands_still(Some(called(tool))) {
            // What may have happened is looked at when it goes on.
            return self.held(asked);
        }
        let judged = self.judged(tool);
        if begun.is_none() && asked.begun.is_some() {
            // Begun by a host that is gone.
            if !(may_repeat(asked.begun) && may_repeat(judged.class())) {
                let rule = step::rule(&self.work.runtime, &self.work.session, tool);
                let detail = "the host stopped while the call was under way".to_owned();
                return self.unknown(asked, tool, rule.as_ref(), detail);
            }
        }
        let permit = match step::judge(&self.work.runtime, &self.work.session, tool) {
            Err(denial) => return self.denied(asked, tool, denial),
            Ok((permit, Verdict::Ask)) => {
                let rule = permit.rule();
                if let Err(refused) = check_json(input.as_bytes()) {
                    // Nobody is asked about what is not the same to each who reads it.
                    let error = step::refusal(&refused);
                    return self.answered(tool, rule, Err(error), Vec::new(), Spent::default());
                }
                let binding = approval::binding(&self.work.runtime, tool, input, rule);
                if asked.approved.as_ref() != Some(&binding) {
                    return self.ask(asked, binding, rule).await;
                }
                permit
            }
            Ok((permit, _)) => permit,
        };
        if asked.to_approve.is_some() {
            return self.not_asked(asked);
        }
        let turn = match self.turn(asked, tool, &judged).await {
            Ok(turn) => turn,
            Err(goes) => return goes,
        };
        let class = judged.class().unwrap_or_default();
        if asked.begun != Some(class) && !self.intend(asked, class).await {
            return Goes::Over;
        }
        if self.work.is_held(Some(called(tool))) {
            // Halted while its intent was written.
            return self.held(asked);
        }
        let Some(is_first) = self.work.begins() else {
            return Goes::Over;
        };
        match step::made(&self.work, asked, &permit, input, &judged, turn).await {
            Some(came) => self.came(asked, tool, permit.rule(), judged.class(), came),
            None => {
                self.work.effect.is_done();
                self.anew(asked, is_first, "what it was judged by has changed")
            }
        }
    }

    /// What is in force for it now.
    fn judged(&self, tool: &str) -> Judged {
        let inner = self.work.session.lock();
        let start = inner.state.start.as_ref();
        let agent = start.map_or("", |start| &*start.agent);
        Judged::now(&self.work.runtime.registry, agent, tool)
    }

    /// Waits for its turn at the tool's plugin; there is none where the plugin is
    /// not there.
    async fn turn(&self, asked: &Asked, tool: &str, judged: &Judged) -> Result<Option<Turn>, Goes> {
        let plugin = called(tool);
        if let Some(turn) = self.work.runtime.turn_now(plugin) {
            return Ok(Some(turn));
        }
        if self.is_intended() {
            // Nothing of it has happened, also where the host stops while it waits.
            return Err(self.anew(asked, true, "it waits for its turn"));
        }
        let (agent, by) = {
            let inner = self.work.session.lock();
            let start = inner.state.start.as_ref();
            start.map_or_else(Default::default, |start| {
                (start.agent.clone(), start.by.clone())
            })
        };
        let turn = self.work.runtime.turn(plugin, &agent, &by).await;
        if self.work.stands_still(Some(plugin)) {
            return Err(self.held(asked));
        }
        match self.judged(tool) == *judged {
            true => Ok(turn),
            false => Err(Goes::On),
        }
    }

    /// Whether this process wrote its intent, and did not make it yet.
    fn is_intended(&self) -> bool {
        self.work.session.lock().intended.contains(&self.work.id)
    }

    /// The intent, durable; `false`: the store failed.
    async fn intend(&self, asked: &Asked, class: EffectClass) -> bool {
        let id = self.work.id;
        if asked.begun.is_none() {
            self.work.session.lock().intended.insert(id);
        }
        self.work.session.commit([Event::Begun { id, class }]).await
    }

    /// Judged once more. `is_first`: what was intended did not happen.
    fn anew(&self, asked: &Asked, is_first: bool, why: &str) -> Goes {
        if is_first {
            self.work.session.push([self.not_counted(asked, why)]);
        }
        Goes::On
    }

    /// As if nothing had been.
    fn not_counted(&self, asked: &Asked, why: &str) -> Event {
        Event::Retried {
            id: self.work.id,
            attempt: asked.attempt,
            after_ms: ids::now_ms(),
            why: why.to_owned(),
            lost: asked.lost,
        }
    }

    fn denied(&self, asked: &Asked, tool: &str, denial: Denial) -> Goes {
        if !asked.lost {
            return self.work.denied(denial);
        }
        let audit = permit::denied(&self.work.session, &denial);
        self.work.session.push_with([], Vec::new(), audit);
        let rule = step::rule(&self.work.runtime, &self.work.session, tool);
        let detail = before(&CallError::Denied(denial));
        self.unknown(asked, tool, rule.as_ref(), detail)
    }

    /// Asks people about this very call, and waits for their decision.
    async fn ask(&self, asked: &Asked, binding: String, rule: &Rule) -> Goes {
        let (session, id) = (&self.work.session, self.work.id);
        if self.is_intended() {
            return self.anew(asked, true, "it has to be approved");
        }
        let is_asked = asked.to_approve.as_ref() == Some(&binding);
        let ask = || {
            let terms = Terms::of(rule, ids::now_ms());
            session.ask(Event::ApprovalAsked { id, binding, terms })
        };
        match is_asked || ask() {
            true => session.decided(id).await,
            false => session.room_to_ask(id).await,
        }
        Goes::On
    }

    /// What people are asked about it is taken back before it is made: nobody denies
    /// what is under way, and its run does not leave memory as one that waits for them.
    fn not_asked(&self, asked: &Asked) -> Goes {
        let retried = self.not_counted(asked, "it need not be approved any more");
        match self.work.session.withdraw(self.work.id, retried) {
            true => Goes::On,
            false => Goes::Over,
        }
    }

    fn came(
        &self,
        asked: &Asked,
        tool: &str,
        rule: &Rule,
        class: Option<EffectClass>,
        came: Came,
    ) -> Goes {
        let may_repeat = may_repeat(class);
        let goes_on = self.work.effect.is_done();
        let retry = policy::retry(rule);
        let again = goes_on && asked.attempt < retry.attempts;
        let wait = |after| policy::backoff(retry, asked.attempt, after);
        match came {
            Came::CutByHost { audit } => {
                self.work.session.push_with([], Vec::new(), audit);
                Goes::PutOff
            }
            Came::NotMade(error) => self.not_made(asked, tool, rule, again, error),
            Came::Cancelled { audit, used } => {
                let error = Told::Error(cut_off(class));
                self.work
                    .session
                    .answer_for(self.work.id, error, audit, used);
                Goes::Over
            }
            Came::Answer {
                answer,
                audit,
                used,
            } => match answer {
                Err(CallError::Transient {
                    message,
                    retry_after_ms,
                }) if again && may_repeat => {
                    self.used(used);
                    self.retry(asked, wait(retry_after_ms), message, asked.lost, audit)
                }
                Err(CallError::Unknown { message }) if again && may_repeat => {
                    self.used(used);
                    let lost = asked.lost || class != Some(EffectClass::ReadOnly);
                    self.retry(asked, wait(None), message, lost, audit)
                }
                Err(CallError::Unknown { message }) => {
                    self.work.session.push_with(told(used), Vec::new(), audit);
                    self.unknown(asked, tool, Some(rule), message)
                }
                Err(error) if asked.lost => {
                    self.work.session.push_with(told(used), Vec::new(), audit);
                    self.unknown(asked, tool, Some(rule), before(&error))
                }
                answer => self.answered(tool, rule, answer, audit, used),
            },
        }
    }

    /// The kill switch keeps it: made when the host goes on.
    fn held(&self, asked: &Asked) -> Goes {
        match self.is_intended() {
            true => self.put_off(asked, "halted"),
            false => Goes::PutOff,
        }
    }

    /// Made when the host goes on, as if nothing had been.
    fn put_off(&self, asked: &Asked, why: &str) -> Goes {
        self.work.session.push([self.not_counted(asked, why)]);
        Goes::PutOff
    }

    /// The call was refused before anything of it happened.
    fn not_made(
        &self,
        asked: &Asked,
        tool: &str,
        rule: &Rule,
        again: bool,
        error: CallError,
    ) -> Goes {
        if self.work.stands_still(Some(called(tool))) {
            return self.put_off(asked, &error.to_string());
        }
        match error {
            CallError::Transient {
                message,
                retry_after_ms,
            } if again => {
                let wait = policy::backoff(policy::retry(rule), asked.attempt, retry_after_ms);
                self.retry(asked, wait, message, asked.lost, Vec::new())
            }
            error if asked.lost => self.unknown(asked, tool, Some(rule), before(&error)),
            error => self.answered(tool, rule, Err(error), Vec::new(), Spent::default()),
        }
    }

    /// An attempt took this, and did not come to an answer.
    fn used(&self, used: Spent) {
        self.work.session.lock().push_all(told(used));
    }

    /// The call has its answer; where the grant says so, the run ends with it.
    fn answered(
        &self,
        tool: &str,
        rule: &Rule,
        answer: Result<String, CallError>,
        audit: Vec<airlock_journal::Op>,
        used: Spent,
    ) -> Goes {
        let end = match &answer {
            Err(error) => policy::end(rule, tool, error),
            Ok(_) => None,
        };
        let Some(end) = end else {
            self.work
                .session
                .answer_for(self.work.id, answer.into(), audit, used);
            return Goes::Over;
        };
        let (id, answer, by) = (self.work.id, answer.into(), None);
        let answered = Event::Answered {
            id,
            answer,
            by,
            used,
        };
        let events = [answered, Event::GivenUp { end }];
        if self.work.session.settle_all(id, events, audit) {
            self.work.session.stop(Stop::Cancelled);
        }
        Goes::Over
    }

    /// Nobody knows whether the call happened: a person says, or its grant does.
    fn unknown(&self, asked: &Asked, tool: &str, rule: Option<&Rule>, detail: String) -> Goes {
        let why = Block::UnknownOutcome {
            id: self.work.id,
            detail: detail.clone(),
        };
        let asks = || {
            effect::asks(
                &self.work.session,
                self.work.id,
                &self.work.effect,
                why.clone(),
            )
        };
        let Some(rule) = rule else {
            asks();
            return Goes::Over;
        };
        let fails = |message| {
            let error = CallError::Unknown { message };
            self.answered(tool, rule, Err(error), Vec::new(), Spent::default())
        };
        if self.work.effect.is_ending() {
            return fails(detail);
        }
        match rule.on_unknown {
            OnUnknown::Retry if asked.attempt < policy::retry(rule).attempts => {
                let wait = policy::backoff(policy::retry(rule), asked.attempt, None);
                // As a person's word: what was approved is used up.
                let retried = Event::Retried {
                    id: self.work.id,
                    attempt: asked.attempt + 1,
                    after_ms: ids::now_ms() + wait,
                    why: format!("{detail}; its grant says to make it again"),
                    lost: false,
                };
                self.work.session.push([Event::Blocked { why }, retried]);
                Goes::On
            }
            OnUnknown::Ask if asks() => Goes::Over,
            _ => fails(detail),
        }
    }

    fn retry(
        &self,
        asked: &Asked,
        wait_ms: u64,
        why: String,
        lost: bool,
        audit: Vec<airlock_journal::Op>,
    ) -> Goes {
        let retried = Event::Retried {
            id: self.work.id,
            attempt: asked.attempt + 1,
            after_ms: ids::now_ms() + wait_ms,
            why,
            lost,
        };
        self.work.session.push_with([retried], Vec::new(), audit);
        Goes::On
    }
}

/// What is known where the last attempt failed and one before may have happened.
fn before(last: &CallError) -> String {
    format!("an attempt before may have happened; the last one ended so: {last}")
}

fn told(used: Spent) -> Option<Event> {
    (!used.is_nothing()).then_some(Event::Used { used })
}
