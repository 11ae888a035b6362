//! A deterministic workload, shared by writer and checker: step `i` depends on
//! nothing but the steps before it, so that the checker knows what must be there
//! after `n` acknowledged steps. It mixes what the server does: run journals
//! that grow and end, indexes that move, leases with fences, and an audit record
//! in the batch of every change.

use std::collections::BTreeMap;

use airlock_journal::audit::AuditRecord;
use airlock_journal::{Batch, Op};
use bytes::Bytes;
use serde_json::json;

pub const SPACE: &str = "s";
pub const LEASE: &[u8] = b"worker";
const SLOTS: usize = 12;
const STEPS_PER_RUN: u64 = 15;
const FINISHED_KEPT: usize = 20;
const LEASE_MS: u64 = 1_000;

/// What a step asks of the store.
pub enum Step {
    Commit {
        batch: Batch,
        record: AuditRecord,
    },
    Lease {
        owner: &'static str,
        now_ms: u64,
        ttl_ms: u64,
        token: u64,
    },
}

/// The workload, which is also the model of what it leaves behind.
#[derive(Clone, Default)]
pub struct Model {
    pub steps: u64,
    pub pairs: BTreeMap<Bytes, Bytes>,
    pub streams: BTreeMap<Bytes, Vec<Bytes>>,
    /// The steps that wrote a `call.done` record, in order.
    pub calls: Vec<u64>,
    token: u64,
    slots: Vec<Slot>,
    runs: u64,
    finished: Vec<u64>,
}

#[derive(Clone, Default)]
struct Slot {
    run: u64,
    steps: u64,
    index: Option<Bytes>,
}

impl Model {
    /// The model after `steps` steps.
    pub fn after(steps: u64) -> Self {
        let mut model = Self::default();
        for _ in 0..steps {
            model.advance();
        }
        model
    }

    /// The next step; the model is then as if it had been done.
    pub fn advance(&mut self) -> Step {
        self.steps += 1;
        if self.steps % 10 == 1 {
            return self.lease();
        }
        let random = mix(self.steps * 7 + 1);
        let at = usize::try_from(random % SLOTS as u64).unwrap_or(0);
        let mut batch = Batch::new().fence(LEASE, self.token);
        batch = self.journal(batch, at, random);
        batch = self.index(batch, at);
        batch = self.finish_run(batch, at);
        self.model_batch(&batch);
        self.calls.push(self.steps);
        let record = record(self.steps);
        Step::Commit { batch, record }
    }

    /// The owner changes every second time, when the lease has expired.
    fn lease(&mut self) -> Step {
        let turn = self.steps / 10;
        let owner = if (turn / 2).is_multiple_of(2) {
            "a"
        } else {
            "b"
        };
        if turn.is_multiple_of(2) {
            self.token += 1;
        }
        let now_ms = self.steps * LEASE_MS;
        Step::Lease {
            owner,
            now_ms,
            ttl_ms: LEASE_MS,
            token: self.token,
        }
    }

    fn journal(&mut self, batch: Batch, at: usize, random: u64) -> Batch {
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS];
            for slot in &mut self.slots {
                self.runs += 1;
                slot.run = self.runs;
            }
        }
        let slot = &mut self.slots[at];
        slot.steps += 1;
        let records: Vec<Bytes> = (0..1 + random % 2)
            .map(|n| body(self.steps << 8 | n, 100 + (random >> 16) % 1800))
            .collect();
        let stream = Bytes::from(format!("run/{:06}", slot.run));
        let len = self.streams.get(&stream).map_or(0, Vec::len) as u64;
        let state = body(self.steps << 9, 64 + (random >> 40) % 192);
        batch
            .append_at(stream.clone(), len, records)
            .put(SPACE, stream, state)
    }

    fn index(&mut self, batch: Batch, at: usize) -> Batch {
        let key = Bytes::from(format!("index/{:08}", self.steps));
        let slot = &mut self.slots[at];
        let run = slot.run.to_be_bytes().to_vec();
        let batch = batch
            .check(SPACE, key.clone(), None)
            .put(SPACE, key.clone(), run);
        match slot.index.replace(key) {
            Some(old) => batch.delete(SPACE, old),
            None => batch,
        }
    }

    fn finish_run(&mut self, mut batch: Batch, at: usize) -> Batch {
        let slot = &mut self.slots[at];
        if slot.steps < STEPS_PER_RUN {
            return batch;
        }
        self.finished.push(slot.run);
        self.runs += 1;
        *slot = Slot {
            run: self.runs,
            ..Slot::default()
        };
        if self.finished.len() > FINISHED_KEPT {
            for run in self.finished.drain(..FINISHED_KEPT / 2) {
                batch = batch.delete(SPACE, format!("run/{run:06}"));
            }
        }
        batch
    }

    fn model_batch(&mut self, batch: &Batch) {
        for op in &batch.ops {
            match op {
                Op::Put { key, value, .. } => drop(self.pairs.insert(key.clone(), value.clone())),
                Op::Delete { key, .. } => drop(self.pairs.remove(key)),
                Op::Append {
                    stream, records, ..
                } => {
                    self.streams
                        .entry(stream.clone())
                        .or_default()
                        .extend(records.iter().cloned());
                }
                Op::DropStream { stream } => drop(self.streams.remove(stream)),
                Op::Check { .. } | Op::Fence { .. } => {}
            }
        }
    }
}

pub fn record(step: u64) -> AuditRecord {
    let mut record = AuditRecord::now("crash", "call.done", "plugin/tool").detail(json!({
        "call_id": format!("call-{step}"), "plugin": "plugin", "tool": "tool", "wall_us": 1,
        "usage": [{ "capability": "kv", "rule": 0, "allowed": 1, "denied": 0, "bytes_in": step, "bytes_out": 0 }],
    }));
    record.at_ms = step;
    record
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bytes that no other seed gives.
fn body(seed: u64, len: u64) -> Bytes {
    let mut bytes = seed.to_be_bytes().to_vec();
    let mut state = seed;
    while (bytes.len() as u64) < len {
        state = mix(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}
