//! Which mutant is alive. This file is put into each mutated crate, as it is.
//!
//! `AIRLOCK_MUTANT` is the number of the one that is alive. With
//! `AIRLOCK_MUTANT_COVER` none is, and each that is reached is told once: its
//! number is appended to that file, four bytes. Child processes inherit both.

use std::io::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const UNREAD: u32 = u32::MAX;
const COVER: u32 = u32::MAX - 1;

static ALIVE: AtomicU32 = AtomicU32::new(UNREAD);
static TOLD: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Whether this mutant is alive.
#[inline]
pub(crate) fn on(id: u32) -> bool {
    match ALIVE.load(Ordering::Relaxed) {
        UNREAD | COVER => first(id),
        alive => alive == id,
    }
}

#[cold]
fn first(id: u32) -> bool {
    let cover = std::env::var_os("AIRLOCK_MUTANT_COVER");
    if let Some(path) = cover {
        ALIVE.store(COVER, Ordering::Relaxed);
        tell(id, path.as_ref());
        return false;
    }
    let alive = std::env::var("AIRLOCK_MUTANT").unwrap_or_default();
    let alive = alive.parse().unwrap_or(0);
    ALIVE.store(alive, Ordering::Relaxed);
    alive == id
}

pub(crate) fn tell(id: u32, path: &std::path::Path) {
    let bit = 1 << (id % 64);
    let word = &TOLD[id as usize / 64];
    if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        if let Ok(mut file) = file {
            let _ = file.write_all(&id.to_le_bytes());
        }
    }
}
