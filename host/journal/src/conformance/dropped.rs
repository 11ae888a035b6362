//! Streams that are removed.

use bytes::Bytes;

use super::{Backend, commit, payloads, refused, value};
use crate::chain;
use crate::store::{Batch, Head};

pub(super) fn dropped(backend: &dyn Backend) {
    let store = backend.open();
    let three = || ["r0", "r1", "r2"].map(Bytes::from).to_vec();
    let filled = Batch::new().append_at("a", 0, three());
    commit(
        &*store,
        filled.append_at("ab", 0, three()).put("a", "k", "v"),
    );
    let ab = store.head(b"ab").expect("the head");
    let batch = Batch::new().drop_stream("a").drop_stream("never");
    refused(&*store, batch.clone().append_at("ab", 7, three()));
    assert_eq!(payloads(&*store, "a").len(), 3, "the batch was refused");
    commit(&*store, batch);
    assert_eq!(store.head(b"a").expect("the head"), Head::default());
    assert!(payloads(&*store, "a").is_empty());
    assert!(store.raw(b"a", 0, 9).expect("the rows").is_empty());
    assert_eq!(store.read(b"a", 2, 9).expect("the read"), []);
    // What follows in the batch finds nothing either, and one that is refused
    // after it changes nothing.
    let again = || Batch::new().append_at("a", 0, vec!["n0".into()]);
    commit(
        &*store,
        again()
            .append("a", "n1")
            .drop_stream("a")
            .append_at("a", 0, three()),
    );
    refused(
        &*store,
        Batch::new().drop_stream("a").append_at("a", 3, three()),
    );
    assert_eq!(payloads(&*store, "a"), three());
    commit(&*store, Batch::new().drop_stream("a").append("a", "n0"));
    drop(store);
    let store = backend.open();
    assert_eq!(payloads(&*store, "a"), ["n0"]);
    let hash = chain::next(&Default::default(), b"a", 0, b"n0");
    assert_eq!(store.head(b"a").expect("the head"), Head { len: 1, hash });
    assert_eq!(store.head(b"ab").expect("the head"), ab);
    assert_eq!(payloads(&*store, "ab").len(), 3);
    assert_eq!(
        value(&*store, "a", "k").unwrap(),
        "v",
        "a pair of the same name"
    );
}
