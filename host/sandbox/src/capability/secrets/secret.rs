//! A secret's value, and what a name and a value may be.
//!
//! What must stay true: nothing prints a value; its memory is wiped when it is
//! dropped; a value can stand in a header without ending its line.

use std::fmt;

use zeroize::Zeroizing;

use super::vault::VaultError;

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Shortest value, bytes: a shorter one could not be told from other text when
/// answers are redacted.
pub const VALUE_BYTES_MIN: usize = 4;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 4096;

/// A value that cannot be printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps a value; [`super::Vault::set`] judges it.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn check(&self) -> Result<(), VaultError> {
        let value = self.expose();
        let refuse = |why: &str| Err(VaultError::Value(why.to_owned()));
        if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&value.len()) {
            return refuse(&format!(
                "it must have {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX} bytes"
            ));
        }
        if std::str::from_utf8(value).is_err() {
            return refuse("it must be UTF-8");
        }
        if value.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
            return refuse("it must not contain line breaks or other control characters");
        }
        if value.first() == Some(&b' ') || value.last() == Some(&b' ') {
            return refuse("it must not begin or end with a space");
        }
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether `name` can name a secret: 1 to [`NAME_BYTES_MAX`] of `a-z`, `0-9`,
/// `-`, `_` and `.`, beginning with a letter or digit.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= NAME_BYTES_MAX && name.chars().all(inner) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot name a secret: write 1 to {NAME_BYTES_MAX} of a-z, 0-9, `-`, `_` and `.`, \
         beginning with a letter or digit",
        name.escape_debug()
    ))
}
