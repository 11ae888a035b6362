//! Named configuration values that an administrator gave to the plugin.

use crate::{Error, backend};

/// The value of a key, or `None` when there is none.
///
/// # Errors
/// [`Error::Permanent`] when the host cannot read it.
pub fn get(key: &str) -> Result<Option<String>, Error> {
    backend::config_get(key)
}

/// All keys with their values.
///
/// # Errors
/// [`Error::Permanent`] when the host cannot read them.
pub fn all() -> Result<Vec<(String, String)>, Error> {
    backend::config_all()
}
