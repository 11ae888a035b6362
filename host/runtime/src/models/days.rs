//! What agents used of language models, day by day (UTC).
//!
//! A row for each day, agent and run, which its run alone writes, in the write of
//! the record that it follows from; what an agent used is their sum.
//!
//! What must stay true: a request's part is counted before it is sent, and given
//! back at most once; a part is told as set aside only while its request is under
//! way here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airlock_journal::{Op, Store, StoreError};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

const SPACE: &str = "model-days";

const DAY_MS: u64 = 86_400_000;

/// Days that are held in memory: requests settle on the day they began.
const DAYS_HELD: usize = 3;

/// Rows read at once.
const ROWS: usize = 1_000;

/// What was used, parts that are set aside included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counted {
    /// Requests that were begun.
    pub requests: u64,
    /// Tokens, in and out.
    pub tokens: u64,
    /// Cost, millionths of the host's currency.
    pub micros: u64,
}

/// What may be used in a day.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) tokens: Option<u64>,
    pub(crate) micros: Option<u64>,
}

impl Bounds {
    fn left(self, used: &Counted) -> Self {
        let left = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
        Self {
            tokens: left(self.tokens, used.tokens),
            micros: left(self.micros, used.micros),
        }
    }
}

/// Of one agent, and of all together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DayBounds {
    pub(crate) agent: Bounds,
    pub(crate) host: Bounds,
}

/// What is left of a day.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DayLeft {
    pub(crate) now: DayBounds,
    /// Once all requests that are under way have settled, if they used nothing.
    pub(crate) later: DayBounds,
}

/// Tokens and their cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) tokens: u64,
    pub(crate) micros: u64,
}

/// Whose: an agent, and one of its runs.
type Of<'a> = (&'a str, &'a str);

/// What a run of an agent used: the agent, the run.
pub(super) type Used = ((String, String), Counted);

impl Took {
    fn add(&mut self, part: Self) {
        self.tokens = self.tokens.saturating_add(part.tokens);
        self.micros = self.micros.saturating_add(part.micros);
    }

    fn remove(&mut self, part: Self) {
        self.tokens = self.tokens.saturating_sub(part.tokens);
        self.micros = self.micros.saturating_sub(part.micros);
    }
}

/// What was counted, and how much of that belongs to requests under way.
#[derive(Default)]
struct Tally {
    counted: Counted,
    aside: Took,
}

impl Tally {
    fn left(&self, bounds: Bounds) -> [Bounds; 2] {
        let used = Counted {
            requests: 0,
            tokens: self.counted.tokens.saturating_sub(self.aside.tokens),
            micros: self.counted.micros.saturating_sub(self.aside.micros),
        };
        [bounds.left(&self.counted), bounds.left(&used)]
    }
}

#[derive(Default)]
struct Day {
    host: Tally,
    agents: HashMap<String, Tally>,
    runs: HashMap<(String, String), Counted>,
}

pub(crate) struct Days {
    store: Arc<dyn Store>,
    held: Mutex<BTreeMap<u64, Day>>,
    /// Told when a request is no longer under way.
    settled: watch::Sender<()>,
}

/// A part belongs to a request that is under way, as long as this is there.
pub(crate) struct Aside<'a> {
    days: &'a Days,
    day: u64,
    agent: String,
    part: Took,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let mut held = self.days.lock();
        if let Some(today) = held.get_mut(&self.day) {
            today.host.aside.remove(self.part);
            if let Some(agent) = today.agents.get_mut(&self.agent) {
                agent.aside.remove(self.part);
            }
        }
        drop(held);
        self.days.settled.send_replace(());
    }
}

/// The day of a moment, counted from 1970.
pub(crate) fn day_of(now_ms: u64) -> u64 {
    now_ms / DAY_MS
}

impl Days {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            held: Mutex::default(),
            settled: watch::Sender::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Day>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes each time that a request is no longer under way.
    pub(crate) fn settled(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }

    /// To be held as long as the request is under way for which a part was set
    /// aside just now.
    pub(crate) fn under_way(&self, day: u64, agent: &str, part: Took) -> Aside<'_> {
        Aside {
            days: self,
            day,
            agent: agent.to_owned(),
            part,
        }
    }

    /// Has `decide` set a part aside, knowing what is left of the day; the
    /// row that it is given for that has to be written with the record of it, before
    /// another change of it. What is set aside is told as that until
    /// [`Days::under_way`] goes.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) fn reserve<T>(
        &self,
        day: u64,
        of: Of<'_>,
        bounds: DayBounds,
        decide: impl FnOnce(DayLeft, &mut dyn FnMut(Took) -> Op) -> T,
    ) -> Result<T, StoreError> {
        let mut held = self.lock();
        let today = self.day(&mut held, day)?;
        let host = &mut today.host;
        let agent = today.agents.entry(of.0.to_owned()).or_default();
        let row = today.runs.entry((of.0.to_owned(), of.1.to_owned()));
        let row = row.or_default();
        let [agent_now, agent_later] = agent.left(bounds.agent);
        let [host_now, host_later] = host.left(bounds.host);
        let left = DayLeft {
            now: DayBounds {
                agent: agent_now,
                host: host_now,
            },
            later: DayBounds {
                agent: agent_later,
                host: host_later,
            },
        };
        let mut count = |part: Took| {
            for counted in [&mut host.counted, &mut agent.counted, &mut *row] {
                counted.add(part);
                counted.requests += 1;
            }
            host.aside.add(part);
            agent.aside.add(part);
            put(day, of, row)
        };
        Ok(decide(left, &mut count))
    }

    /// Gives back a request's part and counts what it took; as [`Days::reserve`].
    pub(crate) fn settle(
        &self,
        day: u64,
        of: Of<'_>,
        part: Took,
        took: Took,
        write: impl FnOnce(Option<Op>),
    ) {
        let mut held = self.lock();
        let Some(today) = held.get_mut(&day) else {
            // Held no more: its part stays counted.
            return write(None);
        };
        let change = |counted: &mut Counted| {
            counted.tokens = counted.tokens.saturating_sub(part.tokens);
            counted.micros = counted.micros.saturating_sub(part.micros);
            counted.add(took);
        };
        change(&mut today.host.counted);
        if let Some(agent) = today.agents.get_mut(of.0) {
            change(&mut agent.counted);
        }
        let row = today.runs.get_mut(&(of.0.to_owned(), of.1.to_owned()));
        let op = row.map(|row| {
            change(row);
            put(day, of, row)
        });
        write(op);
    }

    /// What agents and their runs used on a day: agent, run.
    pub(super) fn used(&self, day: u64) -> Result<Vec<Used>, StoreError> {
        let mut all = self.read(day)?;
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    fn day<'a>(
        &self,
        held: &'a mut BTreeMap<u64, Day>,
        day: u64,
    ) -> Result<&'a mut Day, StoreError> {
        let read = match held.remove(&day) {
            Some(known) => known,
            None => self.summed(day)?,
        };
        while held.len() >= DAYS_HELD {
            held.pop_first();
        }
        Ok(held.entry(day).or_insert(read))
    }

    fn summed(&self, day: u64) -> Result<Day, StoreError> {
        let mut summed = Day::default();
        for ((agent, run), counted) in self.read(day)? {
            let all = summed.agents.entry(agent.clone()).or_default();
            all.counted.merge(counted);
            summed.host.counted.merge(counted);
            summed.runs.insert((agent, run), counted);
        }
        Ok(summed)
    }

    fn read(&self, day: u64) -> Result<Vec<Used>, StoreError> {
        let (mut from, to) = (prefix(day), prefix(day + 1));
        let mut all = Vec::new();
        loop {
            let rows = self.store.range(SPACE, &from, Some(&to), ROWS)?;
            let more = rows.len() == ROWS;
            if let Some((key, _)) = rows.last() {
                from = [key, &b"\0"[..]].concat();
            }
            all.extend(rows.iter().filter_map(|(key, value)| row(key, value)));
            if !more {
                return Ok(all);
            }
        }
    }
}

impl Counted {
    fn add(&mut self, took: Took) {
        self.tokens = self.tokens.saturating_add(took.tokens);
        self.micros = self.micros.saturating_add(took.micros);
    }

    /// Both together.
    pub(super) fn merge(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

fn prefix(day: u64) -> Vec<u8> {
    format!("{day:08}/").into_bytes()
}

fn put(day: u64, (agent, run): Of<'_>, row: &Counted) -> Op {
    Op::Put {
        space: SPACE,
        key: Bytes::from(format!("{day:08}/{agent}/{run}")),
        value: Bytes::from(serde_json::to_vec(row).unwrap_or_default()),
    }
}

fn row(key: &[u8], value: &[u8]) -> Option<((String, String), Counted)> {
    let key = std::str::from_utf8(key).ok()?;
    let (_, of) = key.split_once('/')?;
    let (agent, run) = of.split_once('/')?;
    let counted = serde_json::from_slice(value).ok()?;
    Some(((agent.to_owned(), run.to_owned()), counted))
}

#[cfg(test)]
mod tests {
    use airlock_journal::{Batch, MemoryStore};

    use super::*;

    const NO: DayBounds = DayBounds {
        agent: bounds(None, None),
        host: bounds(None, None),
    };

    const fn bounds(tokens: Option<u64>, micros: Option<u64>) -> Bounds {
        Bounds { tokens, micros }
    }

    fn took(tokens: u64, micros: u64) -> Took {
        Took { tokens, micros }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (now_ms, day) in [
            (0, 0),
            (86_399_999, 0),
            (86_400_000, 1),
            (1_792_656_000_000, 20_748),
        ] {
            assert_eq!(day_of(now_ms), day, "{now_ms}");
        }
    }

    fn reserve(
        days: &Days,
        day: u64,
        of: Of<'_>,
        part: Took,
        bounds: DayBounds,
    ) -> (bool, Vec<Op>) {
        let over = |left: Option<u64>, part: u64| left.is_some_and(|left| part > left);
        let reserved = days.reserve(day, of, bounds, |left, count| {
            let over =
                |left: Bounds| over(left.tokens, part.tokens) || over(left.micros, part.micros);
            let fits = !over(left.now.agent) && !over(left.now.host);
            fits.then(|| count(part))
        });
        let row = reserved.expect("a store");
        (row.is_some(), row.into_iter().collect())
    }

    /// What fits to the last unit fits, and one more does not; other agents, and
    /// other days, have their own, within what all may use.
    #[test]
    fn a_day_holds_what_it_may_and_no_more() {
        let days = Days::new(MemoryStore::new());
        let bounds = DayBounds {
            agent: bounds(Some(100), Some(50)),
            host: bounds(Some(250), Some(110)),
        };
        let table = [
            (1, ("a", "r1"), took(60, 20), true),
            (1, ("a", "r2"), took(41, 1), false),
            (1, ("a", "r2"), took(40, 31), false),
            (1, ("a", "r2"), took(40, 30), true),
            (1, ("a", "r1"), took(0, 1), false),
            (1, ("a", "r1"), took(0, 0), true),
            (1, ("b", "r3"), took(100, 50), true),
            (1, ("c", "r4"), took(51, 10), false),
            (1, ("c", "r4"), took(50, 11), false),
            (1, ("c", "r4"), took(50, 10), true),
            (1, ("d", "r5"), took(1, 0), false),
            (2, ("a", "r1"), took(100, 50), true),
        ];
        for (day, of, part, fits) in table {
            let (fit, ops) = reserve(&days, day, of, part, bounds);
            assert_eq!(
                (fit, ops.len()),
                (fits, usize::from(fits)),
                "{of:?} {part:?}"
            );
        }
        // What comes back can be used again.
        days.settle(1, ("a", "r1"), took(60, 20), took(10, 5), |_| {});
        assert!(!reserve(&days, 1, ("d", "r5"), took(51, 0), bounds).0);
        assert!(reserve(&days, 1, ("a", "r2"), took(50, 15), bounds).0);
        assert!(!reserve(&days, 1, ("a", "r2"), took(1, 0), bounds).0);
    }

    /// What is set aside for a request under way is told as what may come back, until
    /// the request is none any more.
    #[test]
    fn what_is_set_aside_may_come_back() {
        let days = Days::new(MemoryStore::new());
        let bounds = DayBounds {
            agent: bounds(Some(100), None),
            host: bounds(Some(150), None),
        };
        let left = || {
            let left = days.reserve(1, ("a", "r2"), bounds, |left, _| left);
            let left = left.expect("a store");
            [left.now, left.later].map(|left| (left.agent.tokens, left.host.tokens))
        };
        let settled = days.settled();
        assert!(reserve(&days, 1, ("a", "r1"), took(60, 0), bounds).0);
        let aside = days.under_way(1, "a", took(60, 0));
        assert_eq!(
            left(),
            [(Some(40), Some(90)), (Some(100), Some(150))],
            "under way"
        );
        assert!(!settled.has_changed().expect("it is there"));
        days.settle(1, ("a", "r1"), took(60, 0), took(25, 0), |_| {});
        drop(aside);
        assert!(settled.has_changed().expect("it is there"));
        let both = (Some(75), Some(125));
        assert_eq!(left(), [both, both], "settled");
        // One whose end nobody knows counts for good.
        assert!(reserve(&days, 1, ("a", "r1"), took(60, 0), bounds).0);
        drop(days.under_way(1, "a", took(60, 0)));
        let both = (Some(15), Some(65));
        assert_eq!(left(), [both, both], "lost");
    }

    /// After a restart there is what was written: parts that never came back count.
    #[tokio::test]
    async fn what_was_counted_is_found_again() {
        let store: Arc<dyn Store> = MemoryStore::new();
        let days = Days::new(Arc::clone(&store));
        let mut ops = Vec::new();
        for (of, part) in [
            (("a", "r1"), took(70, 7)),
            (("a", "r2"), took(20, 2)),
            (("ab", "r3"), took(1, 1)),
        ] {
            ops.extend(reserve(&days, 9, of, part, NO).1);
        }
        days.settle(9, ("a", "r2"), took(20, 2), took(5, 1), |op| ops.extend(op));
        store.commit(Batch { ops }).await.expect("written");
        let again = Days::new(store);
        let bounds = DayBounds {
            agent: bounds(Some(80), None),
            host: bounds(Some(81), None),
        };
        assert!(!reserve(&again, 9, ("a", "r4"), took(6, 0), bounds).0);
        assert!(!reserve(&again, 9, ("c", "r5"), took(6, 0), bounds).0);
        assert!(reserve(&again, 9, ("a", "r4"), took(5, 0), bounds).0);
        let used = again.used(9).expect("a store");
        let used: Vec<_> = used
            .iter()
            .map(|((agent, run), c)| (agent.as_str(), run.as_str(), c.tokens, c.micros, c.requests))
            .collect();
        assert_eq!(
            used,
            [
                ("a", "r1", 70, 7, 1),
                ("a", "r2", 5, 1, 1),
                ("ab", "r3", 1, 1, 1)
            ]
        );
    }
}
