//! What a program can reach: its own directory and the system's libraries.

use std::path::Path;

use crate::{Connected, around, can_start, connect, program};

async fn good(dir: &Path, network: bool) -> Connected {
    let mut server = program(&["good"]);
    server.allow_network = network;
    server.env.insert("TOKEN".to_owned(), "token".to_owned());
    connect(&server, &around(dir)).await.expect("connects")
}

fn arguments(name: &str, value: &str) -> String {
    format!(r#"{{"{name}":"{value}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_reaches_its_directory_and_nothing_else() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let neighbour = dir.path().join("secret");
    std::fs::write(&neighbour, "x").expect("written");
    let neighbour = neighbour.to_str().expect("UTF-8");
    let host = std::process::id();
    let environ = format!("/proc/{host}/environ");
    let good = good(dir.path(), false).await;
    let denied = [
        ("look", "/etc/passwd"),
        ("look", "/etc/shadow"),
        ("look", neighbour),
        ("look", "../secret"),
        ("look", &environ),
        ("look", "/proc/self/environ"),
        ("put", "/tmp/airlock-was-here"),
        ("put", neighbour),
        ("put", "/usr/airlock-was-here"),
        ("put", "/dev/shm/airlock-was-here"),
    ];
    for (tool, path) in denied {
        let said = good.text(tool, &arguments("path", path)).await;
        assert!(
            said.starts_with("failed: Permission denied"),
            "{tool} {path}: {said}"
        );
    }
    for (tool, path) in [
        ("put", "own-file"),
        ("look", "own-file"),
        ("look", "/etc/hosts"),
    ] {
        let said = good.text(tool, &arguments("path", path)).await;
        assert!(!said.starts_with("failed"), "{tool} {path}: {said}");
    }
    let killed = good.text("kill", &format!(r#"{{"pid":{host}}}"#)).await;
    assert!(killed.starts_with("failed: "), "{killed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_the_environment_it_was_given() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let said = good(dir.path(), false)
        .await
        .text("environment", "{}")
        .await;
    assert!(said.contains(r#"[(\"TOKEN\", \"s3cret\")]"#), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_uses_the_network_where_it_may() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    for (network, expect) in [(false, "failed: Permission denied"), (true, "connected")] {
        let good = good(dir.path(), network).await;
        let said = good.text("connect", &arguments("address", &address)).await;
        assert!(said.contains(expect), "{network}: {said}");
    }
}
