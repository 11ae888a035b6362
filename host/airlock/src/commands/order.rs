//! Rules that never hold: of `tools` and `http`, the first rule that covers an
//! operation decides, so that a later, narrower one says nothing; and an `http` rule
//! for a private address covers nothing unless it says so.
//!
//! What must stay true: what is told here is a warning; the host decides.

use airlock_sandbox::capability::http::Rule;
use serde_json::Value;

/// A rule that never holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) capability: &'static str,
    /// From 0, as `airlock grants` numbers them.
    pub(super) rule: usize,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// The rule before it that covers all of it.
    Behind(usize),
    /// What it has to say besides to cover anything.
    Lacks(String),
}

impl Idle {
    /// For people, with what the rules are about.
    pub(super) fn text(&self, plugin: &str, grants: &Value) -> String {
        let (capability, rule) = (self.capability, self.rule);
        let about = |rule: usize| {
            let rule = &grants[capability][rule];
            let named = ["tool", "url"].iter().find_map(|name| rule[*name].as_str());
            crate::output::one_line(named.unwrap_or_default())
        };
        let idle = format!(
            "warning: {plugin}: {capability} rule {rule} ({})",
            about(rule)
        );
        match &self.why {
            Why::Behind(by) => format!(
                "{idle} never holds: rule {by} ({}) stands before it and covers it; the first \
                 that covers an operation decides. To have the narrower one first: `airlock \
                 revoke {plugin} {capability} {by}`, then grant that one again; in a policy \
                 file, move it",
                about(*by)
            ),
            Why::Lacks(lacks) => format!(
                "{idle} covers nothing; missing: {lacks}. `airlock revoke {plugin} {capability} \
                 {rule}` takes it away; in a policy file, mend it"
            ),
        }
    }

    /// Whether another rule would have to go for this one to hold.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.why, Why::Behind(_))
    }
}

/// Rules of `grants` that never hold.
pub(super) fn idle(grants: &Value) -> Vec<Idle> {
    let mut found = Vec::new();
    for (capability, covers) in [
        ("tools", covers_tool as fn(&Value, &Value) -> bool),
        ("http", covers_requests),
    ] {
        let none = Vec::new();
        let rules = grants[capability].as_array().unwrap_or(&none);
        for (index, rule) in rules.iter().enumerate() {
            let by = rules[..index].iter().position(|wide| covers(wide, rule));
            let lacks = || {
                (capability == "http")
                    .then(|| http(rule)?.lacks())
                    .flatten()
            };
            let why = by.map(Why::Behind).or_else(|| lacks().map(Why::Lacks));
            found.extend(why.map(|why| Idle {
                capability,
                rule: index,
                why,
            }));
        }
    }
    found
}

fn http(rule: &Value) -> Option<Rule> {
    serde_json::from_value(rule.clone()).ok()
}

fn covers_tool(wide: &Value, narrow: &Value) -> bool {
    let tool = |rule: &Value| rule["tool"].as_str().unwrap_or_default().to_owned();
    let (wide, narrow) = (tool(wide), tool(narrow));
    let plugin = wide.strip_suffix('*').filter(|plugin| !plugin.is_empty());
    !wide.is_empty() && (wide == narrow || plugin.is_some_and(|plugin| narrow.starts_with(plugin)))
}

/// As the host compares them.
fn covers_requests(wide: &Value, narrow: &Value) -> bool {
    http(wide)
        .zip(http(narrow))
        .is_some_and(|(wide, narrow)| wide.decides_before(&narrow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(grants: &Value) -> Vec<(usize, usize)> {
        let behind = |found: Idle| match found.why {
            Why::Behind(by) => Some((found.rule, by)),
            Why::Lacks(_) => None,
        };
        idle(grants).into_iter().filter_map(behind).collect()
    }

    #[test]
    fn a_tool_under_an_earlier_rule_never_has_its_own() {
        let table = [
            (&["acme/*", "acme/book"][..], &[(1, 0)][..]),
            (&["acme/book", "acme/*"], &[]),
            (&["acme/*", "acme2/book", "acme/wipe"], &[(2, 0)]),
            (&["acme/book", "acme/books"], &[]),
            (&["acme/book", "keeper/*", "keeper/add"], &[(2, 1)]),
        ];
        for (tools, expect) in table {
            let rules: Vec<Value> = tools.iter().map(|tool| json!({ "tool": tool })).collect();
            assert_eq!(pairs(&json!({ "tools": rules })), expect, "{tools:?}");
        }
    }

    #[test]
    fn a_url_under_an_earlier_rule_never_has_its_own() {
        let url = |url: &str| json!({ "url": url });
        let with = |url: &str, name: &str, value: Value| json!({ "url": url, name: value });
        let all = "https://a.test/**";
        let table = [
            (url(all), url("https://a.test/v1/*"), true),
            (url(all), url("https://a.test/v1/**"), true),
            (url("https://a.test/v1/*"), url(all), false),
            (url("https://a.test/v1/*"), url("https://a.test/v1/x"), true),
            (
                url("https://a.test/v1/x"),
                url("https://a.test/v1/*"),
                false,
            ),
            (
                url("https://a.test/*/*"),
                url("https://a.test/v1/**"),
                false,
            ),
            (url(all), url("http://a.test/x"), false),
            (url(all), url("https://b.test/x"), false),
            (url("https://*.a.test/**"), url("https://b.a.test/x"), true),
            (url("https://b.a.test/**"), url("https://*.a.test/x"), false),
            (
                url(all),
                with("https://a.test/x", "methods", json!(["GET", "PUT"])),
                false,
            ),
            (
                with(all, "methods", json!(["GET", "PUT"])),
                with("https://a.test/x", "methods", json!(["PUT"])),
                true,
            ),
            (
                url(all),
                with("https://a.test/x", "secret", json!("key")),
                false,
            ),
            (
                with(all, "secret", json!("key")),
                with("https://a.test/x", "secret", json!("key")),
                true,
            ),
            // A rule decides nothing at an address that it lacks the word for.
            (
                url("http://127.0.0.1:1/**"),
                with("http://127.0.0.1:1/x", "allow_private", json!(true)),
                false,
            ),
            (
                with("http://127.0.0.1:1/**", "allow_private", json!(true)),
                url("http://127.0.0.1:1/x"),
                true,
            ),
            // A name's address is judged when it is found: by the rule that covers it.
            (
                url(all),
                with("https://a.test/x", "allow_private", json!(true)),
                true,
            ),
        ];
        for (wide, narrow, expect) in table {
            let found = pairs(&json!({ "http": [&wide, &narrow] }));
            assert_eq!(found == [(1, 0)], expect, "{wide} {narrow}: {found:?}");
        }
    }

    #[test]
    fn a_warning_names_both_rules() {
        let grants = json!({ "tools": [{ "tool": "acme/*" }, { "tool": "acme/wipe" }] });
        let text = idle(&grants)[0].text("trial", &grants);
        assert!(
            text.starts_with(
                "warning: trial: tools rule 1 (acme/wipe) never holds: rule 0 (acme/*) stands"
            ),
            "{text}"
        );
    }
    #[test]
    fn a_rule_that_covers_nothing_says_what_it_lacks() {
        let table = [
            (
                "http://127.0.0.1:8080/rates",
                Some("`allow_private = true`"),
            ),
            ("http://[::1]/", Some("`allow_private = true`")),
            ("http://169.254.169.254/x", Some("metadata service")),
            ("http://0.0.0.0/", Some("no rule can allow it")),
            ("https://example.com/rates", None),
            ("http://1.1.1.1/", None),
        ];
        for (url, told) in table {
            let grants = json!({ "http": [{ "url": "https://a.test/" }, { "url": url }] });
            let found = idle(&grants);
            let texts: Vec<String> = found.iter().map(|one| one.text("p", &grants)).collect();
            assert_eq!(texts.len(), usize::from(told.is_some()), "{url}: {texts:?}");
            let begins = format!("warning: p: http rule 1 ({url}) covers nothing; missing: ");
            let said = told.is_none_or(|told| texts[0].contains(told));
            assert!(
                said && texts.iter().all(|text| text.starts_with(&begins)),
                "{texts:?}"
            );
        }
        let private = json!([{ "url": "http://127.0.0.1/", "allow_private": true }]);
        assert_eq!(idle(&json!({ "http": private })), []);
    }
}
