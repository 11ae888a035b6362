//! Schedules.

use std::sync::Arc;

use airlock_runtime::{ScheduleRequest, ScheduleView};
use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Schedules, by name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScheduleList {
    schedules: Vec<ScheduleView>,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let who = Arc::clone(&call.who);
    let listed = call.runtime().looking(move |runtime| {
        let schedules = runtime.schedules(&who)?;
        Reply::json(&ScheduleList { schedules })
    });
    listed.await?
}

pub(crate) async fn show(call: Call) -> Result<Reply, Refusal> {
    Reply::json(&call.runtime().schedule(&call.who, call.param("name"))?)
}

pub(crate) async fn add(call: Call) -> Result<Reply, Refusal> {
    let request: ScheduleRequest = call.json()?;
    let runtime = call.runtime();
    let made = runtime.set_schedule(&call.who, request, false).await?;
    Reply::json_as(201, &made)
}

pub(crate) async fn set(call: Call) -> Result<Reply, Refusal> {
    let mut request: ScheduleRequest = call.json()?;
    let name = call.param("name");
    if !request.name.is_empty() && request.name != name {
        let detail = format!("name: the path says `{name}`");
        return Err(Refusal::new(422, "schedule-invalid", detail));
    }
    request.name = name.to_owned();
    let runtime = call.runtime();
    Reply::json(&runtime.set_schedule(&call.who, request, true).await?)
}

pub(crate) async fn remove(call: Call) -> Result<Reply, Refusal> {
    let runtime = call.runtime();
    runtime
        .remove_schedule(&call.who, call.param("name"))
        .await?;
    Ok(Reply::nothing())
}

pub(crate) async fn pause(call: Call) -> Result<Reply, Refusal> {
    change(call, true).await
}

pub(crate) async fn resume(call: Call) -> Result<Reply, Refusal> {
    change(call, false).await
}

async fn change(call: Call, paused: bool) -> Result<Reply, Refusal> {
    let runtime = call.runtime();
    let changed = runtime.pause_schedule(&call.who, call.param("name"), paused);
    Reply::json(&changed.await?)
}
