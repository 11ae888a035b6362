//! Taking all of a resource.

use serde_json::{Value, json};

use super::super::nothing;
use super::{Attack, Expect};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        attack!(evil: "evil-resources", $name, $tool, $input, $expect)
    };
    (evil: $guest:literal, $name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack { class: "resources", name: $name, guest: $guest, tool: $tool, input: $input, expect: $expect }
    };
}

pub(super) const ATTACKS: &[Attack] = &[
    attack!("spins for ever", "spin", nothing, Expect::Limit("cpu")),
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
        Expect::After("bounded", |_, status, body| {
            status >= 400 && body.to_string().len() < 2 << 20
        })
    ),
    attack!(
        "copies memory in bulk for ever",
        "bulk",
        |_| json!({ "amount": 32 << 20 }),
        Expect::Limit("cpu")
    ),
    attack!("aborts", "abort", nothing, Expect::Code("permanent")),
    attack!(
        "ends the process",
        "exit",
        nothing,
        Expect::After("only the call ends", |_, status, _| status >= 400)
    ),
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
    attack!(evil: "evil-prober", "asks for 48 MiB of randomness at once", "random", |_| json!({ "amount": 48 << 20 }), Expect::After("refused or ended", |_, status, body| {
        status >= 400 || body["output"]["ok"] == false
    })),
    attack!(evil: "evil-prober", "opens a hundred thousand files", "handles", |_| json!({ "amount": 100_000 }), Expect::After("refused or ended", |_, status, body| {
        status >= 400 || body["output"]["ok"] == false
    })),
    attack!(evil: "evil-prober", "floods the log with control characters", "flood_log", |_| json!({ "amount": 1 << 20 }), Expect::After("bounded and escaped", |_, _, body| {
        let text = body.to_string();
        text.len() < 1 << 20 && !text.contains("\\\\u001b")
    })),
    attack!(evil: "evil-prober", "floods with progress reports", "flood_progress", |_| json!({ "amount": 100_000 }), Expect::After("nothing grows", |_, status, body| {
        body.to_string().len() < 64 << 10 && (status < 300 || body["code"] == "limit")
    })),
];

fn clean(answer: &Value) -> bool {
    answer["calls_before"] == 0 && answer["dirty_bytes"] == 0
}
