//! A data directory that another process has for a moment, and one whose models
//! can't be used.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use airlock::harness::Server;
use airlock_tests::airlock;

use crate::Place;

/// A run that has ended, as an event.
const END: &str = "id: 0\nevent: record\ndata: {\"seq\":0,\"at_ms\":1,\"event\":\"ended\",\"end\":{\"state\":\"succeeded\"}}\n\n";

/// Longer than any of it takes.
const BOUND: Duration = Duration::from_secs(60);

/// A process that has the data until its input ends.
fn holder(place: &Place) -> Child {
    let mut child = piped(place.command(&["mcp"]));
    let note = place.data.join("journal/lock");
    let (pid, began) = (child.id().to_string(), Instant::now());
    while std::fs::read_to_string(&note).ok().as_deref() != Some(&pid) {
        assert!(began.elapsed() < BOUND, "it has no data");
        assert!(child.try_wait().expect("asked").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn piped(mut command: Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("starts")
}

/// A server that starts while a command has the data waits for it, and so does a
/// command that came too late, which then asks the server.
#[test]
fn a_server_waits_for_a_command_and_a_command_for_a_server() {
    let place = Place::new();
    place.ok(&["token", "create", "x", "--role", "viewer"]);
    let mut first = holder(&place);
    let mut serve = piped(place.command(&["serve", "--listen", "127.0.0.1:0"]));
    // Longer than either says nothing, and shorter than either waits.
    std::thread::sleep(Duration::from_secs(2));
    assert!(serve.try_wait().expect("asked").is_none(), "it has ended");
    let late = piped(place.command(&["token", "list"]));
    drop(first.stdin.take());
    let mut lines = BufReader::new(serve.stdout.take().expect("an output")).lines();
    let listens = lines.find(|line| line.as_ref().is_ok_and(|l| l.starts_with("listening on")));
    let late = late.wait_with_output().expect("it ends");
    first.wait().expect("ended");
    serve.kill().expect("killed");
    let log = serve.wait_with_output().expect("ended").stderr;
    let log = String::from_utf8_lossy(&log);
    assert!(listens.is_some(), "{log}");
    assert!(late.status.success(), "{late:?}");
    let waited = format!("is in use by process {} (airlock mcp)", first.id());
    assert!(log.contains(&waited), "{log}");
}

/// A token is for a server: nobody acts as the owner who meant to act as less.
#[test]
fn a_token_without_a_server_is_refused() {
    let place = Place::new();
    let token = place.ok(&["token", "create", "boss", "--role", "viewer"]);
    let file = place.folder.join("boss.token");
    std::fs::write(&file, token).expect("written");
    let file = crate::path(&file);
    let ran = place.run(&[
        "token",
        "create",
        "y",
        "--role",
        "admin",
        "--token-file",
        &file,
    ]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("a token is for a server"), "{}", ran.err);
    for (token, code) in [("airlock_x", 2), ("airlock_x\nid y", 2), ("", 0)] {
        let mut command = place.command(&["token", "list"]);
        let output = command.env("AIRLOCK_TOKEN", token).output().expect("runs");
        assert_eq!(output.status.code(), Some(code), "`{token}`: {output:?}");
    }
    for text in [
        "airlock_x\nid y; it is not shown again\n",
        "airlock_ü\n",
        "a\0b",
    ] {
        std::fs::write(&file, text).expect("written");
        let ran = place.run(&["token", "list", "--token-file", &file]);
        assert_eq!(ran.code, 2, "{text:?}: {}{}", ran.out, ran.err);
        let told = format!("airlock: {file} holds more than a token");
        assert!(ran.err.contains(&told), "{text:?}: {}", ran.err);
    }
    let listed = place.json(&["token", "list"]).to_string();
    assert!(
        listed.contains(r#""boss""#) && !listed.contains(r#""y""#),
        "{listed}"
    );
}

/// A server does not start without the models that were configured, and says what to
/// mend; commands that need no models go on.
#[test]
fn models_that_cannot_be_used_stop_a_server_alone() {
    let place = Place::new();
    place.ok(&["token", "create", "x", "--role", "viewer"]);
    let file = place.data.join("models.toml");
    std::fs::write(&file, "redaction.patterns_file = 'absent.txt'\n").expect("written");
    let wrong = format!("{}: redaction.patterns_file: reading ", file.display());
    let serve = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(serve.code, 1, "{}", serve.err);
    for part in [&wrong, "absent.txt", "`airlock models check FILE`"] {
        assert!(serve.err.contains(part), "{part}: {}", serve.err);
    }
    assert_eq!(
        serve.err.matches("No such file").count(),
        1,
        "{}",
        serve.err
    );
    let listed = place.run(&["token", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert!(listed.err.contains(&wrong), "{}", listed.err);
    for command in [&["models", "list"][..], &["models", "try", "x"]] {
        let ran = place.run(command);
        assert_eq!(ran.code, 5, "{command:?}: {}", ran.err);
        assert!(ran.err.contains("no model is in force"), "{}", ran.err);
    }
    // Runs would go wrong without them.
    let mcp = place.run(&["mcp"]);
    assert_eq!(mcp.code, 1, "{}", mcp.err);
    std::fs::remove_file(&file).expect("removed");
    let server = Server::start(&airlock(), &place.data, &[]).expect("it starts");
    std::fs::write(&file, "redaction.patterns_file = 'absent.txt'\n").expect("written");
    let reload = place.run(&["models", "reload"]);
    assert!(reload.err.contains(&wrong), "{}", reload.err);
    drop(server);
}

/// Who follows a run is told that nobody answers, and goes on once somebody does.
#[test]
fn who_follows_is_told_that_nobody_answers() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut asked = 0;
        for stream in listener.incoming() {
            let stream = stream.expect("a client");
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            // To the end of the headers.
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            asked += u32::from(first.contains("/events"));
            // Four times it is not there; other requests don't matter.
            let (head, body) = match asked {
                5.. if first.contains("/events") => {
                    ("200 OK\r\ncontent-type: text/event-stream", END)
                }
                _ => ("503 Service Unavailable", ""),
            };
            let reply = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
            (&stream).write_all(reply.as_bytes()).ok();
        }
    });
    let follow = ["runs", "events", "run_1", "--follow", "--server", &base];
    let mut command = place.command(&follow);
    let output = command.env("AIRLOCK_TOKEN", "x").output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said.matches("asking again for 5 minutes").count(),
        1,
        "{said}"
    );
}
