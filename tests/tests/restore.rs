//! Backups and what is made of them, through the binary: whole, checked, and
//! never in place of something else unless that was asked for.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::Value;

/// A folder with data directories, and the commands on them.
struct Place(tempfile::TempDir);

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, data: &str, args: &[&str]) -> Ran {
        let output = Command::new(airlock())
            .args(args)
            .env("AIRLOCK_DATA", self.path(data))
            .env_remove("AIRLOCK_TOKEN")
            .current_dir(self.0.path())
            .output()
            .expect("it starts");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn ok(&self, data: &str, args: &[&str]) -> String {
        let ran = self.run(data, args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    fn json(&self, data: &str, args: &[&str]) -> Value {
        let text = self.ok(data, &[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?} printed no JSON: {text}"))
    }

    /// Asserts that a command fails and says so.
    fn refused(&self, data: &str, args: &[&str], code: i32, word: &str) {
        let ran = self.run(data, args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.contains(word),
            "{args:?} does not say `{word}`: {}",
            ran.err
        );
    }

    fn install(&self, data: &str) {
        let keeper = component("keeper").display().to_string();
        self.ok(data, &["plugin", "add", "keeper", &keeper]);
        self.ok(
            data,
            &[
                "grant",
                "keeper",
                "kv = [{ bucket = \"kept\", scope = \"plugin\" }]",
            ],
        );
    }

    fn put(&self, data: &str, key: &str) {
        let input = format!(r#"{{"key": "{key}", "value": "v"}}"#);
        self.ok(data, &["tool", "call", "keeper/put", &input]);
    }

    fn has(&self, data: &str, key: &str) -> bool {
        let input = format!(r#"{{"key": "{key}"}}"#);
        self.json(data, &["tool", "call", "keeper/get", &input])["output"]["value"] == "v"
    }

    /// Brings the data, its keys and the backups to another folder.
    fn copy_data(&self, to: &Self) {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.0.path().join("."))
            .arg(to.0.path())
            .status();
        assert!(copied.expect("cp").success());
    }

    /// Brings the keys of one data directory to another.
    fn copy_keys(&self, from: &str, to: &str) {
        let (from, to) = (
            self.path(&format!("{from}-keys")),
            self.path(&format!("{to}-keys")),
        );
        std::fs::create_dir_all(&to).expect("a folder");
        for name in ["vault.key", "audit.key"] {
            std::fs::copy(from.join(name), to.join(name)).expect("a copy");
        }
    }
}

fn entries(dir: &Path, prefix: &str) -> usize {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .count()
}

/// Backs `data` up into `file`, with something before and something after.
fn back_up(place: &Place, file: &str) {
    place.install("data");
    place.put("data", "before");
    std::fs::write(place.path("value"), "s3cr3t").expect("a file");
    place.ok("data", &["secret", "set", "api-key", "--file", "value"]);
    place.ok("data", &["backup", file]);
    let mode = std::fs::metadata(place.path(file))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    place.refused("data", &["backup", file], 2, "exists");
    assert_eq!(entries(place.0.path(), file), 1, "no part is left");
    assert_eq!(
        entries(&place.path("data"), "backup-"),
        0,
        "no copy is left"
    );
    place.put("data", "after");
}

#[test]
fn a_backup_restores_to_the_same_plugins_data_and_audit() {
    let place = Place::new();
    back_up(&place, "b.db");
    // A checkpoint that the backup does not have: closing signs one.
    let later = place.json("data", &["audit", "verify"]);
    let later = later["head"].as_str().expect("a signed head").to_owned();

    place.refused("new", &["restore", "b.db"], 2, "vault.key");
    place.copy_keys("data", "new");
    let restored = place.json("new", &["restore", "b.db"]);
    assert_eq!(
        (&restored["audit"]["ok"], &restored["plugins"]),
        (&true.into(), &1.into())
    );
    assert!(place.has("new", "before") && !place.has("new", "after"));
    assert!(place.ok("new", &["secret", "list"]).contains("api-key"));
    let verified = place.json("new", &["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let records = place.ok("new", &["audit", "export"]);
    assert!(
        records.contains("admin.backup") && records.contains("admin.restore"),
        "{records}"
    );
    // Whoever kept a later head sees that the log was cut back.
    place.refused("new", &["audit", "verify", "--head", &later], 9, "findings");

    place.refused("new", &["restore", "b.db"], 2, "--force");
    place.put("new", "lost");
    place.ok("new", &["restore", "b.db", "--force"]);
    assert!(place.has("new", "before") && !place.has("new", "lost"));
    assert_eq!(
        entries(&place.path("new"), "replaced-"),
        1,
        "nothing was destroyed"
    );
}

#[test]
fn keys_of_another_host_do_not_pass() {
    let place = Place::new();
    back_up(&place, "b.db");
    place.ok("other", &["token", "create", "x", "--role", "viewer"]);
    for (wrong, code, word) in [
        ("audit.key", 9, "does not verify"),
        ("vault.key", 1, "opening"),
    ] {
        let data = format!("with-wrong-{wrong}");
        place.copy_keys("data", &data);
        let (from, to) = (
            place.path("other-keys"),
            place.path(&format!("{data}-keys")),
        );
        std::fs::copy(from.join(wrong), to.join(wrong)).expect("a copy");
        place.refused(&data, &["restore", "b.db"], code, word);
        // With the right ones it is there after all.
        place.copy_keys("data", &data);
        assert!(place.has(&data, "before"), "{wrong}");
        assert_eq!(
            place.json(&data, &["audit", "verify"])["ok"],
            true,
            "{wrong}"
        );
    }
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let place = Place::new();
    back_up(&place, "b.db");
    let whole = std::fs::read(place.path("b.db")).expect("a file");
    let middle = whole.len() / 2;
    let damages = [
        ("cut", whole[..middle].to_vec()),
        (
            "zeroed",
            [&whole[..4096], &vec![0; whole.len() - 4096][..]].concat(),
        ),
        ("empty", Vec::new()),
        ("something else", b"not a database".to_vec()),
    ];
    for (what, bytes) in damages {
        std::fs::write(place.path("damaged.db"), bytes).expect("a file");
        let ran = place.run("data", &["restore", "damaged.db", "--force"]);
        assert_eq!(ran.code, 1, "{what}: {}{}", ran.out, ran.err);
        assert!(
            place.has("data", "before") && place.has("data", "after"),
            "{what}"
        );
    }
    assert_eq!(entries(&place.path("data"), "replaced-"), 0);
}

/// A limit on the size of files stands for a full disk.
#[test]
fn a_restore_without_room_leaves_everything_in_its_place() {
    let place = Place::new();
    back_up(&place, "b.db");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"])
        .arg(airlock())
        .args(["restore", "b.db", "--force"])
        .env("AIRLOCK_DATA", place.path("data"))
        .current_dir(place.0.path())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("copying the backup"), "{said}");
    assert!(place.has("data", "before") && place.has("data", "after"));
    for prefix in ["replaced-", "restored-"] {
        assert_eq!(entries(&place.path("data"), prefix), 0, "{prefix}");
    }
}

/// Wherever the one before was cut off: what was restored last is in force, at once
/// and at the next start.
#[test]
fn a_restore_that_was_cut_off_overrules_no_later_one() {
    let made = Place::new();
    back_up(&made, "b.db");
    made.ok("data", &["backup", "c.db"]);
    let moved: [&[&str]; 3] = [&[], &["components"], &["components", "journal"]];
    for moved in moved {
        let place = Place::new();
        made.copy_data(&place);
        place.put("data", "later");
        let data = place.path("data");
        cut_off(&data, &place.path("b.db"), "journal.db", moved);
        place.ok("data", &["restore", "c.db", "--force"]);
        for when in ["at once", "at the next start"] {
            let has = ["before", "after", "later"].map(|key| place.has("data", key));
            assert_eq!(has, [true, true, false], "{moved:?}, {when}");
            let server = Server::start(&airlock(), &data, &[]).expect("it starts");
            let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
            assert!(stopped.success(), "{moved:?}, {when}: {stopped}");
        }
        assert_eq!(entries(&data, "restored-"), 0, "{moved:?}");
        assert_eq!(entries(&data, "replaced-"), 2, "nothing was destroyed");
    }
}

/// What a restore leaves that is cut off: its copy, and what it moved aside.
fn cut_off(data: &Path, backup: &Path, file: &str, moved: &[&str]) {
    let restored = data.join("restored-7");
    std::fs::create_dir(&restored).expect("a folder");
    std::fs::copy(backup, restored.join(file)).expect("a copy");
    for name in moved {
        std::fs::create_dir_all(data.join("replaced-7")).expect("a folder");
        let to = data.join("replaced-7").join(name);
        std::fs::rename(data.join(name), to).expect("moves");
    }
}

/// Each state in which a restore can be cut off, and whether it is done at the
/// next start or never was.
#[test]
fn a_restore_that_was_cut_off_is_finished_at_the_next_start() {
    let (nothing, components, both): (&[&str], &[&str], &[&str]) =
        (&[], &["components"], &["components", "journal"]);
    for (moved, file, done) in [
        (nothing, "journal.db.part", false),
        (nothing, "journal.db", true),
        (components, "journal.db", true),
        (both, "journal.db", true),
    ] {
        let place = Place::new();
        back_up(&place, "b.db");
        let data = place.path("data");
        cut_off(&data, &place.path("b.db"), file, moved);
        assert!(place.has("data", "before"), "{moved:?} {file}");
        assert_eq!(place.has("data", "after"), !done, "{moved:?} {file}");
        let records = place.ok("data", &["audit", "export"]);
        assert_eq!(records.contains("admin.restore"), done, "{moved:?} {file}");
        assert_eq!(entries(&data, "restored-"), 0, "{moved:?} {file}");
        assert_eq!(entries(&data, "replaced-"), usize::from(done), "{moved:?}");
    }
}

/// What is left is Airlock's, and no place to begin anew without a word.
#[test]
fn a_place_whose_journal_is_gone_takes_a_backup_and_nothing_else() {
    let place = Place::new();
    back_up(&place, "b.db");
    std::fs::create_dir_all(place.path("data/memory")).expect("an index");
    std::fs::remove_dir_all(place.path("data/journal")).expect("it goes");
    let role = ["token", "create", "x", "--role", "viewer"];
    for args in [&role[..], &["serve", "--listen", "127.0.0.1:0"]] {
        place.refused("data", args, 2, "is gone");
    }
    place.ok("data", &["restore", "b.db"]);
    assert!(place.has("data", "before") && !place.has("data", "after"));
    // Of a restore into an empty place that was killed.
    let part = place.path("data/journal/journal.db.part");
    std::fs::write(&part, "half").expect("a file");
    assert!(place.has("data", "before"));
    assert!(!part.exists());
}

#[test]
fn beside_a_server() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.path("data"), &[]).expect("the server starts");
    back_up(&place, "b.db");
    place.refused("data", &["restore", "b.db", "--force"], 2, "stop it");
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
    place.ok("data", &["restore", "b.db", "--force"]);
    let server = Server::start(&airlock(), &place.path("data"), &[]).expect("it starts again");
    assert!(place.has("data", "before") && !place.has("data", "after"));
    assert!(
        server
            .stop(Duration::from_secs(60))
            .expect("it stops")
            .success()
    );
}

#[test]
fn an_audit_that_no_server_owns_is_only_looked_at() {
    let place = Place::new();
    place.refused("data", &["audit", "verify"], 2, "no Airlock data");
    assert!(!place.path("data").exists(), "looking makes nothing");
    place.install("data");
    let before = place.json("data", &["audit", "verify"]);
    let head = before["head"].as_str().expect("a signed head").to_owned();
    place.ok("data", &["audit", "verify", "--head", &head]);
    assert_eq!(
        place.json("data", &["audit", "verify"]),
        before,
        "it changed by looking"
    );

    let file = place.path("data/journal/journal.db");
    let mut bytes = std::fs::read(&file).expect("the database");
    let word = b"admin.plugin.install";
    let at = bytes.windows(word.len()).position(|part| part == word);
    bytes[at.expect("a record") + word.len() - 1] = b'L';
    std::fs::write(&file, bytes).expect("a change");
    let ran = place.run("data", &["audit", "verify"]);
    assert_eq!(ran.code, 9, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("was changed"), "{}", ran.out);
}
