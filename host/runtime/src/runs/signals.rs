//! Signals that a run got and that its agent was not given yet.
//!
//! What must stay true: a signal goes to one who still waits for it, or is kept;
//! those of one name reach the agent in the order they came.

use std::collections::{BTreeMap, HashMap, VecDeque};

use airlock_sandbox::agent::{Request, RequestId};

use super::event::Told;
use super::fold::{Asked, RunState};

/// Signals in the order they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Signals {
    /// Those that no request has got, by name.
    kept: HashMap<String, VecDeque<Signal>>,
    /// Those that answer a request, and that no poll has reported yet.
    given: BTreeMap<RequestId, (String, Signal)>,
    /// Names and places in the order of those that a poll has reported.
    reported: BTreeMap<RequestId, (String, u64)>,
    came: u64,
}

/// One of them: its place in the order, and its payload.
#[derive(Debug, Clone, PartialEq)]
struct Signal {
    number: u64,
    payload: String,
}

impl Signals {
    pub(super) fn came(&mut self, name: &str, payload: &str) {
        let signal = self.next(payload);
        let kept = self.kept.entry(name.to_owned()).or_default();
        kept.push_back(signal);
    }

    fn next(&mut self, payload: &str) -> Signal {
        let number = self.came;
        self.came += 1;
        Signal {
            number,
            payload: payload.to_owned(),
        }
    }

    /// The first one of a name answers a request; in journals of earlier hosts, also
    /// one that was `let_go` of.
    pub(super) fn given(&mut self, id: RequestId, name: &str, payload: &str, let_go: bool) {
        let first = self.kept.get_mut(name).and_then(VecDeque::pop_front);
        let signal = first.unwrap_or_else(|| self.next(payload));
        if !let_go {
            self.given.insert(id, (name.to_owned(), signal));
        }
    }

    /// A poll reported these requests: the agent may read what answers them.
    pub(super) fn delivered(&mut self, ready: &[RequestId]) {
        for id in ready {
            if let Some((name, signal)) = self.given.remove(id) {
                self.reported.insert(*id, (name, signal.number));
            }
        }
    }

    /// The agent let go of a request without having read its answer, which was
    /// `unread` where a poll had reported it.
    fn take_back(&mut self, id: RequestId, unread: Option<&String>) {
        let reported = self.reported.remove(&id);
        let reported = reported.zip(unread).map(|((name, number), payload)| {
            let payload = payload.clone();
            (name, Signal { number, payload })
        });
        let Some((name, signal)) = self.given.remove(&id).or(reported) else {
            return;
        };
        let kept = self.kept.entry(name).or_default();
        let place = kept.partition_point(|other| other.number < signal.number);
        kept.insert(place, signal);
    }

    /// How many the agent was not told of, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        let kept = self.kept.values().flatten();
        let given = self.given.values().map(|(_, signal)| signal);
        kept.chain(given).fold((0, 0), |(held, bytes), signal| {
            (held + 1, bytes + signal.payload.len())
        })
    }

    /// The payload of the first one of a name that no request has got.
    pub(super) fn first(&self, name: &str) -> Option<&String> {
        let first = self.kept.get(name)?.front()?;
        Some(&first.payload)
    }

    /// Names and payloads of all, those of one name in the order they came.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let kept = self.kept.iter();
        let kept = kept.flat_map(|(name, all)| all.iter().map(move |signal| (name, signal)));
        let given = self.given.values().map(|(name, signal)| (name, signal));
        let mut all: Vec<_> = kept.chain(given).collect();
        all.sort_by_key(|(_, signal)| signal.number);
        let named = |(name, signal): (&String, &Signal)| (name.clone(), signal.payload.clone());
        all.into_iter().map(named).collect()
    }
}

impl RunState {
    /// The agent lets go of a request. With `ends`, one that has no effect of its
    /// own is over: a timer, a question, a wait for a signal. Without it, as runs
    /// of earlier hosts did, it goes on.
    pub(super) fn let_go(&mut self, id: RequestId, ends: bool, unread: Option<&String>) {
        self.with(id, |asked| asked.detached = true);
        if !ends {
            return;
        }
        self.signals.take_back(id, unread);
        let over = self.requests.get(&id).is_some_and(|asked| {
            matches!(
                asked.request,
                Request::Timer { .. } | Request::Ask { .. } | Request::Signal { .. }
            )
        });
        if over {
            self.requests.remove(&id);
        }
    }

    /// A request got its answer.
    pub(super) fn took_signal(&mut self, id: RequestId, asked: &Asked, answer: &Told) {
        if let (Request::Signal { name }, Told::Ok(payload)) = (&asked.request, answer) {
            self.signals.given(id, name, payload, asked.detached);
        }
    }

    /// The first request that waits for a signal that is there, and its payload.
    pub(super) fn waits_for_signal(&self) -> Option<(RequestId, String)> {
        self.open().find_map(|(id, asked)| match &asked.request {
            Request::Signal { name } if !asked.detached => {
                Some((id, self.signals.first(name)?.clone()))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::event::{Event, Record};
    use crate::runs::spending::Spent;
    use crate::runs::tests::begins;

    fn asks(id: RequestId) -> Event {
        let request = Request::Signal {
            name: "go".to_owned(),
        };
        let begun = None;
        Event::Requested { id, request, begun }
    }

    fn signalled(payload: &str) -> Event {
        Event::Signalled {
            name: "go".to_owned(),
            payload: payload.to_owned(),
            by: "me".to_owned(),
        }
    }

    fn answered(id: RequestId, payload: &str) -> Event {
        Event::Answered {
            id,
            answer: Told::Ok(payload.to_owned()),
            by: None,
            used: Spent::default(),
        }
    }

    fn woke(ready: &[RequestId]) -> Event {
        Event::Woke {
            poll: 0,
            ready: ready.to_vec(),
            cpu_us: 0,
        }
    }

    /// As a host of before wrote it.
    fn detached_of_before(id: RequestId) -> Event {
        let text = format!(r#"{{"at_ms":1,"event":"detached","id":{id}}}"#);
        let record: Record = serde_json::from_str(&text).expect("reads");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), text);
        record.event
    }

    fn state(events: impl IntoIterator<Item = Event>) -> RunState {
        let events = std::iter::once(Event::Started(begins())).chain(events);
        let records: Vec<Record> = events.map(|event| Record { at_ms: 1, event }).collect();
        RunState::of(&records)
    }

    /// What is left for the next, and who that is.
    #[test]
    fn what_was_let_go_of_takes_no_signal() {
        let let_go = |id| Event::detached(id, None);
        let unread = |id, payload: &str| Event::detached(id, Some(payload.to_owned()));
        type Waits<'a> = Option<(RequestId, &'a str)>;
        let table: [(&str, Vec<Event>, &[&str], Waits<'_>); 7] = [
            (
                "nobody let go",
                vec![asks(0), signalled("1")],
                &["1"],
                Some((0, "1")),
            ),
            (
                "before a signal came",
                vec![asks(0), let_go(0), asks(1), signalled("1")],
                &["1"],
                Some((1, "1")),
            ),
            (
                "before it was reported",
                vec![
                    asks(0),
                    signalled("1"),
                    answered(0, "1"),
                    signalled("2"),
                    let_go(0),
                ],
                &["1", "2"],
                None,
            ),
            (
                "both, the later one first",
                vec![
                    asks(0),
                    asks(1),
                    signalled("1"),
                    answered(0, "1"),
                    signalled("2"),
                    answered(1, "2"),
                    let_go(1),
                    let_go(0),
                    asks(2),
                ],
                &["1", "2"],
                Some((2, "1")),
            ),
            (
                "before it was read",
                vec![
                    asks(0),
                    signalled("1"),
                    answered(0, "1"),
                    signalled("2"),
                    woke(&[0]),
                    unread(0, "1"),
                ],
                &["1", "2"],
                None,
            ),
            (
                "after it was read",
                vec![asks(0), signalled("1"), answered(0, "1"), woke(&[0])],
                &[],
                None,
            ),
            (
                "in a journal of before, whose host gave it to the first",
                vec![
                    asks(0),
                    detached_of_before(0),
                    asks(1),
                    signalled("1"),
                    answered(0, "1"),
                    signalled("2"),
                ],
                &["2"],
                Some((1, "2")),
            ),
        ];
        for (name, events, left, waits) in table {
            let state = state(events);
            // What a request has and nobody was told of goes on with the run too.
            let all: Vec<String> = state
                .signals
                .all()
                .into_iter()
                .map(|(_, text)| text)
                .collect();
            assert_eq!(all, left, "{name}");
            let next = state.waits_for_signal();
            let next = next.as_ref().map(|(id, text)| (*id, text.as_str()));
            assert_eq!(next, waits, "{name}");
        }
    }

    #[test]
    fn what_waits_for_its_time_is_over_when_it_is_let_go_of() {
        let asked = |id, request| Event::Requested {
            id,
            request,
            begun: None,
        };
        let ask = Request::Ask {
            text: String::new(),
            choices: Vec::new(),
            payload: None,
            due_ms: Some(9),
        };
        let call = Request::Call {
            tool: "p/t".to_owned(),
            input: "{}".to_owned(),
        };
        let requests = || {
            [
                asked(0, Request::Timer { due_ms: 7 }),
                asked(1, ask.clone()),
                asked(2, call.clone()),
            ]
        };
        let lets_go = (0..3).map(|id| Event::detached(id, None));
        let now = state(requests().into_iter().chain(lets_go));
        let open: Vec<RequestId> = now.open().map(|(id, _)| id).collect();
        assert_eq!((open, now.wake_ms()), (vec![2], None), "a call goes on");
        let before = state(requests().into_iter().chain((0..3).map(detached_of_before)));
        assert_eq!((before.open().count(), before.wake_ms()), (3, Some(7)));
    }
}
