//! `airlock:agent/host`: passes on what an agent asks and tells.
//!
//! What must stay true: sizes are checked before anything is passed on; nothing
//! here depends on anything but the agent and its host.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use super::ask::{self, INPUT_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, bound};
use super::contract::host::{self, Level, PlanTask, Question, TaskState};
use super::contract::types::{Budget, Outcome, ToolInfo};
use super::run::Finished;
use super::waits::View;
use super::{Handle, Note, Request, RequestId};
use crate::capability::log::escape;
use crate::contract::types;

const TASKS_MAX: usize = 256;

impl View<'_> {
    fn handle(&mut self, id: RequestId) -> wasmtime::Result<Resource<Handle>> {
        let handle = self.0.table.push(Handle { id })?;
        self.0.held.insert(id);
        self.0.unseen.insert(id);
        Ok(handle)
    }

    fn asked(&mut self, request: Request) -> wasmtime::Result<Resource<Handle>> {
        self.charge();
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
        let request = ask::question(question, self.0.host.now_ms())?;
        self.asked(request)
    }

    fn tools(&mut self) -> wasmtime::Result<Vec<ToolInfo>> {
        self.charge();
        let tools = self.0.host.tools()?;
        Ok(tools.into_iter().map(ToolInfo::from).collect())
    }

    fn record(&mut self, value: String) -> wasmtime::Result<Resource<Handle>> {
        bound("the value", value.len(), INPUT_BYTES_MAX)?;
        self.asked(Request::Record { value })
    }

    fn start(
        &mut self,
        agent: String,
        goal: String,
        input: String,
        budget: Budget,
    ) -> wasmtime::Result<Resource<Handle>> {
        let request = ask::start(agent, goal, input, budget)?;
        self.asked(request)
    }

    fn chat(
        &mut self,
        request: String,
        after: Option<Resource<Handle>>,
    ) -> wasmtime::Result<Resource<Handle>> {
        bound("the request", request.len(), INPUT_BYTES_MAX)?;
        let after = after.map(|handle| self.id(&handle)).transpose()?;
        self.asked(Request::Chat { request, after })
    }

    fn embed(&mut self, request: String) -> wasmtime::Result<Resource<Handle>> {
        bound("the request", request.len(), INPUT_BYTES_MAX)?;
        self.asked(Request::Embed { request })
    }

    fn memory(&mut self, request: String) -> wasmtime::Result<Resource<Handle>> {
        bound("the request", request.len(), INPUT_BYTES_MAX)?;
        self.asked(Request::Memory { request })
    }

    fn get_state(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.0.memory.get(&key).map(str::to_owned))
    }

    fn set_state(&mut self, key: String, value: Option<String>) -> wasmtime::Result<()> {
        match &value {
            Some(value) => self.0.memory.check(&key, value)?,
            None => super::memory::check_key(&key)?,
        }
        self.0.host.set_state(&key, value.as_deref())?;
        self.0.memory.set(&key, value.as_deref());
        Ok(())
    }

    fn finish(&mut self, end: Result<Outcome, types::Error>) -> wasmtime::Result<()> {
        self.charge();
        for id in std::mem::take(&mut self.0.held) {
            self.0.host.detach(id)?;
        }
        Err(Finished(end.into()).into())
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
        self.0.lets_go(id);
        Ok(self.0.host.cancel(id)?)
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        let handle = self.0.table.delete(handle)?;
        self.0.lets_go(handle.id);
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
