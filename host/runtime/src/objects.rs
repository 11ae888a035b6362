//! Objects from outside are read as objects only. serde also takes an array for a
//! struct, by position, and an empty one for all defaults: a `[]` in the wrong
//! place would take every grant away.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// For `#[serde(deserialize_with = "…")]`.
pub(crate) fn only<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Only<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Only(PhantomData))
}

/// An object, as a value of its own.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        only(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use crate::grants::GrantsUpdate;
    use crate::policy::Policy;
    use crate::problem::from_json;

    #[test]
    fn arrays_are_no_objects() {
        for text in ["[]", "[{}]", r#"{"grants":[]}"#, r#"{"limits":[]}"#] {
            let bad = from_json::<GrantsUpdate>(text.as_bytes()).expect_err(text);
            assert!(
                bad.message.contains("expected an object"),
                "{text}: {}",
                bad.message
            );
        }
        assert!(from_json::<GrantsUpdate>(b"{}").is_ok());
        for text in ["[plugins.a]\ngrants = []", "[plugins.a]\nlimits = []"] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }
}
