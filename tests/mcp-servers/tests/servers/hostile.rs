//! Each misbehaviour ends as the fault it is, and soon.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::{PROGRAM, around, can_start, connect, program, shown};

/// What is seen of a server from its start to the end of one call, in words.
async fn seen(case: &str, dir: &Path) -> String {
    let around = around(dir);
    let mut server = program(&["hostile", case]);
    server.env.insert("TOKEN".to_owned(), "token".to_owned());
    let connected = match connect(&server, &around).await {
        Ok(connected) => connected,
        Err(fault) => return shown(Err(fault)),
    };
    let wait = Duration::from_secs(2);
    let first = connected
        .told("do", "{}", wait, watch::Sender::new(None))
        .await;
    let first = shown(first);
    match case == "answers twice" {
        true => {
            // The second answer comes right after the first.
            tokio::time::sleep(Duration::from_millis(300)).await;
            format!("{first}; then {}", connected.text("do", "{}").await)
        }
        false => first,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_misbehaviour_is_told_as_what_it_is() {
    if !can_start() {
        return;
    }
    let table = [
        // Before it is ready: nothing was asked of a tool.
        (
            "exits at once",
            "not sent: the server's program ended (exit status: 3); it wrote: no \\u{1b}[2Jlicence",
        ),
        (
            "writes a banner",
            "it wrote what is no message: Server is listening",
        ),
        ("closes its output", "the server's program"),
        ("never reads", "it did not answer in time"),
        ("says nothing", "it did not answer in time"),
        (
            "answers another request",
            "it answered the request 999, which nobody made",
        ),
        (
            "answers with a list",
            "broken: its answer to `initialize` is none",
        ),
        ("refuses", "the server refused it (-5): go\\u{202e}away"),
        (
            "speaks another version",
            "broken: it speaks version `1999-01-01\\u{a}`",
        ),
        ("has no tools", "broken: it offers no tools"),
        // Its list.
        ("never lists", "it did not answer in time"),
        ("lists without tools", "broken: its list of tools is none"),
        ("lists nothing", "broken: it lists no tools"),
        (
            "lists the same page for ever",
            "broken: its list of tools does not end",
        ),
        (
            "lists other pages for ever",
            "broken: its list of tools does not end",
        ),
        (
            "lists ten thousand tools",
            "broken: it lists more than 256 tools",
        ),
        (
            "lists a name with a line end",
            "broken: tool 0 (`do\\u{a}it`): a name has",
        ),
        (
            "lists a tool twice",
            "broken: two tools would be named `do`",
        ),
        (
            "hides words in a description",
            "that are not seen or reorder others: Adds\\u{e0041}",
        ),
        ("nests a schema without end", "broken: "),
        (
            "sends a schema of a megabyte",
            "its input schema has more than 65536 bytes",
        ),
        (
            "refers to a schema elsewhere",
            "its input schema refers outside itself",
        ),
        // A call that may have happened.
        ("never answers", "lost: it did not answer in time"),
        (
            "answers with another id",
            "lost: it answered the request 103, which nobody made",
        ),
        (
            "answers with a text as its id",
            "lost: it answered the request \"3\", which nobody made",
        ),
        (
            "answers twice",
            r#"{"content":[{"type":"text","text":"x"}]}; then not sent: it answered the request 3, which nobody made"#,
        ),
        (
            "answers with 9 MB",
            "lost: it wrote a message of more than 8388608 bytes",
        ),
        (
            "ends in the middle",
            "lost: the server's program ended (exit status: 0)",
        ),
        (
            "writes a list of messages",
            "lost: it wrote what is no message",
        ),
        ("writes no UTF-8", "lost: it wrote what is no UTF-8"),
        ("writes an error for nobody", "lost: it answered no request"),
        ("floods with notifications", "lost: it floods"),
        ("floods with requests", "lost: it "),
        // A call that was answered.
        (
            "answers beyond the limit",
            "broken: its result has more than 2000 bytes",
        ),
        (
            "breaks its structured result",
            "broken: its result is not as its output schema says: /n",
        ),
        (
            "answers with an unknown kind",
            "broken: its result has a part of the kind `script`",
        ),
        ("answers with a number", "broken: its result is none"),
        ("asks for input", "broken: it asks for more input"),
        ("refuses the call", "the server refused it (-32602): no"),
        ("asks for sampling", r#""text":"\"mine\" -32601""#),
        ("asks for roots", r#""text":"\"mine\" -32601""#),
        ("asks for elicitation", r#""text":"\"mine\" -32601""#),
        (
            "floods its standard error",
            r#"{"content":[{"type":"text","text":"done"}]}"#,
        ),
        (
            "does nothing wrong",
            r#"{"content":[{"type":"text","text":"done"}]}"#,
        ),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    for (case, expect) in table {
        let began = Instant::now();
        let found = seen(case, dir.path()).await;
        assert!(found.contains(expect), "{case}: {found}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "{case}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_can_not_be_started_says_why() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let around = around(dir.path());
    let mut absent = program(&[]);
    absent.command = Some("/usr/bin/no-such-server".to_owned());
    let mut folder = program(&[]);
    folder.command = Some("/usr".to_owned());
    let mut secret = program(&["good"]);
    secret.env.insert("A".to_owned(), "absent".to_owned());
    let mut read = program(&["good"]);
    read.read.push("/no/such/folder".to_owned());
    let table = [
        (absent, "/usr/bin/no-such-server is not there"),
        (folder, "/usr can't be run"),
        (secret, "not sent: there is no secret `absent`"),
        (read, "/no/such/folder is not there"),
    ];
    for (server, expect) in table {
        let fault = connect(&server, &around).await.map(drop).expect_err(expect);
        let found = shown(Err(fault));
        assert!(
            found.starts_with("not sent: ") && found.contains(expect),
            "{found}"
        );
    }
    let mut lost = around.clone();
    lost.launcher = "/no/such/launcher".into();
    let fault = connect(&program(&["good"]), &lost)
        .await
        .map(drop)
        .expect_err("no launcher");
    assert!(shown(Err(fault)).contains("the launcher can't be started"));
}

/// Whether a process is there and more than a corpse.
fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:") && !status.contains("State:\tZ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_started_ends_with_it() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let case = "leaves a process behind";
    let connected = connect(&program(&["hostile", case]), &around(dir.path())).await;
    let connected = connected.expect("connects");
    let said = connected.text("do", "{}").await;
    let pid: String = said.chars().filter(char::is_ascii_digit).collect();
    assert!(lives(&pid), "{said}");
    drop(connected);
    let until = Instant::now() + Duration::from_secs(5);
    while lives(&pid) {
        assert!(Instant::now() < until, "{pid} is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_written_is_told_apart() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    // It reads the first messages, and then no more.
    let connected = connect(
        &program(&["hostile", "floods with requests"]),
        &around(dir.path()),
    )
    .await;
    let connected = connected.expect("connects");
    let _ = connected.text("do", "{}").await;
    let after = connected.text("do", "{}").await;
    assert!(after.starts_with("not sent: "), "{after}");
    assert!(PROGRAM.ends_with("airlock-mcp-servers"));
}

/// Half of a value is found by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_before_words_are_cut() {
    if !can_start() {
        return;
    }
    let table = [
        ("ends with its token", "it wrote: ***x"),
        ("writes its token", "x***"),
        ("refuses with its token", "x***"),
    ];
    for (case, expect) in table {
        let dir = tempfile::tempdir().expect("a directory");
        let found = seen(case, dir.path()).await;
        assert!(found.contains(expect), "{case}: {found}");
        assert!(
            !found.contains("s3c") && !found.contains("ret"),
            "{case}: {found}"
        );
    }
}
