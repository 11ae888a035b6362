//! What a server's start says, and what its configuration makes of a request.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock::client::{Reply, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A first start has nothing to complain of, and says nothing that looks so.
#[test]
fn a_first_start_is_quiet() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let server = Server::start_logging(&airlock(), &data, "info", &log).expect("it starts");
    server.kill().expect("it ends");
    let said = std::fs::read_to_string(&log).expect("a log");
    for word in ["anew", "No such file", "WARN", "ERROR"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    // Views that a crash left are no first start.
    let server = Server::start_logging(&airlock(), &data, "info", &log).expect("it starts");
    server.kill().expect("it ends");
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("the views are computed anew"), "{said}");
}

/// What hangs on the host, e.g. a pipe that nobody reads, holds its own thread and
/// not the end of the server.
#[test]
fn a_server_ends_beside_what_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let pipe = folder.path().join("heads");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    std::fs::create_dir(&data).expect("a folder");
    let config = format!("audit_heads = {:?}\n", pipe.display().to_string());
    std::fs::write(data.join("airlock.toml"), config).expect("a file");
    let server = Server::start_logging(&airlock(), &data, "info", &log).expect("it starts");
    let started = Instant::now();
    while !std::fs::read_to_string(&log).is_ok_and(|said| said.contains("audit head")) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no head is signed"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = server
        .stop(Duration::from_secs(60))
        .expect("it ends by itself");
    assert!(ended.success(), "{ended}");
}

/// Serves HTTPS on loopback with a certificate of an authority of its own, whose
/// certificate it writes to `ca`.
fn serve_tls(runtime: &tokio::runtime::Runtime, ca: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    std::fs::write(ca, issuer.pem()).expect("a file");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust it breaks off here.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    });
    format!("https://{address}/trusted")
}

async fn answer(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntrusted";
    // A client that went away is judged by what it says.
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Asks `url` by the plugin `fetch` of a server over `data`.
fn fetched(data: &Path, url: &str) -> Reply {
    let server = Server::start(&airlock(), data, &[]).expect("the server starts");
    let api = server.api();
    let bytes = std::fs::read(component("airlock-plugin-fetch")).expect("the component");
    install(&api, "fetch", bytes, None).expect("installed");
    let rule = json!({ "url": url, "allow_private": true });
    let grants = json!({ "grants": { "http": [rule] } });
    api.ok(&Request::json("PUT", "/v1/plugins/fetch/grants", &grants))
        .expect("granted");
    let input = json!({ "url": url });
    api.send(&Request::json("POST", "/v1/tools/fetch/get", &input))
        .expect("an answer")
}

/// `ca_file` decides whether a server with a certificate of an authority of one's
/// own is talked to.
#[test]
fn an_authority_of_ones_own_is_trusted_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ca = folder.path().join("ca.pem");
    let url = serve_tls(&runtime, &ca);
    let body = |reply: &Reply| -> Value { serde_json::from_slice(&reply.body).expect("JSON") };

    let trusting = folder.path().join("trusting");
    std::fs::create_dir(&trusting).expect("a folder");
    let config = format!("ca_file = {:?}\n", ca.display().to_string());
    std::fs::write(trusting.join("airlock.toml"), config).expect("a file");
    let reply = fetched(&trusting, &url);
    assert_eq!(reply.status, 200, "{}", body(&reply));
    assert_eq!(body(&reply)["output"]["content"], "trusted");

    let reply = fetched(&folder.path().join("wary"), &url);
    assert!(reply.status >= 500, "{} {}", reply.status, body(&reply));
    let detail = body(&reply)["detail"].to_string().to_lowercase();
    assert!(
        detail.contains("tls") || detail.contains("certificate"),
        "{detail}"
    );
}
