//! Where a request goes: the parts of an absolute URL that go on the wire.

use crate::Error;

/// The parts of a URL that a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) authority: String,
    pub(crate) path_with_query: String,
}

impl Target {
    /// Takes an `http` or `https` URL apart. What the standard would have to
    /// guess (spaces, backslashes, a user part, letters outside ASCII) is
    /// refused, so that the host judges the very URL the author wrote.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let refuse =
            |why: &str| Error::invalid_input(format!("url `{}`: {why}", url.escape_debug()));
        if let Some(bad) = url
            .chars()
            .find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>'))
        {
            return Err(refuse(&format!(
                "`{}` must be percent-encoded",
                bad.escape_debug()
            )));
        }
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| refuse("not an absolute URL"))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(refuse("only http and https can be requested")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.starts_with(':') {
            return Err(refuse("no host"));
        }
        if authority.contains('@') {
            return Err(refuse(
                "a user part is not sent: use a header and a secret's placeholder",
            ));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            https,
            authority: authority.to_ascii_lowercase(),
            path_with_query: format!("{slash}{path}"),
        })
    }
}
