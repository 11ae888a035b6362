//! The host of an agent that is replayed: every answer is out of the journal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use airlock_journal::store::BoxFuture;
use airlock_sandbox::agent::{
    AgentEnd, AgentHost, AgentTool, Answer, Note, Request, RequestId, Stopped,
};

use super::super::event::Event;
use super::matching::Comparison;
use super::types::RunReplay;

pub(super) struct Replayed(Mutex<Comparison>);

impl Replayed {
    pub(super) fn new(comparison: Comparison) -> Self {
        Self(Mutex::new(comparison))
    }

    fn lock(&self) -> MutexGuard<'_, Comparison> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of it, once the agent has ended.
    pub(super) fn finish(&self, end: AgentEnd) -> RunReplay {
        self.lock().finish(end)
    }
}

impl AgentHost for Replayed {
    fn request(&self, request: Request) -> Result<RequestId, Stopped> {
        self.lock().request(request)
    }

    fn poll(
        &self,
        ids: Vec<RequestId>,
        wait: bool,
    ) -> BoxFuture<'_, Result<Vec<RequestId>, Stopped>> {
        let ready = self.lock().poll(&ids, wait);
        Box::pin(async move { ready })
    }

    fn answer(&self, id: RequestId) -> Option<Answer> {
        self.lock().answer(id)
    }

    fn cancel(&self, id: RequestId) -> Result<(), Stopped> {
        self.lock().does(Event::CancelAsked { id })
    }

    fn detach(&self, id: RequestId) -> Result<(), Stopped> {
        self.lock().does(Event::detached(id, None))
    }

    fn note(&self, note: Note) -> Result<(), Stopped> {
        self.lock().does(Event::Noted(note))
    }

    fn tools(&self) -> Result<Vec<AgentTool>, Stopped> {
        self.lock().tools()
    }

    fn set_state(&self, key: &str, value: Option<&str>) -> Result<(), Stopped> {
        self.lock().does(Event::StateSet {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        })
    }

    fn is_told(&self, id: RequestId) -> bool {
        self.lock().is_told(id)
    }

    /// Nothing it does is anything but a look back.
    fn is_live(&self) -> bool {
        false
    }

    fn spent(&self, _: u64) {}

    fn now_ms(&self) -> u64 {
        self.lock().now_ms()
    }

    fn started_ms(&self) -> u64 {
        self.lock().started_ms()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.lock().random(bytes);
    }
}
