//! Values that must never be seen: keys of providers and other secrets of the
//! host.

use std::fmt;

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
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the host's secrets are. It is asked for each request, so that a secret
/// that was changed or removed is used no more.
pub trait Secrets: Send + Sync + 'static {
    /// The value of the secret with this name.
    fn get(&self, name: &str) -> Option<Secret>;

    /// All values that may stand in no request, whoever put them there. They are
    /// looked for as they are and not in other spellings; those of less than four
    /// bytes are not looked for.
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
