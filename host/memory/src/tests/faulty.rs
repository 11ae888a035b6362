//! A folder whose writes fail from a certain one on, as when the process dies or the
//! disk is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, WatchCallback, WatchHandle, WritePtr,
};

use crate::text::disk::{Folder, Home};

/// How many more changes of files succeed; beyond, all fail.
#[derive(Debug, Clone, Default)]
pub(super) struct Left(Arc<AtomicI64>);

#[derive(Debug)]
pub(super) struct FaultyHome {
    folder: Folder,
    left: Left,
}

#[derive(Debug, Clone)]
struct FaultyDirectory {
    inner: Box<dyn Directory>,
    left: Left,
}

impl Left {
    pub(super) fn set(&self, changes: i64) {
        self.0.store(changes, Ordering::SeqCst);
    }

    /// Whether a change failed.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }

    fn take(&self) -> io::Result<()> {
        match self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => Ok(()),
            false => Err(io::Error::other("injected failure")),
        }
    }
}

impl FaultyHome {
    pub(super) fn new(dir: PathBuf, left: &Left) -> Self {
        Self {
            folder: Folder::unlocked(dir),
            left: left.clone(),
        }
    }
}

impl Home for FaultyHome {
    fn open(&self) -> io::Result<Box<dyn Directory>> {
        let (inner, left) = (self.folder.open()?, self.left.clone());
        Ok(Box::new(FaultyDirectory { inner, left }))
    }

    fn clear(&self) -> io::Result<()> {
        self.left.take()?;
        self.folder.clear()
    }
}

impl Directory for FaultyDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.inner.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.left.take().map_err(|error| DeleteError::IoError {
            io_error: Arc::new(error),
            filepath: path.to_owned(),
        })?;
        self.inner.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.inner.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.left
            .take()
            .map_err(|error| OpenWriteError::wrap_io_error(error, path.to_owned()))?;
        self.inner.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.inner.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.left.take()?;
        self.inner.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.left.take()?;
        self.inner.sync_directory()
    }

    fn acquire_lock(
        &self,
        lock: &Lock,
    ) -> Result<DirectoryLock, tantivy::directory::error::LockError> {
        self.inner.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.inner.watch(callback)
    }
}
