//! The views as a fold over audit records: what a `call.done` record adds to the
//! usage of grants, to its tool's statistics and to the list of calls; what is on
//! record of runs (`runs`).
//!
//! Denials of a plugin's operations are counted in its `call.done` record;
//! `denied` records tell of the same ones and are not counted again.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::Position;
use super::runs::RunsFold;
use super::shelf::{Broken, Changes, Shelf};
use crate::audit::Line;

/// Calls that the list keeps; older ones are only in the audit.
pub const CALLS_MAX: u64 = 10_000;
/// Different outcomes a tool's statistics tell apart; the rest is `other`.
const OUTCOMES_MAX: usize = 32;

/// First bytes of the keys of each view.
pub(super) const USAGE: u8 = b'u';
pub(super) const STATS: u8 = b's';
pub(super) const CALLS: u8 = b'c';

/// What a plugin used of one rule of a capability, over all its calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUsage {
    /// The plugin.
    pub plugin: String,
    /// The capability's name.
    pub capability: String,
    /// The rule as its grant numbers or names it; empty for what has none.
    pub rule: String,
    /// Operations allowed.
    pub allowed: u64,
    /// Operations denied.
    pub denied: u64,
    /// Bytes that came into the guest.
    pub bytes_in: u64,
    /// Bytes that left the guest.
    pub bytes_out: u64,
    /// The last use, in milliseconds since 1970.
    pub last_ms: u64,
}

/// How the calls of one tool went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolStats {
    /// The plugin.
    pub plugin: String,
    /// The tool.
    pub tool: String,
    /// All calls.
    pub calls: u64,
    /// Those that did not end `ok`.
    pub failed: u64,
    /// How many ended how.
    pub outcomes: BTreeMap<String, u64>,
    /// Wall time of all calls, microseconds.
    pub wall_us: u64,
    /// CPU time of all calls, microseconds.
    pub cpu_us: u64,
    /// The most memory that a call had, bytes.
    pub peak_memory_bytes: u64,
    /// The last call, in milliseconds since 1970.
    pub last_ms: u64,
}

/// One call in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEntry {
    /// Position among all calls, from 0: the cursor.
    pub number: u64,
    /// Its record's position in the audit.
    pub seq: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// The call.
    pub call_id: String,
    /// Who called.
    pub principal: String,
    /// The plugin.
    pub plugin: String,
    /// The tool.
    pub tool: String,
    /// `ok`, or a code of the error taxonomy.
    pub outcome: String,
    /// Wall time, microseconds.
    pub wall_us: u64,
    /// CPU time, microseconds.
    pub cpu_us: u64,
    /// The most memory it had, bytes.
    pub peak_memory_bytes: u64,
}

/// The part of a `call.done` record's detail that the views use. All of it may
/// be missing: a view must not stop at a record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallDone {
    call_id: String,
    plugin: String,
    tool: String,
    wall_us: u64,
    cpu_us: u64,
    peak_memory_bytes: u64,
    usage: Vec<UsageItem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsageItem {
    capability: String,
    /// A number, a name or nothing.
    rule: Value,
    allowed: u64,
    denied: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Folds records; the shelf changes only when what they changed is written.
pub(super) struct Fold<'s> {
    shelf: &'s Shelf,
    usage: BTreeMap<Vec<u8>, GrantUsage>,
    stats: BTreeMap<Vec<u8>, ToolStats>,
    calls: Changes,
    runs: RunsFold,
    /// The number of the first call that this fold may see.
    first_call: u64,
    pub position: Position,
}

impl<'s> Fold<'s> {
    pub(super) fn new(shelf: &'s Shelf, position: Position) -> Self {
        Self {
            shelf,
            usage: BTreeMap::new(),
            stats: BTreeMap::new(),
            calls: Changes::default(),
            runs: RunsFold::default(),
            first_call: position.calls,
            position,
        }
    }

    pub(super) fn add(&mut self, seq: u64, record: &Line<'_>) -> Result<(), Broken> {
        match record.action.as_ref() {
            "call.done" => self.add_call_done(seq, record),
            "admin.run.start" | "admin.run.fork" | "run.start" | "run.end" | "run.prune" => {
                self.runs.add(self.shelf, record)
            }
            _ => Ok(()),
        }
    }

    fn add_call_done(&mut self, seq: u64, record: &Line<'_>) -> Result<(), Broken> {
        let mut call: CallDone = record.detail();
        if call.plugin.is_empty() {
            let (plugin, tool) = record
                .subject
                .split_once('/')
                .unwrap_or((record.subject.as_ref(), ""));
            (call.plugin, call.tool) = (plugin.to_owned(), tool.to_owned());
        }
        for item in &call.usage {
            self.add_usage(record.at_ms, &call.plugin, item)?;
        }
        self.add_stats(record, &call)?;
        self.add_call(seq, record, call);
        Ok(())
    }

    fn add_usage(&mut self, at_ms: u64, plugin: &str, item: &UsageItem) -> Result<(), Broken> {
        let rule = match &item.rule {
            Value::Null => String::new(),
            Value::String(name) => name.clone(),
            other => other.to_string(),
        };
        let names = [plugin, &item.capability, &rule];
        let usage = entry(self.shelf, &mut self.usage, USAGE, &names)?;
        if usage.plugin.is_empty() {
            usage.plugin = plugin.to_owned();
            usage.capability.clone_from(&item.capability);
            usage.rule = rule;
        }
        usage.allowed += item.allowed;
        usage.denied += item.denied;
        usage.bytes_in += item.bytes_in;
        usage.bytes_out += item.bytes_out;
        usage.last_ms = usage.last_ms.max(at_ms);
        Ok(())
    }

    fn add_stats(&mut self, record: &Line<'_>, call: &CallDone) -> Result<(), Broken> {
        let names = [call.plugin.as_str(), &call.tool];
        let stats = entry(self.shelf, &mut self.stats, STATS, &names)?;
        if stats.calls == 0 {
            stats.plugin.clone_from(&call.plugin);
            stats.tool.clone_from(&call.tool);
        }
        stats.calls += 1;
        stats.failed += u64::from(record.outcome != "ok");
        stats.wall_us += call.wall_us;
        stats.cpu_us += call.cpu_us;
        stats.peak_memory_bytes = stats.peak_memory_bytes.max(call.peak_memory_bytes);
        stats.last_ms = stats.last_ms.max(record.at_ms);
        let known = stats.outcomes.contains_key(record.outcome.as_ref());
        let outcome = match known || stats.outcomes.len() < OUTCOMES_MAX {
            true => record.outcome.as_ref(),
            false => "other",
        };
        *stats.outcomes.entry(outcome.to_owned()).or_default() += 1;
        Ok(())
    }

    fn add_call(&mut self, seq: u64, record: &Line<'_>, call: CallDone) {
        let number = self.position.calls;
        self.position.calls += 1;
        let entry = CallEntry {
            number,
            seq,
            at_ms: record.at_ms,
            call_id: call.call_id,
            principal: record.principal.to_string(),
            plugin: call.plugin,
            tool: call.tool,
            outcome: record.outcome.to_string(),
            wall_us: call.wall_us,
            cpu_us: call.cpu_us,
            peak_memory_bytes: call.peak_memory_bytes,
        };
        self.calls.set(call_key(number), &entry);
        match number.checked_sub(CALLS_MAX) {
            // It came in this fold: the shelf never sees it.
            Some(old) if old >= self.first_call => self.calls.forget(&call_key(old)),
            Some(old) => self.calls.remove(call_key(old)),
            None => {}
        }
    }

    /// Everything that changed.
    pub(super) fn finish(self) -> Changes {
        let mut changes = self.calls;
        for (key, usage) in self.usage {
            changes.set(key, &usage);
        }
        for (key, stats) in self.stats {
            changes.set(key, &stats);
        }
        self.runs.finish(&mut changes);
        changes.set_position(self.position);
        changes
    }
}

/// The value under the names, as the fold has changed it so far.
fn entry<'m, T: DeserializeOwned + Default>(
    shelf: &Shelf,
    changed: &'m mut BTreeMap<Vec<u8>, T>,
    view: u8,
    names: &[&str],
) -> Result<&'m mut T, Broken> {
    let key = key(view, names);
    if !changed.contains_key(&key) {
        let stored = shelf.value(&key)?.unwrap_or_default();
        changed.insert(key.clone(), stored);
    }
    Ok(changed.entry(key).or_default())
}

/// A key that sorts by the names and cannot be that of other names.
pub(super) fn key(view: u8, names: &[&str]) -> Vec<u8> {
    let mut key = vec![view];
    for name in names {
        for byte in name.bytes() {
            // 0 ends a name; inside one it is escaped.
            match byte {
                0 | 1 => key.extend([1, byte + 1]),
                _ => key.push(byte),
            }
        }
        key.push(0);
    }
    key
}

pub(super) fn call_key(number: u64) -> Vec<u8> {
    [&[CALLS], number.to_be_bytes().as_slice()].concat()
}
