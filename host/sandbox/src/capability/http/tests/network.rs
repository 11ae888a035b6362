//! Names, addresses and certificates.
#![expect(clippy::disallowed_methods, reason = "tests make their own files")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::harness::{Plugin, Server, World, full, ok, request};
use crate::capability::http::network::{LOOKUPS_EACH_MAX, is_this_machine};

/// What a request ends with, and the rule that was missing.
async fn outcome(plugin: &Plugin, url: &str) -> String {
    let mut call = plugin.call();
    let soon = Some(Duration::from_secs(5));
    let options = RequestOptions {
        connect_timeout: soon,
        ..RequestOptions::default()
    };
    let get = request("GET", url, &[]).body(full("")).unwrap();
    match call.send_with(get, options).await {
        Ok(reply) => format!("{} {}", reply.status, reply.text()),
        Err(error) => format!("{error:?}: {}", call.denied()),
    }
}

#[tokio::test]
async fn addresses_that_are_not_public_need_allow_private() {
    let (world, server) = (World::new(), Server::new(|_| ok("reached")).await);
    let port = server.address.port();
    for (name, answers) in [
        ("loopback.test", &["127.0.0.1"][..]),
        ("mixed.test", &["1.1.1.1", "127.0.0.1"]),
        ("private.test", &["10.0.0.1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("nat64.test", &["64:ff9b::10.0.0.1"]),
        ("metadata.test", &["169.254.169.254"]),
        ("zero.test", &["0.0.0.0"]),
        ("multicast.test", &["224.0.0.1"]),
        ("none.test", &[]),
    ] {
        world.names.add(name, &[answers]);
    }
    let mut lines = Vec::new();
    for (host, more) in [
        ("127.0.0.1", ""),
        ("127.1", ""),
        ("0x7f000001", ""),
        ("2130706433", ""),
        ("017700000001", ""),
        ("[::1]", ""),
        ("[::ffff:127.0.0.1]", ""),
        ("[::127.0.0.1]", ""),
        ("[2002:7f00:1::]", ""),
        ("0", ""),
        ("0", ", allow_private = true"),
        ("169.254.169.254", ""),
        ("loopback.test", ""),
        ("mixed.test", ""),
        ("private.test", ""),
        ("mapped.test", ""),
        ("nat64.test", ""),
        ("metadata.test", ", allow_private = true"),
        ("zero.test", ", allow_private = true"),
        ("multicast.test", ", allow_private = true"),
        ("none.test", ", allow_private = true"),
        ("unknown.test", ", allow_private = true"),
        ("127.0.0.1", ", allow_private = true"),
        ("loopback.test", ", allow_private = true"),
    ] {
        let grants = format!("http = [{{ url = \"http://{host}:{port}/**\" {more} }}]");
        let plugin = world.plugin(&grants);
        let outcome = outcome(&plugin, &format!("http://{host}:{port}/")).await;
        lines.push(format!("{host}{more} -> {outcome}"));
    }
    expect![[r#"
        127.0.0.1 -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        127.1 -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        0x7f000001 -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        2130706433 -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        017700000001 -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        [::1] -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        [::ffff:127.0.0.1] -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        [::127.0.0.1] -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        [2002:7f00:1::] -> HttpRequestDenied: `allow_private = true` in the rule: the host's address is loopback
        0 -> HttpRequestDenied: no rule can allow it: the host's address is unspecified
        0, allow_private = true -> HttpRequestDenied: no rule can allow it: the host's address is unspecified
        169.254.169.254 -> HttpRequestDenied: a rule with `allow_private = true` that names the address itself: it is a metadata service's
        loopback.test -> DestinationIpProhibited: `allow_private = true` in the rule: the host's address is loopback
        mixed.test -> DestinationIpProhibited: `allow_private = true` in the rule: the host's address is loopback
        private.test -> DestinationIpProhibited: `allow_private = true` in the rule: the host's address is private
        mapped.test -> DestinationIpProhibited: `allow_private = true` in the rule: the host's address is loopback
        nat64.test -> DestinationIpProhibited: `allow_private = true` in the rule: the host's address is private
        metadata.test, allow_private = true -> DestinationIpProhibited: a rule with `allow_private = true` that names the address itself: it is a metadata service's
        zero.test, allow_private = true -> DestinationIpProhibited: no rule can allow it: the host's address is unspecified
        multicast.test, allow_private = true -> DestinationIpProhibited: no rule can allow it: the host's address is multicast
        none.test, allow_private = true -> DnsError { rcode: None, info_code: None }: -
        unknown.test, allow_private = true -> DnsError { rcode: None, info_code: None }: -
        127.0.0.1, allow_private = true -> 200 reached
        loopback.test, allow_private = true -> 200 reached"#]].assert_eq(&lines.join("\n"));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_only_that_address_dialled() {
    let (world, server) = (World::new(), Server::new(|_| ok("first")).await);
    let port = server.address.port();
    // One address when it is checked, another one when it is asked for again.
    let other = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    other.set_nonblocking(true).unwrap();
    world
        .names
        .add("rebinds.test", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let grants =
        format!("http = [{{ url = \"http://rebinds.test:{port}/**\", allow_private = true }}]");
    let plugin = world.plugin(&grants);
    let url = format!("http://rebinds.test:{port}/");
    assert_eq!(outcome(&plugin, &url).await, "200 first");
    assert_eq!(*world.names.asked.lock().unwrap(), ["rebinds.test"]);
    assert!(other.accept().is_err(), "nobody came");

    // Each new connection is judged by what the name says then.
    world.names.add("rebinds.test", &[&["127.0.0.1"]]);
    let plugin = world.plugin(&grants.replace(", allow_private = true", ""));
    let refused = outcome(&plugin, &url).await;
    assert!(refused.starts_with("DestinationIpProhibited"), "{refused}");
    assert_eq!(
        (
            server.connections(),
            world.names.asked.lock().unwrap().len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn a_name_that_no_rule_covers_is_never_resolved() {
    let world = World::new();
    let plugin = world.plugin(r#"http = [{ url = "https://allowed.test/a/*" }]"#);
    for url in [
        "https://data.evil.test/",
        "https://data.allowed.test/a/b",
        "https://allowed.test.evil.test/a/b",
        "https://allowed.test/b",
        "http://allowed.test/a/b",
        "https://user:data@allowed.test/a/b",
        "https://allowed.test./a/b",
    ] {
        let error = plugin.get(url).await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestDenied), "{url} {error:?}");
    }
    assert!(world.names.asked.lock().unwrap().is_empty());
}

/// A plugin that asks for nothing but names that nobody answers for, and gives up at
/// once each time.
#[tokio::test]
async fn names_that_are_not_answered_hold_up_no_other_plugin() {
    let (world, server) = (World::new(), Server::new(|_| ok("x")).await);
    let port = server.address.port();
    *world.names.silent.lock().unwrap() = "silent.test".into();
    world.names.add("api.test", &[&["127.0.0.1"]]);
    let grant = |name: &str| {
        world.plugin(&format!(
            "http = [{{ url = \"http://{name}:{port}/\", allow_private = true }}]"
        ))
    };
    let (one, other) = (grant("silent.test"), grant("api.test"));
    let at_once = RequestOptions {
        connect_timeout: Some(Duration::from_millis(1)),
        ..RequestOptions::default()
    };
    let mut call = one.call();
    for _ in 0..100 {
        let get = request("GET", &format!("http://silent.test:{port}/"), &[]);
        let get = get.body(full("")).unwrap();
        let error = call.send_with(get, at_once).await.unwrap_err();
        assert!(matches!(error, Error::DnsTimeout), "{error:?}");
    }
    let asked = world.names.asked.lock().unwrap().len();
    assert_eq!(asked, LOOKUPS_EACH_MAX);
    let url = format!("http://api.test:{port}/");
    assert_eq!(outcome(&other, &url).await, "200 x");
}

/// What listens on all of this machine's addresses is behind its public one, too.
#[test]
fn a_peer_that_is_this_machine_is_told_by_both_ends() {
    for (peer, local, is_here) in [
        ("127.0.0.1:80", "127.0.0.1:5000", true),
        ("127.0.0.2:80", "127.0.0.1:5000", true),
        ("[::1]:80", "[::1]:5000", true),
        ("203.0.113.7:80", "203.0.113.7:5000", true),
        ("[2001:db8::7]:80", "[2001:db8::7]:5000", true),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7:5000", true),
        ("203.0.113.7:80", "203.0.113.8:80", false),
        ("[2001:db8::7]:80", "[2001:db8::8]:80", false),
        ("8.8.8.8:53", "10.0.0.7:53", false),
    ] {
        let told = is_this_machine(peer.parse().unwrap(), local.parse().unwrap());
        assert_eq!(told, is_here, "{peer} seen from {local}");
    }
}

#[tokio::test]
async fn the_hosts_own_api_needs_allow_own() {
    let (world, server) = (World::new(), Server::new(|_| ok("own")).await);
    let port = server.address.port();
    let rule = |more: &str| world.plugin(&server.grant(more));
    let plugin = rule("");
    assert_eq!(outcome(&plugin, &server.url("/")).await, "200 own");
    for own in [
        format!("127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
    ] {
        world
            .services
            .network
            .set_own_addresses(vec![own.parse().unwrap()]);
        let refused = outcome(&rule(""), &server.url("/")).await;
        let expected = "DestinationIpProhibited: `allow_own = true` in the rule: the address is \
                        the host's own API";
        assert_eq!(refused, expected, "{own}");
    }
    assert_eq!(
        outcome(&rule(", allow_own = true"), &server.url("/")).await,
        "200 own"
    );
    world
        .services
        .network
        .set_own_addresses(vec!["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(outcome(&rule(""), &server.url("/")).await, "200 own");
}

#[tokio::test]
async fn nobody_listens() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let grants = format!("http = [{{ url = \"http://127.0.0.1:{port}/\", allow_private = true }}]");
    let refused = outcome(&world.plugin(&grants), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(refused, "ConnectionRefused: -");
}

/// A certificate authority of a test's own, and what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.issuer.pem()).unwrap();
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn certificates_are_checked_against_the_name() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    authority.write(&file);
    let world = World::with_ca(Some(&file));
    let good = Server::start(Some(authority.acceptor("api.test")), |_| ok("secure")).await;
    let other = Server::start(Some(authority.acceptor("other.test")), |_| ok("other")).await;
    let unknown = Authority::new().acceptor("api.test");
    let unknown = Server::start(Some(unknown), |_| ok("unknown")).await;
    let address = Server::start(Some(authority.acceptor("127.0.0.1")), |_| ok("address")).await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    world.names.add("api.test", &[&["127.0.0.1"]]);
    let mut lines = Vec::new();
    for (case, host, port) in [
        ("good", "api.test", good.address.port()),
        ("other name", "api.test", other.address.port()),
        ("unknown issuer", "api.test", unknown.address.port()),
        ("address", "127.0.0.1", address.address.port()),
        ("address, name", "api.test", address.address.port()),
        ("no TLS", "api.test", plain_port),
    ] {
        let base = format!("https://{host}:{port}");
        let grants = format!("http = [{{ url = \"{base}/**\", allow_private = true }}]");
        let outcome = outcome(&world.plugin(&grants), &format!("{base}/")).await;
        lines.push(format!("{case}: {outcome}"));
    }
    expect![[r#"
        good: 200 secure
        other name: TlsCertificateError: -
        unknown issuer: TlsCertificateError: -
        address: 200 address
        address, name: TlsCertificateError: -
        no TLS: TlsProtocolError: -"#]]
    .assert_eq(&lines.join("\n"));
    let host = format!("host: api.test:{}", good.address.port());
    assert!(good.last().contains(&host), "{}", good.last());
    assert_eq!(unknown.sent.lock().unwrap().len(), 0);
}

#[test]
fn a_file_without_certificates_is_refused() {
    use crate::capability::http::Network;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    assert!(Network::new(Some(&file)).is_err());
    std::fs::write(&file, "none").unwrap();
    let error = Network::new(Some(&file)).err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "there is no certificate in it");
}
