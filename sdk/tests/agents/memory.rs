//! Documents of an agent under test, and of a tool.

use airlock_sdk::agent::{self, Outcome, memory};
use airlock_sdk::memory::{Delete, Document, Expect, Put, Search, Source};
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};
use airlock_sdk::testing::{self, Host, Memory};

#[derive(Deserialize, JsonSchema)]
struct Input {}

fn handbook() -> Memory {
    let source = Source {
        uri: "rates.md".to_owned(),
        page: Some(3),
        ..Source::default()
    };
    let rates = Document::new("rates")
        .text("The daily allowance is 70 francs")
        .label("kind", "fact")
        .vector(vec![1.0, 0.0])
        .source(source);
    let other = Document::new("other").text("The canteen closes at two");
    Memory::new()
        .documents("shared/handbook", [rates, other])
        .write("agent")
}

async fn looks_up(_goal: String, _input: Input) -> Result<Outcome, Error> {
    let looked = Search::new(["shared/handbook"]).label("kind", "fact");
    let found = memory::search_near("near", "allowance", looked).await?;
    let hit = found
        .hits
        .first()
        .ok_or(Error::NotFound("nothing".to_owned()))?;
    let from = hit.entry.source.clone().unwrap_or_default();
    let note = Document::new("last").text(&hit.snippet);
    let put = memory::put_if("agent", &note, Expect::Absent).await?;
    let again = memory::put_if("agent", &note, Expect::Absent).await?;
    assert_eq!(again, Put::Conflict { found: Some(1) });
    let gone = memory::delete("agent", "none").await?;
    assert_eq!(gone, Delete::Absent);
    let denied = memory::put("shared/handbook", &note).await;
    assert_eq!(denied.expect_err("it is read alone").code(), "denied");
    let unknown = memory::get("shared/other", "a").await;
    assert_eq!(unknown.expect_err("not granted").code(), "denied");
    let listed = memory::list("shared/handbook", "r", None).await?;
    Outcome::done(&json!({
        "page": from.page, "put": put == Put::Written { version: 1 },
        "ids": listed.entries.iter().map(|entry| &entry.id).collect::<Vec<_>>(),
    }))
}

/// It is run again over its answers: what it wrote was written once.
#[test]
fn an_agent_looks_up_and_keeps_documents() {
    let memory = handbook();
    let ran = testing::agent()
        .memory(&memory)
        .embeds("near", |_| vec![1.0, 0.0])
        .run(looks_up, "look", json!({}));
    let expect = json!({ "page": 3, "put": true, "ids": ["rates"] });
    assert_eq!(ran.output(), expect);
    let kept = memory.get("agent", "last").expect("it is there");
    assert_eq!(kept.entry.version, 1);
    assert!(kept.text.contains("70 francs"));
    assert_eq!(memory.ids("agent"), ["last"]);
}

#[test]
fn what_is_asked_is_bounded_and_read_strictly() {
    async fn asks(_goal: String, input: Value) -> Result<Outcome, Error> {
        Outcome::done(&memory::ask::<Value>(&input["request"]).await?)
    }
    let run = |request: Value| {
        let input = json!({ "request": request });
        testing::agent().memory(&handbook()).run(asks, "ask", input)
    };
    for (request, code) in [
        (json!({ "op": "drop" }), "invalid-input"),
        (
            json!({ "op": "get", "namespace": "agent" }),
            "invalid-input",
        ),
        (
            json!({ "op": "search", "namespaces": [], "text": "x" }),
            "invalid-input",
        ),
        (
            json!({ "op": "search", "namespaces": ["agent"] }),
            "invalid-input",
        ),
    ] {
        assert_eq!(run(request.clone()).error().code(), code);
    }
    for (limits, fit) in [([0, 1_001, 0, 101], false), ([1, 1_000, 1, 100], true)] {
        for (at, limit) in limits.into_iter().enumerate() {
            let request = match at < 2 {
                true => json!({ "op": "list", "namespace": "agent", "limit": limit }),
                false => {
                    json!({ "op": "search", "namespaces": ["agent"], "text": "x", "limit": limit })
                }
            };
            let ran = run(request.clone());
            match fit {
                true => drop(ran.output()),
                false => assert_eq!(ran.error().code(), "invalid-input", "{request}"),
            }
        }
    }
    let much = async |_: String, _: Input| {
        let document = Document::new("a").text("x".repeat(1 << 20));
        drop(memory::put("agent", &document).await);
        Outcome::done("unreachable")
    };
    let ran = testing::agent().memory(&handbook());
    let ran = ran.run(much, "ask", json!({}));
    assert_eq!(ran.error().code(), "limit");
}

#[test]
fn a_tool_has_the_same_and_an_agent_has_not_the_tools() {
    use airlock_sdk::memory as tools;
    let memory = handbook();
    Host::new().memory(&memory).run(|| {
        let note = Document::new("a").text("one").value(json!({ "n": 1 }));
        assert_eq!(tools::put("agent", &note), Ok(Put::Written { version: 1 }));
        let stale = tools::put_if("agent", &note, Expect::Version(7));
        assert_eq!(stale, Ok(Put::Conflict { found: Some(1) }));
        let got = tools::get("agent", "a").expect("granted").expect("there");
        assert_eq!(got.value, Some(json!({ "n": 1 })));
        let hits = tools::search(&Search::new(["shared/handbook"]).text("canteen"));
        assert_eq!(hits.expect("granted")[0].entry.id, "other");
        assert_eq!(tools::delete("agent", "a"), Ok(Delete::Deleted));
        // Nobody takes it for the one that is gone.
        assert_eq!(tools::put("agent", &note), Ok(Put::Written { version: 2 }));
        let denied = tools::put("shared/handbook", &note).expect_err("it is read alone");
        assert_eq!(denied.code(), "denied");
    });
    let uses = || {
        let uses = async |_: String, _: Input| {
            drop(tools::get("agent", "a"));
            Outcome::done("unreachable")
        };
        drop(testing::agent().memory(&memory).run(uses, "use", json!({})));
    };
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(uses));
    let panic = panic.expect_err("an agent has no such import");
    let text = panic.downcast_ref::<String>().expect("a text");
    assert!(text.contains("use `agent::memory`"), "{text}");
    let _ = agent::now();
}
