//! What happens to a server while it is being reached: a halt, and a secret that is
//! changed.

use std::path::{Path, PathBuf};

use airlock::client::Request;
use serde_json::{Value, json};

use crate::{Host, can_start, notes, program, text, wait_for};

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
