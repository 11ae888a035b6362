//! What an agent in another language could ask for and `Chat` does not.

use serde_json::{Value, json};

use crate::Error;
use crate::agent::{self, Outcome, answered};
use crate::backend::host;
use crate::task;
use crate::testing::{self, Says};

const REQUEST: &str =
    r#"{"role":"fast","messages":[{"from":"user","parts":[{"part":"text","text":"go"}]}]}"#;

#[test]
fn a_conversation_goes_on_from_an_answer_that_was_reported() {
    async fn run(_: String, _: Value) -> Result<Outcome, Error> {
        let told = async |handle: host::Handle| {
            task::ready(handle.subscribe()).await;
            let told: Result<Value, Error> = answered(&handle);
            told.map_or_else(
                |error| error.to_string(),
                |answer| answer["text"].to_string(),
            )
        };
        let unread = host::chat(REQUEST, None);
        let early = told(host::chat(REQUEST, Some(&unread))).await;
        task::ready(unread.subscribe()).await;
        let call = host::call("a/b", "{}");
        task::ready(call.subscribe()).await;
        let failed = host::chat(REQUEST, None);
        task::ready(failed.subscribe()).await;
        let all = [
            early,
            told(host::chat(REQUEST, Some(&call))).await,
            told(host::chat(REQUEST, Some(&failed))).await,
            told(host::chat("{}", None)).await,
            told(host::chat(&REQUEST.replace("role", "rule"), None)).await,
            told(host::embed("[]")).await,
            told(host::chat(REQUEST, Some(&unread))).await,
        ];
        agent::log("all");
        Outcome::done(&all)
    }
    let ran = testing::agent()
        .tool("a/b", |_| Ok(json!(1)))
        .says(
            "fast",
            [
                Says::text("one"),
                Error::transient("busy", None).into(),
                "two".into(),
            ],
        )
        .run(run, "", json!({}));
    let output = ran.output();
    for (at, expect) in [
        "invalid-input: after: nothing has reported its answer yet",
        "invalid-input: after: it is no request of a model that has an answer",
        "invalid-input: after: it is no request of a model that has an answer",
        "invalid-input: the request: missing field `role`",
        "invalid-input: the request: unknown field `rule`",
        "invalid-input: the request: ",
        "\"two\"",
    ]
    .iter()
    .enumerate()
    {
        let told = output[at].as_str().unwrap_or_default();
        assert!(told.starts_with(expect), "{at}: {told}");
    }
}
