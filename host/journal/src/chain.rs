//! The hash chain of streams: pure functions, used by every backend and by
//! whoever verifies what a backend stored.
//!
//! The hash of a record covers the stream's name, the record's position, its
//! payload and, through the hash before it, everything earlier. The name's
//! length is part of the input, so that no two inputs spell the same bytes.

use sha2::{Digest, Sha256};

use crate::store::{Hash, Head, Record, StoreError};

/// The chain hash of record `seq` of `stream`:
/// `sha256(previous hash ‖ len(stream) ‖ stream ‖ seq ‖ payload)`, numbers as
/// 64-bit little endian. `previous` is all zeros for the first record.
#[must_use]
pub fn next(previous: &Hash, stream: &[u8], seq: u64, payload: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(previous);
    sha.update((stream.len() as u64).to_le_bytes());
    sha.update(stream);
    sha.update(seq.to_le_bytes());
    sha.update(payload);
    sha.finalize().into()
}

/// Checks that `records` are the consecutive records of `stream` that follow
/// `head`, and returns the head after them.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the first record that is missing or whose hash
/// does not follow.
pub fn follow(stream: &[u8], head: Head, records: &[Record]) -> Result<Head, StoreError> {
    let mut head = head;
    for record in records {
        if record.seq != head.len {
            return Err(damage(stream, head.len, "is missing"));
        }
        if next(&head.hash, stream, record.seq, &record.payload) != record.hash {
            return Err(damage(stream, record.seq, "does not match its hash"));
        }
        head = Head {
            len: record.seq + 1,
            hash: record.hash,
        };
    }
    Ok(head)
}

/// Names a damaged record.
pub(crate) fn damage(stream: &[u8], seq: u64, what: &str) -> StoreError {
    StoreError::corrupt(format!("stream {}: record {seq} {what}", printable(stream)))
}

/// Bytes for a message: text as it is, anything else escaped, cut at 80 bytes.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(80)];
    format!("\"{}\"", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_part_of_the_input_changes_the_hash() {
        let base = next(&[0; 32], b"ab", 1, b"c");
        let others = [
            next(&[1; 32], b"ab", 1, b"c"),
            next(&[0; 32], b"a", 1, b"c"),
            next(&[0; 32], b"ab", 2, b"c"),
            next(&[0; 32], b"ab", 1, b"d"),
            next(&[0; 32], b"ab", 1, b""),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn follow_names_the_first_bad_record() {
        let mut head = Head::default();
        let mut records = Vec::new();
        for seq in 0..4 {
            let payload = Bytes::from(format!("r{seq}"));
            let hash = next(&head.hash, b"s", seq, &payload);
            head = Head { len: seq + 1, hash };
            records.push(Record { seq, payload, hash });
        }
        assert_eq!(follow(b"s", Head::default(), &records).unwrap(), head);

        let mut edited = records.clone();
        edited[2].payload = Bytes::from_static(b"x");
        let error = follow(b"s", Head::default(), &edited).unwrap_err();
        assert!(
            error.to_string().contains("record 2 does not match"),
            "{error}"
        );

        records.remove(1);
        let error = follow(b"s", Head::default(), &records).unwrap_err();
        assert!(error.to_string().contains("record 1 is missing"), "{error}");
    }
}
