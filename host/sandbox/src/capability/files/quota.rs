//! How much a granted directory holds, counted once per directory in the whole
//! process, however many plugins, grants and calls share it.
//!
//! What must stay true: growth is reserved before it happens and settled to what
//! did; a deleted file that is still open keeps counting until it is closed, by
//! whichever granted directory it was opened and deleted; a name is deleted and
//! its bytes are given back under one lock, so that a swap of names can't give
//! back what is still there. What others change on the host is seen at the next
//! recount: when a grant is prepared, every few minutes of growth, and before a
//! refusal.

use std::collections::HashMap;
use std::io;
use std::sync::{
    Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, File, Metadata, MetadataExt};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::fault::Fault;
use super::grant::Rule;
use super::listing::walk;
use crate::limits::ByteSize;

/// A refusal recounts at most this often.
const RECOUNT_EVERY: Duration = Duration::from_secs(5);

/// Growth counts anew what was counted longer ago.
const COUNT_OLD: Duration = Duration::from_secs(300);

/// A count this young is not repeated when a grant is prepared.
const COUNT_FRESH: Duration = Duration::from_secs(1);

/// A file or directory of the host: device and inode.
pub(super) type Key = (u64, u64);

pub(super) fn key(meta: &Metadata) -> Key {
    (meta.dev(), meta.ino())
}

/// Directories in use, by identity.
static USAGES: LazyLock<Mutex<HashMap<Key, Weak<Usage>>>> = LazyLock::new(Mutex::default);

/// Open files that count, by identity.
static FILES: LazyLock<Mutex<HashMap<Key, Weak<Shared>>>> = LazyLock::new(Mutex::default);

/// One lock per device for operations that take names away.
static NAMES: LazyLock<Mutex<HashMap<u64, Arc<Mutex<()>>>>> = LazyLock::new(Mutex::default);

/// What one directory holds.
pub(super) struct Usage {
    held: Mutex<Totals>,
    /// Read by what grows, written by what shrinks and by a recount.
    changing: RwLock<()>,
    names: Arc<Mutex<()>>,
    open: Mutex<HashMap<Key, Weak<Inode>>>,
    counted: Mutex<Counted>,
    dir: Arc<Dir>,
}

#[derive(Debug, Default)]
struct Totals {
    /// Under a name, or reserved.
    bytes: u64,
    files: u64,
    /// In files that are deleted and still open. A recount doesn't see them.
    deleted: u64,
}

#[derive(Default)]
struct Counted {
    at: Option<Instant>,
    /// The walk stopped once it had seen more files than this.
    files_max: u64,
    complete: bool,
}

/// An open file that counts in one directory, shared by all who opened it there.
pub(super) struct Inode {
    usage: Arc<Usage>,
    shared: Arc<Shared>,
}

/// An open file, whichever directories it was opened by.
struct Shared {
    key: Key,
    state: Mutex<InodeState>,
}

pub(super) struct InodeState {
    /// The size when it was last changed through one of them.
    size: u64,
    /// Deleted while open: counts in each until closed there.
    deleted: bool,
    /// Where it is open.
    usages: Vec<Arc<Usage>>,
}

/// The quota of one rule on one directory.
#[derive(Clone)]
pub(super) struct Quota {
    usage: Arc<Usage>,
    bytes_max: u64,
    files_max: u64,
}

/// Growth that is reserved; given back when dropped unsettled.
pub(super) struct Held<'q> {
    usage: &'q Usage,
    bytes: u64,
    files: u64,
}

impl Quota {
    /// The quota of `rule` on `dir`; counts what is there.
    ///
    /// # Errors
    /// The directory can't be read.
    pub(super) fn new(rule: &Rule, dir: &Arc<Dir>) -> io::Result<Self> {
        let usage = Usage::of(dir)?;
        usage.count(COUNT_FRESH, rule.files_max())?;
        Ok(Self {
            usage,
            bytes_max: rule.bytes_max(),
            files_max: rule.files_max(),
        })
    }

    /// Bytes and files counted now.
    #[cfg(test)]
    pub(super) fn used(&self) -> (u64, u64) {
        let totals = lock(&self.usage.held);
        (totals.bytes + totals.deleted, totals.files)
    }

    /// Does what may grow the directory, with a recount and a second attempt
    /// when the quota refuses the first. `attempt` must have done nothing when
    /// it fails by quota.
    pub(super) fn grow<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.usage.count(COUNT_OLD, self.files_max)?;
        let first = {
            let _changing = self.usage.changing();
            attempt()
        };
        match first {
            Err(Fault::Refused {
                code: ErrorCode::Quota,
                ..
            }) if matches!(self.usage.count(RECOUNT_EVERY, self.files_max), Ok(true)) => {
                let _changing = self.usage.changing();
                attempt()
            }
            first => first,
        }
    }

    /// Does what takes names away, if `check` agrees: no name of the device
    /// changes meanwhile, and already since the check nothing in the directory.
    pub(super) fn shrink<T>(
        &self,
        check: impl FnOnce() -> Result<(), Fault>,
        work: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // Nobody who has the device's lock waits for a directory.
        let _alone = self.usage.alone();
        check()?;
        let _names = lock(&self.usage.names);
        work()
    }

    /// Reserves growth. Only within [`Quota::grow`].
    ///
    /// # Errors
    /// A refusal with the code `quota`.
    pub(super) fn reserve(&self, bytes: u64, files: u64) -> Result<Held<'_>, Fault> {
        let mut totals = lock(&self.usage.held);
        // With more files than the quota, not all were counted.
        let full = totals.files > self.files_max;
        if (files > 0 && totals.files + files > self.files_max) || (bytes > 0 && full) {
            let rule = format!("the quota of {} files is used up", self.files_max);
            return Err(Fault::refused(ErrorCode::Quota, rule));
        }
        let sum = (totals.bytes + totals.deleted).saturating_add(bytes);
        if bytes > 0 && sum > self.bytes_max {
            let max = ByteSize(self.bytes_max);
            let rule = format!("the quota of {max} does not leave room for {bytes} more bytes");
            return Err(Fault::refused(ErrorCode::Quota, rule));
        }
        totals.bytes += bytes;
        totals.files += files;
        Ok(Held {
            usage: &self.usage,
            bytes,
            files,
        })
    }

    /// Registers an open file.
    ///
    /// # Errors
    /// `no-entry` when its last name is gone: it no longer counts.
    pub(super) fn opened(&self, file: &File) -> Result<Arc<Inode>, Fault> {
        let meta = file.metadata()?;
        let inode = self.usage.inode(&meta);
        // Whoever deletes the name looks here after deleting: either it finds
        // this entry, or the name is gone by now.
        if file.metadata()?.nlink() == 0 {
            return Err(ErrorCode::NoEntry.into());
        }
        Ok(inode)
    }

    /// Counts the name of `meta` as gone. Only within [`Quota::shrink`].
    pub(super) fn removed(&self, meta: &Metadata) {
        let usage = &self.usage;
        let bytes = if meta.is_file() { meta.len() } else { 0 };
        lock(&usage.held).lower(bytes, 1);
        let open = lock(&FILES).get(&key(meta)).and_then(Weak::upgrade);
        if let Some(file) = open.filter(|_| meta.is_file() && meta.nlink() <= 1) {
            lock(&file.state).delete(meta.len());
        }
    }

    /// Something grows meanwhile.
    #[cfg(test)]
    pub(super) fn busy(&self) -> RwLockReadGuard<'_, ()> {
        self.usage.changing()
    }

    /// Whether anything is kept of a directory.
    #[cfg(test)]
    pub(super) fn is_kept(dir: &std::path::Path) -> bool {
        let key = super::reserved::identity(dir).expect("a directory");
        lock(&USAGES).contains_key(&key)
    }

    /// Whether a file of the host is open for anybody.
    #[cfg(test)]
    pub(super) fn is_open(file: &std::path::Path) -> bool {
        let key = super::reserved::identity(file).expect("a file");
        lock(&FILES).contains_key(&key)
    }

    /// Counts now.
    #[cfg(test)]
    pub(super) fn recount(&self) {
        let counted = self.usage.count(Duration::ZERO, self.files_max);
        assert!(counted.expect("a count"));
    }
}

impl Usage {
    fn of(dir: &Arc<Dir>) -> io::Result<Arc<Self>> {
        let key = key(&dir.dir_metadata()?);
        let mut usages = lock(&USAGES);
        if let Some(usage) = usages.get(&key).and_then(Weak::upgrade) {
            return Ok(usage);
        }
        let usage = Arc::new(Self {
            held: Mutex::default(),
            changing: RwLock::new(()),
            names: Arc::clone(lock(&NAMES).entry(key.0).or_default()),
            open: Mutex::default(),
            counted: Mutex::default(),
            dir: Arc::clone(dir),
        });
        usages.retain(|_, usage| usage.strong_count() > 0);
        usages.insert(key, Arc::downgrade(&usage));
        Ok(usage)
    }

    /// Counts what is there unless that was done within `fresh` and far enough;
    /// says whether it did.
    fn count(&self, fresh: Duration, files_max: u64) -> io::Result<bool> {
        let mut counted = lock(&self.counted);
        let young = counted.at.is_some_and(|at| at.elapsed() < fresh);
        let far_enough = counted.complete || counted.files_max >= files_max;
        if young && far_enough {
            return Ok(false);
        }
        let files_max = files_max.max(counted.files_max);
        let _alone = self.alone();
        let seen = walk(&self.dir, files_max)?;
        let mut totals = lock(&self.held);
        (totals.bytes, totals.files) = (seen.bytes, seen.files);
        drop(totals);
        *counted = Counted {
            at: Some(Instant::now()),
            files_max,
            complete: seen.complete,
        };
        Ok(true)
    }

    fn inode(self: &Arc<Self>, meta: &Metadata) -> Arc<Inode> {
        let key = key(meta);
        let mut open = lock(&self.open);
        if let Some(inode) = open.get(&key).and_then(Weak::upgrade) {
            return inode;
        }
        let inode = Arc::new(Inode {
            usage: Arc::clone(self),
            shared: Shared::of(meta),
        });
        open.insert(key, Arc::downgrade(&inode));
        // A write may take long; nobody else waits for it.
        drop(open);
        inode.state().enter(self);
        inode
    }

    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.changing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inode {
    /// Held while the file's size may change.
    pub(super) fn state(&self) -> MutexGuard<'_, InodeState> {
        self.shared.state()
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.state().leave(&self.usage);
        forget(&self.usage.open, self.shared.key);
    }
}

impl Shared {
    fn of(meta: &Metadata) -> Arc<Self> {
        let key = key(meta);
        let mut files = lock(&FILES);
        if let Some(shared) = files.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(Self {
            key,
            state: Mutex::new(InodeState {
                size: meta.len(),
                deleted: false,
                usages: Vec::new(),
            }),
        });
        files.insert(key, Arc::downgrade(&shared));
        shared
    }

    fn state(&self) -> MutexGuard<'_, InodeState> {
        lock(&self.state)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        forget(&FILES, self.key);
    }
}

impl InodeState {
    fn enter(&mut self, usage: &Arc<Usage>) {
        if self.deleted {
            lock(&usage.held).deleted += self.size;
        }
        self.usages.push(Arc::clone(usage));
    }

    fn leave(&mut self, usage: &Arc<Usage>) {
        let at = self
            .usages
            .iter()
            .position(|other| Arc::ptr_eq(other, usage));
        let usage = at.map(|at| self.usages.swap_remove(at));
        if let Some(usage) = usage.filter(|_| self.deleted) {
            let mut totals = lock(&usage.held);
            totals.deleted = totals.deleted.saturating_sub(self.size);
        }
    }

    /// Its last name is gone. What others than the one who deleted it count
    /// under that name, their next recount finds out.
    fn delete(&mut self, size: u64) {
        if std::mem::replace(&mut self.deleted, true) {
            return;
        }
        self.size = self.size.max(size);
        for usage in &self.usages {
            lock(&usage.held).deleted += self.size;
        }
    }
}

/// Drops an entry whose last reference went, unless another opened it anew.
fn forget<T>(all: &Mutex<HashMap<Key, Weak<T>>>, key: Key) {
    let mut all = lock(all);
    if all.get(&key).is_some_and(|entry| entry.strong_count() == 0) {
        all.remove(&key);
    }
}

impl Held<'_> {
    /// The growth happened as reserved.
    pub(super) fn settle(mut self) {
        self.bytes = 0;
        self.files = 0;
    }

    /// The file had `before` bytes and has `size` now, whatever was reserved.
    pub(super) fn settle_size(mut self, file: &mut InodeState, before: u64, size: u64) {
        let counted = std::mem::replace(&mut file.size, size);
        let reserved = std::mem::take(&mut self.bytes);
        lock(&self.usage.held).lower(reserved, 0);
        if !file.deleted {
            let mut totals = lock(&self.usage.held);
            totals.bytes = (totals.bytes + size).saturating_sub(before);
            return;
        }
        for usage in &file.usages {
            let mut totals = lock(&usage.held);
            totals.deleted = (totals.deleted + size).saturating_sub(counted);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.usage.held).lower(self.bytes, self.files);
    }
}

impl Totals {
    /// Not below zero: others may have changed the directory.
    fn lower(&mut self, bytes: u64, files: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.files = self.files.saturating_sub(files);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
