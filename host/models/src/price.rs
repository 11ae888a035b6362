//! What tokens cost, in whole numbers.
//!
//! What must stay true: a cost is never less than the tokens are worth (it is
//! rounded up), and never wraps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::answer::Usage;

/// Decimal places of a price, and of a cost.
const PLACES: usize = 6;
/// The highest price of a million tokens, in units of the currency.
const UNITS_MAX: u64 = 1_000_000;

/// The price of a million tokens in millionths of the configuration's currency,
/// which is written as a decimal, e.g. `"0.15"`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price {
    micros: u64,
}

/// Prices of one model, each for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Tokens of requests.
    pub input: Price,
    /// Tokens of answers.
    pub output: Price,
    /// Tokens of requests that the provider had in a cache; as `input` where absent.
    #[serde(default)]
    pub cached: Option<Price>,
}

impl Price {
    /// In millionths of the currency.
    #[must_use]
    pub fn micros(self) -> u64 {
        self.micros
    }
}

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no price; write e.g. \"0.15\", with at most 6 decimals");
        let (units, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(units) || !digits(part) || part.len() > PLACES {
            return Err(wrong());
        }
        let units: u64 = units.parse().map_err(|_| wrong())?;
        let part: u64 = format!("{part:0<PLACES$}").parse().map_err(|_| wrong())?;
        if units > UNITS_MAX {
            return Err(format!("`{text}`: a price is at most {UNITS_MAX}"));
        }
        Ok(Self {
            micros: units * 1_000_000 + part,
        })
    }
}

impl TryFrom<String> for Price {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Price> for String {
    fn from(price: Price) -> Self {
        price.to_string()
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, part) = (self.micros / 1_000_000, self.micros % 1_000_000);
        match part {
            0 => write!(f, "{units}"),
            part => {
                let part = format!("{part:06}");
                write!(f, "{units}.{}", part.trim_end_matches('0'))
            }
        }
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Prices {
    /// What an answer cost, millionths of the currency.
    #[must_use]
    pub fn cost_micros(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        let cached_price = self.cached.unwrap_or(self.input);
        cost(&[
            (fresh, self.input),
            (cached, cached_price),
            (usage.output_tokens, self.output),
        ])
    }

    /// The most that so many tokens can cost, whatever the cache holds.
    #[must_use]
    pub fn most_micros(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let dearest = self.input.max(self.cached.unwrap_or_default());
        cost(&[(input_tokens, dearest), (output_tokens, self.output)])
    }
}

fn cost(parts: &[(u64, Price)]) -> u64 {
    let parts = parts
        .iter()
        .map(|(tokens, price)| u128::from(*tokens) * u128::from(price.micros));
    u64::try_from(parts.sum::<u128>().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
