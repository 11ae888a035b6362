//! `wasi:io/poll`, `wasi:clocks` and `wasi:random` as the journal tells them.
//!
//! What must stay true: nothing here looks at a real clock or a real source of
//! randomness.

use std::future::poll_fn;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use super::state::AgentState;
use super::{AgentHost, Request, RequestId, Stopped};
use crate::call::guard::Guard;
use crate::gate::LimitReached;
use crate::inert::POLLABLES_MAX;

const NS_PER_MS: u64 = 1_000_000;

/// Random bytes that one request may ask for.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// The agent's side of the host, over the whole state.
pub(super) struct View<'a>(pub(super) &'a mut AgentState);

impl View<'_> {
    /// Tells the host what the attempt has cost so far.
    pub(super) fn charge(&self) {
        let cpu = self.0.guard.cpu().as_micros();
        self.0.host.spent(u64::try_from(cpu).unwrap_or(u64::MAX));
    }

    /// The requests behind `pollables`, and the positions of those that are
    /// always ready.
    fn behind(&self, pollables: &[Resource<DynPollable>]) -> (Vec<(u32, RequestId)>, Vec<u32>) {
        let (mut waiting, mut ready) = (Vec::new(), Vec::new());
        for (position, pollable) in (0..).zip(pollables) {
            match self.0.waits.get(&pollable.rep()) {
                Some(id) => waiting.push((position, *id)),
                None => ready.push(position),
            }
        }
        (waiting, ready)
    }

    async fn wait(
        &mut self,
        pollables: &[Resource<DynPollable>],
        wait: bool,
    ) -> wasmtime::Result<Vec<u32>> {
        if pollables.len() > POLLABLES_MAX {
            return Err(LimitReached {
                limit: "handles",
                value: format!("{POLLABLES_MAX} pollables in one poll"),
            }
            .into());
        }
        if pollables.is_empty() {
            return Err(wasmtime::format_err!("a poll of nothing never ends"));
        }
        self.charge();
        let (waiting, mut ready) = self.behind(pollables);
        if ready.is_empty() {
            let ids = waiting.iter().map(|(_, id)| *id).collect();
            let answered = answered(&*self.0.host, &self.0.guard, ids, wait).await?;
            self.0.sees(&answered);
            let positions = waiting.iter().filter(|(_, id)| answered.contains(id));
            ready = positions.map(|(position, _)| *position).collect();
        }
        Ok(ready)
    }

    fn timer(&mut self, due_ms: u64) -> wasmtime::Result<Resource<DynPollable>> {
        if due_ms <= self.0.host.now_ms() {
            return self.0.pollable(None);
        }
        self.charge();
        let id = self.0.host.request(Request::Timer { due_ms })?;
        self.0.pollable(Some(id))
    }

    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_BYTES_MAX {
            return Err(LimitReached {
                limit: "random",
                value: format!("{RANDOM_BYTES_MAX} bytes at once"),
            }
            .into());
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        self.0.host.random(&mut bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.host.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The first answers of these; the agent waits until there is one.
async fn answered(
    host: &dyn AgentHost,
    guard: &Guard,
    ids: Vec<RequestId>,
    wait: bool,
) -> Result<Vec<RequestId>, Stopped> {
    let mut asked = host.poll(ids, wait);
    let answered = poll_fn(|cx| {
        let answered = asked.as_mut().poll(cx);
        if answered.is_pending() {
            guard.waits();
        }
        answered
    });
    answered.await
}

impl poll::Host for View<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.wait(&pollables, true).await
    }
}

impl poll::HostPollable for View<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.wait(&[pollable], true).await.map(drop)
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        let ready = self.wait(&[pollable], false).await?;
        Ok(!ready.is_empty())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.0.waits.remove(&pollable.rep());
        poll::HostPollable::drop(&mut self.0.table, pollable)
    }
}

impl wall_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.0.host.now_ms();
        Ok(wall_clock::Datetime {
            seconds: now / 1_000,
            nanoseconds: u32::try_from(now % 1_000 * NS_PER_MS)?,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: u32::try_from(NS_PER_MS)?,
        })
    }
}

impl monotonic_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let host = &self.0.host;
        let since = host.now_ms().saturating_sub(host.started_ms());
        Ok(since.saturating_mul(NS_PER_MS))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NS_PER_MS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let due = self.0.host.started_ms();
        self.timer(due.saturating_add(when.div_ceil(NS_PER_MS)))
    }

    fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.0.host.now_ms();
        self.timer(now.saturating_add(when.div_ceil(NS_PER_MS)))
    }
}

impl random::Host for View<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

impl insecure::Host for View<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

impl insecure_seed::Host for View<'_> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.number(), self.number()))
    }
}
