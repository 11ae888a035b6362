//! Writes documents until it is killed, and says which are acknowledged:
//! `kill_writer DIR FROM`. The test `kill9` looks at what is left.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::SqliteStore;
use airlock_memory::{
    Change, Expect, Memory, Namespace, NewDocument, Options, Provenance, Quota, SystemClock,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (dir, from) = (
        args.next().ok_or("a directory")?,
        args.next().ok_or("a number")?,
    );
    let store = SqliteStore::open(format!("{dir}/store"))?;
    let options = Options {
        // Many commits of the index, so that many are cut off.
        tail_changes_max: 7,
        tail_age_max: Duration::from_millis(30),
        ..Options::default()
    };
    let memory = Memory::open(store, &dir, Arc::new(SystemClock), options)?;
    let namespace = Namespace::parse("agent/killed")?;
    let provenance = Provenance {
        by: "test".to_owned(),
        ..Provenance::default()
    };
    let mut out = std::io::stdout().lock();
    for n in from.parse::<u64>()?.. {
        let document = NewDocument {
            id: format!("k{n:06}"),
            text: format!("common w{n} m{}", n % 7),
            vector: Some(vec![1.0, n as f32]),
            ..NewDocument::default()
        };
        let mut changes = vec![Change::put(document, Expect::Any)];
        if n % 3 == 2 {
            changes.push(Change::delete(format!("k{:06}", n - 2), Expect::Any));
        }
        memory
            .write(&namespace, changes, &provenance, Quota::default())
            .await?;
        writeln!(out, "{n}")?;
    }
    Ok(())
}
