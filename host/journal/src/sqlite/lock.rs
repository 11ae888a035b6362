//! Ownership of a data directory: one process at a time, and only its user may
//! read it. The kernel releases the lock however the owner ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::store::StoreError;

/// A data directory that this process owns, until it is dropped. An open store
/// holds one.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "closing it unlocks")] File);

impl DirLock {
    /// Creates the directory (mode 0700) when it is missing and locks it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process owns it, [`StoreError::Io`].
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        create_private_dir(dir)?;
        let path = dir.join("lock");
        let step = || format!("locking {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StoreError::io(step(), source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&mut file)),
            Err(TryLockError::Error(source)) => return Err(StoreError::io(step(), source)),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .map_err(|source| StoreError::io(step(), source))?;
        Ok(Self(file))
    }
}

/// How often, and how long apart, an owner's number is looked for: it is written
/// down right after the lock was taken.
const LOOKS: u32 = 5;
const LOOK_WAIT: Duration = Duration::from_millis(10);

fn in_use(file: &mut File) -> StoreError {
    let mut look = || {
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    };
    let mut pid = look();
    for _ in 1..LOOKS {
        if pid.is_some() {
            break;
        }
        std::thread::sleep(LOOK_WAIT);
        pid = look();
    }
    StoreError::InUse { pid }
}

/// Creates an empty file with mode 0600 when there is none, and makes its name
/// durable. One that others can read is tightened.
pub(super) fn create_private_file(path: &Path) -> Result<(), StoreError> {
    let wrap = |source| StoreError::io(format!("creating {}", path.display()), source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(wrap)?;
    let mode = file.metadata().map_err(wrap)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(wrap)?;
    }
    file.sync_all().map_err(wrap)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync_dir(dir.unwrap_or(Path::new("."))).map_err(wrap)
}

fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    let wrap = |source| StoreError::io(format!("creating {}", dir.display()), source);
    let existed = dir.is_dir();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(wrap)?;
    let mode = dir.metadata().map_err(wrap)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(wrap)?;
    }
    if !existed && let Some(parent) = dir.parent().filter(|parent| parent.is_dir()) {
        sync_dir(parent).map_err(wrap)?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}
