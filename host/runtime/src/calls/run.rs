//! The path of one call: terms, key, admission, intent, sandbox, record, reply.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::{Batch, Op, StoreError};
use airlock_sandbox::agent::RequestId;
use airlock_sandbox::capability::log::Progress;
use airlock_sandbox::capability::tools::Tools;
use airlock_sandbox::gate::RunPermit;
use airlock_sandbox::{CallError, CallReport, CallRequest, EffectClass};
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};

use crate::admission::{NotAdmitted, Permit};
use crate::calls::in_flight::Place;
use crate::calls::middle::{Begun, Told, Watch};
use crate::calls::recorded::{self, CallInfo};
use crate::calls::turn::{Judged, Turn};
use crate::calls::{CallRefused, reply};
use crate::halt::OfRun;
use crate::idempotency::{Begin, Fingerprint, IdempotencyError, StoredReply, Ticket};
use crate::plugins::{Active, PluginError, Slot};
use crate::principal::Principal;
use crate::problem::Failure;
use crate::remote::Withheld;
use crate::runtime::Runtime;
use crate::stop::Stop;
use crate::{ids, json};

/// A call as it comes in.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The plugin's name.
    pub plugin: String,
    /// The tool's name.
    pub tool: String,
    /// The input, JSON.
    pub input: Bytes,
    /// The caller's bound on wall time, waiting included; the plugin's `wall`
    /// limit also holds.
    pub timeout: Option<Duration>,
    /// Makes the call happen once: see [`crate::idempotency`].
    pub idempotency_key: Option<String>,
    /// Whether the reply has what the tool wrote: `log`, with stdout, stderr and
    /// its structured records, within the plugin's `log` limit.
    pub log: bool,
    /// Where it is told how far the call is; closed when the call has ended.
    pub stage: Option<watch::Sender<CallStage>>,
}

/// How far a call is.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum CallStage {
    /// It has not begun. It may be refused, or have been made before.
    #[default]
    Waiting,
    /// It has begun, with the tool's latest report on its progress.
    Running(Option<Progress>),
}

/// A call that may start.
pub(super) struct Ready {
    pub(super) slot: Arc<Slot>,
    pub(super) active: Arc<Active>,
    pub(super) class: EffectClass,
    input: String,
    pub(super) waits_until: Option<Instant>,
    permit: Permit,
    place: Place,
}

impl Runtime {
    /// Calls a tool and replies as the HTTP API does: `{call_id, output, usage,
    /// denials?}`, or a problem with the same members. With an idempotency key
    /// the call goes on when the caller leaves, and its reply is kept; without
    /// one it is cancelled, and recorded as that.
    ///
    /// # Errors
    /// [`CallRefused`]: there is no reply from a tool.
    pub async fn call(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        call: ToolCall,
    ) -> Result<StoredReply, CallRefused> {
        let result = match &call.idempotency_key {
            None => self.call_once(who, call, None).await,
            Some(key) => {
                let target = who.within(format!("/v1/tools/{}/{}", call.plugin, call.tool));
                let print = Fingerprint::of("POST", &target, &call.input);
                match self
                    .idempotency()
                    .begin(&who.name, key, print, ids::now_ms())?
                {
                    Begin::Replay(reply) => return Ok(reply),
                    Begin::Run(ticket) => {
                        let (runtime, who) = (Arc::clone(self), Arc::clone(who));
                        let work = async move { runtime.call_once(&who, call, Some(ticket)).await };
                        tokio::spawn(work)
                            .await
                            .unwrap_or(Err(CallRefused::Interrupted))
                    }
                }
            }
        };
        if let Err(refused) = &result {
            self.metrics().refused(refused.code());
        }
        result
    }

    /// A call as a step of a run, whose turn it is: what goes on record is given
    /// back, so that it is written together with the step's outcome. It ends when
    /// `cancel` is told, or its future is dropped.
    ///
    /// # Errors
    /// The call was not made.
    pub(crate) async fn call_step(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        step: &Step<'_>,
        turn: Option<Turn>,
    ) -> Result<StepMade, CallRefused> {
        let end = Ending {
            attempt: step.attempt,
            ticket: None,
            step: Some(step),
        };
        let call = step.call();
        let made = self.make(who, call, &end, turn).await;
        let mut made = made.inspect_err(|refused| self.metrics().refused(refused.code()))?;
        let output = made.report.result.as_deref().map(reply::is_json);
        if output == Ok(false) {
            made.report.result = Err(reply::not_json());
            made.report.lost = made.report.usage.acts();
        }
        let mut ops: Vec<Op> = Vec::with_capacity(1);
        self.account(who, &made.info, &made.report, &mut ops);
        ops.push(recorded::done(who, &made.info, &made.report));
        Ok(StepMade {
            result: made.report.result,
            lost: made.report.lost,
            cut: made.cut,
            usage: made.report.usage,
            ops,
            _place: made.place,
        })
    }

    /// The largest input that a plugin takes, bytes; `None`: there is no such
    /// plugin.
    #[must_use]
    pub fn input_bytes_max(&self, plugin: &str) -> Option<u64> {
        let (_, active) = self.registry.get(plugin)?;
        Some(active.limits.input.0)
    }

    async fn call_once(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        call: ToolCall,
        ticket: Option<Ticket>,
    ) -> Result<StoredReply, CallRefused> {
        let end = Ending {
            attempt: ticket.as_ref().map_or(1, Ticket::attempt),
            ticket: ticket.as_ref(),
            step: None,
        };
        let made = self.make(who, call, &end, None).await?;
        self.record(who, &made.info, made.report, ticket.as_ref())
            .await
    }

    /// Makes the call. Who drops the future finds it on record all the same.
    async fn make(
        self: &Arc<Self>,
        who: &Arc<Principal>,
        call: ToolCall,
        end: &Ending<'_>,
        turn: Option<Turn>,
    ) -> Result<Made, CallRefused> {
        let cancel = end.step.map(|step| step.cancel);
        let mut ready = tokio::select! {
            biased;
            ready = self.admit(who, &call, turn) => ready?,
            () = told_to(cancel) => return Err(CallRefused::Cancelled),
        };
        let side = self.side(who, &mut ready, &call.tool, end).await?;
        // What it is made by may have taken a while to be there.
        self.may_begin(who, &call.plugin)?;
        if let Some(step) = end.step {
            self.check_step(step, &ready.active, &call.tool)?;
        }
        if let Some(ticket) = end.ticket {
            self.commit(ticket.intent().to_vec())
                .await
                .map_err(|error| match error {
                    StoreError::Conflict { .. } => IdempotencyError::InFlight.into(),
                    error => CallRefused::Store(error),
                })?;
        }
        let mut info = info(&ready.active, &call.tool, call.log);
        info.step = end.step.map(Into::into);
        let request = CallRequest {
            call_id: info.call_id.clone(),
            tool: call.tool,
            input: ready.input,
            principal: self.principal_ids.of(&who.name, &call.plugin),
            caller: who.name.clone(),
            idempotency_key: call.idempotency_key,
            attempt: end.attempt,
            class: ready.class,
            timeout: remaining(ready.waits_until),
        };
        let begun = self.begin(side, request, &ready.active, end.step.is_some());
        let mut unrecorded = Unrecorded {
            runtime: Arc::clone(self),
            who: Arc::clone(who),
            info: Some(info),
            place: Some(ready.place),
            watch: begun.watch(),
        };
        let halted = self.halts.ends(&call.plugin, end.step.map(|step| step.run));
        let (report, cut) = self.run(begun, call.stage, cancel, halted).await;
        drop(ready.permit);
        let info = unrecorded.info.take().ok_or(CallRefused::Interrupted)?;
        Ok(Made {
            info,
            report,
            cut,
            place: unrecorded.place.take(),
        })
    }

    /// What may have changed of a step while where it is made was made ready: what it
    /// was judged by, and whether the kill switch keeps it.
    fn check_step(&self, step: &Step<'_>, active: &Active, tool: &str) -> Result<(), CallRefused> {
        if self.halts.run(step.run) {
            let plugin = active.name.clone();
            return Err(NotAdmitted::PluginHalted { plugin }.into());
        }
        let now = Judged::of(&self.registry, step.run.agent, active, tool);
        match now == *step.judged {
            true => Ok(()),
            false => Err(CallRefused::Changed),
        }
    }

    /// Everything that can be refused without effect.
    async fn admit(
        &self,
        who: &Principal,
        call: &ToolCall,
        turn: Option<Turn>,
    ) -> Result<Ready, CallRefused> {
        if self.is_stopping() {
            return Err(NotAdmitted::ShuttingDown.into());
        }
        // What can't be put on record must not happen.
        self.store().health().map_err(CallRefused::Store)?;
        let (slot, active) = self.installed(who, &call.plugin)?;
        self.may_begin(who, &call.plugin)?;
        check_tool(&active, &call.tool)?;
        let input = check_input(&active, call.input.clone())?;
        let started = Instant::now();
        let (permit, place) = match turn {
            Some(Turn { permit, place }) => (permit, place),
            None => {
                let wall = active.limits.wall.0;
                let patience = call.timeout.map_or(wall, |timeout| timeout.min(wall));
                let permit = slot.admission.enter(patience).await?;
                (permit, self.in_flight.take()?)
            }
        };
        // What was in force when the call was asked for may have changed while
        // it waited, and who may ask for it.
        self.may_begin(who, &call.plugin)?;
        let (active, class) = in_force(&slot, &call.tool)?;
        let waits_until = call
            .timeout
            .and_then(|timeout| started.checked_add(timeout));
        Ok(Ready {
            slot,
            active,
            class,
            input,
            waits_until,
            permit,
            place,
        })
    }

    /// Refuses what has not begun, whatever it waited for: by now nothing goes on, or
    /// nothing of this plugin, or whoever asked has no say any more.
    fn may_begin(&self, who: &Principal, plugin: &str) -> Result<(), CallRefused> {
        match *self.stop.borrow() {
            Stop::No | Stop::Draining => {}
            Stop::Halted => return Err(NotAdmitted::Halted.into()),
            Stop::Now => return Err(NotAdmitted::ShuttingDown.into()),
        }
        if self.halts.plugin(plugin) {
            let plugin = plugin.to_owned();
            return Err(NotAdmitted::PluginHalted { plugin }.into());
        }
        Ok(self.check_holds(who).map_err(PluginError::from)?)
    }

    async fn run(
        &self,
        begun: Begun<'_>,
        stage: Option<watch::Sender<CallStage>>,
        cancel: Option<&Notify>,
        halted: impl Future<Output = ()>,
    ) -> (CallReport, Option<Cut>) {
        let watch = begun.watch();
        let mut told = stage.map(|stage| Told::new(&watch, stage));
        let mut stop = self.stop.subscribe();
        let cut = {
            let mut call = pin!(begun.run());
            let mut cancelled = pin!(told_to(cancel));
            let mut halted = pin!(halted);
            loop {
                tokio::select! {
                    biased;
                    report = &mut call => {
                        let ends = ends_now(*self.stop.borrow()) || halted.as_mut().now_or_never().is_some();
                        match ends && watch.may_have_lost_its_server(&report) {
                            true => break Cut::Host,
                            false => return (report, None),
                        }
                    }
                    _ = stop.wait_for(|stop| ends_now(*stop)) => break Cut::Host,
                    () = &mut halted => break Cut::Host,
                    () = &mut cancelled => break Cut::Caller,
                    () = Told::more(&mut told) => {}
                }
            }
        };
        (watch.cut_short().await, Some(cut))
    }

    /// One batch: denials, the kept reply, the call's record.
    async fn record(
        &self,
        who: &Principal,
        info: &CallInfo,
        mut report: CallReport,
        ticket: Option<&Ticket>,
    ) -> Result<StoredReply, CallRefused> {
        let installed = self.registry.get(&info.plugin);
        let grants = installed.map(|(_, active)| Arc::clone(&active.grants));
        let of = reply::Of {
            call_id: &info.call_id,
            with_log: info.with_log,
            grants: grants.as_deref().map(|version| &version.grants),
        };
        let reply = reply::reply(of, &mut report);
        let mut ops: Vec<Op> = Vec::with_capacity(2);
        self.account(who, info, &report, &mut ops);
        match (&report.result, ticket) {
            // The intent stays: whether it happened is not known.
            (Err(CallError::Cancelled), _) | (_, None) => {}
            (Err(error), Some(ticket)) if may_be_tried_again(error) => ops.push(ticket.again()),
            (_, Some(ticket)) => ops.extend(ticket.finished(&reply)),
        }
        ops.push(recorded::done(who, info, &report));
        match self.audit.commit_drafted(Batch { ops }).await {
            Ok(_) => Ok(reply),
            Err(source) => {
                let call_id = info.call_id.clone();
                Err(CallRefused::NotRecorded { call_id, source })
            }
        }
    }
}

impl Runtime {
    /// Counts an ended call, and adds the records of its denials to `ops`.
    fn account(&self, who: &Principal, info: &CallInfo, report: &CallReport, ops: &mut Vec<Op>) {
        let usage = &report.usage;
        let wall = Duration::from_micros(usage.wall_us);
        let outcome = reply::outcome(&report.result);
        let denials = report.denials.len() as u64;
        self.metrics()
            .call(&info.plugin, outcome, usage.cpu_us, wall, denials);
        ops.extend(recorded::denials(who, info, &report.denials));
    }
}

/// How a call is bound to whoever asked for it.
pub(super) struct Ending<'a> {
    attempt: u32,
    ticket: Option<&'a Ticket>,
    pub(super) step: Option<&'a Step<'a>>,
}

/// Which step of a run a call is, and of what.
pub(crate) struct Step<'a> {
    pub(crate) run: OfRun<'a>,
    /// As the run's journal numbers it.
    pub(crate) request: RequestId,
    /// From 1.
    pub(crate) attempt: u32,
    /// Told to end it.
    pub(crate) cancel: &'a Notify,
    /// What has to be in force when it is made.
    pub(crate) judged: &'a Judged,
    /// The tool, `plugin/tool`, and that the agent may call it.
    pub(crate) permit: &'a RunPermit<Tools>,
    /// JSON.
    pub(crate) input: Bytes,
    /// The step's own, see [`crate::idempotency`].
    pub(crate) key: String,
}

impl Step<'_> {
    /// The call of the tool that is permitted, and of no other.
    fn call(&self) -> ToolCall {
        let tool = &*self.permit.op().tool;
        let (plugin, tool) = tool.split_once('/').unwrap_or((tool, ""));
        ToolCall {
            plugin: plugin.to_owned(),
            tool: tool.to_owned(),
            input: self.input.clone(),
            timeout: None,
            idempotency_key: Some(self.key.clone()),
            log: false,
            stage: None,
        }
    }
}

/// A call that was made.
struct Made {
    info: CallInfo,
    report: CallReport,
    cut: Option<Cut>,
    place: Option<Place>,
}

/// Who ended a call before its tool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The host stops, or was halted.
    Host,
    /// Whoever asked for it.
    Caller,
}

/// A step's call that was made.
pub(crate) struct StepMade {
    pub(crate) result: Result<String, CallError>,
    /// Whether more may have happened than the result tells.
    pub(crate) lost: bool,
    pub(crate) cut: Option<Cut>,
    /// What it took.
    pub(crate) usage: airlock_sandbox::Usage,
    /// What goes on record, drafts of the audit.
    pub(crate) ops: Vec<Op>,
    /// Held until it is on record, so that the host does not stop before.
    _place: Option<Place>,
}

/// Whether calls in flight end.
fn ends_now(stop: Stop) -> bool {
    matches!(stop, Stop::Halted | Stop::Now)
}

pub(super) async fn told_to(cancel: Option<&Notify>) {
    match cancel {
        Some(cancel) => cancel.notified().await,
        None => std::future::pending().await,
    }
}

/// Puts a call on record that its caller left: the future was dropped, and with
/// it the guest.
struct Unrecorded {
    runtime: Arc<Runtime>,
    who: Arc<Principal>,
    info: Option<CallInfo>,
    place: Option<Place>,
    watch: Watch,
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        let Some(info) = self.info.take() else { return };
        let (runtime, who, place, watch) = (
            Arc::clone(&self.runtime),
            Arc::clone(&self.who),
            self.place.take(),
            self.watch.clone(),
        );
        let Ok(handle) = tokio::runtime::Handle::try_current() else {
            return;
        };
        handle.spawn(async move {
            let report = watch.cut_short().await;
            if let Err(error) = runtime.record(&who, &info, report, None).await {
                tracing::error!(call_id = info.call_id, %error, "a cancelled call is not on record");
            }
            drop(place);
        });
    }
}

/// Whether the same key may be used for another attempt.
fn may_be_tried_again(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Transient { .. }
            | CallError::ComponentMissing { .. }
            | CallError::ComponentAltered { .. }
    )
}

fn check_tool(active: &Active, tool: &str) -> Result<EffectClass, CallRefused> {
    let (plugin, name) = (&active.name, tool);
    let terms = active.tool(name).ok_or_else(|| CallRefused::ToolNotFound {
        plugin: plugin.clone(),
        tool: name.to_owned(),
        hint: near(active, name),
    })?;
    if terms.claim_changed {
        let (plugin, tool) = (plugin.clone(), name.to_owned());
        return Err(CallRefused::ClaimChanged { plugin, tool });
    }
    let (plugin, tool) = (plugin.clone(), name.to_owned());
    match terms.withheld {
        None => {}
        Some(Withheld::Changed) => return Err(CallRefused::ToolChanged { plugin, tool }),
        Some(Withheld::Gone) => {
            let hint = ": its MCP server lists it no more".to_owned();
            return Err(CallRefused::ToolNotFound { plugin, tool, hint });
        }
    }
    Ok(terms.class)
}

fn near(active: &Active, tool: &str) -> String {
    let tools = active.manifest.tools.iter();
    let names: Vec<&str> = tools.map(|tool| tool.name.as_str()).collect();
    crate::nearest::hint(tool, &names)
}

pub(super) fn in_force(slot: &Slot, tool: &str) -> Result<(Arc<Active>, EffectClass), CallRefused> {
    let gone = || PluginError::gone(&slot.name);
    let active = slot.active().ok_or_else(gone)?;
    let class = check_tool(&active, tool)?;
    Ok((active, class))
}

fn check_input(active: &Active, input: Bytes) -> Result<String, CallRefused> {
    if input.len() as u64 > active.limits.input.0 {
        return Err(CallRefused::InputTooLarge {
            plugin: active.name.clone(),
            bytes: input.len(),
            limit: active.limits.input.to_string(),
        });
    }
    check_json(&input)?;
    String::from_utf8(input.into()).map_err(|error| CallRefused::InvalidJson(error.to_string()))
}

/// Refuses what is no JSON, and what is not the same to each of its readers: those who
/// approve a call, the record of it and the tool.
pub(crate) fn check_json(input: &[u8]) -> Result<(), CallRefused> {
    let read = serde_json::from_slice::<&RawValue>(input);
    let json = read.map_err(|error| CallRefused::InvalidJson(error.to_string()))?;
    match json::member_twice(json.get()) {
        Some(name) => Err(CallRefused::MemberTwice(name)),
        None => Ok(()),
    }
}

fn info(active: &Active, tool: &str, with_log: bool) -> CallInfo {
    CallInfo {
        with_log,
        step: None,
        call_id: ids::new_id("call_"),
        plugin: active.name.clone(),
        tool: tool.to_owned(),
        digest: active.manifest.digest.clone(),
        grants_version: active.grants.version,
        subject: format!("{}/{tool}", active.name),
        sandboxed: active.remote.is_none(),
    }
}

pub(super) fn remaining(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}
