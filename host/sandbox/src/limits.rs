//! Limits of a call and of a plugin.
//!
//! What must stay true: each is on by default, has a highest value, which the
//! engine can give, and cannot be switched off. Zero is refused, but for `queue`, where it means that no call
//! waits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::engine;

#[cfg(test)]
mod tests;

/// A number of bytes, written `64MiB`, `1GiB`, `512KiB` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A length of time, written `500ms`, `10s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A rate, written `100/s`, `100/min` or `100/h`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// Limits of one plugin. Those of a call hold for each call by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sum over all linear memories of a call.
    #[serde(deserialize_with = "bounded::memory")]
    pub memory: ByteSize,
    /// CPU time of the guest in one call.
    #[serde(deserialize_with = "bounded::cpu")]
    pub cpu: Span,
    /// Wall time of one call, host calls included.
    #[serde(deserialize_with = "bounded::wall")]
    pub wall: Span,
    /// Size of the JSON input.
    #[serde(deserialize_with = "bounded::input")]
    pub input: ByteSize,
    /// Size of the JSON output.
    #[serde(deserialize_with = "bounded::output")]
    pub output: ByteSize,
    /// stdout, stderr and structured log of one call together.
    #[serde(deserialize_with = "bounded::log")]
    pub log: ByteSize,
    /// Random bytes of one call together.
    #[serde(deserialize_with = "bounded::random")]
    pub random: ByteSize,
    /// Buffers, bodies and fields the host holds for one call, all together.
    #[serde(deserialize_with = "bounded::host_memory")]
    pub host_memory: ByteSize,
    /// Resource handles open at once in one call.
    #[serde(deserialize_with = "bounded::handles")]
    pub handles: u32,
    /// Elements over all tables of one call.
    #[serde(deserialize_with = "bounded::table_elements")]
    pub table_elements: u32,
    /// Core instances, memories and tables inside one component. Each call has
    /// two memories and four tables for itself; beyond that a plugin has a
    /// quarter of what the host keeps for those that need more.
    #[serde(deserialize_with = "bounded::instances")]
    pub instances: u32,
    /// Calls of the plugin at once.
    #[serde(deserialize_with = "bounded::concurrency")]
    pub concurrency: u32,
    /// Calls waiting for their turn; 0: a call that finds the plugin busy is
    /// refused at once. Calls of runs wait beside them, however many.
    #[serde(deserialize_with = "bounded::queue")]
    pub queue: u32,
    /// Calls started.
    #[serde(deserialize_with = "bounded::rate")]
    pub rate: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize(64 << 20),
            cpu: Span(Duration::from_millis(500)),
            wall: Span(Duration::from_secs(10)),
            input: ByteSize(1 << 20),
            output: ByteSize(1 << 20),
            log: ByteSize(64 << 10),
            random: ByteSize(4 << 20),
            host_memory: ByteSize(16 << 20),
            handles: 1_000,
            table_elements: 100_000,
            instances: 50,
            concurrency: 16,
            queue: 64,
            rate: Rate {
                count: 60_000,
                per: Duration::from_secs(60),
            },
        }
    }
}

const MILLISECOND: Span = Span(Duration::from_millis(1));
const HOUR: Span = Span(Duration::from_secs(3600));
const DAY: Span = Span(Duration::from_secs(24 * 3600));

/// The range of a limit, as text with units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The limit's name.
    pub name: &'static str,
    /// The lowest value that is accepted.
    pub min: String,
    /// The highest.
    pub max: String,
}

macro_rules! bounds {
    ($($name:ident: $type:ty, $min:expr, $max:expr;)*) => {
        /// Reads each limit, refusing what is out of its range by name.
        mod bounded {
            use super::*;
            $( pub(super) fn $name<'de, D>(deserializer: D) -> Result<$type, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                let value = <$type as Written>::read(deserializer)?;
                check(stringify!($name), value, $min, $max).map_err(serde::de::Error::custom)
            } )*
        }

        impl Limits {
            /// The range of each limit.
            pub fn ranges() -> Vec<Range> {
                vec![$( Range {
                    name: stringify!($name),
                    min: $min.to_string(),
                    max: $max.to_string(),
                }, )*]
            }

            /// Refuses limits that are out of range, for values that were not
            /// read by serde.
            ///
            /// # Errors
            /// The first such limit by name, with its range.
            pub fn validate(&self) -> Result<(), String> {
                $( check(stringify!($name), self.$name, $min, $max)?; )*
                Ok(())
            }
        }
    };
}

bounds! {
    memory: ByteSize, ByteSize(64 << 10), ByteSize(engine::MEMORY_BYTES_MAX);
    cpu: Span, MILLISECOND, HOUR;
    wall: Span, MILLISECOND, DAY;
    input: ByteSize, ByteSize(1), ByteSize(64 << 20);
    output: ByteSize, ByteSize(1), ByteSize(64 << 20);
    log: ByteSize, ByteSize(1), ByteSize(16 << 20);
    random: ByteSize, ByteSize(1), ByteSize(1 << 30);
    host_memory: ByteSize, ByteSize(64 << 10), ByteSize(4 << 30);
    handles: u32, 1_u32, 1_000_000;
    table_elements: u32, 1_u32, engine::TABLE_ELEMENTS_MAX;
    instances: u32, 1_u32, engine::INSTANCES_MAX;
    concurrency: u32, 1_u32, 10_000;
    queue: u32, 0_u32, 100_000;
    rate: Rate, RATE_MIN, RATE_MAX;
}

const RATE_MIN: Rate = Rate {
    count: 1,
    per: Duration::from_secs(3600),
};
const RATE_MAX: Rate = Rate {
    count: 1_000_000,
    per: Duration::from_secs(1),
};

fn check<T>(name: &str, value: T, min: T, max: T) -> Result<T, String>
where
    T: PartialOrd + fmt::Display,
{
    if value < min || value > max {
        return Err(format!(
            "limit `{name}` is {value}; it must be {min} to {max}"
        ));
    }
    Ok(value)
}

/// How each kind of value is written.
const SIZES: &str = "write a number with B, KiB, MiB or GiB, e.g. `64MiB`";
const SPANS: &str = "write e.g. `500ms`, `10s`, `2m`";
const RATES: &str = "write e.g. `10/s`, `100/min`, `1000/h`";

const BYTE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size; {SIZES}");
        let (digits, unit) = BYTE_UNITS
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)))
            .unwrap_or((text, 1));
        let number: u64 = digits.trim().parse().map_err(|_| bad())?;
        number.checked_mul(unit).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match unit {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|e| format!("`{text}` is not a duration ({e}); {SPANS}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &humantime::format_duration(self.0)
                .to_string()
                .replace(' ', ""),
        )
    }
}

const RATE_UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a rate; {RATES}");
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let (_, seconds) = RATE_UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim())
            .ok_or_else(bad)?;
        let count: u32 = count.trim().parse().map_err(|_| bad())?;
        Ok(Self {
            count,
            per: Duration::from_secs(*seconds),
        })
    }
}

impl PartialEq for Rate {
    /// Whether it is the same number of calls per second.
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(std::cmp::Ordering::Equal)
    }
}

impl Eq for Rate {}

impl PartialOrd for Rate {
    /// By calls per second.
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let scaled = |rate: &Self, per: Duration| u128::from(rate.count) * per.as_nanos();
        Some(scaled(self, other.per).cmp(&scaled(other, self.per)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = RATE_UNITS
            .iter()
            .find(|(_, s)| Duration::from_secs(*s) == self.per);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

/// A value as it is written in a grants file.
trait Written: Sized {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl Written for u32 {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number without a unit or quotes, such as `1000`")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
                u32::try_from(number)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
                u32::try_from(number)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }

        deserializer.deserialize_u32(Number)
    }
}

/// Reads a text with a unit. Of a number it is said how it is written.
struct WithUnit(&'static str);

impl Visitor<'_> for WithUnit {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text with a unit; {}", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Err(E::custom(format!("`{number}` has no unit; {}", self.0)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_type(Unexpected::Signed(number), &self)),
        }
    }
}

macro_rules! text_serde {
    ($($type:ty: $pattern:literal, $example:literal, $how:ident;)*) => { $(
        impl Written for $type {
            fn read<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::deserialize(d)
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                // Of a number some formats say nothing of their own accord.
                let text = d.deserialize_any(WithUnit($how))?;
                text.parse().map_err(D::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($type).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    )* };
}

text_serde! {
    ByteSize: "^[0-9]+ *(B|KiB|MiB|GiB|kB|MB|GB)?$", "64MiB", SIZES;
    Span: "^[0-9].*$", "500ms", SPANS;
    Rate: "^[0-9]+/(s|min|h)$", "100/min", RATES;
}
