//! What happens to a server while it is being reached: a halt, and a secret that is
//! changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::client::{Api, Remote, Request};
use serde_json::{Value, json};

use crate::{Host, can_start, counted, notes, processes, program, text, wait_for};

/// A file of this name in a directory of any server.
fn found(host: &Host, file: &str) -> Option<PathBuf> {
    let dirs = std::fs::read_dir(host.data.join("mcp"));
    let dirs = dirs.into_iter().flatten().flatten();
    let mut files = dirs.map(|dir| dir.path().join(file));
    files.find(|file| file.exists())
}

/// The real server behind a few words of the shell.
fn behind(words: &str) -> Value {
    let words = format!("{words}; exec {} good", program());
    json!({ "command": "/bin/sh", "args": ["-c", words], "read": [program()] })
}

#[test]
fn while_it_stands_still_no_server_is_asked_for_its_tools() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let halt = |halted: bool, plugin: Value| {
        let mut request = json!({ "halted": halted });
        if plugin.is_string() {
            request["plugin"] = plugin;
        }
        let (status, reply) = host.ask("POST", "/v1/halt", &request);
        assert_eq!(status, 200, "{reply}");
    };
    let began = json!({ "server": behind("touch began; sleep 60") });
    for plugin in [Value::Null, json!("notes")] {
        if plugin.is_string() {
            host.install("notes", &json!({ "server": notes() }));
        }
        halt(true, plugin.clone());
        let refused = host.refused("notes", &began);
        assert!(refused.1.contains("halted"), "{plugin}: {refused:?}");
        assert_eq!(found(&host, "began"), None, "{plugin}");
        halt(false, plugin.clone());
        // One that is being asked is left.
        let (status, operation) = host.ask("POST", "/v1/plugins/notes/mcp", &began);
        assert_eq!(status, 202, "{operation}");
        wait_for("it begins", || found(&host, "began").is_some());
        halt(true, plugin.clone());
        let path = format!("/v1/operations/{}", text(&operation, "id"));
        let ended = || host.api().get(&path).expect("an operation");
        wait_for("it ends", || ended()["state"] == "failed");
        assert_eq!(ended()["problem"]["code"], "halted", "{}", ended());
        halt(false, plugin);
        wait_for("only its plugin's directory is left", || {
            found(&host, "began").is_none_or(|file| file.starts_with(host.own("notes")))
        });
        let _ = std::fs::remove_file(host.own("notes").join("began"));
    }
}

/// A program that is begun with a value which is none any more is not called.
#[test]
fn a_secret_that_changes_while_a_server_is_reached_is_not_used() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let set = |value: &[u8]| {
        let kind = "application/octet-stream";
        let put = Request::bytes("PUT", "/v1/secrets/token", kind, value.to_vec());
        assert!(host.api().send(&put).expect("a reply").status < 300);
    };
    set(b"first-value");
    let waits = "if [ -e slow ]; then touch began; while [ -e slow ]; do sleep 0.05; done; fi; \
                 case $TOKEN in first*) touch had-first;; *) touch had-second;; esac";
    let mut server = behind(waits);
    server["env"] = json!({ "TOKEN": "token" });
    host.install("notes", &json!({ "server": server }));
    let own = host.own("notes");
    std::fs::create_dir_all(&own).expect("made");
    std::fs::write(own.join("slow"), "").expect("written");
    let is_there = |file: &str| Path::new(&own.join(file)).exists();
    let said = std::thread::scope(|scope| {
        let call = scope.spawn(|| host.says("echo", json!({ "text": "hi" })));
        wait_for("it begins", || is_there("began"));
        set(b"second-value");
        std::fs::remove_file(own.join("slow")).expect("removed");
        call.join().expect("a reply")
    });
    assert!(said.starts_with("transient "), "{said}");
    assert!(!is_there("had-second"));
    assert_eq!(host.says("echo", json!({ "text": "hi" })), "hi");
    assert!(is_there("had-second"));
}

/// The server, and its directory with the file that makes it slow.
fn slow(host: &Host, words: &str) -> PathBuf {
    host.install("notes", &json!({ "server": behind(words) }));
    let own = host.own("notes");
    std::fs::create_dir_all(&own).expect("made");
    std::fs::write(own.join("slow"), "").expect("written");
    own
}

/// Reaching a server takes a while, in which a token may be revoked.
#[test]
fn a_token_that_is_revoked_while_a_server_is_reached_calls_nothing() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let waits = "if [ -e slow ]; then touch began; while [ -e slow ]; do sleep 0.05; done; fi";
    let own = slow(&host, waits);
    let token = json!({ "principal": "ann", "roles": ["caller"] });
    let (status, made) = host.ask("POST", "/v1/tokens", &token);
    assert_eq!(status, 201, "{made}");
    let ann = Remote::new(host.server().base(), &text(&made, "token"));
    let ann = Api::Remote(ann);
    let called = std::thread::scope(|scope| {
        let call = Request::json("POST", "/v1/tools/notes/count", &json!({}));
        let call = scope.spawn(move || ann.send(&call));
        wait_for("it begins", || own.join("began").exists());
        let path = format!("/v1/tokens/{}", text(&made["view"], "id"));
        let revoked = host.api().send(&Request::new("DELETE", path));
        assert_eq!(revoked.expect("a reply").status, 200);
        std::fs::remove_file(own.join("slow")).expect("removed");
        call.join().expect("no panic").expect("a reply")
    });
    assert_eq!(called.status, 401, "{called:?}");
    assert_eq!(counted(&own), 0);
    assert_eq!(host.says("count", json!({})), "1");
}

/// What is removed while it is reached is not started any more, or ended.
#[test]
fn a_server_that_is_removed_while_it_is_reached_is_ended() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let own = slow(&host, "if [ -e slow ]; then touch began; sleep 600; fi");
    let said = std::thread::scope(|scope| {
        let call = scope.spawn(|| host.says("echo", json!({ "text": "hi" })));
        wait_for("it begins", || own.join("began").exists());
        let removed = Request::new("DELETE", "/v1/plugins/notes");
        let removed = host.api().send(&removed).expect("a reply");
        assert_eq!(removed.status, 200, "{removed:?}");
        // It is killed by now, and gone in a moment; its call would wait for longer.
        let until = Instant::now() + Duration::from_secs(8);
        while !processes("600").is_empty() {
            assert!(Instant::now() < until, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!own.exists(), "what it kept is gone");
        call.join().expect("a reply")
    });
    assert!(said.starts_with("plugin-not-found "), "{said}");
}
