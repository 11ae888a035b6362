//! What is told of a change, and by whose signature.

use airlock_journal::audit::{self, Checkpoint, Finding, TrustedKey};
use airlock_journal::decorator::Decorator;
use airlock_journal::{Head, SqliteStore, Store, StoreError};

use crate::{Change, EDIT, foreign_signature, lab, retype, rewrite_checkpoint, run};

/// A store whose head says something else than its records.
struct Grown(std::sync::Arc<SqliteStore>);

impl Decorator for Grown {
    fn inner(&self) -> &dyn Store {
        &*self.0
    }

    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        let head = self.0.head(stream)?;
        let len = head.len + 1;
        Ok(Head { len, ..head })
    }
}

#[test]
fn findings_say_which_records_and_why() {
    let texts = |change: Change| {
        let lab = lab();
        lab.tamper(change);
        let found = lab.verify(None).expect_err("it was changed");
        found.iter().map(Finding::to_string).collect::<Vec<_>>()
    };
    for (change, expected) in [
        (
            (|c| run(c, &format!("{EDIT} WHERE seq = 5"))) as Change,
            vec!["record 5: was edited: it does not match its hash"],
        ),
        (
            |c| run(c, "DELETE FROM records WHERE seq = 20"),
            vec!["record 20: is missing"],
        ),
        (
            |c| run(c, "DELETE FROM records WHERE seq BETWEEN 3 AND 7"),
            vec!["record 3: is missing, and all up to 7"],
        ),
        (
            |c| rewrite_checkpoint(c, foreign_signature),
            vec!["the signature of checkpoint 18 is wrong"],
        ),
    ] {
        assert_eq!(texts(change), expected);
    }
    for (which, from_to) in [
        ("seq = 20", "record 20: can't be read: "),
        (
            "seq IN (20, 21, 22)",
            "record 20: can't be read, and all up to 22: ",
        ),
    ] {
        let lab = lab();
        lab.tamper(|conn| retype(conn, which));
        let found = lab.verify(None).expect_err("it was changed");
        let text = found[0].to_string();
        assert!(text.starts_with(from_to), "{text}");
        assert!(text.len() > from_to.len() + 20, "{text}: no cause");
    }
    let lab = lab();
    let store = SqliteStore::inspect(lab.dir.path().join("data")).expect("the store");
    let found = audit::verify(&Grown(store), &[lab.key], None).expect_err("its end");
    let text = found[0].to_string();
    assert_eq!(text, "the log's head counts 47 records, 46 are there");
}

/// What a key signed counts up to where it was replaced.
#[test]
fn a_replaced_key_vouches_for_nothing_after_it() {
    let lab = lab();
    let store = SqliteStore::inspect(lab.dir.path().join("data")).expect("the store");
    let verify = |until: u64, change: fn(&mut Checkpoint)| {
        lab.tamper(|conn| rewrite_checkpoint(conn, change));
        let (key, until) = (lab.key, Some(until));
        let found = audit::verify(&*store, &[TrustedKey { key, until }], None);
        let found = found.err().unwrap_or_default();
        found.iter().map(Finding::to_string).collect::<Vec<_>>()
    };
    assert_eq!(verify(45, |_| {}), [""; 0]);
    let id = lab.key.id();
    let late = format!("checkpoint 45 is signed by the key {id}, which was replaced at record 44");
    assert_eq!(verify(44, |_| {}).join("\n"), late);
    let wrong = "the signature of checkpoint 18 is wrong".to_owned();
    assert_eq!(verify(44, foreign_signature)[..2], [wrong, late]);
}
