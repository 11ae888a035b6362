//! Where a provider is.

use url::{Host, Url};

/// A base URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    pub(super) https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    authority: String,
    /// Begins and ends with `/`.
    prefix: String,
}

impl BaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, without the URL: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let example = "write e.g. `https://api.example.com/v1`";
        let url = Url::parse(text).map_err(|error| format!("no URL ({error}); {example}"))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("it begins with `https://` or `http://`; {example}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user or password; a key is named by `key`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it has a query or fragment; {example}"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(format!("it names no host; {example}"));
        };
        let host = host.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let prefix = format!("{}/", url.path().trim_end_matches('/'));
        for endpoint in [
            "/chat/completions/",
            "/responses/",
            "/messages/",
            "/embeddings/",
        ] {
            if prefix.ends_with(endpoint) {
                return Err(format!(
                    "leave out `{}`: it is added",
                    endpoint.trim_end_matches('/')
                ));
            }
        }
        Ok(Self {
            https,
            host,
            port,
            authority,
            prefix,
        })
    }

    /// Whether it is this machine by an address of its own.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
            Host::Domain(name) => name == "localhost",
        }
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}
