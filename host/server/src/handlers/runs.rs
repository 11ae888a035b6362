//! Runs of agents, and the questions they ask people.

use std::sync::Arc;

use airlock_runtime::{
    AgentStatsView, ApprovalsQuery, Decide, ForkRun, HaltRequest, Principal, PruneRequest,
    ReplayRun, Resume, RunsQuery, Runtime, StartRun,
};
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dispatch::Call;
use crate::reply::{JSON, Refusal, Reply};

/// How the runs of each agent went.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RunStats {
    agents: Vec<AgentStatsView>,
}

/// How a run is started.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartQuery {
    /// A key, 1 to 255 printable ASCII characters without spaces: where the caller
    /// has started a run of this agent with this goal and input under it, however long
    /// ago, that run is given (200) and none is started. One that was removed since is
    /// `run-pruned`.
    #[serde(default)]
    once: Option<String>,
}

/// Which page of a run's journal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// The first record, from 0; with events, where no `Last-Event-ID` says more.
    #[serde(default)]
    pub(super) from: u64,
    /// Most records of a page, 1 to 1,000; one that has 1 MiB ends before.
    #[serde(default = "page")]
    limit: usize,
    /// With events: tells what language models answer as it comes, too, each piece as
    /// an event `delta`. What counts is the record of the answer.
    #[serde(default)]
    pub(super) deltas: bool,
}

fn page() -> usize {
    100
}

/// Why a run is ended.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelRequest {
    /// For the record.
    #[serde(default)]
    why: String,
}

/// A signal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalRequest {
    /// What the agent gets, at most 1 MiB.
    #[serde(default)]
    payload: Value,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let query: RunsQuery = call.query()?;
    Reply::json(&call.runtime().runs(&call.who, query).await?)
}

pub(crate) async fn stats(call: Call) -> Result<Reply, Refusal> {
    let agents = call.runtime().run_stats(&call.who).await?;
    Reply::json(&RunStats { agents })
}

pub(crate) async fn prune(call: Call) -> Result<Reply, Refusal> {
    let request: PruneRequest = call.json()?;
    Reply::json(&call.runtime().prune_runs(&call.who, request).await?)
}

/// A part at a time, as fast as the client reads. A damaged record breaks the
/// connection off, so that a short export can't be taken for a whole one.
pub(crate) async fn export(call: Call) -> Result<Reply, Refusal> {
    let (runtime, who) = (Arc::clone(call.runtime()), Arc::clone(&call.who));
    let id = call.param("id").to_owned();
    let begun = call
        .runtime()
        .looking(move |_| runtime.export_run(&who, &id));
    let export = begun.await??;
    let parts = stream::try_unfold(export, |mut export| async move {
        let part = tokio::task::spawn_blocking(move || {
            let part = export.part();
            part.map(|part| part.map(|part| (part, export)))
        });
        part.await
            .map_err(std::io::Error::other)?
            .map_err(std::io::Error::other)
    });
    Ok(Reply {
        body: call.parts(parts),
        ..Reply::bytes(200, JSON, Bytes::new())
    })
}

pub(crate) async fn start(call: Call) -> Result<Reply, Refusal> {
    let query: StartQuery = call.query()?;
    let request: StartRun = call.json()?;
    let (run, new) = match query.once {
        Some(once) => {
            let started = call.runtime().start_run_once(&call.who, &once, request);
            started.await?
        }
        None => (call.runtime().start_run(&call.who, request).await?, true),
    };
    Reply::json_as(if new { 201 } else { 200 }, &run)
}

/// What `look` makes of a run, on a thread where it may take its time.
async fn looking(
    call: &Call,
    look: impl FnOnce(&Runtime, &Principal) -> Result<Reply, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let who = Arc::clone(&call.who);
    let looked = call.runtime().looking(move |runtime| look(runtime, &who));
    looked.await?
}

/// Where a run stands.
async fn stands(call: &Call) -> Result<Reply, Refusal> {
    let id = call.param("id").to_owned();
    looking(call, move |runtime, who| {
        Reply::json(&runtime.run_detail(who, &id)?.run)
    })
    .await
}

/// Where a run stands after something was done with it. That it was done stays true
/// where it can't be shown: nobody is to do it once more for that.
async fn stands_since(call: &Call) -> Result<Reply, Refusal> {
    stands(call).await.map_err(|why| {
        let (id, why) = (call.param("id"), why.detail());
        let detail =
            format!("it was done and is durable, but where {id} stands can't be shown now: {why}");
        Refusal::new(500, "done-not-shown", detail)
    })
}

pub(crate) async fn show(call: Call) -> Result<Reply, Refusal> {
    let id = call.param("id").to_owned();
    looking(&call, move |runtime, who| {
        Reply::json(&runtime.run_detail(who, &id)?)
    })
    .await
}

pub(crate) async fn events(call: Call) -> Result<Reply, Refusal> {
    if super::events::wanted(&call) {
        return super::run_events::answer(call);
    }
    let query: EventsQuery = call.query()?;
    if query.deltas {
        let detail = "`deltas` are told as server-sent events: ask for `text/event-stream`";
        return Err(Refusal::new(400, "bad-query", detail));
    }
    let id = call.param("id").to_owned();
    let page = move |runtime: &Runtime, who: &Principal| {
        Reply::json(&runtime.run_events(who, &id, query.from, query.limit)?)
    };
    looking(&call, page).await
}

pub(crate) async fn cancel(call: Call) -> Result<Reply, Refusal> {
    let request: CancelRequest = call.json()?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    runtime.cancel_run(&call.who, id, &request.why).await?;
    stands_since(&call).await
}

pub(crate) async fn pause(call: Call) -> Result<Reply, Refusal> {
    let (runtime, id) = (call.runtime(), call.param("id"));
    runtime.pause_run(&call.who, id).await?;
    stands_since(&call).await
}

pub(crate) async fn resume(call: Call) -> Result<Reply, Refusal> {
    let request: Resume = call.json()?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    runtime.resume_run(&call.who, id, request).await?;
    stands_since(&call).await
}

pub(crate) async fn fork(call: Call) -> Result<Reply, Refusal> {
    let request: ForkRun = call.json()?;
    let run = call
        .runtime()
        .fork_run(&call.who, call.param("id"), request);
    Reply::json_as(201, &run.await?)
}

pub(crate) async fn replay(call: Call) -> Result<Reply, Refusal> {
    let request: ReplayRun = call.json()?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    Reply::json(&runtime.replay_run(&call.who, id, request).await?)
}

pub(crate) async fn signal(call: Call) -> Result<Reply, Refusal> {
    let request: SignalRequest = call.json()?;
    let (id, name) = (call.param("id"), call.param("name"));
    let runtime = call.runtime();
    runtime
        .signal_run(&call.who, id, name, &request.payload)
        .await?;
    stands_since(&call).await
}

pub(crate) async fn halted(call: Call) -> Result<Reply, Refusal> {
    Reply::json(&call.runtime().halt_view()?)
}

pub(crate) async fn halt(call: Call) -> Result<Reply, Refusal> {
    let request: HaltRequest = call.json()?;
    Reply::json(&call.runtime().halt(&call.who, request).await?)
}

pub(crate) async fn approvals(call: Call) -> Result<Reply, Refusal> {
    let query: ApprovalsQuery = call.query()?;
    let list =
        move |runtime: &Runtime, who: &Principal| Reply::json(&runtime.approvals(who, &query)?);
    looking(&call, list).await
}

pub(crate) async fn approval(call: Call) -> Result<Reply, Refusal> {
    let id = call.param("id").to_owned();
    looking(&call, move |runtime, who| {
        Reply::json(&runtime.approval(who, &id)?)
    })
    .await
}

pub(crate) async fn decide(call: Call) -> Result<Reply, Refusal> {
    let request: Decide = call.json()?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    runtime.decide_approval(&call.who, id, request).await?;
    Ok(Reply::nothing())
}
