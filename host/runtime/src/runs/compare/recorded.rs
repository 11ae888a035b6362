//! A journal as a replay reads it.

use std::collections::HashMap;

use airlock_sandbox::agent::{Request, RequestId};

use super::super::event::{End, Event, Record, Told};
use super::types::ReplayEnd;

/// What a replay needs to know of a journal.
#[derive(Debug, Default)]
pub(in super::super) struct Recorded {
    pub(super) seed: String,
    pub(super) rules: u32,
    pub(super) started_ms: u64,
    /// CPU time of all that is in it.
    pub(super) cpu_us: u64,
    /// What the agent did, in order.
    pub(super) did: Vec<Record>,
    pub(super) given: HashMap<RequestId, Given>,
    /// How the agent ended; `None` where it did not come to an end by itself: a
    /// person ended the run, or a grant did.
    pub(super) end: Option<ReplayEnd>,
}

/// An answer in the journal.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) answer: Told,
    /// Where it reached the agent, or, as long as it did not, was written down:
    /// the number of the record, and its time.
    pub(super) place: usize,
    pub(super) at_ms: u64,
    delivered: bool,
}

impl Given {
    /// Of a value that is kept at `at_ms` and that the journal does not have: it
    /// is its own answer, which comes after all that the journal has.
    pub(super) fn kept(value: String, at_ms: u64) -> Self {
        Self {
            answer: Told::Ok(value),
            place: usize::MAX,
            at_ms,
            delivered: false,
        }
    }
}

impl Recorded {
    /// Reads a journal. `next_input` gives the input of the run that one goes on
    /// as.
    pub(in super::super) fn of<E>(
        records: Vec<Record>,
        next_input: impl Fn(&str) -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        let mut recorded = Self {
            started_ms: records.first().map_or(0, |record| record.at_ms),
            ..Self::default()
        };
        let mut given_up = false;
        for (place, mut record) in records.into_iter().enumerate() {
            if let Event::Recorded { id, value } = record.event {
                let given = Given {
                    answer: Told::Ok(value.clone()),
                    place,
                    at_ms: record.at_ms,
                    delivered: false,
                };
                recorded.given.insert(id, given);
                record.event = Event::Requested {
                    id,
                    request: Request::Record { value },
                    begun: None,
                };
            }
            match &record.event {
                Event::Started(start) => {
                    recorded.seed.clone_from(&start.seed);
                    recorded.rules = start.rules;
                }
                Event::Answered {
                    id, answer, used, ..
                } => {
                    recorded.cpu_us += used.cpu_us;
                    let given = Given {
                        answer: answer.clone(),
                        place,
                        at_ms: record.at_ms,
                        delivered: false,
                    };
                    recorded.given.insert(*id, given);
                }
                Event::Woke { ready, cpu_us, .. } => {
                    recorded.cpu_us += cpu_us;
                    recorded.reached(ready, place, record.at_ms);
                }
                Event::Used { used } => recorded.cpu_us += used.cpu_us,
                Event::GivenUp { .. } => given_up = true,
                Event::Ended { end, .. } if !given_up => recorded.end = own_end(end, &next_input)?,
                _ => {}
            }
            if record.event.is_the_agents() {
                recorded.did.push(record);
            }
        }
        Ok(recorded)
    }

    fn reached(&mut self, ready: &[RequestId], place: usize, at_ms: u64) {
        for id in ready {
            if let Some(given) = self.given.get_mut(id).filter(|given| !given.delivered) {
                (given.place, given.at_ms, given.delivered) = (place, at_ms, true);
            }
        }
    }
}

/// How the agent ended, unless a person ended the run.
fn own_end<E>(
    end: &End,
    next_input: impl Fn(&str) -> Result<Option<String>, E>,
) -> Result<Option<ReplayEnd>, E> {
    Ok(Some(match end {
        End::Cancelled { .. } => return Ok(None),
        End::Continued { run } => ReplayEnd::continued(next_input(run)?.unwrap_or_default()),
        end => ReplayEnd::of(end),
    }))
}
