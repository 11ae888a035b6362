//! The reference server of the protocol's authors, from npm, in the version of
//! `tests/mcp/servers`. Where there is no node or it can't be had, the tests say so
//! and pass, unless `AIRLOCK_LANGUAGES=required`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use airlock_mcp_client::Server;

use crate::{around, can_start, connect};

const NODE: &str = "/usr/bin/node";
const ENTRY: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";

fn lacks(what: &str) -> Option<PathBuf> {
    let required = std::env::var_os("AIRLOCK_LANGUAGES").is_some_and(|is| is == "required");
    assert!(!required, "{what}");
    println!("skipped: {what}");
    None
}

/// Installs it, where that was not done before: its folder.
fn installed() -> Option<PathBuf> {
    let own = std::env::current_exe().expect("a path");
    let target = own.ancestors().find(|path| path.ends_with("target"))?;
    let folder = target.join("mcp-servers");
    fs::create_dir_all(&folder).expect("a folder");
    // Tests are processes: one of them installs.
    let turn = fs::File::create(folder.join("turn")).expect("a file");
    turn.lock().expect("a lock");
    if !Path::new(NODE).is_file() {
        return lacks("there is no /usr/bin/node");
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mcp/servers");
    let mut changed = false;
    for name in ["package.json", "package-lock.json"] {
        let text = fs::read(from.join(name)).expect("a file");
        changed |= fs::read(folder.join(name)).map_or(true, |old| old != text);
        fs::write(folder.join(name), text).expect("written");
    }
    if changed || !folder.join(ENTRY).is_file() {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        let done = npm.current_dir(&folder).stdin(Stdio::null()).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            return lacks(&format!("npm installed nothing: {done:?}"));
        }
    }
    Some(folder)
}

/// What both ways have in common.
async fn works(server: &Server, dir: &Path) {
    let mut around = around(dir);
    around.patience = Duration::from_secs(20);
    let connected = connect(server, &around).await.expect("connects");
    let names: Vec<&str> = connected.tools.iter().map(|tool| &*tool.name).collect();
    assert!(names.len() >= 8, "{names:?}");
    let said = connected.text("echo", r#"{"message":"hello"}"#).await;
    assert_eq!(
        said,
        r#"{"content":[{"type":"text","text":"Echo: hello"}]}"#
    );
    let sum = connected.text("get-sum", r#"{"a":2,"b":3}"#).await;
    assert!(sum.contains("5"), "{sum}");
    let structured = connected
        .text("get-structured-content", r#"{"location":"New York"}"#)
        .await;
    assert!(
        structured.starts_with('{') && structured.contains("temperature"),
        "{structured}"
    );
    let wrong = connected.text("get-sum", r#"{"a":"x"}"#).await;
    assert!(
        wrong.starts_with("failed: ") || wrong.contains("refused"),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_server_as_a_program() {
    let Some(folder) = installed().filter(|_| can_start()) else {
        return;
    };
    let folder = folder.to_str().expect("UTF-8").to_owned();
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server {
        command: Some(NODE.to_owned()),
        args: vec![format!("{folder}/{ENTRY}"), "stdio".to_owned()],
        read: vec![folder],
        ..Server::default()
    };
    works(&server, dir.path()).await;
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_server_at_a_url() {
    let Some(folder) = installed() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mut node = Command::new(NODE);
    node.arg(folder.join(ENTRY))
        .arg("streamableHttp")
        .env("PORT", port.to_string());
    let _serving = Serving(
        node.stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts"),
    );
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "it does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server {
        url: Some(format!("http://127.0.0.1:{port}/mcp")),
        allow_private: true,
        ..Server::default()
    };
    works(&server, dir.path()).await;
}
