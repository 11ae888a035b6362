//! The views of runs, as a fold over audit records: which there are, by agent,
//! by who started them and by how they ended, and how the runs of each agent
//! went. Records: `admin.run.start`, `admin.run.fork`, `run.start`, `run.end`,
//! `run.prune`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fold::key;
use super::shelf::{Broken, Changes, Shelf};
use crate::audit::Line;

/// First bytes of the keys: all runs, and the indexes, which hold ids alone.
const RUNS: u8 = b'r';
const BY_AGENT: u8 = b'A';
const BY_NAME: u8 = b'B';
const BY_STATE: u8 = b'E';
const AGENTS: u8 = b'g';

/// The state of a run that has not ended.
pub const OPEN: &str = "open";

/// Runs that one page looks at, at most: where few fit the filter it may hold
/// fewer than asked for, and the next one goes on from there.
pub const RUNS_SCANNED_MAX: usize = 5_000;
/// Runs that are looked at at once.
const SCAN: usize = 256;

/// A run in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    /// Its id; ids sort by time.
    pub id: String,
    /// Its agent.
    pub agent: String,
    /// Who started it.
    pub by: String,
    /// [`OPEN`], or how it ended.
    pub state: String,
    /// In milliseconds since 1970.
    pub started_ms: u64,
    /// In milliseconds since 1970.
    pub ended_ms: Option<u64>,
}

/// How the runs of one agent went, those that were pruned included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStats {
    /// The agent.
    pub agent: String,
    /// Runs that were started.
    pub started: u64,
    /// How many ended how.
    pub ended: BTreeMap<String, u64>,
    /// From start to end, all ended runs together, milliseconds.
    pub took_ms: u64,
    /// Ended runs by how long they took: four buckets for each doubling.
    buckets: BTreeMap<u16, u64>,
    /// When one last started or ended, in milliseconds since 1970.
    pub last_ms: u64,
}

impl AgentStats {
    /// Runs that have ended.
    #[must_use]
    pub fn ended_count(&self) -> u64 {
        self.ended.values().sum()
    }

    /// The time that this part of the ended runs took at most, in milliseconds,
    /// within 10 %. `part` is 0 to 1.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> Option<u64> {
        let due = (self.ended_count() as f64 * part).ceil().max(1.0) as u64;
        let mut count = 0;
        self.buckets.iter().find_map(|(bucket, runs)| {
            count += runs;
            (count >= due).then(|| middle_ms(*bucket))
        })
    }
}

fn bucket_of(ms: u64) -> u16 {
    ((ms as f64 + 1.0).log2() * 4.0) as u16
}

fn middle_ms(bucket: u16) -> u64 {
    (((f64::from(bucket) + 0.5) / 4.0).exp2() - 1.0).round() as u64
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this agent.
    pub agent: Option<String>,
    /// Of one of these agents.
    pub agents: Option<BTreeSet<String>>,
    /// Started by them.
    pub by: Option<String>,
    /// [`OPEN`], or how they ended.
    pub state: Option<String>,
    /// Those before this one, itself not.
    pub before: Option<String>,
}

/// A page of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunList {
    /// The runs, newest first.
    pub runs: Vec<RunEntry>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<String>,
}

impl RunFilter {
    /// The keys to go through: those of the index that is likely the shortest.
    fn prefix(&self) -> Vec<u8> {
        match (&self.by, &self.agent, &self.state) {
            (Some(by), ..) => key(BY_NAME, &[by]),
            (None, Some(agent), _) => key(BY_AGENT, &[agent]),
            (None, None, Some(state)) => key(BY_STATE, &[state]),
            (None, None, None) => vec![RUNS],
        }
    }

    fn keeps(&self, run: &RunEntry) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let reached = self.agents.as_ref();
        is(&self.agent, &run.agent)
            && is(&self.by, &run.by)
            && is(&self.state, &run.state)
            && reached.is_none_or(|agents| agents.contains(&run.agent))
    }
}

/// Up to `limit` runs, the newest first.
pub(super) fn list(shelf: &Shelf, filter: &RunFilter, limit: usize) -> Result<RunList, Broken> {
    let prefix = filter.prefix();
    let mut page = RunList {
        runs: Vec::new(),
        next: filter.before.clone(),
    };
    let mut scanned = 0;
    while scanned < RUNS_SCANNED_MAX {
        let end = match &page.next {
            Some(before) => [&prefix, before.as_bytes()].concat(),
            None => [&prefix[..], &[0xff]].concat(),
        };
        let keys = shelf.newest_keys(&prefix, &end, SCAN)?;
        let last = keys.len() < SCAN;
        scanned += keys.len();
        for key in keys {
            let id = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            let run: Option<RunEntry> = shelf.value(&run_key(&id))?;
            page.next = Some(id);
            page.runs.extend(run.filter(|run| filter.keeps(run)));
            if page.runs.len() == limit {
                return Ok(page);
            }
        }
        if last {
            page.next = None;
            break;
        }
    }
    Ok(page)
}

/// All agents, by name.
pub(super) fn stats(shelf: &Shelf) -> Result<Vec<AgentStats>, Broken> {
    shelf.values(AGENTS)
}

fn run_key(id: &str) -> Vec<u8> {
    [&[RUNS], id.as_bytes()].concat()
}

fn index_key(view: u8, name: &str, id: &str) -> Vec<u8> {
    let mut index = key(view, &[name]);
    index.extend_from_slice(id.as_bytes());
    index
}

/// The part of a record's detail that the views use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    agent: String,
    started_ms: Option<u64>,
    runs: Vec<String>,
}

/// What a fold changed about runs.
#[derive(Debug, Default)]
pub(super) struct RunsFold {
    /// `None`: pruned.
    runs: BTreeMap<String, Option<RunEntry>>,
    stats: BTreeMap<Vec<u8>, AgentStats>,
    /// `true`: it is there.
    index: BTreeMap<Vec<u8>, bool>,
}

impl RunsFold {
    pub(super) fn add(&mut self, shelf: &Shelf, record: &Line<'_>) -> Result<(), Broken> {
        let detail: Detail = record.detail();
        match record.action.as_ref() {
            "run.prune" => {
                for id in &detail.runs {
                    self.prune(shelf, id)?;
                }
                Ok(())
            }
            "run.end" => self.end(shelf, record, detail),
            _ => self.start(shelf, record, detail),
        }
    }

    fn start(&mut self, shelf: &Shelf, record: &Line<'_>, detail: Detail) -> Result<(), Broken> {
        let id = record.subject.to_string();
        if self.run(shelf, &id)?.is_some() {
            return Ok(());
        }
        let run = RunEntry {
            agent: detail.agent,
            by: record.principal.to_string(),
            state: OPEN.to_owned(),
            started_ms: detail.started_ms.unwrap_or(record.at_ms),
            ended_ms: None,
            id,
        };
        let stats = self.stats(shelf, &run.agent)?;
        stats.started += 1;
        stats.last_ms = stats.last_ms.max(record.at_ms);
        self.put(run);
        Ok(())
    }

    fn end(&mut self, shelf: &Shelf, record: &Line<'_>, detail: Detail) -> Result<(), Broken> {
        let started_ms = detail.started_ms.unwrap_or(record.at_ms);
        let id = record.subject.to_string();
        self.start(shelf, record, detail)?;
        let Some(mut run) = self.run(shelf, &id)?.filter(|run| run.state == OPEN) else {
            return Ok(());
        };
        self.index.insert(index_key(BY_STATE, OPEN, &id), false);
        run.state = record.outcome.to_string();
        run.ended_ms = Some(record.at_ms);
        let took_ms = record.at_ms.saturating_sub(started_ms);
        let stats = self.stats(shelf, &run.agent)?;
        *stats.ended.entry(run.state.clone()).or_default() += 1;
        *stats.buckets.entry(bucket_of(took_ms)).or_default() += 1;
        stats.took_ms += took_ms;
        stats.last_ms = stats.last_ms.max(record.at_ms);
        self.put(run);
        Ok(())
    }

    fn prune(&mut self, shelf: &Shelf, id: &str) -> Result<(), Broken> {
        let Some(run) = self.run(shelf, id)? else {
            return Ok(());
        };
        for index in indexes(&run) {
            self.index.insert(index, false);
        }
        self.runs.insert(id.to_owned(), None);
        Ok(())
    }

    fn put(&mut self, run: RunEntry) {
        for index in indexes(&run) {
            self.index.insert(index, true);
        }
        self.runs.insert(run.id.clone(), Some(run));
    }

    fn run(&self, shelf: &Shelf, id: &str) -> Result<Option<RunEntry>, Broken> {
        match self.runs.get(id) {
            Some(run) => Ok(run.clone()),
            None => shelf.value(&run_key(id)),
        }
    }

    fn stats(&mut self, shelf: &Shelf, agent: &str) -> Result<&mut AgentStats, Broken> {
        let key = key(AGENTS, &[agent]);
        if !self.stats.contains_key(&key) {
            let stored = shelf.value(&key)?.unwrap_or_else(|| AgentStats {
                agent: agent.to_owned(),
                ..AgentStats::default()
            });
            self.stats.insert(key.clone(), stored);
        }
        Ok(self.stats.entry(key).or_default())
    }

    pub(super) fn finish(self, changes: &mut Changes) {
        for (id, run) in self.runs {
            match run {
                Some(run) => changes.set(run_key(&id), &run),
                None => changes.remove(run_key(&id)),
            }
        }
        for (key, stats) in self.stats {
            changes.set(key, &stats);
        }
        for (index, there) in self.index {
            match there {
                true => changes.set(index, &()),
                false => changes.remove(index),
            }
        }
    }
}

fn indexes(run: &RunEntry) -> [Vec<u8>; 3] {
    [
        index_key(BY_AGENT, &run.agent, &run.id),
        index_key(BY_NAME, &run.by, &run.id),
        index_key(BY_STATE, &run.state, &run.id),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_ten_percent() {
        let mut stats = AgentStats::default();
        assert_eq!(stats.quantile_ms(0.5), None);
        for ms in 1..=10_000_u64 {
            *stats.buckets.entry(bucket_of(ms)).or_default() += 1;
        }
        stats.ended.insert("succeeded".to_owned(), 10_000);
        for (part, expect) in [
            (0.01, 100.0),
            (0.5, 5_000.0),
            (0.9, 9_000.0),
            (0.99, 9_900.0),
        ] {
            let found = stats.quantile_ms(part).expect("some") as f64;
            assert!((found / expect - 1.0).abs() < 0.1, "{part}: {found}");
        }
        let ends = [0, 1, u64::MAX].map(bucket_of);
        assert!(ends.is_sorted() && middle_ms(ends[0]) == 0);
    }
}
