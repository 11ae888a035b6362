//! Taking all of a resource.

use serde_json::{Value, json};

use super::{Attack, EVERY_WORKER, Expect, Seen, nothing};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        attack!(evil: "evil-resources", $name, $tool, $input, $expect)
    };
    (evil: $guest:literal, $name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack::new("resources", $guest, ($name, $tool), $input, $expect)
    };
}

/// An attack by `evil-host`, told how much.
macro_rules! host {
    ($name:literal, $tool:literal, $amount:expr, $expect:expr) => {
        attack!(evil: "evil-host", $name, $tool, |_| json!({ "amount": $amount as u64 }), $expect)
    };
}

/// How much more resident memory the server may have after a flood than before
/// it: a guest's own 64 MiB, and as much again.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// The `log` limit, and what the server writes around each of the records.
const LOG_BYTES_MAX: usize = 64 << 10;
const LOG_LINE_BYTES_MAX: usize = 400;

pub(super) const ATTACKS: &[Attack] = &[
    attack!("spins for ever", "spin", nothing, Expect::Limit("cpu")),
    attack!(
        "spins on every worker at once",
        "spin",
        nothing,
        Expect::LimitOf(&["cpu", "wall"])
    )
    .calls(EVERY_WORKER),
    attack!("naps for ever", "nap", nothing, Expect::Limit("wall")),
    attack!(
        "sleeps past its deadline in one host call",
        "sleep",
        |_| json!({ "amount": 3_600_000 }),
        Expect::Limit("wall")
    ),
    attack!(
        "grows its memory for ever",
        "grow",
        nothing,
        Expect::Limit("memory")
    ),
    attack!(
        "takes a gigabyte at once",
        "take",
        |_| json!({ "amount": 1u64 << 30 }),
        Expect::Answer("refused", |v| v["got"] == false)
    ),
    attack!(
        "recurses for ever",
        "recurse",
        nothing,
        Expect::Limit("stack")
    ),
    attack!(
        "answers with too much",
        "output",
        |_| json!({ "amount": 8 << 20 }),
        Expect::Limit("output")
    ),
    attack!(
        "fails with too much",
        "fail",
        |_| json!({ "amount": 8 << 20 }),
        Expect::After("its text is cut", |seen| {
            seen.body["code"] == "permanent" && seen.body.to_string().len() < 32 << 10
        })
    ),
    attack!(
        "copies memory in bulk for ever",
        "bulk",
        |_| json!({ "amount": 32 << 20 }),
        Expect::Limit("cpu")
    ),
    attack!("aborts", "abort", nothing, Expect::Code("permanent")),
    attack!("ends the process", "exit", nothing, Expect::Code("unknown")),
    attack!(
        "leaves its mark in memory",
        "residue",
        nothing,
        Expect::Answer("nothing before it", clean)
    ),
    attack!(
        "looks for what the call before it left",
        "residue",
        nothing,
        Expect::Answer("nothing left", clean)
    ),
    host!(
        "asks for all randomness at once",
        "random_bytes",
        u64::MAX,
        Expect::Limit("random")
    ),
    host!(
        "asks for randomness again and again",
        "random_many",
        1_000_000,
        Expect::Limit("random")
    ),
    host!(
        "holds a million timers",
        "pollables",
        1_000_000,
        Expect::Limit("handles")
    ),
    host!(
        "polls a list of five million",
        "poll_list",
        5_000_000,
        Expect::Limit("host_memory")
    ),
    host!(
        "opens standard output a million times",
        "streams",
        1_000_000,
        Expect::Limit("handles")
    ),
    attack!(
        evil: "evil-prober",
        "opens a hundred thousand files",
        "handles",
        |_| json!({ "amount": 100_000 }),
        Expect::Answer("refused after some", |v| {
            v["ok"] == false && (1..=1_000).contains(&v["opened"].as_u64().unwrap_or_default())
        })
    ),
    attack!(
        evil: "evil-prober",
        "floods the log with control characters",
        "flood_log",
        |_| json!({ "amount": 1 << 20 }),
        Expect::After("what is on record is cut and harmless", recorded)
    ),
    host!(
        "writes a line that never ends",
        "log_long",
        32 << 20,
        Expect::After("what is on record is cut and harmless", recorded)
    ),
    host!(
        "writes records with large fields",
        "log_records",
        2_000,
        Expect::After("what is on record is cut and harmless", recorded)
    ),
    host!(
        "floods with progress reports",
        "progress_flood",
        50_000,
        Expect::After("nothing grows", |seen| {
            seen.status < 300 && seen.grown_bytes < GROWTH_BYTES_MAX
        })
    ),
];

/// What the server logged of this call ends with the loss, is bounded, and no
/// line of the log was begun or hidden by a guest.
fn recorded(seen: &Seen<'_>) -> bool {
    let call = seen.body["call_id"].as_str().unwrap_or("none");
    let Some(log) = seen.ground.logged(&[call, "limit log reached"]) else {
        return false;
    };
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(call)).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let shown = |c: char| c == '\n' || !c.is_control();
    let dated = |line: &str| line.starts_with("20") && line.contains("Z ");
    bytes > LOG_BYTES_MAX / 4
        && bytes <= LOG_BYTES_MAX + lines.len() * LOG_LINE_BYTES_MAX
        && log.chars().all(shown)
        && log.lines().all(dated)
        && seen.grown_bytes < GROWTH_BYTES_MAX
}

fn clean(answer: &Value) -> bool {
    answer["calls_before"] == 0 && answer["dirty_bytes"] == 0
}
