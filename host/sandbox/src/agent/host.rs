//! `airlock:agent/host`: passes on what an agent asks and tells.
//!
//! What must stay true: sizes are checked before anything is passed on; nothing
//! here depends on anything but the agent and its host.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use super::contract::host::{self, Level, PlanTask, Question, TaskState};
use super::waits::View;
use super::{Handle, Note, Request, RequestId};
use crate::capability::log::escape;
use crate::contract::types;
use crate::gate::LimitReached;

const INPUT_BYTES_MAX: usize = 1 << 20;
const NAME_BYTES_MAX: usize = 160;
const TEXT_BYTES_MAX: usize = 8 << 10;
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
const CHOICES: std::ops::RangeInclusive<usize> = 2..=16;
const CHOICE_BYTES_MAX: usize = 128;
const TASKS_MAX: usize = 256;

/// An agent that asks for more than the contract allows ends, and is told which
/// bound it was.
fn bound(what: &'static str, len: usize, max: usize) -> wasmtime::Result<()> {
    if len > max {
        let value = format!("{what}: {max} bytes");
        return Err(LimitReached {
            limit: "request",
            value,
        }
        .into());
    }
    Ok(())
}

impl View<'_> {
    fn handle(&mut self, id: RequestId) -> wasmtime::Result<Resource<Handle>> {
        Ok(self.0.table.push(Handle { id })?)
    }

    fn asked(&mut self, request: Request) -> wasmtime::Result<Resource<Handle>> {
        let id = self.0.host.request(request)?;
        self.handle(id)
    }

    fn id(&self, handle: &Resource<Handle>) -> wasmtime::Result<RequestId> {
        Ok(self.0.table.get(handle)?.id)
    }
}

impl host::Host for View<'_> {
    fn call(&mut self, tool: String, input: String) -> wasmtime::Result<Resource<Handle>> {
        bound("the tool's name", tool.len(), NAME_BYTES_MAX)?;
        bound("the input", input.len(), INPUT_BYTES_MAX)?;
        self.asked(Request::Call { tool, input })
    }

    fn sleep(&mut self, milliseconds: u64) -> wasmtime::Result<Resource<Handle>> {
        let due_ms = self.0.host.now_ms().saturating_add(milliseconds);
        self.asked(Request::Timer { due_ms })
    }

    fn signal(&mut self, name: String) -> wasmtime::Result<Resource<Handle>> {
        bound("the signal's name", name.len(), NAME_BYTES_MAX)?;
        self.asked(Request::Signal { name })
    }

    fn ask(&mut self, question: Question) -> wasmtime::Result<Resource<Handle>> {
        bound("the question", question.text.len(), TEXT_BYTES_MAX)?;
        let payload = question.payload.as_ref().map_or(0, String::len);
        bound("the payload", payload, PAYLOAD_BYTES_MAX)?;
        for choice in &question.choices {
            bound("a choice", choice.len(), CHOICE_BYTES_MAX)?;
        }
        if !CHOICES.contains(&question.choices.len()) {
            let value = "2 to 16 choices".to_owned();
            return Err(LimitReached {
                limit: "request",
                value,
            }
            .into());
        }
        let now = self.0.host.now_ms();
        self.asked(Request::Ask {
            text: escape(&question.text),
            choices: question.choices.iter().map(|c| escape(c)).collect(),
            payload: question.payload,
            due_ms: question.due_ms.map(|due| now.saturating_add(due)),
        })
    }

    fn plan(&mut self, tasks: Vec<PlanTask>) -> wasmtime::Result<()> {
        bound("the plan's tasks", tasks.len(), TASKS_MAX)?;
        let task = |task: PlanTask| {
            bound("a task's title", task.title.len(), MESSAGE_BYTES_MAX)?;
            Ok(super::PlanTask {
                title: escape(&task.title),
                state: task.state.into(),
            })
        };
        let tasks = tasks.into_iter().map(task);
        let tasks = tasks.collect::<wasmtime::Result<Vec<_>>>()?;
        Ok(self.0.host.note(Note::Plan { tasks })?)
    }

    fn progress(&mut self, done: f64, total: Option<f64>, message: String) -> wasmtime::Result<()> {
        bound("the message", message.len(), MESSAGE_BYTES_MAX)?;
        let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
        Ok(self.0.host.note(Note::Progress {
            done: finite(done),
            total: total.map(finite),
            message: escape(&message),
        })?)
    }

    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        bound("the log record", message.len(), TEXT_BYTES_MAX)?;
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        Ok(self.0.host.note(Note::Log {
            level: level.to_owned(),
            message: escape(&message),
        })?)
    }
}

impl host::HostHandle for View<'_> {
    fn subscribe(&mut self, handle: Resource<Handle>) -> wasmtime::Result<Resource<DynPollable>> {
        let id = self.id(&handle)?;
        self.0.pollable(Some(id))
    }

    fn answer(
        &mut self,
        handle: Resource<Handle>,
    ) -> wasmtime::Result<Option<Result<String, types::Error>>> {
        let id = self.id(&handle)?;
        let answer = self.0.host.answer(id);
        Ok(answer.map(|answer| answer.map_err(types::Error::from)))
    }

    fn cancel(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        let id = self.id(&handle)?;
        Ok(self.0.host.cancel(id)?)
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        let handle = self.0.table.delete(handle)?;
        Ok(self.0.host.detach(handle.id)?)
    }
}

impl From<TaskState> for super::TaskState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Todo => Self::Todo,
            TaskState::Doing => Self::Doing,
            TaskState::Done => Self::Done,
            TaskState::Failed => Self::Failed,
            TaskState::Skipped => Self::Skipped,
        }
    }
}
