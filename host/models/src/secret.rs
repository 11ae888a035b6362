//! Values that must never be seen: keys of providers and other secrets of the
//! host.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret value. It has no `Debug` or `Display` that shows it, and is wiped when
/// it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The value, for whoever finds it in other spellings.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A copy of a text in which a secret is masked, with as many bytes; `None` where it is
/// not in it.
pub type Mask = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// The key of a provider.
#[derive(Clone)]
pub struct Key {
    /// Its value.
    pub value: Secret,
    /// Finds it in what the provider says, in other spellings than its own too.
    pub mask: Option<Mask>,
}

/// Where the host's secrets are. It is asked for each request, so that a secret
/// that was changed or removed is used no more.
pub trait Secrets: Send + Sync + 'static {
    /// The value of the secret with this name.
    fn get(&self, name: &str) -> Option<Secret>;

    /// The same as the key of a provider.
    fn key(&self, name: &str) -> Option<Key> {
        let value = self.get(name)?;
        Some(Key { value, mask: None })
    }

    /// All values that may stand in no request and no answer, whoever put them there.
    /// They are looked for as they are, and as the escapes of JSON write them; those of
    /// less than four bytes are not looked for.
    fn all(&self) -> Vec<Secret>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::new("k"))), "Some(Secret(…))");
    }
}
