//! A look at the write-ahead log before SQLite reads it. SQLite ends the log at
//! the first frame whose checksum is wrong, which is right for a torn tail but
//! would drop acknowledged commits in silence when a bit rotted in the middle.
//!
//! The two can be told apart: a transaction begins only after the one before it
//! was synced. So a bad frame may belong to the last transaction, but when a
//! commit of the same log follows it and frames follow that commit, the bad
//! frame had been durable. Format: <https://www.sqlite.org/fileformat2.html#walformat>.

use std::path::Path;

use crate::store::StoreError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Refuses a log that is damaged before its last transaction.
pub(super) fn check(wal: &Path) -> Result<(), StoreError> {
    let log = match std::fs::read(wal) {
        Ok(log) => log,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let step = format!("reading {}", wal.display());
            return Err(StoreError::io(step, source));
        }
    };
    match damaged_frame(&log) {
        None => Ok(()),
        Some(Damage::Header) => Err(StoreError::corrupt(format!(
            "{}: the log's header fails its checksum, and frames follow it",
            wal.display()
        ))),
        Some(Damage::Frame { frame, offset }) => Err(StoreError::corrupt(format!(
            "{}: frame {frame} at byte {offset} fails its checksum, and later commits follow it",
            wal.display()
        ))),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Damage {
    Header,
    Frame { frame: usize, offset: usize },
}

fn damaged_frame(log: &[u8]) -> Option<Damage> {
    let header = log.get(..HEADER_BYTES)?;
    let frames_follow = log[HEADER_BYTES..].iter().any(|byte| *byte != 0);
    let big_endian = match word(header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return frames_follow.then_some(Damage::Header),
    };
    let mut sums = checksum(big_endian, [0, 0], &header[..24]);
    if sums != [word(header, 24), word(header, 28)] {
        return frames_follow.then_some(Damage::Header);
    }
    let page_bytes = word(header, 8) as usize;
    if !(512..=65_536).contains(&page_bytes) {
        return Some(Damage::Header);
    }
    let frame_bytes = FRAME_HEADER_BYTES + page_bytes;
    let frames: Vec<&[u8]> = log[HEADER_BYTES..].chunks_exact(frame_bytes).collect();
    let ours = |frame: &[u8]| frame[8..16] == header[16..24];
    let bad = frames.iter().position(|frame| {
        sums = checksum(big_endian, sums, &frame[..8]);
        sums = checksum(big_endian, sums, &frame[FRAME_HEADER_BYTES..]);
        !ours(frame) || sums != [word(frame, 16), word(frame, 20)]
    })?;
    let commit = |frame: &[u8]| ours(frame) && word(frame, 4) != 0;
    let next_commit = bad + frames[bad..].iter().position(|frame| commit(frame))?;
    let later = frames[next_commit + 1..].iter().any(|frame| ours(frame));
    later.then_some(Damage::Frame {
        frame: bad,
        offset: HEADER_BYTES + bad * frame_bytes,
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn checksum(big_endian: bool, start: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let read = |four: &[u8]| {
        let four = std::array::from_fn(|i| four[i]);
        if big_endian {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        }
    };
    let [mut a, mut b] = start;
    for eight in bytes.chunks_exact(8) {
        a = a.wrapping_add(read(&eight[..4])).wrapping_add(b);
        b = b.wrapping_add(read(&eight[4..])).wrapping_add(a);
    }
    [a, b]
}
