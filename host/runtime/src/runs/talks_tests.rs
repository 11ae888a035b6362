use airlock_sandbox::EffectClass;

use super::*;

fn told() -> Vec<AgentTool> {
    vec![AgentTool {
        name: "files/read".to_owned(),
        description: "Reads.".to_owned(),
        input_schema: r#"{"type":"object"}"#.to_owned(),
        output_schema: None,
        class: EffectClass::ReadOnly,
    }]
}

fn chat(request: &str, after: Option<RequestId>) -> Request {
    let request = request.to_owned();
    Request::Chat { request, after }
}

const ASKS: &str =
    r#"{"role":"fast","messages":[{"from":"user","parts":[{"part":"text","text":"A"}]}]}"#;
const USAGE: &str = r#""usage":{"input_tokens":1,"output_tokens":1},"model":"m","spent":{"tokens":2,"cost_micros":0}"#;

fn answer(members: &str) -> Told {
    Told::Ok(format!("{{{members},{USAGE}}}"))
}

/// A conversation is what was said and answered, in order; of two ways on from one
/// turn, each has its own.
#[test]
fn a_conversation_goes_on_from_the_turn_it_names() {
    let mut talks = Talks::default();
    talks.asked(0, &chat(ASKS, None));
    let call =
        r#""calls":[{"id":"c1","name":"files/read","arguments":"no json"}],"finish":"tool-calls""#;
    talks.answered(0, &answer(call));
    let results = r#"{"role":"fast","messages":[{"from":"tool","call":"c1","text":"R"}],"tools":["files/read",{"name":"finish","input_schema":"{}"}]}"#;
    let request = talks.request(results, Some(0), &told()).expect("a request");
    request.check().expect("a request that can be asked");
    let shown = serde_json::to_value(&request).expect("JSON");
    assert_eq!(shown["messages"][0]["parts"][0]["text"], "A");
    assert_eq!(shown["messages"][1]["calls"][0]["arguments"], "{}");
    assert_eq!(shown["messages"][2]["text"], "R");
    assert_eq!(shown["tools"][0]["description"], "Reads.");
    assert_eq!(shown["tools"][1]["name"], "finish");
    assert_eq!(request.messages.len(), 3);
    talks.asked(1, &chat(results, Some(0)));
    talks.answered(1, &answer(r#""finish":"stop""#));
    let on = talks.request(ASKS, Some(1), &[]).expect("a request");
    assert_eq!(on.messages.len(), 5);
    on.check()
        .expect("an answer without a word is no hole in it");
    let other = talks.request(results, Some(0), &told()).expect("a request");
    assert_eq!(other, request);
}

#[test]
fn what_can_not_be_asked_says_why() {
    let mut talks = Talks::default();
    talks.asked(0, &chat(ASKS, None));
    talks.asked(1, &chat(ASKS, None));
    talks.answered(1, &Told::Error(CallError::Cancelled));
    let open = ASKS.strip_suffix('}').expect("an object");
    let with = |rest: &str| format!("{open},{rest}}}");
    let table = [
        (
            ASKS.to_owned(),
            Some(0),
            "request 0 is none that a model has answered",
        ),
        (ASKS.to_owned(), Some(1), "request 1 is none"),
        (ASKS.to_owned(), Some(7), "request 7 is none"),
        ("{}".to_owned(), None, "missing field `role`"),
        ("nonsense".to_owned(), None, "the request: expected"),
        (with(r#""more":1"#), None, "unknown field `more`"),
        (
            with(r#""tools":["files/write"]"#),
            None,
            "tools[0]: the agent was told of no tool",
        ),
        (
            with(r#""tools":["files/read",{"name":"a/b","input_schema":"{}"}]"#),
            None,
            "tools[1]: `a/b` is the name of a plugin's tool",
        ),
        (with(r#""tools":[7]"#), None, "tools[0]: invalid type"),
    ];
    for (request, after, expect) in table {
        let error = talks.request(&request, after, &told()).expect_err(&request);
        assert!(error.to_string().contains(expect), "{request}: {error}");
    }
}
