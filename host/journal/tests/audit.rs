//! The audit log against somebody who can write the database: every way to edit,
//! remove, reorder or cut off records is found and named.

use std::path::Path;

use airlock_journal::audit::{
    self, Audit, AuditRecord, Checkpoint, Direction, Finding, PublicKey, SignedHead, Signer,
};
use airlock_journal::conformance::wait;
use airlock_journal::{Hash, Head, SqliteStore, chain};
use rusqlite::{Connection, params};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[path = "audit/found.rs"]
mod found;

const RECORDS: u64 = 40;
const SPACING: u64 = 8;

struct Lab {
    dir: TempDir,
    key: PublicKey,
    /// The newest signed head, as it was emitted.
    head: SignedHead,
}

fn signer(dir: &Path) -> Signer {
    Signer::open_or_create(dir.join("audit.key")).expect("a key")
}

fn record(n: u64) -> AuditRecord {
    AuditRecord::now("tester", "call.done", format!("plugin/{n}")).detail(json!({ "n": n }))
}

/// A log of some records with checkpoints in between and one at the end.
fn lab() -> Lab {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path().join("data")).expect("the store");
    let signer = signer(dir.path());
    let key = signer.public_key();
    let head = wait(async {
        let audit = Audit::new(store, signer).await.expect("the log");
        for n in 0..RECORDS {
            audit.append(&record(n)).await.expect("the append");
            if n % SPACING == SPACING - 1 {
                audit.checkpoint().await.expect("the checkpoint");
            }
        }
        audit.heads().borrow().clone().expect("a head")
    });
    Lab { dir, key, head }
}

impl Lab {
    fn tamper(&self, change: impl FnOnce(&Connection)) {
        let path = self.dir.path().join("data/journal.db");
        let conn = Connection::open(path).expect("the database");
        change(&conn);
    }

    fn verify(&self, external: Option<&SignedHead>) -> Result<audit::Report, Vec<Finding>> {
        let store = SqliteStore::inspect(self.dir.path().join("data")).expect("the store");
        audit::verify(&*store, &[self.key], external)
    }
}

/// Findings as `code@seq`, for comparison.
fn short(result: Result<audit::Report, Vec<Finding>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(findings) => {
            let one = |finding: &Finding| match finding.seq {
                Some(seq) => format!("{}@{seq}", finding.code),
                None => finding.code.to_owned(),
            };
            findings.iter().map(one).collect::<Vec<_>>().join(" ")
        }
    }
}

fn run(conn: &Connection, sql: &str) {
    let changed = conn
        .execute(sql, ())
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(changed > 0, "changed nothing: {sql}");
}

/// Makes records' payloads text, which is another type to the database.
fn retype(conn: &Connection, which: &str) {
    let update = "UPDATE records SET payload = CAST(payload AS TEXT)";
    run(conn, &format!("{update} WHERE {which}"));
}

/// What an attacker who knows the format does after an edit.
fn rehash(conn: &Connection) {
    let mut statement = conn
        .prepare(
            "SELECT seq, payload FROM records WHERE stream = CAST('audit' AS BLOB) ORDER BY seq",
        )
        .expect("the query");
    let rows: Vec<(u64, Vec<u8>)> = statement
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("the rows")
        .collect::<Result<_, _>>()
        .expect("the rows");
    let mut hash = Hash::default();
    for (seq, payload) in &rows {
        hash = chain::next(&hash, b"audit", *seq, payload);
        conn.execute(
            "UPDATE records SET hash = ?1 WHERE seq = ?2",
            params![hash, seq],
        )
        .expect("the update");
    }
    let len = rows.last().map_or(0, |(seq, _)| seq + 1);
    conn.execute("UPDATE heads SET len = ?1, hash = ?2", params![len, hash])
        .expect("the update");
}

const EDIT: &str =
    "UPDATE records SET payload = CAST(replace(CAST(payload AS TEXT), 'tester', 'nobody') AS BLOB)";

type Change = fn(&Connection);

/// A change, what is found without and with the emitted head. Records 0, 9, 18,
/// 27, 36 and 45 are those of the checkpoints of lengths 0, 9, 18, 27, 36, 45.
const CHANGES: &[(&str, Change, &str, &str)] = &[
    ("nothing", |_| {}, "ok", "ok"),
    (
        "edit one record",
        |c| run(c, &format!("{EDIT} WHERE seq = 5")),
        "edited@5",
        "edited@5",
    ),
    (
        "edit two records",
        |c| run(c, &format!("{EDIT} WHERE seq IN (5, 30)")),
        "edited@5 edited@30",
        "edited@5 edited@30",
    ),
    (
        "edit one and rehash everything after it",
        |c| {
            run(c, &format!("{EDIT} WHERE seq = 20"));
            rehash(c);
        },
        "replaced@18",
        "replaced@18 external-head",
    ),
    (
        "edit the last one and its hash",
        |c| {
            run(
                c,
                "UPDATE records SET payload = CAST('{}' AS BLOB) WHERE seq = 44",
            );
            rehash(c);
        },
        "unreadable@44 replaced@36",
        "unreadable@44 replaced@36 external-head",
    ),
    (
        "edit a hash",
        |c| run(c, "UPDATE records SET hash = zeroblob(32) WHERE seq = 5"),
        "edited@5 edited@6",
        "edited@5 edited@6",
    ),
    (
        "delete one in the middle",
        |c| run(c, "DELETE FROM records WHERE seq = 20"),
        "missing@20",
        "missing@20",
    ),
    (
        "delete the one before a checkpoint's record",
        |c| run(c, "DELETE FROM records WHERE seq = 17"),
        "missing@17",
        "missing@17",
    ),
    (
        "delete the one before the newest checkpoint's record",
        |c| run(c, "DELETE FROM records WHERE seq = 44"),
        "missing@44",
        "missing@44",
    ),
    (
        "a record of another type",
        |c| retype(c, "seq = 20"),
        "unreadable@20",
        "unreadable@20",
    ),
    (
        "records of another type, the first and the last among them",
        |c| retype(c, "seq IN (0, 17, 18, 44, 45)"),
        "unreadable@0 unreadable@17 unreadable@44",
        "unreadable@0 unreadable@17 unreadable@44",
    ),
    (
        "delete a range",
        |c| run(c, "DELETE FROM records WHERE seq BETWEEN 3 AND 7"),
        "missing@3",
        "missing@3",
    ),
    (
        "delete the first",
        |c| run(c, "DELETE FROM records WHERE seq = 0"),
        "missing@0",
        "missing@0",
    ),
    (
        "delete one, close the gap and rehash",
        |c| {
            run(c, "DELETE FROM records WHERE seq = 20");
            run(c, "UPDATE records SET seq = seq - 1000 WHERE seq > 20");
            run(c, "UPDATE records SET seq = seq + 999 WHERE seq < 0");
            rehash(c);
        },
        "replaced@18",
        "replaced@18 external-head",
    ),
    (
        "swap two neighbours",
        |c| {
            run(c, "UPDATE records SET seq = -1 WHERE seq = 12");
            run(c, "UPDATE records SET seq = 12 WHERE seq = 13");
            run(c, "UPDATE records SET seq = 13 WHERE seq = -1");
        },
        "edited@12 edited@13 edited@14",
        "edited@12 edited@13 edited@14",
    ),
    (
        "swap two payloads",
        |c| {
            run(
                c,
                "UPDATE records SET payload = (SELECT payload FROM records r WHERE r.seq = 2) WHERE seq = 1",
            );
        },
        "edited@1",
        "edited@1",
    ),
    (
        "cut off the tail",
        |c| run(c, "DELETE FROM records WHERE seq >= 40"),
        "head cut-off@40",
        "head cut-off@40 external-head@40",
    ),
    (
        "cut off the tail and set the head",
        |c| {
            run(c, "DELETE FROM records WHERE seq >= 40");
            rehash(c);
        },
        "cut-off@40",
        "cut-off@40 external-head@40",
    ),
    (
        "cut off the tail with its checkpoint, the head left",
        |c| {
            run(c, "DELETE FROM records WHERE seq >= 40");
            run(c, "DELETE FROM pairs WHERE key > x'0000000000000024'");
        },
        "head",
        "head external-head@40",
    ),
    (
        "cut back cleanly, with checkpoint and head: only the outside head shows it",
        |c| {
            run(c, "DELETE FROM records WHERE seq >= 40");
            run(c, "DELETE FROM pairs WHERE key > x'0000000000000024'");
            rehash(c);
        },
        "ok",
        "external-head@40",
    ),
    (
        "remove a checkpoint",
        |c| run(c, "DELETE FROM pairs WHERE key = x'0000000000000012'"),
        "checkpoint-missing@18",
        "checkpoint-missing@18",
    ),
    (
        "remove all checkpoints",
        |c| run(c, "DELETE FROM pairs"),
        "checkpoint-missing@0 checkpoint-missing@9 checkpoint-missing@18 checkpoint-missing@27 \
         checkpoint-missing@36 checkpoint-missing@45 unsigned@0",
        "checkpoint-missing@0 checkpoint-missing@9 checkpoint-missing@18 checkpoint-missing@27 \
         checkpoint-missing@36 checkpoint-missing@45 unsigned@0",
    ),
    (
        "a checkpoint's value damaged",
        |c| {
            run(
                c,
                "UPDATE pairs SET value = x'00' WHERE key = x'0000000000000012'",
            )
        },
        "checkpoint-unreadable",
        "checkpoint-unreadable",
    ),
    (
        "a checkpoint under another length",
        |c| moved_checkpoint(c),
        "checkpoint-signature checkpoint-missing@18",
        "checkpoint-signature checkpoint-missing@18",
    ),
    (
        "a checkpoint whose signature is another's",
        |c| rewrite_checkpoint(c, foreign_signature),
        "checkpoint-signature",
        "checkpoint-signature",
    ),
    (
        "a checkpoint with another hash",
        |c| rewrite_checkpoint(c, other_hash),
        "checkpoint-signature",
        "checkpoint-signature",
    ),
    (
        "a checkpoint signed by another key",
        |c| rewrite_checkpoint(c, foreign_key),
        "checkpoint-signature",
        "checkpoint-signature",
    ),
    (
        "a checkpoint's time changed",
        |c| rewrite_checkpoint(c, other_time),
        "checkpoint-changed@18",
        "checkpoint-changed@18",
    ),
    (
        "drop the head",
        |c| run(c, "DELETE FROM heads"),
        "head",
        "head",
    ),
    (
        "change the head's length",
        |c| run(c, "UPDATE heads SET len = 99"),
        "head",
        "head",
    ),
    (
        "change the head's hash",
        |c| run(c, "UPDATE heads SET hash = zeroblob(32)"),
        "head",
        "head",
    ),
    (
        "empty the log",
        |c| {
            run(c, "DELETE FROM records");
            run(c, "DELETE FROM pairs");
            run(c, "DELETE FROM heads");
        },
        "empty",
        "external-head@0 empty",
    ),
];

fn checkpoint_18(conn: &Connection) -> Checkpoint {
    let value: Vec<u8> = conn
        .query_row(
            "SELECT value FROM pairs WHERE key = x'0000000000000012'",
            (),
            |row| row.get(0),
        )
        .expect("the checkpoint");
    serde_json::from_slice(&value).expect("the checkpoint")
}

/// Writes a checkpoint under a length, with the right checksum.
fn write_checkpoint(conn: &Connection, len: u64, checkpoint: &Checkpoint) {
    let (space, key) = (audit::CHECKPOINTS, len.to_be_bytes());
    let value = serde_json::to_vec(checkpoint).expect("the value");
    let mut sha = Sha256::new();
    sha.update((space.len() as u64).to_le_bytes());
    sha.update(space);
    sha.update((key.len() as u64).to_le_bytes());
    sha.update(key);
    sha.update(&value);
    let sum = i64::from_le_bytes(sha.finalize()[..8].try_into().expect("eight bytes"));
    conn.execute(
        "INSERT OR REPLACE INTO pairs(space, key, value, sum) VALUES (?1, ?2, ?3, ?4)",
        params![space, key, value, sum],
    )
    .expect("the write");
}

fn moved_checkpoint(conn: &Connection) {
    write_checkpoint(conn, 20, &checkpoint_18(conn));
    run(conn, "DELETE FROM pairs WHERE key = x'0000000000000012'");
}

fn rewrite_checkpoint(conn: &Connection, change: fn(&mut Checkpoint)) {
    let mut checkpoint = checkpoint_18(conn);
    change(&mut checkpoint);
    write_checkpoint(conn, 18, &checkpoint);
}

fn foreign_signature(checkpoint: &mut Checkpoint) {
    checkpoint.head.signature[7] ^= 1;
}

fn other_hash(checkpoint: &mut Checkpoint) {
    checkpoint.head.hash[7] ^= 1;
}

fn foreign_key(checkpoint: &mut Checkpoint) {
    let dir = tempfile::tempdir().expect("a directory");
    let head = Head {
        len: checkpoint.head.len,
        hash: checkpoint.head.hash,
    };
    checkpoint.head = signer(dir.path()).sign(head);
}

fn other_time(checkpoint: &mut Checkpoint) {
    checkpoint.at_ms += 1;
}

#[test]
fn every_change_is_found_and_named() {
    assert!(CHANGES.len() >= 20);
    for (name, change, expected, with_head) in CHANGES {
        let lab = lab();
        lab.tamper(change);
        let found = lab.verify(None);
        let texts = format!("{found:?}");
        assert_eq!(short(found), *expected, "{name}: {texts}");
        assert_eq!(
            short(lab.verify(Some(&lab.head))),
            *with_head,
            "{name}, with the head"
        );
    }
}

#[test]
fn a_sound_log_reports_what_was_verified() {
    let lab = lab();
    let report = lab.verify(Some(&lab.head)).expect("a sound log");
    assert_eq!(
        (report.len, report.checkpoints, report.unsigned),
        (46, 6, 1)
    );
    let unknown = signer(&lab.dir.path().join("data")).public_key();
    let store = SqliteStore::inspect(lab.dir.path().join("data")).expect("the store");
    let found = audit::verify(&*store, &[unknown], None).expect_err("the key is unknown");
    assert!(
        found
            .iter()
            .all(|finding| finding.code == "checkpoint-signature")
    );
}

#[test]
fn a_given_head_must_be_genuine() {
    let lab = lab();
    let mut head = lab.head.clone();
    head.len -= 9;
    assert_eq!(short(lab.verify(Some(&head))), "head-not-authentic");
    let text = lab.head.to_string();
    assert_eq!(text.parse::<SignedHead>().expect("the head"), lab.head);
    for bad in [
        "",
        "airlock-head:v1:",
        &text[..text.len() - 1],
        &text.replace("v1", "v2"),
        &text
            .replacen(":46:", ":46:00", 1)
            .replacen(":45:", ":45:00", 1),
    ] {
        assert!(bad.parse::<SignedHead>().is_err(), "{bad:?}");
    }
}

#[test]
fn opening_refuses_a_log_without_its_end() {
    let cases: [(&str, &str); 6] = [
        (
            "DELETE FROM records WHERE seq >= 40",
            "record 40 is missing",
        ),
        ("DELETE FROM records", "record 0 is missing"),
        ("DELETE FROM heads", "record 0 is beyond the stream's end"),
        (
            "UPDATE heads SET len = 40",
            "record 40 is beyond the stream's end",
        ),
        (
            "INSERT INTO records VALUES (x'7a', 0, x'00', zeroblob(32))",
            "stream \"z\": record 0 is beyond the stream's end",
        ),
        (
            "UPDATE heads SET hash = zeroblob(32)",
            "record 45 is not the one the stream's head names",
        ),
    ];
    for (sql, expected) in cases {
        let lab = lab();
        lab.tamper(|conn| run(conn, sql));
        let error = SqliteStore::open(lab.dir.path().join("data")).expect_err(sql);
        assert!(error.to_string().contains(expected), "{sql}: {error}");
    }
}

#[test]
fn pages_and_export_agree() {
    let lab = lab();
    let store = SqliteStore::open(lab.dir.path().join("data")).expect("the store");
    let page = |direction, limit| -> Vec<u64> {
        let page = audit::page(&*store, direction, limit).expect("the page");
        page.iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(page(Direction::Forward(0), 3), [0, 1, 2]);
    assert_eq!(page(Direction::Forward(44), 9), [44, 45]);
    assert_eq!(page(Direction::Backward(u64::MAX), 3), [45, 44, 43]);
    assert_eq!(page(Direction::Backward(2), 9), [1, 0]);
    assert_eq!(page(Direction::Backward(44), 3), [43, 42, 41]);
    assert_eq!(page(Direction::Backward(0), 9), [0; 0]);

    let mut out = Vec::new();
    assert_eq!(
        audit::export_lines(&*store, 0, &mut out).expect("the export"),
        46
    );
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 46);
    assert_eq!(lines[1]["subject"], "plugin/0");
    assert_eq!(lines[1]["seq"], 1);
    assert_eq!(audit::entries(&*store, 40).count(), 6);
}
