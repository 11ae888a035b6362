//! Where an attempt of an agent stands in its journal: what it does is compared
//! with what is recorded, until the records are used up.
//!
//! What must stay true: an agent that does what it did before sees what it saw
//! before, in the same order; one that does something else is stopped before
//! anything of it counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use airlock_sandbox::agent::{AgentTool, Note, Request, RequestId};
use sha2::{Digest, Sha256};

use super::event::{Block, Event, Record};

/// What an attempt needs to know of how its run began.
pub(crate) struct Began<'a> {
    pub(crate) seed: &'a str,
    pub(crate) rules: u32,
    pub(crate) at_ms: u64,
}

/// One attempt's place in its journal.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// What the agent did before and has not done again yet.
    rest: VecDeque<Record>,
    /// Requests whose answers this attempt was given.
    delivered: BTreeSet<RequestId>,
    /// How the journal is read, see [`RULES`](super::event::RULES).
    rules: u32,
    /// Values that are kept and that the agent has not looked for yet, and when
    /// each was.
    kept: BTreeMap<RequestId, u64>,
    /// Waits for signals that no poll has reported.
    signals: BTreeSet<RequestId>,
    /// Those that one has reported, and that the agent has not read.
    unread: BTreeSet<RequestId>,
    next_id: RequestId,
    polls: u64,
    /// The run's clock.
    now_ms: u64,
    /// The tools that the agent was told of last.
    tools: Vec<AgentTool>,
    seed: Vec<u8>,
    /// Blocks of randomness used so far, and what is left of the last one.
    blocks: u64,
    random: Vec<u8>,
}

/// What to do about something the agent did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// It did that before: this came of it.
    Before(T),
    /// It is new.
    New,
    /// The journal has something else here.
    Differs(Block),
}

impl Replay {
    /// At the start of `records`.
    pub(crate) fn new(start: &Began<'_>, records: Vec<Record>) -> Self {
        let agents = records
            .into_iter()
            .filter(|record| record.event.is_the_agents());
        Self {
            rest: agents.collect(),
            now_ms: start.at_ms,
            seed: start.seed.as_bytes().to_vec(),
            rules: start.rules,
            ..Self::default()
        }
    }

    /// Whether the agent has caught up with its journal.
    pub(crate) fn is_live(&self) -> bool {
        self.rest.is_empty()
    }

    /// Why an agent that ends here does not do what it did before.
    pub(crate) fn not_done(&self) -> Option<Block> {
        let next = self.rest.front()?;
        Some(Block::Nondeterminism {
            expected: json(&next.event),
            found: "it ends".to_owned(),
        })
    }

    /// What the agent did before and has not done again yet.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &Record> {
        self.rest.iter()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The agent asks for something, as the request of the number given back.
    pub(crate) fn request(&mut self, request: &Request) -> (RequestId, Step<()>) {
        let id = self.next_id;
        self.next_id += 1;
        let at_ms = self.rest.front().map(|record| record.at_ms);
        if let Request::Signal { .. } = request {
            self.signals.insert(id);
        }
        let step = self.expect(
            |event| match event {
                Event::Requested {
                    id: known,
                    request: asked,
                    ..
                } => *known == id && asked == request,
                Event::Recorded {
                    id: known,
                    value: kept,
                } => *known == id && matches!(request, Request::Record { value } if value == kept),
                _ => false,
            },
            || format!("request {id}: {}", json(request)),
        );
        if let (Step::Before(()), Request::Record { .. }) = (&step, request) {
            self.keep(id, at_ms.unwrap_or_default());
        }
        (id, step)
    }

    /// A value is kept: the next poll that asks for it finds it, whatever else is
    /// ready, so that no record need tell.
    pub(crate) fn keep(&mut self, id: RequestId, at_ms: u64) {
        if self.rules > 0 {
            self.kept.insert(id, at_ms);
        }
    }

    /// The agent tells something. What it says may change, that it says it not.
    pub(crate) fn note(&mut self, note: &Note) -> Step<()> {
        self.expect(
            |event| matches!(event, Event::Noted(_)),
            || format!("a note: {}", json(note)),
        )
    }

    /// The agent sets a key of its state.
    pub(crate) fn set_state(&mut self, key: &str, value: Option<&str>) -> Step<()> {
        self.expect(
            |event| matches!(event, Event::StateSet { key: set, value: to } if set == key && to.as_deref() == value),
            || format!("the state `{key}` is set to {}", value.unwrap_or("nothing")),
        )
    }

    /// The agent asks which tools there are.
    pub(crate) fn tools(&mut self) -> Step<Vec<AgentTool>> {
        let next = self.rest.front().map(|record| record.event.clone());
        if let Some(Event::ToolsTold { tools: Some(tools) }) = next {
            self.tools = tools;
        }
        let step = self.expect(
            |event| matches!(event, Event::ToolsTold { .. }),
            || "it asks for its tools".to_owned(),
        );
        match step {
            Step::Before(()) => Step::Before(self.tools.clone()),
            Step::New => Step::New,
            Step::Differs(why) => Step::Differs(why),
        }
    }

    /// The tools that it was told of last.
    pub(crate) fn told(&self) -> &[AgentTool] {
        &self.tools
    }

    /// The agent is told of these tools; gives the record of that.
    pub(crate) fn tell(&mut self, tools: &[AgentTool]) -> Event {
        let told = (self.tools != tools).then(|| tools.to_vec());
        if let Some(tools) = &told {
            self.tools.clone_from(tools);
        }
        Event::ToolsTold { tools: told }
    }

    /// The agent asks for a request to end.
    pub(crate) fn cancel(&mut self, id: RequestId) -> Step<()> {
        self.expect(
            |event| *event == Event::CancelAsked { id },
            || format!("request {id} is cancelled"),
        )
    }

    /// The agent reads the answer to a request.
    pub(crate) fn read(&mut self, id: RequestId) {
        self.unread.remove(&id);
    }

    /// Whether a request has a signal that was reported and not read.
    pub(crate) fn is_unread(&self, id: RequestId) -> bool {
        self.unread.contains(&id)
    }

    /// The agent lets go of a request; only before its answer is that worth a
    /// record, and of a signal before it was read. Journals of before have none of
    /// the latter.
    pub(crate) fn detach(&mut self, id: RequestId) -> Step<()> {
        let is_it =
            |event: &Event| matches!(event, Event::Detached { id: known, .. } if *known == id);
        let next = self.rest.front().map(|record| is_it(&record.event));
        let unread = self.unread.remove(&id);
        if self.delivered.contains(&id) && !(unread && next != Some(false)) {
            return Step::Before(());
        }
        self.signals.remove(&id);
        self.expect(is_it, || format!("request {id} is detached"))
    }

    /// The agent looks which of `ids` are ready.
    pub(crate) fn poll(&mut self, ids: &[RequestId], wait: bool) -> Step<Vec<RequestId>> {
        let known = ids.iter().copied().filter(|id| self.delivered.contains(id));
        let known: Vec<RequestId> = known.collect();
        if !known.is_empty() {
            return Step::Before(known);
        }
        if let Some(ready) = self.kept_of(ids) {
            return Step::Before(ready);
        }
        let poll = self.polls;
        self.polls += 1;
        match self.rest.front() {
            None => Step::New,
            Some(Record {
                at_ms,
                event: Event::Woke {
                    poll: at, ready, ..
                },
            }) if *at == poll => {
                let (ready, now_ms) = (ready.clone(), *at_ms);
                self.rest.pop_front();
                self.deliver(&ready, now_ms);
                Step::Before(ready)
            }
            Some(_) if !wait => Step::Before(Vec::new()),
            Some(next) => Step::Differs(Block::Nondeterminism {
                expected: json(&next.event),
                found: format!("it waits for the requests {ids:?}"),
            }),
        }
    }

    /// Which of `ids` are kept values, which with that reach the agent.
    fn kept_of(&mut self, ids: &[RequestId]) -> Option<Vec<RequestId>> {
        let kept = ids.iter().copied().filter(|id| self.kept.contains_key(id));
        let ready: Vec<RequestId> = kept.collect();
        let last_ms = ready.iter().filter_map(|id| self.kept.remove(id)).max()?;
        self.reach(&ready, last_ms);
        Some(ready)
    }

    fn reach(&mut self, ready: &[RequestId], now_ms: u64) {
        for id in ready {
            self.kept.remove(id);
        }
        self.delivered.extend(ready);
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// The answers of `ready` reach the agent at `now_ms`; gives the record of
    /// that for a poll that was new.
    pub(crate) fn deliver(&mut self, ready: &[RequestId], now_ms: u64) -> Event {
        self.reach(ready, now_ms);
        let signals = ready.iter().filter(|id| self.signals.remove(id));
        self.unread.extend(signals);
        Event::Woke {
            poll: self.polls.saturating_sub(1),
            ready: ready.to_vec(),
            cpu_us: 0,
        }
    }

    /// Whether this attempt was given the answer to a request.
    pub(crate) fn is_delivered(&self, id: RequestId) -> bool {
        self.delivered.contains(&id)
    }

    /// The run's randomness: SHA-256 over the seed and a counter.
    pub(crate) fn random(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.random.is_empty() {
                let block = Sha256::new()
                    .chain_update(&self.seed)
                    .chain_update(self.blocks.to_le_bytes());
                self.random = block.finalize().to_vec();
                self.blocks += 1;
            }
            *byte = self.random.pop().unwrap_or_default();
        }
    }

    fn expect(
        &mut self,
        is_it: impl FnOnce(&Event) -> bool,
        found: impl FnOnce() -> String,
    ) -> Step<()> {
        let Some(next) = self.rest.front() else {
            return Step::New;
        };
        if is_it(&next.event) {
            self.rest.pop_front();
            return Step::Before(());
        }
        Step::Differs(Block::Nondeterminism {
            expected: json(&next.event),
            found: found(),
        })
    }
}

/// For people, so cut.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    const BYTES_MAX: usize = 500;
    let text = serde_json::to_string(value).unwrap_or_default();
    let end = text.floor_char_boundary(BYTES_MAX);
    match text.len() > end {
        true => format!("{}…", &text[..end]),
        false => text,
    }
}
