//! Sizes, conversations that grow, and the texts.

use airlock_sdk::prompt::fill;

use super::*;
use crate::pattern::fits;
use crate::prompts::{self, advice};

#[test]
fn long_results_are_cut_in_the_middle() {
    let run = works(
        host([read("long"), finish(1)]),
        json!({ "result_bytes_max": 1_000 }),
    );
    let text = &told(&run)[0].1;
    assert!(text.len() < 1_200, "{}", text.len());
    holds(text, &["xxx\n[… 49000 bytes are left out here;"]);
    // Many at once share what fits in a request.
    let many = (0..15).fold(read("long"), |says, n| {
        says.and_call("files/read", json!({ "path": "long", "n": n }))
    });
    let run = works(
        host([many, finish(1)]),
        json!({ "result_bytes_max": 131_072 }),
    );
    let bytes: usize = told(&run).iter().map(|(_, text)| text.len()).sum();
    assert!(bytes < 136 << 10, "{bytes}");
}

/// Control characters are six times as long as JSON; names are the model's own.
#[test]
fn what_is_kept_fits_in_the_state() {
    let calls = (0..15).fold(read("0"), |says, n| {
        says.and_call(
            "files/read",
            json!({ "path": format!("{n}{}", "\u{1}".repeat(300)) }),
        )
    });
    let name = "{data}".repeat(1_000);
    let calls = [calls.clone(), calls, Says::call(&name, json!({}))];
    let give_up = Says::call("give_up", json!({ "reason": "\u{2}".repeat(50_000) }));
    let run = works(
        host(calls.into_iter().chain([give_up]))
            .tool("files/read", |_| Ok(json!("\u{1}".repeat(2_000)))),
        json!({}),
    );
    let error = run.error();
    assert_eq!(error.code(), "escalate");
    assert!(error.to_string().len() < 5_000);
    let kept = run.state("reached").expect("it is kept");
    assert_eq!(kept["calls"], 33);
    let made = kept["last_calls"].as_array().expect("calls");
    assert!((5..20).contains(&made.len()), "{}", made.len());
    assert_eq!(made.last().map(|made| &made["failed"]), Some(&json!(true)));
    let unknown = &run.asked_models()[3].results()[0].1;
    holds(unknown, &["there is no tool `{data}{data}"]);
    assert!(!unknown.contains("==="), "{unknown}");
}

#[test]
fn at_most_sixteen_calls_are_made_at_once() {
    let path = |n: usize| json!({ "path": format!("f{n}") });
    let many = (0..20).fold(Says::nothing(), |says, n| {
        says.and_call("files/read", path(n))
    });
    let run = works(host([many, finish(1)]), json!({}));
    assert_eq!(run.calls().len(), 16);
    let told = told(&run);
    assert_eq!(told.iter().filter(|(failed, _)| *failed).count(), 4);
    holds(&told[16].1, &["at most 16 calls in one answer"]);
}

#[test]
fn a_long_conversation_is_begun_anew_with_what_it_was() {
    let long = |path: &str| read(path).tokens(2_000, 100);
    let input = json!({ "summarise_after_tokens": 2_000 });
    let host = |summary: Says| {
        host([
            long("a"),
            long("b"),
            long("c"),
            summary,
            read("d"),
            finish("all"),
        ])
    };
    let run = works(
        host(Says::text("Read a, b and c. d is left.").costs(3)),
        input.clone(),
    );
    assert_eq!(run.output(), "all");
    let asked = run.asked_models();
    let [.., summing, anew, _] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    holds(&summing.last_text(), &["is begun anew"]);
    assert_eq!(summing.body["tool_choice"], "none");
    assert_eq!(
        summing.results().len(),
        1,
        "what came last is summed up too"
    );
    assert_eq!(anew.messages.len(), 3);
    holds(
        &anew.all_text(),
        &["You reach a goal", "The goal:\nSay what is in the files."],
    );
    holds(
        &anew.last_text(),
        &["=== data 4 ===\nRead a, b and c. d is left.\n=== data 4 ==="],
    );
    assert_eq!(
        run.state("reached").expect("kept")["spent"]["cost_micros"],
        3
    );
    // A model that won't: the last calls stand in.
    for none in [Says::nothing(), Says::refuses("no"), read("e")] {
        let run = works(host(none), input.clone());
        assert_eq!((run.output(), run.calls().len()), (json!("all"), 4));
        let anew = &run.asked_models()[4];
        holds(
            &anew.last_text(),
            &["\"last_calls\":[{\"tool\":\"files/read\""],
        );
    }
    // Not after each turn from then on: what it needs may be that long.
    let says = [
        long("a"),
        long("b"),
        long("c"),
        "one".into(),
        long("d"),
        long("e"),
        long("f"),
    ];
    let says = says.into_iter().chain(["two".into(), finish("all")]);
    let run = works(super::host(says), input.clone());
    assert_eq!((run.output(), run.calls().len()), (json!("all"), 6));
    let broke = Error::limit("model-micros", "0");
    let run = works(host(broke.clone().into()), input);
    assert_eq!(run.error(), broke);
}

#[test]
fn patterns_name_tools() {
    for (pattern, name, expect) in [
        ("files/read", "files/read", true),
        ("files/read", "files/reads", false),
        ("*", "files/read", true),
        ("files/*", "files/read", true),
        ("files/*", "file/read", false),
        ("*/read", "files/read", true),
        ("*/read", "files/reader", false),
        ("f*s/r*d", "files/read", true),
        ("a*a", "a", false),
        ("", "files/read", false),
    ] {
        assert_eq!(fits(pattern, name), expect, "{pattern} {name}");
    }
}

/// Each text has words, each place in it is filled in somewhere, and each error has
/// its advice.
#[test]
fn the_texts_are_whole() {
    let places = [
        "goal",
        "instructions",
        "context",
        "data",
        "code",
        "advice",
        "fault",
        "name",
        "tools",
        "calls_max",
        "choice",
        "note",
        "hours",
    ];
    for (file, text) in prompts::ALL {
        assert!(text.len() > 5 && text.ends_with('\n'), "{file}");
        let empty: Vec<(&str, &str)> = places.iter().map(|place| (*place, "")).collect();
        let filled = fill(text, &empty);
        assert!(!filled.contains('{'), "{file}: {filled}");
    }
    for code in [
        "invalid-input",
        "denied",
        "not-found",
        "transient",
        "permanent",
        "escalate",
        "limit",
        "cancelled",
        "unknown",
    ] {
        assert!(advice(code).len() > 20, "{code}");
    }
    assert_eq!(advice("other"), "Go another way.");
}

/// What an answer may have is bounded, since so much is set aside for it.
#[test]
fn an_answer_has_room_for_what_is_plausible() {
    for (input, most) in [
        (json!({}), 8_192),
        (json!({ "answer_tokens_max": 500 }), 500),
    ] {
        let run = works(host([read("a"), finish("all")]), input);
        let asked = run.asked_models();
        assert!(asked.iter().all(|asked| asked.body["max_tokens"] == most));
    }
    let run = works(host([finish(1)]), json!({ "answer_tokens_max": 0 }));
    holds(
        &run.error().to_string(),
        &["answer_tokens_max: 256 to 1000000"],
    );
}

/// A provider that refuses the conversation for its length: what was done stands in
/// for it, once; where that is too long as well, or there is nothing, it fails.
#[test]
fn a_conversation_that_is_too_long_is_begun_anew() {
    let full = || Says::from(Error::limit("context_tokens", "9000 > 8192"));
    let run = works(
        host([read("a"), full(), read("b"), full(), finish("all")]),
        json!({}),
    );
    assert_eq!((run.output(), run.calls().len()), (json!("all"), 2));
    let anew = &run.asked_models()[2];
    assert_eq!(anew.messages.len(), 3);
    holds(
        &anew.last_text(),
        &["\"last_calls\":[{\"tool\":\"files/read\"", "what Some"],
    );
    for says in [vec![read("a"), full(), full()], vec![full()]] {
        let run = works(host(says), json!({}));
        holds(&run.error().to_string(), &["limit: context_tokens"]);
    }
}
