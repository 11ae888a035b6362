//! A run's own small state, as its agent sets it.
//!
//! What must stay true: whatever an agent sets, the bounds of the contract hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gate::LimitReached;

const KEYS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Bytes of all keys and values together.
pub const STATE_BYTES_MAX: usize = 256 << 10;

/// Keys and JSON values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<String, String>);

impl Memory {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a key holds.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All keys with what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter();
        all.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Sets a key, or removes it.
    pub fn set(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.0.insert(key.to_owned(), value.to_owned())),
            None => drop(self.0.remove(key)),
        }
    }

    /// Whether a key may be set to a value.
    ///
    /// # Errors
    /// The bound that it is over.
    pub(crate) fn check(&self, key: &str, value: &str) -> Result<(), LimitReached> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(over(format!("a value: {VALUE_BYTES_MAX} bytes")));
        }
        if !self.0.contains_key(key) && self.0.len() >= KEYS_MAX {
            return Err(over(format!("{KEYS_MAX} keys")));
        }
        let others = self.iter().filter(|(other, _)| *other != key);
        let held: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        match held + key.len() + value.len() > STATE_BYTES_MAX {
            true => Err(over(format!(
                "all keys and values: {STATE_BYTES_MAX} bytes"
            ))),
            false => Ok(()),
        }
    }
}

fn over(value: String) -> LimitReached {
    LimitReached {
        limit: "state",
        value,
    }
}

/// Whether this can be a key.
pub(crate) fn check_key(key: &str) -> Result<(), LimitReached> {
    match key.len() > KEY_BYTES_MAX {
        true => Err(over(format!("a key: {KEY_BYTES_MAX} bytes"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stays_within_each_bound() {
        assert!(check_key(&"k".repeat(KEY_BYTES_MAX)).is_ok());
        assert!(check_key(&"k".repeat(KEY_BYTES_MAX + 1)).is_err());
        let mut memory = Memory::default();
        let long = "x".repeat(VALUE_BYTES_MAX);
        for (key, value, expect) in [
            ("k", "1", None),
            ("k", &*long, None),
            ("k", &*format!("{long}x"), Some("a value: 65536 bytes")),
            (&*"k".repeat(KEY_BYTES_MAX), "1", None),
            (
                &*"k".repeat(KEY_BYTES_MAX + 1),
                "1",
                Some("a key: 128 bytes"),
            ),
        ] {
            let got = memory.check(key, value).err().map(|limit| limit.value);
            assert_eq!(got.as_deref(), expect, "{} {}", key.len(), value.len());
        }
        for n in 0..4 {
            assert!(memory.check(&n.to_string(), &long[2..]).is_ok(), "{n}");
            memory.set(&n.to_string(), Some(&long[2..]));
        }
        let all = memory.check("5", "1234").expect_err("the sum is over");
        assert_eq!(all.value, "all keys and values: 262144 bytes");
        assert!(memory.check("3", &long[2..]).is_ok(), "in its place");
        memory = Memory::default();
        for n in 0..KEYS_MAX {
            memory.set(&n.to_string(), Some("1"));
        }
        assert_eq!(
            memory.check("65", "1").expect_err("a key more").value,
            "64 keys"
        );
        assert!(memory.check("63", "2").is_ok());
        memory.set("63", None);
        assert!(memory.check("65", "1").is_ok() && memory.get("63").is_none());
    }
}
