use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

/// 2026-01-31 12:00:00Z.
const START_MS: u64 = 1_769_860_800_000;

/// A journal of these records, each with the milliseconds since its start.
fn journal(records: &[(u64, Value)]) -> Vec<Value> {
    let numbered = records.iter().enumerate();
    let record = |(seq, (after_ms, record)): (usize, &(u64, Value))| {
        let mut record = record.clone();
        record["seq"] = json!(seq);
        record["at_ms"] = json!(START_MS + after_ms);
        record
    };
    numbered.map(record).collect()
}

fn started() -> (u64, Value) {
    let budget = json!({ "calls": 100, "events": 5_000 });
    let start = json!({
        "event": "started", "agent": "prober", "goal": "check May", "by": "ada",
        "autonomy": "supervised", "budget": budget,
    });
    (0, start)
}

fn asks(id: u64, request: Value) -> Value {
    json!({ "event": "requested", "id": id, "request": request })
}

fn call(id: u64, input: &str) -> Value {
    let request = json!({ "kind": "call", "tool": "keeper/add", "input": input });
    asks(id, request)
}

fn run(status: &str) -> Value {
    json!({
        "id": "run_1", "agent": "prober", "status": status, "goal": "check May", "by": "ada",
        "autonomy": "supervised", "digest": "sha256:0", "input": { "month": 5 },
    })
}

fn check(run: &Value, records: &[(u64, Value)], expect: Expect) {
    expect.assert_eq(&Timeline::of(&journal(records)).text(run));
}

#[test]
fn a_step_stands_there_once_with_all_that_became_of_it() {
    let records = [
        started(),
        (
            5,
            json!({ "event": "noted", "note": "plan", "tasks": [
            { "title": "fetch", "state": "doing" }, { "title": "report", "state": "todo" } ] }),
        ),
        (10, call(0, "{\"n\":1}")),
        (
            11,
            json!({ "event": "requested", "id": 1, "request": { "kind": "timer", "due_ms": START_MS + 3_600_000 } }),
        ),
        (
            20,
            json!({ "event": "approval-asked", "id": 0, "binding": "sha256:1" }),
        ),
        (
            61_020,
            json!({ "event": "approved", "id": 0, "binding": "sha256:1", "by": "bob", "note": "looks fine" }),
        ),
        (
            61_100,
            json!({ "event": "retried", "id": 0, "attempt": 2, "after_ms": START_MS + 61_350, "why": "503" }),
        ),
        (
            62_000,
            json!({ "event": "answered", "id": 0, "answer": { "ok": "{\"count\":1}" } }),
        ),
        (62_001, json!({ "event": "woke", "poll": 0, "ready": [0] })),
        (62_002, json!({ "event": "cancel-asked", "id": 1 })),
        (
            62_003,
            json!({ "event": "answered", "id": 1, "answer": { "error": { "code": "cancelled" } } }),
        ),
        (
            62_004,
            json!({ "event": "noted", "note": "progress", "done": 1.0, "total": 2.0, "message": "half" }),
        ),
        (
            62_005,
            json!({ "event": "noted", "note": "plan", "tasks": [
            { "title": "fetch", "state": "done" }, { "title": "report", "state": "todo" } ] }),
        ),
        (
            62_010,
            json!({ "event": "requested", "id": 2, "request": { "kind": "ask", "text": "send it?", "choices": ["yes", "no"] } }),
        ),
        (62_020, json!({ "event": "paused", "by": "eve" })),
        (62_030, json!({ "event": "unpaused", "by": "eve" })),
        (
            90_000_000,
            json!({ "event": "answered", "id": 2, "by": "bob", "answer": { "ok": "{\"choice\":\"yes\",\"note\":\"go\"}" } }),
        ),
        (
            90_000_010,
            json!({ "event": "signalled", "name": "late", "payload": "[1]", "by": "cron" }),
        ),
        (
            90_000_020,
            json!({ "event": "ended", "end": { "state": "succeeded", "output": "{\"sent\":true}" } }),
        ),
    ];
    check(
        &run("succeeded"),
        &records,
        expect![[r#"
            run_1 · prober · succeeded
              goal      check May
              input     {"month":5}
              started   2026-01-31 12:00:00Z by ada, supervised
              component sha256:0
              budget    1 of 100 calls, 19 of 5000 records
              progress  1/2 half
              plan      [done] fetch
                        [todo] report

            2026-01-31 12:00:00Z  ada started prober, supervised: check May
            2026-01-31 12:00:00Z  plan [doing] fetch
            2026-01-31 12:00:00Z  plan [todo] report
            2026-01-31 12:00:00Z  #0 keeper/add {"n":1}
                                    ? a person has to approve it
                                    bob approved after 1 min 1 s: looks fine
                                    ↻ attempt 2 after 250 ms: 503
                                    → {"count":1} (1 min 1 s)
            2026-01-31 12:00:00Z  #1 waits until 2026-01-31 13:00:00Z
                                    the agent asked for it to end
                                    ✗ cancelled (1 min 1 s)
            2026-01-31 12:01:02Z  progress 1/2 half
            2026-01-31 12:01:02Z  plan [done] fetch
            2026-01-31 12:01:02Z  #2 ? send it? [yes | no]
                                    → yes by bob: go (1 d 0 h)
            2026-01-31 12:01:02Z  eve paused it
            2026-01-31 12:01:02Z  eve let it go on
            2026-02-01 13:00:00Z  cron sent the signal `late` [1]

            succeeded: {"sent":true} after 1 d 1 h"#]],
    );
}

#[test]
fn what_failed_says_why_and_what_is_open_is_named() {
    let denied = json!({ "code": "denied", "capability": "tools", "operation": "call a/b", "rule": "no tools rule covers it" });
    let limit = json!({ "code": "limit", "limit": "wall", "value": "10s" });
    let records = [
        started(),
        (1, call(0, "{}")),
        (
            2,
            json!({ "event": "answered", "id": 0, "answer": { "error": denied } }),
        ),
        (3, call(1, "{}")),
        (
            4,
            json!({ "event": "answered", "id": 1, "answer": { "error": limit } }),
        ),
        (5, call(2, "{}")),
        (
            6,
            json!({ "event": "blocked", "why": { "because": "unknown-outcome", "id": 2, "detail": "cut off" } }),
        ),
        (
            7,
            json!({ "event": "blocked", "why": { "because": "budget", "events": 50 } }),
        ),
        (
            8,
            json!({ "event": "budgeted", "by": "ada", "budget": { "calls": 7, "events": 9 } }),
        ),
        (9, json!({ "event": "of-tomorrow", "id": 2, "more": [1] })),
        (10, json!({ "event": "of-tomorrow", "more": "x" })),
    ];
    let mut blocked = run("blocked");
    blocked["blocked"] = json!({ "because": "unknown-outcome", "id": 2, "detail": "cut off" });
    check(
        &blocked,
        &records,
        expect![[r#"
            run_1 · prober · blocked
              goal      check May
              input     {"month":5}
              started   2026-01-31 12:00:00Z by ada, supervised
              component sha256:0
              budget    3 of 7 calls, 11 of 9 records

            2026-01-31 12:00:00Z  ada started prober, supervised: check May
            2026-01-31 12:00:00Z  #0 keeper/add {}
                                    ✗ denied: call a/b: no tools rule covers it (1 ms)
            2026-01-31 12:00:00Z  #1 keeper/add {}
                                    ✗ limit: wall reached (10s) (1 ms)
            2026-01-31 12:00:00Z  #2 keeper/add {}
                                    ! nobody knows the outcome: cut off
                                    of-tomorrow {"id":2,"more":[1]}
            2026-01-31 12:00:00Z  ! blocked: its journal has 50 records, as many as its budget allows
            2026-01-31 12:00:00Z  ada gave it calls 100 → 7, events 5000 → 9
            2026-01-31 12:00:00Z  of-tomorrow {"more":"x"}

            blocked: nobody knows the outcome of #2: cut off"#]],
    );
    check(
        &run("waiting"),
        &records,
        expect![[r#"
            run_1 · prober · waiting
              goal      check May
              input     {"month":5}
              started   2026-01-31 12:00:00Z by ada, supervised
              component sha256:0
              budget    3 of 7 calls, 11 of 9 records

            2026-01-31 12:00:00Z  ada started prober, supervised: check May
            2026-01-31 12:00:00Z  #0 keeper/add {}
                                    ✗ denied: call a/b: no tools rule covers it (1 ms)
            2026-01-31 12:00:00Z  #1 keeper/add {}
                                    ✗ limit: wall reached (10s) (1 ms)
            2026-01-31 12:00:00Z  #2 keeper/add {}
                                    ! nobody knows the outcome: cut off
                                    of-tomorrow {"id":2,"more":[1]}
            2026-01-31 12:00:00Z  ! blocked: its journal has 50 records, as many as its budget allows
            2026-01-31 12:00:00Z  ada gave it calls 100 → 7, events 5000 → 9
            2026-01-31 12:00:00Z  of-tomorrow {"more":"x"}

            waits for #2"#]],
    );
    check(
        &run("cancelled"),
        &[
            started(),
            (
                3_000,
                json!({ "event": "cancel-requested", "by": "eve", "why": "wrong month" }),
            ),
            (
                3_001,
                json!({ "event": "ended", "end": { "state": "cancelled", "unknown": [2, 3] } }),
            ),
        ],
        expect![[r#"
            run_1 · prober · cancelled
              goal      check May
              input     {"month":5}
              started   2026-01-31 12:00:00Z by ada, supervised
              component sha256:0
              budget    0 of 100 calls, 3 of 5000 records

            2026-01-31 12:00:00Z  ada started prober, supervised: check May
            2026-01-31 12:00:03Z  eve ended it: wrong month

            cancelled; nobody knows the outcome of #2, #3 after 3.0 s"#]],
    );
}

#[test]
fn children_values_and_state_stand_there_in_words() {
    let starts = json!({ "kind": "start", "agent": "checker", "goal": "check one", "input": "{\"n\":1}", "budget": {} });
    let mut parent = started().1;
    parent["parent"] = json!({ "run": "run_0", "request": 4, "depth": 2 });
    let tools = json!([{ "name": "keeper/add" }, { "name": "keeper/get" }]);
    let used = json!({ "calls": 2, "cpu_us": 1_500 });
    let records = [
        (0, parent),
        (
            1,
            json!({ "event": "recorded", "id": 0, "value": "{\"n\":1}" }),
        ),
        (2, json!({ "event": "tools-told", "tools": tools })),
        (2, json!({ "event": "tools-told", "tools": null })),
        (
            3,
            json!({ "event": "state-set", "key": "seen", "value": "[1]" }),
        ),
        (3, json!({ "event": "state-set", "key": "seen" })),
        (4, asks(1, starts)),
        (
            4,
            json!({ "event": "reserved", "id": 1, "spent": { "calls": 25, "steps": 10 } }),
        ),
        (5, json!({ "event": "used", "used": { "cpu_us": 7 } })),
        (
            5,
            json!({ "event": "budgeted", "by": "ada", "budget": { "calls": 100, "events": 6_000 } }),
        ),
        (
            2_004,
            json!({ "event": "answered", "id": 1, "answer": { "ok": "{\"fine\":true}" }, "used": used }),
        ),
        (2_005, call(2, "{}")),
    ];
    let mut held = run("running");
    held["parent"] = json!("run_0");
    held["children"] = json!(["run_2", "run_3"]);
    held["forked_from"] = json!({ "run": "run_9", "at": 3 });
    held["halted"] = json!(["agent prober", "plugin keeper"]);
    check(
        &held,
        &records,
        expect![[r#"
            run_1 · prober · halted
              goal      check May
              input     {"month":5}
              started   2026-01-31 12:00:00Z by ada, supervised
              component sha256:0
              child of  run_0
              fork of   run_9 at #3
              children  run_2
                        run_3
              budget    1 of 100 calls, 12 of 6000 records

            2026-01-31 12:00:00Z  ada started prober, supervised for #4 of run_0: check May
            2026-01-31 12:00:00Z  #0 keeps {"n":1}
            2026-01-31 12:00:00Z  is told of keeper/add, keeper/get
            2026-01-31 12:00:00Z  is told of the same tools as before
            2026-01-31 12:00:00Z  state `seen` is [1]
            2026-01-31 12:00:00Z  state `seen` is removed
            2026-01-31 12:00:00Z  #1 starts checker: check one {"n":1}
                                    25 calls, 10 steps set aside for it
                                    → {"fine":true} (2.0 s, 2 calls, 2 ms of CPU time)
            2026-01-31 12:00:00Z  ada gave it events 5000 → 6000
            2026-01-31 12:00:02Z  #2 keeper/add {}

            halted: agent prober, plugin keeper"#]],
    );
}

#[test]
fn a_question_that_was_let_go_of_waits_for_nobody() {
    let ask = |id| {
        asks(
            id,
            json!({ "kind": "ask", "text": "send?", "choices": ["yes", "no"] }),
        )
    };
    let detached = |ends: bool| json!({ "event": "detached", "id": 0, "ends": ends });
    for (ends, asks) in [(true, false), (false, true)] {
        let records = journal(&[started(), (1, ask(0)), (2, detached(ends))]);
        assert_eq!(Timeline::of(&records).asks(), asks, "{ends}");
    }
}

/// What the agent lets go of ends or goes on, by its kind.
#[test]
fn what_was_let_go_of_is_told_as_what_becomes_of_it() {
    let chat = json!({ "kind": "chat", "request": "{}" });
    let timer = json!({ "kind": "timer", "due_ms": 9 });
    let of_tool = json!({ "kind": "call", "tool": "keeper/add", "input": "{}" });
    let detached = json!({ "event": "detached", "id": 0, "ends": true });
    for (request, says, waits) in [
        (chat, "which ends it", true),
        (timer, "which ends it", false),
        (of_tool, "and it goes on", true),
    ] {
        let records = journal(&[started(), (1, asks(0, request)), (2, detached.clone())]);
        let timeline = Timeline::of(&records);
        let text = timeline.text(&run("running"));
        assert!(text.contains(says), "{text}");
        assert_eq!(timeline.steps[&0].answered, !waits, "{text}");
    }
}

#[test]
fn a_call_beyond_the_budget_is_none_and_says_which_limit() {
    let mut first = started().1;
    first["budget"]["calls"] = json!(1);
    let refused = json!({ "code": "limit", "limit": "calls", "value": "1" });
    let records = [
        (0, first),
        (1, call(0, "{}")),
        (2, call(1, "{}")),
        (
            3,
            json!({ "event": "answered", "id": 1, "answer": { "error": refused } }),
        ),
        (
            4,
            json!({ "event": "answered", "id": 0, "answer": { "ok": "1" } }),
        ),
    ];
    check(
        &run("running"),
        &records,
        expect![[r#"
        run_1 · prober · running
          goal      check May
          input     {"month":5}
          started   2026-01-31 12:00:00Z by ada, supervised
          component sha256:0
          budget    1 of 1 calls, 5 of 5000 records

        2026-01-31 12:00:00Z  ada started prober, supervised: check May
        2026-01-31 12:00:00Z  #0 keeper/add {}
                                → 1 (3 ms)
        2026-01-31 12:00:00Z  #1 keeper/add {}
                                ✗ limit: calls reached (1) (1 ms)

        running; its last record is of 2026-01-31 12:00:00Z"#]],
    );
}

/// Whatever a plugin or a person wrote: no line of its own, nothing that a
/// terminal acts on, no end of the screen.
#[test]
fn what_others_wrote_begins_no_line_of_its_own() {
    let hostile = "x\n2026-01-31 12:00:00Z  #9 forged\u{1b}[2J\u{202e}\r\t".repeat(50);
    let request = json!({ "kind": "ask", "text": hostile, "choices": [hostile, hostile], "payload": hostile });
    let plan = json!([{ "title": hostile, "state": hostile }]);
    let decided = json!({ "choice": hostile, "note": hostile }).to_string();
    let failed = json!({ "error": { "code": hostile } });
    let records = [
        json!({ "event": "started", "agent": hostile, "goal": hostile, "by": hostile }),
        json!({ "event": "noted", "note": "plan", "tasks": plan }),
        json!({ "event": "noted", "note": "progress", "done": 1, "message": hostile }),
        json!({ "event": "noted", "note": "log", "level": hostile, "message": hostile }),
        asks(
            0,
            json!({ "kind": "call", "tool": hostile, "input": hostile }),
        ),
        asks(1, request),
        asks(2, json!({ "kind": hostile, "x": hostile })),
        json!({ "event": "approval-asked", "id": 0, "binding": hostile }),
        json!({ "event": "approved", "id": 0, "by": hostile, "note": hostile }),
        json!({ "event": "retried", "id": 0, "attempt": hostile, "why": hostile }),
        json!({ "event": "answered", "id": 0, "by": hostile, "answer": failed }),
        json!({ "event": "answered", "id": 1, "by": hostile, "answer": { "ok": decided } }),
        json!({ "event": "answered", "id": 2, "answer": { "ok": hostile } }),
        json!({ "event": "signalled", "name": hostile, "payload": hostile, "by": hostile }),
        json!({ "event": "budgeted", "budget": hostile, "by": hostile }),
        json!({ "event": "budgeted", "budget": { (hostile.clone()): hostile }, "by": hostile }),
        json!({ "event": "recorded", "id": 3, "value": hostile }),
        json!({ "event": "state-set", "key": hostile, "value": hostile }),
        json!({ "event": "tools-told", "tools": [{ "name": hostile }] }),
        asks(
            4,
            json!({ "kind": "start", "agent": hostile, "goal": hostile, "input": hostile }),
        ),
        json!({ "event": "cancel-requested", "by": hostile, "why": hostile }),
        json!({ "event": "blocked", "why": { "because": hostile, "detail": hostile } }),
        json!({ "event": "blocked", "why": { "because": "unknown-outcome", "id": hostile } }),
        json!({ "event": hostile, "more": hostile }),
        json!({ "event": "ended", "end": { "state": hostile, "reason": hostile } }),
    ]
    .map(|record| (1, record));
    let mut run = run(&hostile);
    for name in [
        "id",
        "agent",
        "goal",
        "by",
        "autonomy",
        "digest",
        "continues",
        "input",
        "parent",
    ] {
        run[name] = json!(hostile);
    }
    run["children"] = json!([hostile]);
    run["halted"] = json!([hostile]);
    run["forked_from"] = json!({ "run": hostile, "at": hostile });
    let mut timeline = Timeline::default();
    for record in journal(&records) {
        for happening in timeline.apply(&record) {
            assert_safe(&happening.text);
        }
        assert_safe(&timeline.status());
    }
    let text = timeline.text(&run);
    text.lines().for_each(assert_safe);
    // Its head, a line for each record but the last, and its end.
    let own = 12 + records.len() - 1 + 3;
    assert_eq!(text.lines().count(), own, "{text}");
}

fn assert_safe(line: &str) {
    assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    assert!(!line.contains('\u{202e}'), "{line:?}");
    assert!(line.chars().count() < 25_000, "{}", line.chars().count());
}

#[test]
fn what_it_is_at_fits_one_line() {
    let plan = json!({ "event": "noted", "note": "plan", "tasks": [{ "title": "fetch", "state": "doing" }] });
    let mut timeline = Timeline::of(&journal(&[started(), (1, plan)]));
    for id in 0..5 {
        timeline.apply(&call(id, "{}"));
    }
    expect!["fetch · #0 keeper/add {}, #1 keeper/add {}, #2 keeper/add {} · and 2 more · 5 of 100 calls, 7 of 5000 records"].assert_eq(&timeline.status());
    assert!(!timeline.asks());
    timeline.apply(&json!({ "event": "approval-asked", "id": 3 }));
    assert!(timeline.asks());
    timeline.apply(&json!({ "event": "approved", "id": 3, "by": "bob" }));
    assert!(!timeline.asks());
}

#[test]
fn spans() {
    for (ms, text) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_250, "1.2 s"),
        (61_000, "1 min 1 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ] {
        assert_eq!(span(ms), text);
    }
}

#[test]
fn what_is_asked_again_says_so_and_where_to_look() {
    let asked = json!({ "event": "approval-asked", "id": 0, "binding": "sha256:1" });
    let records = [
        started(),
        (1, call(0, "{}")),
        (2, asked.clone()),
        (3, json!({ "event": "approved", "id": 0, "by": "bob" })),
        (4, asked),
    ];
    let text = Timeline::of(&journal(&records)).text(&run("waiting"));
    let asked: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("? a person"))
        .collect();
    assert!(asked.len() == 2 && !asked[0].contains("again"), "{text}");
    assert!(asked[1].contains("again: an approval works once"), "{text}");
    assert!(
        text.ends_with("waits for #0: airlock approvals show run_1.0"),
        "{text}"
    );
}
