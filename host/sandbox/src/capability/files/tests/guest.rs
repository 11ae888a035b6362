//! The same attacks by a real component through the whole sandbox, with a
//! well-behaved neighbour. The guest is `tests/guests/evil-files`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::directory;
use crate::limits::{Limits, Span};
use crate::sandbox::Plugin;
use crate::testing::{ECHO, TestSandbox, built, guest, request, sandbox};
use crate::{CallError, CallReport, EffectClass};

const TOOLS: &[&str] = &[
    "preopens",
    "open_each",
    "readlink_each",
    "link_each",
    "change_each",
    "rename_across",
    "race",
    "list",
    "fill",
    "inodes",
    "deepen",
    "open_many",
    "write_without_waiting",
    "read_until_stopped",
    "error_text",
];

/// Far from what a slow machine needs.
fn limits() -> Limits {
    Limits {
        cpu: Span(Duration::from_secs(60)),
        wall: Span(Duration::from_secs(300)),
        ..Limits::default()
    }
}

struct Evil {
    sandbox: TestSandbox,
    plugin: Arc<Plugin>,
    neighbour: Arc<Plugin>,
    _keep: tempfile::TempDir,
    dir: PathBuf,
}

impl Evil {
    /// The guest with grants in which `DIR` stands for a directory that holds
    /// `in` (granted, with planted links), `other` and `secret`.
    fn new(grants: &str) -> Self {
        let (keep, dir) = directory();
        for name in ["in", "in/sub", "other"] {
            std::fs::create_dir(dir.join(name)).expect("mkdir");
        }
        std::fs::write(dir.join("secret"), "secret").expect("write");
        std::fs::write(dir.join("in/a"), "content").expect("write");
        symlink("/etc/passwd", dir.join("in/absolute")).expect("link");
        symlink("../secret", dir.join("in/relative")).expect("link");
        symlink("..", dir.join("in/up")).expect("link");
        symlink("/proc/self/root", dir.join("in/magic")).expect("link");
        let sandbox = sandbox();
        let grants = grants.replace("DIR", dir.to_str().expect("utf-8"));
        let plugin = sandbox.plugin("evil", built("evil_files"), &grants, limits(), TOOLS);
        let neighbour = sandbox.plugin("echo", guest("", ECHO), "", limits(), &["echo"]);
        Self {
            sandbox,
            plugin,
            neighbour,
            _keep: keep,
            dir,
        }
    }

    async fn report(&self, tool: &str, input: Value) -> CallReport {
        let call = request(tool, &input.to_string());
        self.sandbox.sandbox.call(&self.plugin, call).await
    }

    /// Calls a tool while the neighbour works; nothing outside has changed.
    async fn attack(&self, tool: &str, input: Value) -> Value {
        let call = request(tool, &input.to_string());
        self.attacked(call).await
    }

    async fn attacked(&self, call: crate::CallRequest) -> Value {
        let evil = self.sandbox.sandbox.call(&self.plugin, call);
        let good = self
            .sandbox
            .sandbox
            .call(&self.neighbour, request("echo", r#"{"n":1}"#));
        let (evil, good) = tokio::join!(evil, good);
        assert_eq!(good.result.as_deref(), Ok(r#"{"n":1}"#), "the neighbour");
        assert_eq!(
            std::fs::read(self.dir.join("secret")).expect("there"),
            b"secret"
        );
        let output = evil.result.expect("an answer");
        assert!(
            !output.contains(self.dir.to_str().expect("utf-8")),
            "{output}"
        );
        serde_json::from_str(&output).expect("JSON")
    }
}

const READ: &str = r#"files = [{ host = "DIR/in", guest = "/d", access = "read" }]"#;
const WRITE: &str = r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write", bytes = "1MiB", files = 20 }]"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_what_was_granted_and_sees_the_rest_denied() {
    let evil = Evil::new(READ);
    assert_eq!(evil.attack("preopens", json!({})).await, json!(["/", "/d"]));
    let paths = [
        "a",
        "../secret",
        "/etc/passwd",
        "absolute",
        "relative",
        "up/secret",
        "magic/etc/passwd",
        "sub/../../secret",
        "a\u{0}b",
    ];
    let told = evil
        .attack("open_each", json!({ "dir": "/d", "paths": paths }))
        .await;
    let expected = json!({
        "a": ["ok", "content"], "../secret": "access", "/etc/passwd": "access",
        "absolute": "not-permitted", "relative": "not-permitted", "up/secret": "not-permitted",
        "magic/etc/passwd": "not-permitted", "sub/../../secret": "access",
        "a\u{0}b": "illegal-byte-sequence",
    });
    assert_eq!(told, expected);
    let told = evil
        .attack(
            "readlink_each",
            json!({ "dir": "/d", "paths": ["absolute", "relative", "up"] }),
        )
        .await;
    assert_eq!(
        told,
        json!({ "absolute": "not-permitted", "relative": "not-permitted", "up": "not-permitted" })
    );
    let report = evil
        .report(
            "open_each",
            json!({ "dir": "/", "paths": ["etc/passwd", "d/a"] }),
        )
        .await;
    let told: Value =
        serde_json::from_str(report.result.as_ref().expect("an answer")).expect("JSON");
    assert_eq!(
        told,
        json!({ "d/a": ["ok", "content"], "etc/passwd": "access" })
    );
    assert_eq!(report.denials.len(), 1);
    assert_eq!(report.denials[0].operation, "read /etc/passwd");
    let usage: Vec<_> = report
        .usage
        .capabilities
        .iter()
        .filter(|u| u.capability == "files")
        .collect();
    assert_eq!(usage.iter().map(|u| u.bytes_in).sum::<u64>(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_grant_and_a_read_only_call_change_nothing() {
    for (grants, class) in [(READ, EffectClass::Plain), (WRITE, EffectClass::ReadOnly)] {
        let evil = Evil::new(grants);
        let input = json!({ "dir": "/d", "paths": ["a", "sub"] }).to_string();
        let call = crate::CallRequest {
            class,
            ..request("change_each", &input)
        };
        let told = evil.attacked(call).await;
        for (path, outcomes) in told.as_object().expect("by path") {
            for told in outcomes.as_array().expect("outcomes") {
                let refused = ["not-permitted", "bad-descriptor", "is-directory"].map(Value::from);
                assert!(refused.contains(told), "{class:?} {path}: {outcomes}");
            }
        }
        assert_eq!(
            std::fs::read(evil.dir.join("in/a")).expect("there"),
            b"content"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_makes_no_links_and_renames_nothing_across() {
    let evil = Evil::new(
        r#"files = [
            { host = "DIR/in", guest = "/d", access = "read-write" },
            { host = "DIR/other", guest = "/o", access = "read-write" },
        ]"#,
    );
    let paths = ["a", "../secret", "/etc/passwd"];
    let told = evil
        .attack("link_each", json!({ "dir": "/d", "paths": paths }))
        .await;
    for (path, told) in told.as_object().expect("by path") {
        assert_eq!(*told, json!(["not-permitted", "not-permitted"]), "{path}");
    }
    let told = evil
        .attack(
            "rename_across",
            json!({ "dir": "/d", "paths": ["a", "/o"] }),
        )
        .await;
    assert_eq!(
        told,
        json!([
            "cross-device",
            "not-permitted",
            "cross-device",
            "not-permitted"
        ])
    );
    assert!(!evil.dir.join("in/evil").exists() && !evil.dir.join("other/evil").exists());
}

fn counted(dir: &Path) -> (u64, u64) {
    let open = cap_std::fs::Dir::from_std_file(std::fs::File::open(dir).expect("open"));
    let seen = crate::capability::files::listing::walk(&open, u64::MAX).expect("walk");
    (seen.bytes, seen.files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_fills_no_more_than_its_quota() {
    let evil = Evil::new(WRITE);
    let before = counted(&evil.dir.join("in"));
    assert_eq!(before, (7, 6));
    let told = evil
        .attack("fill", json!({ "dir": "/d", "amount": 100_000 }))
        .await;
    assert_eq!(
        told,
        json!({ "bytes": 1_000_000, "files": 10, "told": "quota" })
    );
    let told = evil.attack("inodes", json!({ "dir": "/d" })).await;
    assert_eq!(
        told,
        json!({ "made": 3, "file": "quota", "directory": "quota" })
    );
    let (bytes, files) = counted(&evil.dir.join("in"));
    assert!(bytes <= 1 << 20 && files == 20, "{bytes} {files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_hides_no_bytes_in_deleted_files() {
    let evil = Evil::new(WRITE);
    let fill = json!({ "dir": "/d", "amount": 100_000, "paths": ["gone"] });
    for round in 0..2 {
        // Its files are closed when the call ends, and then the room is back.
        let told = evil.attack("fill", fill.clone()).await;
        assert_eq!(
            told,
            json!({ "bytes": 1_000_000, "files": 10, "told": "quota" }),
            "{round}"
        );
    }
    assert_eq!(counted(&evil.dir.join("in")), (7, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_at_once_share_the_quota() {
    let evil = Evil::new(
        r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write", bytes = "1MiB", files = 1000 }]"#,
    );
    let calls = (0..6).map(|_| evil.attack("fill", json!({ "dir": "/d", "amount": 9_999 })));
    for told in futures_util::future::join_all(calls).await {
        assert_eq!(told["told"], "quota");
    }
    let (bytes, _) = counted(&evil.dir.join("in"));
    assert!(bytes <= 1 << 20, "{bytes}");
    assert!(
        bytes > (1 << 20) - 20_000,
        "nearly all of it was given: {bytes}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_takes_neither_depth_nor_handles_nor_buffers() {
    let evil = Evil::new(r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write" }]"#);
    let told = evil.attack("deepen", json!({ "dir": "/d" })).await;
    assert_eq!(told, json!({ "depth": 127, "told": "name-too-long" }));
    let told = evil
        .attack("open_many", json!({ "dir": "/d", "paths": ["a"] }))
        .await;
    assert_eq!(told, json!({ "open": 256, "told": "insufficient-memory" }));
    let few = json!({ "dir": "/d", "amount": 20 });
    assert_eq!(
        evil.attack("write_without_waiting", few).await,
        json!({ "flushed": true })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_on_links_leads_nowhere() {
    let evil = Evil::new(r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write" }]"#);
    std::fs::create_dir(evil.dir.join("in/real")).expect("mkdir");
    std::fs::write(evil.dir.join("in/real/secret"), "inside").expect("write");
    symlink("..", evil.dir.join("in/evil")).expect("link");
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (stop, granted) = (Arc::clone(&stop), evil.dir.join("in"));
        std::thread::spawn(move || {
            let name = |n: &str| granted.join(n);
            while !stop.load(Ordering::Relaxed) {
                for from in ["real", "evil"] {
                    std::fs::rename(name(from), name("swapped")).expect("rename");
                    std::fs::rename(name("swapped"), name(from)).expect("rename");
                }
            }
        })
    };
    let told = evil
        .attack(
            "race",
            json!({ "dir": "/d", "paths": ["swapped"], "amount": 3_000 }),
        )
        .await;
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("the swapper");
    let seen: Vec<_> = told
        .as_object()
        .expect("by outcome")
        .keys()
        .cloned()
        .collect();
    let known = ["inside", "not-permitted", "no-entry"];
    assert!(
        seen.iter().all(|seen| known.contains(&seen.as_str())),
        "{told}"
    );
    assert!(!evil.dir.join("made").exists(), "a file was made outside");
}

#[tokio::test(flavor = "multi_thread")]
async fn special_files_stop_no_call() {
    let evil = Evil::new(WRITE);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = evil.dir.join("in/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("fifo");
    let _socket = std::os::unix::net::UnixListener::bind(evil.dir.join("in/socket")).expect("bind");
    let paths = json!({ "dir": "/d", "paths": ["fifo", "socket"] });
    let told = evil.attack("open_each", paths).await;
    assert_eq!(
        told,
        json!({ "fifo": "not-permitted", "socket": "not-permitted" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_100_000_is_listed() {
    let evil = Evil::new(READ);
    for n in 0..100_000 {
        let (kind, mode) = (rustix::fs::FileType::RegularFile, rustix::fs::Mode::RUSR);
        let name = evil.dir.join(format!("in/sub/{n}"));
        rustix::fs::mknodat(rustix::fs::CWD, name, kind, mode, 0).expect("mknod");
    }
    let granted = r#"files = [{ host = "DIR/in/sub", guest = "/d", access = "read" }]"#;
    let granted = granted.replace("DIR", evil.dir.to_str().expect("utf-8"));
    let listing = evil
        .sandbox
        .plugin("list", built("evil_files"), &granted, limits(), TOOLS);
    let call = request("list", r#"{"dir":"/d"}"#);
    let report = evil.sandbox.sandbox.call(&listing, call).await;
    assert_eq!(report.result.as_deref(), Ok("100000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_reaches_a_call_in_flight() {
    let evil = Evil::new(WRITE);
    let input = json!({ "dir": "/d", "paths": ["a"], "amount": 100_000 });
    let call = evil.report("read_until_stopped", input);
    let revoke = async {
        while !evil.dir.join("in/started").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let nothing = crate::Grants::default();
        evil.plugin.replace(2, nothing, limits()).expect("replaced");
    };
    let (report, ()) = tokio::join!(call, revoke);
    let told: Value = serde_json::from_str(&report.result.expect("an answer")).expect("JSON");
    assert!(
        told["told"] == "access" || told["told"] == "stream",
        "{told}"
    );
    assert!(
        told["rounds"].as_u64().is_some_and(|n| n < 100_000),
        "{told}"
    );
    let denied = report.denials.iter().map(|d| d.operation.as_str());
    assert!(denied.into_iter().any(|op| op == "read /d/a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn error_texts_hold_no_host_paths() {
    let evil = Evil::new(WRITE);
    let paths = [
        "/d/relative",
        "/d/missing",
        "/etc/passwd",
        "/d/a/b",
        "/d/up/secret",
    ];
    let told = evil
        .attack("error_text", json!({ "dir": "/d", "paths": paths }))
        .await;
    assert_eq!(told.as_array().map(Vec::len), Some(7), "{told}");
    let text = told.to_string();
    assert!(
        text.contains("FileTooLarge") || text.contains("file-too-large"),
        "{text}"
    );
    assert!(!text.contains(".rs") && !text.contains("/root/"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buffers_end_the_call_at_its_limit() {
    let evil = Evil::new(r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write" }]"#);
    let small = Limits {
        host_memory: crate::limits::ByteSize(128 << 10),
        ..limits()
    };
    let grants = r#"files = [{ host = "DIR/in", guest = "/d", access = "read-write" }]"#;
    let grants = grants.replace("DIR", evil.dir.to_str().expect("utf-8"));
    let plugin = evil
        .sandbox
        .plugin("small", built("evil_files"), &grants, small, TOOLS);
    let call = request("write_without_waiting", r#"{"dir":"/d","amount":200}"#);
    let report = evil.sandbox.sandbox.call(&plugin, call).await;
    // Either the disk kept up with it, or the limit ended it.
    match report.result {
        Ok(output) => assert_eq!(output, r#"{"flushed":true}"#),
        Err(CallError::Limit { limit, .. }) => assert_eq!(limit, "host_memory"),
        Err(other) => panic!("{other}"),
    }
}
