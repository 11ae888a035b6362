//! Starts a run, once under its idempotency key, if it has one.
//!
//! What must stay true: a start goes on when the client leaves; under one key it
//! happens once, whatever is lost.

use std::sync::Arc;

use airlock_runtime::idempotency::{Begin, Fingerprint};
use airlock_runtime::{
    Failure, IdempotencyError, Principal, Problem, Runtime, StartRun, StoredReply, now_ms,
};
use serde_json::{Value, json};

/// The id of the run that was started, now or under the same key before.
pub(crate) async fn start(
    runtime: &Arc<Runtime>,
    who: &Arc<Principal>,
    key: Option<String>,
    request: StartRun,
) -> Result<String, Box<Problem>> {
    let (runtime, who) = (Arc::clone(runtime), Arc::clone(who));
    let work = async move {
        match key {
            None => begun(&runtime, &who, request).await,
            Some(key) => under(&runtime, &who, &key, request).await,
        }
    };
    let lost = |_| {
        Box::new(Problem::new(
            500,
            "unknown",
            "the host failed: it may have happened",
        ))
    };
    tokio::spawn(work).await.map_err(lost)?
}

async fn begun(
    runtime: &Arc<Runtime>,
    who: &Principal,
    request: StartRun,
) -> Result<String, Box<Problem>> {
    let run = runtime.start_run(who, request).await;
    run.map(|run| run.id).map_err(|error| problem(&error))
}

fn problem(failure: &dyn Failure) -> Box<Problem> {
    airlock_runtime::problem::log_failure(failure);
    Box::new(Problem::of(failure))
}

async fn under(
    runtime: &Arc<Runtime>,
    who: &Principal,
    key: &str,
    request: StartRun,
) -> Result<String, Box<Problem>> {
    let print = print(who, &request);
    let begin = runtime
        .idempotency()
        .begin(&who.name, key, print, now_ms())
        .map_err(|error| problem(&error))?;
    let ticket = match begin {
        Begin::Replay(stored) => return read(&stored),
        Begin::Run(ticket) => ticket,
    };
    let commit = async |op| {
        let done = runtime.commit(op).await;
        done.map_err(|error| problem(&IdempotencyError::from(error)))
    };
    commit(ticket.intent().to_vec()).await?;
    let started = begun(runtime, who, request).await;
    // What was refused for now may be tried again.
    let kept = match &started {
        Err(problem) if matches!(problem.status, 429 | 503) => vec![ticket.again()],
        Ok(run) => {
            let body = json!({ "id": run }).to_string().into_bytes();
            ticket.finished(&reply(201, body)).into()
        }
        Err(problem) => ticket
            .finished(&reply(problem.status, problem.to_json()))
            .into(),
    };
    commit(kept).await?;
    started
}

/// What a start is, for a token of this reach.
fn print(who: &Principal, request: &StartRun) -> Fingerprint {
    let target = match &who.plugins {
        None => "mcp run".to_owned(),
        Some(plugins) => format!("mcp run for {plugins:?}"),
    };
    let body = json!([request.agent, request.goal, request.input]);
    Fingerprint::of("POST", &target, body.to_string().as_bytes())
}

fn reply(status: u16, body: Vec<u8>) -> StoredReply {
    StoredReply {
        status,
        body: body.into(),
        replayed: false,
        retry_after_s: None,
    }
}

fn read(stored: &StoredReply) -> Result<String, Box<Problem>> {
    let damaged = || {
        Box::new(Problem::new(
            500,
            "internal",
            "the kept reply can't be read",
        ))
    };
    let value: Value = serde_json::from_slice(&stored.body).map_err(|_| damaged())?;
    match stored.status {
        201 => value["id"].as_str().map(str::to_owned).ok_or_else(damaged),
        _ => Err(serde_json::from_value(value).map_or_else(|_| damaged(), Box::new)),
    }
}
