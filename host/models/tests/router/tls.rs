//! TLS, with an authority of one's own.

use std::sync::Arc;

use airlock_fake_models::{FakeModels, Script, What};
use airlock_models::{Ask, Client, ModelError, Redactor, Router, Why};
use airlock_tls::TlsError;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::harness::{PLENTY, Usual, Vault, key, question};

/// A certificate for loopback, and what accepts connections with it.
fn authority() -> (String, TlsAcceptor) {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], private)
        .expect("a certificate");
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_provider_is_asked_only_where_its_certificate_is_trusted() {
    let (pem, acceptor) = authority();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem).expect("it is written");
    let script = Script::of([What::text("over TLS")]);
    let server = FakeModels::start_tls(script, acceptor)
        .await
        .expect("it listens");
    let url = server.base_url().replace("http://", "https://");
    let config = Usual::default().config(&url);
    let conversation = key();
    let ask = Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: PLENTY,
        told: None,
        meter: None,
    };
    let cases = [(None, false), (Some(path.as_path()), true)];
    for (ca_file, trusted) in cases {
        let client = Client::new(ca_file).expect("a client");
        let redactor = Redactor::new(&config.redaction, "").expect("patterns");
        let router = Router::new(&config, redactor, client, Arc::new(Vault)).expect("a router");
        let answer = router.ask(&question("chat", "hi"), ask).await;
        match answer {
            Ok(answer) => assert!(trusted && answer.text == "over TLS"),
            Err(failure) => {
                assert!(!trusted, "{failure:?}");
                assert_eq!(failure.attempts[0].why, Why::Connect);
                assert!(matches!(failure.error, ModelError::Transient { .. }));
                assert!(
                    failure.error.to_string().contains("not trusted"),
                    "{failure:?}"
                );
            }
        }
    }
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_file_without_certificates_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.pem");
    let absent = Client::new(Some(&path)).expect_err("it is not there");
    std::fs::write(&path, "nothing").expect("it is written");
    let empty = Client::new(Some(&path)).expect_err("it is empty");
    assert!(matches!(
        (absent, empty),
        (TlsError::CaFile { .. }, TlsError::CaFile { .. })
    ));
}
