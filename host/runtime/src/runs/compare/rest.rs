//! What a journal has left after a replay's first difference, and the steps of
//! the replay that find their place in it.
//!
//! What must stay true: a step of the journal is met once; whatever was the first
//! difference is told, even where every single step has its counterpart.

use std::collections::{HashMap, VecDeque};

use airlock_sandbox::agent::{AgentTool, Note, Request, RequestId};
use serde_json::{Value, json};

use super::super::event::Event;
use super::super::replay::Replay;
use super::matching::is_wait;
use super::types::{Difference, DifferenceKind, ReplayStep};

/// Longest text of a step, bytes.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// What a step is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The kind of thing.
    sort: String,
    /// With its arguments.
    exact: String,
}

/// A step of the journal.
struct Left {
    key: Key,
    step: ReplayStep,
    /// Steps of the replay before the one that met it.
    met: Option<u64>,
}

pub(super) struct Rest {
    left: Vec<Left>,
    exact: HashMap<String, VecDeque<usize>>,
    sorts: HashMap<String, VecDeque<usize>>,
    /// The tools that the journal tells of; `None`: the same as before.
    tools: VecDeque<Option<Vec<AgentTool>>>,
    /// One more than the last of `left` that was met.
    furthest: usize,
    /// What the journal has where the replay left it, until a difference tells it.
    untold: Option<ReplayStep>,
    /// Steps that were the same, those before the first difference included.
    pub(super) same: u64,
    /// Those before it.
    begun: u64,
    found: Vec<(Difference, Option<Key>)>,
}

/// The differences, and how many steps the replay did not come to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    pub(super) not_reached: u64,
}

impl Rest {
    /// What `replay` has left of `steps`.
    pub(super) fn of(replay: &Replay, steps: u64) -> Self {
        let mut now_ms = replay.now_ms();
        let (mut left, mut tools) = (Vec::new(), VecDeque::new());
        let mut untold = None;
        for record in replay.rest() {
            let step = shown(&record.event);
            untold.get_or_insert_with(|| step.clone());
            if let Event::ToolsTold { tools: told } = &record.event {
                tools.push_back(told.clone());
            }
            if is_wait(&record.event) {
                now_ms = now_ms.max(record.at_ms);
                continue;
            }
            if let Some(key) = key(&record.event, now_ms, Some) {
                let met = None;
                left.push(Left { key, step, met });
            }
        }
        let (mut exact, mut sorts) = (HashMap::new(), HashMap::new());
        for (index, Left { key, .. }) in left.iter().enumerate() {
            let at = |all: &mut HashMap<_, VecDeque<_>>, key: &String| {
                all.entry(key.clone()).or_default().push_back(index);
            };
            at(&mut exact, &key.exact);
            at(&mut sorts, &key.sort);
        }
        let ended = || ReplayStep {
            request: None,
            what: "the agent's end".to_owned(),
        };
        let begun = steps - left.len() as u64;
        Self {
            same: begun,
            begun,
            untold: Some(untold.unwrap_or_else(ended)),
            furthest: 0,
            found: Vec::new(),
            left,
            exact,
            sorts,
            tools,
        }
    }

    /// The tools that the journal tells of next, where they are other ones.
    pub(super) fn next_tools(&mut self) -> Option<Vec<AgentTool>> {
        self.tools.pop_front().flatten()
    }

    /// The agent waits where the journal has something else.
    pub(super) fn waited(&mut self, wait: ReplayStep) {
        let recorded = self.untold.take();
        self.tell(DifferenceKind::OtherOrder, recorded, Some(wait), None);
    }

    /// Finds a step's place; gives the number of the request there.
    pub(super) fn place(&mut self, key: Key, event: &Event) -> Option<RequestId> {
        let replayed = shown(event);
        let exact = self.next(|rest| rest.exact.get_mut(&key.exact));
        let timer = matches!(
            event,
            Event::Requested {
                request: Request::Timer { .. },
                ..
            }
        );
        let index = match exact {
            None if timer => self.next(|rest| rest.sorts.get_mut(&key.sort)),
            exact => exact,
        };
        let Some(index) = index else {
            self.untold = None;
            self.tell(DifferenceKind::Inserted, None, Some(replayed), Some(key));
            return None;
        };
        self.left[index].met = Some(self.position());
        let recorded = self.left[index].step.clone();
        let request = recorded.request;
        let late = index < self.furthest;
        self.furthest = self.furthest.max(index + 1);
        let untold = self.untold.take();
        match (exact.is_none(), late, untold) {
            (true, ..) => {
                let recorded = Some(recorded);
                self.tell(
                    DifferenceKind::ChangedArguments,
                    recorded,
                    Some(replayed),
                    None,
                );
            }
            (false, true, _) => {
                let recorded = Some(recorded);
                self.tell(DifferenceKind::OtherOrder, recorded, Some(replayed), None);
            }
            (false, false, Some(next)) => {
                self.tell(DifferenceKind::OtherOrder, Some(next), Some(replayed), None);
            }
            (false, false, None) => self.same += 1,
        }
        request
    }

    /// The first step of a queue that was not met.
    fn next(&mut self, queue: impl Fn(&mut Self) -> Option<&mut VecDeque<usize>>) -> Option<usize> {
        loop {
            let index = queue(self)?.pop_front()?;
            if self.left[index].met.is_none() {
                return Some(index);
            }
        }
    }

    /// Steps of the replay so far.
    fn position(&self) -> u64 {
        self.same + self.found.len() as u64
    }

    fn tell(
        &mut self,
        kind: DifferenceKind,
        recorded: Option<ReplayStep>,
        replayed: Option<ReplayStep>,
        unmatched: Option<Key>,
    ) {
        let difference = Difference {
            kind,
            after: self.position(),
            recorded,
            replayed,
        };
        self.found.push((difference, unmatched));
    }

    /// All differences in order, once the replay is over. What has no counterpart
    /// on either side and is of the same kind has changed its arguments.
    pub(super) fn found(mut self, ended: bool) -> Found {
        for index in 0..self.found.len() {
            let Some(key) = self.found[index].1.clone() else {
                continue;
            };
            let Some(left) = self.next(|rest| rest.sorts.get_mut(&key.sort)) else {
                continue;
            };
            let difference = &mut self.found[index].0;
            difference.kind = DifferenceKind::ChangedArguments;
            difference.recorded = Some(self.left[left].step.clone());
            self.left[left].met = Some(difference.after);
            self.furthest = self.furthest.max(left + 1);
        }
        let mut after = self.begun;
        let mut not_reached = 0;
        let found = self.found.into_iter();
        let mut differences: Vec<Difference> = found.map(|(difference, _)| difference).collect();
        for (index, left) in self.left.into_iter().enumerate() {
            match left.met {
                Some(met) => after = met + 1,
                None if ended || index < self.furthest => differences.push(Difference {
                    kind: DifferenceKind::Removed,
                    after,
                    recorded: Some(left.step),
                    replayed: None,
                }),
                None => not_reached += 1,
            }
        }
        differences.sort_by_key(|difference| difference.after);
        Found {
            differences,
            not_reached,
        }
    }
}

/// What a step is compared by; `None` for one about a request that is not known.
/// Timers are compared by how long they are, questions without their due time.
pub(super) fn key(
    event: &Event,
    now_ms: u64,
    known: impl Fn(RequestId) -> Option<RequestId>,
) -> Option<Key> {
    let both = |sort: &str| (sort.to_owned(), sort.to_owned());
    let (sort, exact) = match event {
        Event::Requested { request, .. } => of_request(request, now_ms, known),
        Event::CancelAsked { id } => both(&format!("cancel {}", known(*id)?)),
        Event::Detached { id, .. } => both(&format!("detach {}", known(*id)?)),
        // What a note says may change, that it is one may not.
        Event::ToolsTold { .. } => both("tools"),
        Event::StateSet { key, .. } => (format!("state {key}"), json!(event).to_string()),
        Event::Noted(Note::Log { .. }) => both("log"),
        Event::Noted(Note::Plan { .. }) => both("plan"),
        Event::Noted(Note::Progress { .. }) => both("progress"),
        other => both(&json!(other).to_string()),
    };
    Some(Key { sort, exact })
}

fn of_request(
    request: &Request,
    now_ms: u64,
    known: impl Fn(RequestId) -> Option<RequestId>,
) -> (String, String) {
    let mut value = json!(request);
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    match request {
        Request::Call { tool, .. } => (format!("{kind} {tool}"), value.to_string()),
        Request::Start { agent, .. } => (format!("{kind} {agent}"), value.to_string()),
        Request::Chat { after, .. } => {
            value["after"] = json!(after.and_then(known));
            (kind, value.to_string())
        }
        Request::Timer { due_ms } => {
            let long_ms = due_ms.saturating_sub(now_ms);
            (kind.clone(), format!("{kind} {long_ms}"))
        }
        _ => {
            value["due_ms"] = Value::Null;
            (kind, value.to_string())
        }
    }
}

/// A step for people.
fn shown(event: &Event) -> ReplayStep {
    let (request, what) = match event {
        Event::Requested { id, request, .. } => {
            let what = match request {
                Request::Call { tool, input } => format!("call {tool} {input}"),
                Request::Record { value } => format!("keeps {value}"),
                Request::Start { agent, input, .. } => format!("starts {agent} {input}"),
                Request::Chat { request, .. } => format!("asks a model {request}"),
                Request::Embed { request } => format!("asks for vectors {request}"),
                Request::Memory { request } => format!("asks the memory {request}"),
                request => json!(request).to_string(),
            };
            (Some(*id), what)
        }
        Event::StateSet { key, value } => {
            let value = value.as_deref().unwrap_or("nothing");
            (None, format!("sets the state `{key}` to {value}"))
        }
        Event::ToolsTold { .. } => (None, "asks for its tools".to_owned()),
        Event::CancelAsked { id } => (Some(*id), "cancels the request".to_owned()),
        Event::Detached { id, .. } => (Some(*id), "lets go of the request".to_owned()),
        Event::Woke { ready, .. } => (None, format!("gets the answers to {ready:?}")),
        other => (None, json!(other).to_string()),
    };
    let what = said(&what);
    ReplayStep { request, what }
}

/// Cut.
pub(super) fn said(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    match text.len() > end {
        true => format!("{}…", &text[..end]),
        false => text.to_owned(),
    }
}
