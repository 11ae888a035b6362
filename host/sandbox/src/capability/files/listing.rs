//! Reading directories: entry by entry for a guest, in batches of bounded size,
//! and whole trees for the quotas.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::{Dir, DirEntry, FileType, FileTypeExt, ReadDir};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
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
    /// Longest path below it, bytes.
    pub(super) path_bytes: usize,
    /// Whether all of it was seen.
    pub(super) complete: bool,
}

/// Walks the tree below `dir`, without following links, until it has seen more
/// than `files_max` names. What is deeper than a guest path can be, or can't be
/// opened, makes it incomplete, and then it has more than `files_max` files.
pub(super) fn walk(dir: &Dir, files_max: u64) -> io::Result<Seen> {
    measure(dir, files_max, || Ok(()))
}

/// The same; each level holds one descriptor, and what `take` gives for it.
pub(super) fn measure<S, E: From<io::Error>>(
    dir: &Dir,
    files_max: u64,
    mut take: impl FnMut() -> Result<S, E>,
) -> Result<Seen, E> {
    let mut seen = Seen {
        complete: true,
        ..Seen::default()
    };
    let top = entries(dir.as_fd(), c".").map_err(io::Error::from)?;
    let mut open = vec![(top, 0, take()?)];
    while let Some((entries, above, _)) = open.last_mut() {
        let Some(entry) = entries.read() else {
            open.pop();
            continue;
        };
        let entry = entry.map_err(io::Error::from)?;
        let above = *above;
        let Some(name) = own_name(&entry) else {
            continue;
        };
        let Some(below) = seen.add(entries, name, above + name.count_bytes()) else {
            continue;
        };
        seen.height = seen.height.max(open.len());
        match below {
            Below::Dir(entries) if open.len() < PATH_DEPTH_MAX => {
                open.push((entries, above + name.count_bytes() + 1, take()?));
            }
            Below::Dir(_) | Below::Closed => seen.complete = false,
            Below::Nothing => {}
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

/// What is below a name.
enum Below {
    Nothing,
    Dir(rustix::fs::Dir),
    /// A directory that can't be opened.
    Closed,
}

impl Seen {
    /// Counts a name whose path has `path_bytes`; `None` when it is gone by now.
    fn add(&mut self, dir: &rustix::fs::Dir, name: &CStr, path_bytes: usize) -> Option<Below> {
        let dir = dir.fd().ok()?;
        let meta = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        self.files += 1;
        self.path_bytes = self.path_bytes.max(path_bytes);
        Some(match rustix::fs::FileType::from_raw_mode(meta.st_mode) {
            rustix::fs::FileType::RegularFile => {
                self.bytes += u64::try_from(meta.st_size).unwrap_or(0);
                Below::Nothing
            }
            rustix::fs::FileType::Directory => match entries(dir, name) {
                Ok(entries) => Below::Dir(entries),
                Err(Errno::NOENT) => Below::Nothing,
                Err(_) => Below::Closed,
            },
            _ => Below::Nothing,
        })
    }
}

/// The name of an entry, but for the directory itself and the one above.
fn own_name(entry: &rustix::fs::DirEntry) -> Option<&CStr> {
    let name = entry.file_name();
    (name != c"." && name != c"..").then_some(name)
}

fn entries(dir: BorrowedFd<'_>, name: &CStr) -> Result<rustix::fs::Dir, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::Dir::new(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}
