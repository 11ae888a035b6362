//! Whatever comes in, the SDK answers with an error and never panics.

use airlock_sdk::http::{self, Response};
use airlock_sdk::prelude::*;
use airlock_sdk::testing::{context, with_http};
use proptest::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only read from JSON")]
struct Input {
    list: Vec<Option<i8>>,
    text: String,
}

/// Takes what it gets.
#[tool(read_only)]
fn take(_input: Input) -> Result<(), Error> {
    Ok(())
}

plugin! { tools: [take], wants: [] }

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn fuzz_input(json in "[\\[\\]{}\":,a-z0-9.eE\\\\ -]{0,80}", list in ".{0,20}", text in ".{0,20}") {
        let fitting = serde_json::json!({ "list": [list.len() % 100, null], "text": text }).to_string();
        prop_assert_eq!(PLUGIN.call("take", &fitting, &context()), Ok("null".to_owned()));
        for input in [json, format!("{{\"list\":{list:?},\"text\":{text:?}}}"), text] {
            let code = PLUGIN.call("take", &input, &context()).map_err(|error| error.code());
            prop_assert!(matches!(code, Ok(_) | Err("invalid-input")), "{}: {:?}", input, code);
        }
    }

    #[test]
    fn fuzz_urls(url in "(https?://)?[a-z0-9@:/?#.%\\[\\] \\\\]{0,40}|.{0,40}", name in ".{0,8}", value in ".{0,8}") {
        let answer = |request: &http::Request| {
            // Only what is a URL on the wire gets here.
            assert!(request.url.chars().all(|c| c.is_ascii_graphic()));
            Ok(Response::new(200))
        };
        let sent = with_http(answer, || http::get(&*url).query(&name, &value).header("x", value.as_str()).send());
        let code = sent.map(|response| response.status).map_err(|error| error.code());
        prop_assert!(matches!(code, Ok(200) | Err("invalid-input")), "{}: {:?}", url, code);
    }
}
