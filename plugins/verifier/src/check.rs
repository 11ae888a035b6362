//! What a rule or a tool can tell.

use airlock_sdk::agent;
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::cut_end;
use airlock_sdk::schema::Schema;
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};

use crate::{Check, Expect, Judged, Verdict};

const SHOWN_BYTES_MAX: usize = 300;
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// A check that can be made.
pub(crate) struct Rule {
    /// The tool and its input.
    call: Option<(String, Value)>,
    pointer: String,
    matches: Option<Regex>,
    schemas: Vec<Schema>,
}

impl Rule {
    /// Reads a check; `place` is where it stands in the input.
    pub(crate) fn read(check: &Check, outcome: &Value, place: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::InvalidInput(format!("{place}: {what}"));
        let expect = &check.expect;
        let pointer = expect.pointer.clone().unwrap_or_default();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(wrong(
                "expect.pointer: a JSON pointer begins with `/`".to_owned(),
            ));
        }
        let call = match (&check.tool, &check.input) {
            (Some(tool), input) => {
                let input = input.clone().unwrap_or_else(|| json!({}));
                Some((tool.clone(), filled(input, outcome).map_err(wrong)?))
            }
            (None, Some(_)) => return Err(wrong("input: there is no tool to call".to_owned())),
            (None, None) => None,
        };
        let matches = expect.matches.as_deref().map(expression).transpose();
        let rule = Self {
            call,
            pointer,
            matches: matches.map_err(wrong)?,
            schemas: schemas(expect).map_err(|error| error.context(format!("{place}: expect")))?,
        };
        match rule.matches.is_none() && rule.schemas.is_empty() {
            true => Err(wrong(
                "expect: say `equals`, `matches`, `min`, `max` or `schema`".to_owned(),
            )),
            false => Ok(rule),
        }
    }

    /// Looks whether it holds.
    pub(crate) async fn judge(&self, id: &str, outcome: &Value) -> Judged {
        let judged = |verdict, by, reason: String, evidence| Judged {
            id: id.to_owned(),
            verdict,
            reason,
            evidence,
            by,
        };
        let Some((tool, input)) = &self.call else {
            let (verdict, reason, evidence) = self.holds(outcome);
            return judged(verdict, "rule", reason, evidence);
        };
        match agent::call::<Value>(tool, input).await {
            Ok(output) => {
                let (verdict, reason, evidence) = self.holds(&output);
                judged(verdict, "tool", format!("`{tool}`: {reason}"), evidence)
            }
            Err(error @ Error::NotFound(_)) => judged(
                Verdict::Fail,
                "tool",
                format!("`{tool}`: {error}"),
                Vec::new(),
            ),
            Err(error) => {
                let reason = format!("it could not be checked: `{tool}`: {error}");
                judged(Verdict::Unsure, "tool", reason, Vec::new())
            }
        }
    }

    fn holds(&self, value: &Value) -> (Verdict, String, Vec<String>) {
        let place = match self.pointer.as_str() {
            "" => "it".to_owned(),
            pointer => format!("`{pointer}`"),
        };
        let Some(found) = value.pointer(&self.pointer) else {
            return (Verdict::Fail, format!("{place} is not there"), Vec::new());
        };
        let evidence = vec![cut_end(&found.to_string(), SHOWN_BYTES_MAX)];
        let fail = |why: String| (Verdict::Fail, format!("{place}: {why}"), evidence.clone());
        for schema in &self.schemas {
            if let Err(violation) = schema.check(found) {
                return fail(violation.to_string());
            }
        }
        match (&self.matches, found) {
            (Some(regex), Value::String(text)) if !regex.is_match(text) => {
                fail(format!("`{regex}` is not found in it"))
            }
            (Some(_), Value::String(_)) | (None, _) => {
                (Verdict::Pass, format!("{place} is as expected"), evidence)
            }
            (Some(_), _) => fail("it is no text".to_owned()),
        }
    }
}

fn expression(text: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(text)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    regex.map_err(|error| format!("expect.matches: {error}"))
}

/// What is expected, as schemas: they know how JSON values compare.
fn schemas(expect: &Expect) -> Result<Vec<Schema>, Error> {
    let equals = expect
        .equals
        .as_ref()
        .map(|value| json!({ "const": value }));
    let min = expect.min.as_ref();
    let min = min.map(|min| json!({ "type": "number", "minimum": min }));
    let max = expect.max.as_ref();
    let max = max.map(|max| json!({ "type": "number", "maximum": max }));
    let all = [equals, min, max, expect.schema.clone()];
    all.iter().flatten().map(Schema::read).collect()
}

/// An input with the outcome's places in it.
fn filled(input: Value, outcome: &Value) -> Result<Value, String> {
    match input {
        Value::Object(members) => match (members.len(), members.get("$outcome")) {
            (1, Some(Value::String(pointer))) => {
                let found = outcome.pointer(pointer).cloned();
                found.ok_or_else(|| format!("input: the outcome has no `{pointer}`"))
            }
            _ => members
                .into_iter()
                .map(|(name, value)| Ok((name, filled(value, outcome)?)))
                .collect(),
        },
        Value::Array(items) => items
            .into_iter()
            .map(|item| filled(item, outcome))
            .collect(),
        other => Ok(other),
    }
}
