//! The agent over scripted tools, cycle after cycle.

use std::time::Duration;

use airlock_sdk::prelude::*;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Answer, End};
use serde_json::{Value, json};

use crate::work::run;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

fn finding(id: &str) -> Value {
    json!({ "id": id, "package": "a", "version": "1", "title": "t", "severity": "high" })
}

/// Findings with these ids, or an error.
fn host(check: Result<Vec<&str>, Error>) -> AgentHost {
    let checked = check.map(|ids| {
        let findings: Vec<Value> = ids.into_iter().map(finding).collect();
        json!({ "packages": 9, "advisories": 100, "unreadable": 0, "cut": false,
            "findings": findings })
    });
    testing::agent()
        .tool("advisories/check", move |_| checked.clone())
        .tool("files/write", |_| Ok(json!({})))
}

fn first() -> Value {
    json!({ "feed": "https://a.test/feed", "lock": "/project/Cargo.lock", "report": "/out/a.md" })
}

/// The next cycle of a run that goes on.
fn next(host: AgentHost, before: &AgentRun) -> AgentRun {
    host.continues(before)
        .run(run, "watch", before.next_input())
}

fn report(run: &AgentRun) -> String {
    let written = run.calls_of("files/write");
    let content = written.first().and_then(|file| file["content"].as_str());
    content.unwrap_or_default().to_owned()
}

#[test]
fn each_cycle_tells_what_is_new_since_the_one_before() {
    let begun = host(Ok(vec!["A", "B"])).run(run, "watch", first());
    assert!(report(&begun).contains("cycle 1\n\n2 new, 0 still open, 0 gone"));
    let second = next(host(Ok(vec!["B", "C"])), &begun);
    assert!(report(&second).contains("cycle 2\n\n1 new, 1 still open, 1 gone"));
    let state = second.next_input()["state"].clone();
    assert_eq!(state["known"], json!(["B a 1", "C a 1"]));
    for run in [&begun, &second] {
        assert_eq!((run.slept(), run.took()), (&[WEEK][..], WEEK), "in step");
    }
}

#[test]
fn what_may_pass_is_tried_again_and_then_a_person_is_asked() {
    let busy = || host(Err(Error::transient("503", None)));
    let one = busy().run(run, "watch", first());
    let two = next(busy(), &one);
    assert!(one.asked().is_empty() && two.asked().is_empty());
    assert_eq!(one.logs(), ["cycle 1 failed: transient: 503"]);
    type Decides = fn() -> Answer;
    let table: [(Decides, Option<u64>); 3] = [
        (|| "stop".into(), Some(3)),
        (|| "go on".into(), None),
        (Answer::nobody, None),
    ];
    for (decides, stopped) in table {
        let three = next(busy().decides(move |_| decides()), &two);
        assert_eq!(three.asked()[0].due, Some(WEEK));
        match (three.end(), stopped) {
            (End::Done(output), Some(cycles)) => assert_eq!(output["cycles"], cycles),
            (End::ContinuesAsNew(input), None) => {
                assert_eq!((&input["state"]["failed"], three.took()), (&json!(3), WEEK));
            }
            (end, _) => panic!("{end:?}"),
        }
        // What works again is counted anew.
        if stopped.is_none() {
            let well = next(host(Ok(Vec::new())), &three);
            assert_eq!(well.next_input()["state"]["failed"], 0);
        }
    }
}

#[test]
fn what_does_not_pass_is_asked_about_at_once() {
    let mut every = first();
    every["every_s"] = json!(60);
    let denied = testing::agent().decides(|_| "stop");
    let stopped = denied.run(run, "watch", every.clone()).output();
    assert!(
        stopped["stopped"].to_string().contains("advisories/check"),
        "{stopped}"
    );
    // Nobody answers by the time of the next cycle.
    let goes_on = testing::agent().run(run, "watch", every);
    assert_eq!(goes_on.took(), Duration::from_secs(60));
    assert_eq!(goes_on.next_input()["state"]["cycles"], 1);
    let mut never = first();
    never["every_s"] = json!(0);
    let refused = testing::agent().run(run, "watch", never).error();
    assert_eq!(refused.code(), "invalid-input");
}
