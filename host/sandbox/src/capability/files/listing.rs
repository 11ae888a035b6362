//! Reading directories: entry by entry for a guest, in batches of bounded size,
//! and whole trees for the quotas.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, DirEntry, FileType, FileTypeExt, ReadDir};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::Files;
use super::fault::Fault;
use super::grant::PATH_DEPTH_MAX;
use super::slots::Slot;
use crate::gate::{Permit, Reservation};

/// Entries read at once; a name has at most 255 bytes, so a batch stays under
/// [`BATCH_BYTES`].
const BATCH: usize = 128;

/// What an open listing takes of the call's host memory.
pub(super) const BATCH_BYTES: u64 = 48 << 10;

/// A directory being listed.
pub(super) struct Listing {
    /// What it is listed under; rechecked at each entry.
    pub(super) permit: Permit<Files>,
    state: Mutex<ListingState>,
    _slot: Slot,
    _memory: Reservation,
}

struct ListingState {
    entries: Option<ReadDir>,
    ready: VecDeque<Result<DirectoryEntry, ErrorCode>>,
}

impl Listing {
    pub(super) fn new(
        permit: Permit<Files>,
        entries: ReadDir,
        slot: Slot,
        memory: Reservation,
    ) -> Arc<Self> {
        Arc::new(Self {
            permit,
            state: Mutex::new(ListingState {
                entries: Some(entries),
                ready: VecDeque::new(),
            }),
            _slot: slot,
            _memory: memory,
        })
    }

    /// The next entry that is at hand; `None` when a batch must be read first,
    /// `Some(None)` at the end.
    pub(super) fn ready(&self) -> Option<Option<Result<DirectoryEntry, ErrorCode>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.ready.pop_front() {
            Some(entry) => Some(Some(entry)),
            None if state.entries.is_none() => Some(None),
            None => None,
        }
    }

    /// Reads a batch. Blocks.
    pub(super) fn fill(&self) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.ready.len() < BATCH {
            let Some(entries) = state.entries.as_mut() else {
                break;
            };
            let Some(entry) = entries.next() else {
                state.entries = None;
                break;
            };
            if let Some(entry) = described(entry).transpose() {
                state.ready.push_back(entry);
            }
        }
        Ok(())
    }
}

/// An entry as the guest sees it; `None` when it is gone by now.
fn described(entry: io::Result<DirEntry>) -> Result<Option<DirectoryEntry>, ErrorCode> {
    let entry = entry.map_err(ErrorCode::from)?;
    let type_ = match entry.file_type() {
        Ok(kind) => descriptor_type(kind),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => DescriptorType::Unknown,
    };
    match entry.file_name().into_string() {
        Ok(name) => Ok(Some(DirectoryEntry { type_, name })),
        Err(_) => Err(ErrorCode::IllegalByteSequence),
    }
}

pub(super) fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        kind if kind.is_file() => DescriptorType::RegularFile,
        kind if kind.is_dir() => DescriptorType::Directory,
        kind if kind.is_symlink() => DescriptorType::SymbolicLink,
        kind if kind.is_fifo() => DescriptorType::Fifo,
        kind if kind.is_socket() => DescriptorType::Socket,
        kind if kind.is_block_device() => DescriptorType::BlockDevice,
        kind if kind.is_char_device() => DescriptorType::CharacterDevice,
        _ => DescriptorType::Unknown,
    }
}

/// What a tree holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Sizes of the regular files, by name: a file with two names counts twice.
    pub(super) bytes: u64,
    /// Names of any kind.
    pub(super) files: u64,
    /// Levels below the directory itself.
    pub(super) height: usize,
    /// Whether all of it was seen.
    pub(super) complete: bool,
}

/// Walks the tree below `dir`, without following links, until it has seen more
/// than `files_max` names. What is deeper than a guest path can be, or can't be
/// opened, makes it incomplete, and then it has more than `files_max` files.
pub(super) fn walk(dir: &Dir, files_max: u64) -> io::Result<Seen> {
    let mut seen = Seen {
        complete: true,
        ..Seen::default()
    };
    let mut open = vec![(dir.try_clone()?, dir.entries()?)];
    while let Some((dir, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let Ok(meta) = dir.symlink_metadata(entry.file_name()) else {
            continue;
        };
        seen.files += 1;
        if meta.is_file() {
            seen.bytes += meta.len();
        }
        let below = meta.is_dir().then(|| descend(dir, &entry));
        let height = open.len();
        seen.height = seen.height.max(height);
        match below {
            Some(Ok(below)) if height < PATH_DEPTH_MAX => open.push(below),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Some(_) => seen.complete = false,
            None => {}
        }
        if seen.files > files_max {
            seen.complete = false;
            break;
        }
    }
    if !seen.complete {
        seen.files = seen.files.max(files_max.saturating_add(1));
    }
    Ok(seen)
}

fn descend(dir: &Dir, entry: &DirEntry) -> io::Result<(Dir, ReadDir)> {
    let below = dir.open_dir_nofollow(entry.file_name())?;
    let entries = below.entries()?;
    Ok((below, entries))
}
