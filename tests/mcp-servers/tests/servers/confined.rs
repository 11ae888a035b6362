//! What a program can reach: its own directory and the system's libraries.

use std::os::unix::fs::PermissionsExt;
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
    assert!(said.contains(r#"[(\"TOKEN\", \"******\")]"#), "{said}");
}

/// Also what its loader reads, which must not be the launcher's: that is held to
/// nothing yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_are_the_programs_and_not_its_launchers() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = program(&["good"]);
    server.env.insert("TOKEN".to_owned(), "token".to_owned());
    let given = [
        ("MEMORY_FILE_PATH", "notes s3.json"),
        ("EMPTY", ""),
        ("LD_PRELOAD", "/no/such.so"),
    ];
    for (name, value) in given {
        server.variables.insert(name.to_owned(), value.to_owned());
    }
    let good = connect(&server, &around(dir.path())).await;
    let said = good.expect("connects").text("environment", "{}").await;
    for (name, value) in given {
        let pair = format!(r#"(\"{name}\", \"{value}\")"#);
        assert!(said.contains(&pair), "{pair}: {said}");
    }
    assert!(said.contains(r#"(\"TOKEN\", \"******\")"#), "{said}");
    // The loader complains of it once: for the program.
    let mut server = program(&["hostile", "exits at once"]);
    server.variables = [("LD_PRELOAD".to_owned(), "/no/such.so".to_owned())].into();
    let ended = connect(&server, &around(dir.path())).await;
    let ended = ended.err().map(|fault| fault.to_string());
    let ended = ended.expect("it exits");
    assert!(ended.contains("licence"), "{ended}");
    let complaints = if cfg!(target_env = "gnu") { 1 } else { 0 };
    assert_eq!(ended.matches("/no/such.so").count(), complaints, "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_uses_the_network_where_it_may() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    for (network, expect) in [
        (false, "failed: Operation not permitted"),
        (true, "connected"),
    ] {
        let good = good(dir.path(), network).await;
        let said = good.text("connect", &arguments("address", &address)).await;
        assert!(said.contains(expect), "{network}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_refused_what_landlock_does_not_judge() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = program(&["hostile", "tries what is refused"]);
    for (network, udp) in [(false, "1"), (true, "done")] {
        server.allow_network = network;
        let hostile = connect(&server, &around(dir.path()))
            .await
            .expect("connects");
        let said = hostile.text("do", "{}").await;
        let expect = format!(
            "unix: 1, listen: 1, datagram: 1, datagrams: 1, pair: done, udp: {udp}, chmod: 1, \
             chown: 1, host's limit: 1, own limit: done, fchmod: 1, fchown: 1, mark: 1, \
             unmark: 1, flags: 1, watch: 1, namespace: 1"
        );
        assert!(said.contains(&expect), "{network}: {said}");
    }
}

/// A server in Python, which does what Python's own libraries do: a loop of events,
/// threads, processes, files for a while.
const IN_PYTHON: &str = r#"
import asyncio, json, subprocess, sys, tempfile, threading
async def works():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, threading.get_ident)
    process = await asyncio.create_subprocess_exec("/bin/echo", "x", stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        open(folder + "/file", "w").write("x")
    return out.decode().strip()
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "p", "version": "1"}}
    elif asked["method"] == "tools/list":
        result = {"tools": [{"name": "do", "inputSchema": {"type": "object"}}]}
    else:
        result = {"content": [{"type": "text", "text": asyncio.run(works())}]}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_in_python_works() {
    const PYTHON: &str = "/usr/bin/python3";
    if !can_start() || !Path::new(PYTHON).exists() {
        println!("skipped: there is no {PYTHON}");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = program(&["-c", IN_PYTHON]);
    server.command = Some(PYTHON.to_owned());
    let mut around = around(dir.path());
    around.patience = std::time::Duration::from_secs(20);
    let python = connect(&server, &around).await.expect("connects");
    let said = python.text("do", "{}").await;
    assert_eq!(said, r#"{"content":[{"type":"text","text":"x"}]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_root_starts_has_none_of_roots_rights() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let good = good(dir.path(), false).await;
    let file = dir.path().join("own/anothers");
    std::fs::write(&file, "x").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    if std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).is_err() {
        println!("skipped: these tests are not run by root");
        return;
    }
    let said = good.text("look", &arguments("path", "anothers")).await;
    assert!(said.starts_with("failed: Permission denied"), "{said}");
}
