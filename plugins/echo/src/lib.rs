//! Gives back the JSON it was given: the smallest plugin, for tests, benchmarks
//! and as an example. It wants nothing and touches nothing.

use airlock_sdk::prelude::*;
use serde_json::{Map, Value};

/// Gives back the JSON object it was given.
#[tool(read_only, title = "Echo")]
fn echo(input: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    Ok(input)
}

plugin! { tools: [echo], wants: [] }

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::call;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let cases = [
            json!({}),
            json!({ "a": [1, -2, 3.5, u64::MAX, null, true], "b": { "c": "d\u{0}\u{1F600}" } }),
        ];
        for case in cases {
            assert_eq!(call(&PLUGIN, "echo", case.clone()), Ok(case));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for case in [json!(1), json!("text"), json!([{}]), Value::Null] {
            let refused = call(&PLUGIN, "echo", case.clone()).unwrap_err();
            assert_eq!(refused.code(), "invalid-input", "{case}: {refused}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let refused = PLUGIN
            .call("echo", &deep, &airlock_sdk::testing::context())
            .unwrap_err();
        assert!(refused.to_string().contains("recursion limit"), "{refused}");
    }
}
