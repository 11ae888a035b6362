//! How the host speaks TLS to others: whom it trusts, and what a host is called there.
//! The same for plugins' requests, providers of models, MCP servers and `airlock mcp`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use url::Host;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file of certificates could not be read.
    #[error("reading the certificates in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// The TLS library refused its configuration.
    #[error("configuring TLS")]
    Config(#[source] rustls::Error),
}

/// Trusts the roots of Mozilla's programme and, besides, the certificates in `ca_file`
/// (PEM). HTTP/1.1 is spoken.
///
/// # Errors
/// [`TlsError`], also where there is no certificate in the file.
pub fn client(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        add_roots(&mut roots, path).map_err(|source| TlsError::CaFile {
            path: path.into(),
            source,
        })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What a certificate has to be for; nothing where TLS has no such name.
#[must_use]
pub fn server_name<S: AsRef<str>>(host: &Host<S>) -> Option<ServerName<'static>> {
    Some(match host {
        Host::Domain(name) => ServerName::try_from(name.as_ref().to_owned()).ok()?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::from(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::from(*ip)),
    })
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), Cause> {
    let pem = std::fs::read(path)?;
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
        added += 1;
    }
    match added {
        0 => Err("there is no certificate in it".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_tls_has() {
        for text in [
            "example.org",
            "xn--bcher-kva.example",
            "a_b.example",
            "127.0.0.1",
            "[::1]",
        ] {
            let host = Host::parse(text).expect(text);
            let name = server_name(&host).expect(text).to_str().into_owned();
            assert_eq!(name, text.trim_matches(['[', ']']));
        }
        assert!(server_name(&Host::Domain("")).is_none());
        assert!(server_name(&Host::Domain("a b")).is_none());
    }

    #[test]
    fn a_file_of_certificates_has_some() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ca.pem");
        let said = |path: &Path| match client(Some(path)) {
            Err(TlsError::CaFile { source, .. }) => source.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said(&path).contains("No such file"));
        for text in [
            "",
            "no certificate",
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(said(&path), "there is no certificate in it", "{text}");
        }
        let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, damaged).expect("written");
        assert_ne!(said(&path), "there is no certificate in it");
        assert_eq!(client(None).expect("TLS").alpn_protocols, [b"http/1.1"]);
    }
}
