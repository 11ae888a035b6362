//! What was refused, in terms of the command that was typed: a command may make several
//! requests, and what it sends is more than what was given to it.

use anyhow::Error;
use serde_json::Value;

use airlock_server::ROUTES;

use crate::exit::Failure;

/// A refusal of rights, with the roles that the whole command takes: those of the
/// request that changes something, whichever was refused.
pub(super) fn for_all(mut error: Error, method: &str, path: &str) -> Error {
    let mut routes = ROUTES.iter();
    let route = routes.find(|route| route.method == method && route.path == path);
    if let (Some(failure), Some(route)) = (error.downcast_mut::<Failure>(), route)
        && failure.code == "forbidden"
    {
        let roles = route.access.named();
        failure.problem["detail"] = format!("this takes a token with the role {roles}").into();
    }
    error
}

/// A refusal of grants, with the numbers that rules have among those that were given:
/// those in force stand before them in what is `sent`.
pub(super) fn as_given(mut error: Error, given: &Value, sent: &Value) -> Error {
    if let Some(failure) = error.downcast_mut::<Failure>() {
        let detail = failure.problem["detail"].as_str();
        if let Some(detail) = detail.and_then(|detail| renumbered(detail, given, sent)) {
            failure.problem["detail"] = detail.into();
        }
    }
    error
}

/// A place in a body, `the body: grants.files[2].access`, or a rule, `` `files` rule 2``.
fn renumbered(detail: &str, given: &Value, sent: &Value) -> Option<String> {
    let number = |capability: &str, number: &str| {
        let rule = sent[capability].get(number.parse::<usize>().ok()?)?;
        let mut rules = given[capability].as_array()?.iter();
        rules.position(|other| other == rule)
    };
    if let Some(place) = detail.strip_prefix("the body: grants.") {
        let (capability, rest) = place.split_once('[')?;
        let (sent, rest) = rest.split_once(']')?;
        let at = number(capability, sent)?;
        return Some(format!("{capability}[{at}]{rest}"));
    }
    let (before, rest) = detail.split_once("` rule ")?;
    let (before, capability) = before.rsplit_once('`')?;
    let (sent, rest) = rest.split_once(':')?;
    // Beside another rule both are numbered as they would be in force.
    let at = number(capability, sent).filter(|_| !rest.contains(" rule "))?;
    Some(format!(
        "{before}`{capability}` rule {at} of those given:{rest}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(code: &str, detail: &str) -> Error {
        let problem = json!({ "code": code, "detail": detail });
        let (code, hint) = (code.to_owned(), String::new());
        Error::new(Failure {
            status: 422,
            code,
            problem,
            hint,
        })
    }

    #[test]
    fn a_rule_has_the_number_that_it_was_given_with() {
        let rule = |name: &str| json!({ "bucket": name });
        let given = json!({ "kv": [rule("a"), rule("c"), rule("d")] });
        let sent = json!({ "kv": [rule("a"), rule("b"), rule("c"), rule("d")] });
        let table = [
            (
                "the body: grants.kv[2].byts: unknown field",
                "kv[1].byts: unknown field",
            ),
            (
                "the body: grants.kv[3]: missing field",
                "kv[2]: missing field",
            ),
            (
                "`kv` rule 2: too much",
                "`kv` rule 1 of those given: too much",
            ),
            (
                "it can't be put in force: `kv` rule 3: no",
                "it can't be put in force: `kv` rule 2 of those given: no",
            ),
            (
                "`kv` rule 2: its bucket is that of rule 1 already",
                "`kv` rule 2: its bucket is that of rule 1 already",
            ),
            // One that was not given keeps the number that `airlock grants` shows.
            (
                "the body: grants.kv[1].byts: unknown field",
                "the body: grants.kv[1].byts: unknown field",
            ),
            ("`kv` rule 1: too much", "`kv` rule 1: too much"),
            ("the body: grants.kv[9]: no", "the body: grants.kv[9]: no"),
            (
                "the body: grants.files[0]: no",
                "the body: grants.files[0]: no",
            ),
            ("`kv` rule x: no", "`kv` rule x: no"),
            (
                "the body: grants.file: unknown field",
                "the body: grants.file: unknown field",
            ),
            ("something else", "something else"),
            ("", ""),
        ];
        for (detail, expect) in table {
            let error = as_given(failure("invalid-request", detail), &given, &sent);
            let failure = error.downcast_ref::<Failure>().expect("a failure");
            assert_eq!(failure.problem["detail"], expect);
        }
    }

    #[test]
    fn roles_are_those_of_the_change() {
        let table = [
            (
                "forbidden",
                "PUT",
                "/v1/plugins/{plugin}/grants",
                "this takes a token with the role admin",
            ),
            (
                "forbidden",
                "POST",
                "/v1/plugins",
                "this takes a token with the role operator or admin",
            ),
            (
                "outside-scope",
                "PUT",
                "/v1/plugins/{plugin}/grants",
                "told",
            ),
            ("forbidden", "PUT", "/v1/nothing", "told"),
        ];
        for (code, method, path, expect) in table {
            let error = for_all(failure(code, "told"), method, path);
            let failure = error.downcast_ref::<Failure>().expect("a failure");
            assert_eq!(failure.problem["detail"], expect, "{method} {path}");
        }
    }
}
