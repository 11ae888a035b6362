//! What an administrator may grant of `models`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ErrorCode, OnError, Op, Retry};
use crate::capability::Given;
use crate::gate::{Allowed, Missing};

const ROLE_BYTES_MAX: usize = 64;

/// Millionths of one unit of the currency.
const MICROS: u64 = 1_000_000;

/// Decimals that a cost may have.
const DECIMALS_MAX: usize = 6;

/// One role of the host's configuration, e.g. `{ role = "fast", day_cost = "20" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A role of the host's models.
    pub role: String,
    /// Most tokens, in and out, of one run; the run's own budget holds too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_tokens: Option<u64>,
    /// Most that one run may cost, in the host's currency, e.g. `"1.50"`; the run's
    /// own budget holds too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_cost: Option<Cost>,
    /// Most tokens of this agent in a day (UTC), over all its runs and roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_tokens: Option<u64>,
    /// Most that this agent may cost in a day (UTC), over all its runs and roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_cost: Option<Cost>,
    /// Most tokens of one answer. Default: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Whether images may be sent along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// How requests that failed for now are tried again, after what the role's own
    /// configuration tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What becomes of the run when a request fails for good, by the error's code,
    /// e.g. `{ permanent = "escalate" }`; the agent is told of others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_error: BTreeMap<ErrorCode, OnError>,
}

/// An amount of the host's currency: a decimal text with at most 6 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Millionths.
    pub micros: u64,
}

impl FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{}` is not an amount such as \"20\" or \"0.15\", with at most {DECIMALS_MAX} decimals",
                text.escape_debug()
            )
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS_MAX {
            return Err(refused());
        }
        let whole: u64 = whole.parse().map_err(|_| refused())?;
        let decimals: u64 = format!("{decimals:0<6}").parse().map_err(|_| refused())?;
        let micros = whole.checked_mul(MICROS);
        let micros = micros.and_then(|micros| micros.checked_add(decimals));
        micros.map(|micros| Self { micros }).ok_or_else(refused)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.micros / MICROS, self.micros % MICROS);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{decimals:06}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl Serialize for Cost {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cost {
    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,6})?$" })
    }
}

/// Whether a bound holds back nothing of one that was asked for; who asks for none
/// leaves it to the administrator.
fn is_within<T: PartialOrd>(wanted: Option<T>, bound: Option<T>) -> bool {
    wanted
        .zip(bound)
        .is_none_or(|(wanted, bound)| wanted <= bound)
}

impl Rule {
    /// How near it comes to a rule that a component asks for.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        let bounds = is_within(wanted.run_tokens, self.run_tokens)
            && is_within(wanted.run_cost, self.run_cost)
            && is_within(wanted.day_tokens, self.day_tokens)
            && is_within(wanted.day_cost, self.day_cost)
            && is_within(wanted.output_tokens, self.output_tokens);
        let images = self.images || !wanted.images;
        Given::all_if(self.role == wanted.role && bounds && images)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let role = &self.role;
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.chars().all(allowed) {
            return Err(format!(
                "role `{}` is not a name: 1 to {ROLE_BYTES_MAX} lower-case letters, digits, `.`, `_` and `-`",
                role.escape_debug()
            ));
        }
        if self.output_tokens == Some(0) {
            return Err("output_tokens is at least 1".to_owned());
        }
        self.retry.map_or(Ok(()), Retry::validate)
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let role = op.role.escape_debug();
    let index = rules.iter().position(|rule| rule.role == op.role);
    let Some(index) = index else {
        return Err(Missing::new(format!(
            "no models rule names `{role}`; needed: models = [{{ role = \"{role}\" }}]"
        )));
    };
    if op.images && !rules[index].images {
        return Err(Missing::new(format!(
            "the models rule for `{role}` lets no images be sent; needed: images = true"
        )));
    }
    Ok(Allowed::Rule(index))
}
