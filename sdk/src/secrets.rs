//! Secrets that a tool may use and never sees.

use crate::{Error, backend};

/// An opaque placeholder for a secret. Put it in a header or query value of a
/// request that a grant binds to this secret; the host replaces it there and
/// nowhere else.
///
/// # Errors
/// [`Error::Denied`] when no grant gives this plugin the secret.
pub fn placeholder(name: &str) -> Result<String, Error> {
    backend::placeholder(name).map_err(Error::Denied)
}
