//! Copies of the truth. A backup is taken while the store serves, in one
//! snapshot, and is a database of its own. It is worth something only after
//! [`check_backup`] said that it can be restored.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::lock::{DirLock, create_private_file, sync_dir};
use super::schema::{self, Mode};
use super::{DATABASE_FILE, SqliteStore, check, must_have_tables};
use crate::store::StoreError;

impl SqliteStore {
    /// Copies the database to `to`, which must not exist, while commits go on.
    /// The copy holds what was durable when the copying began. Blocks until it
    /// is written and synced; call it off the async runtime.
    ///
    /// # Errors
    /// [`StoreError::Io`] when `to` exists or cannot be written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref();
        must_be_new(to)?;
        let part = part_of(to);
        let copied = self.copy_to(&part).and_then(|()| publish(&part, to));
        if copied.is_err() {
            // The failure is what matters; a part is not a backup.
            let _ = fs::remove_file(&part);
        }
        copied
    }

    fn copy_to(&self, part: &Path) -> Result<(), StoreError> {
        create_private_file(part)?;
        let wrap = |source| {
            let step = format!("copying the database to {}", part.display());
            StoreError::io(step, source)
        };
        self.readers.with(|conn| {
            let copy = || -> rusqlite::Result<StepResult> {
                let mut target = Connection::open(part)?;
                target.pragma_update(None, "synchronous", "FULL")?;
                let done = Backup::new(conn, &mut target)?.step(-1)?;
                target.query_row("PRAGMA journal_mode=DELETE", (), |_| Ok(()))?;
                Ok(done)
            };
            match copy().map_err(wrap)? {
                StepResult::Done => Ok(()),
                _ => Err(StoreError::io(
                    format!("copying the database to {}", part.display()),
                    std::io::Error::from(std::io::ErrorKind::ResourceBusy),
                )),
            }
        })
    }
}

/// Checks a backup: that it is ours, of a version this build can read, and that
/// every page, checksum and chain in it is sound.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the damage, [`StoreError::Version`],
/// [`StoreError::Io`].
pub fn check_backup(file: impl AsRef<Path>) -> Result<(), StoreError> {
    let file = file.as_ref();
    let conn = schema::connect(file, Mode::Read)?;
    must_have_tables(&conn, file)?;
    check::all(&conn, file)
}

/// Makes a data directory from a backup, after checking it. The directory must
/// not hold a database.
///
/// # Errors
/// As [`check_backup`]; [`StoreError::Io`] when there is a database already;
/// [`StoreError::InUse`].
pub fn restore(file: impl AsRef<Path>, dir: impl AsRef<Path>) -> Result<(), StoreError> {
    let (file, dir) = (file.as_ref(), dir.as_ref());
    check_backup(file)?;
    let _lock = DirLock::take(dir)?;
    let to = dir.join(DATABASE_FILE);
    must_be_new(&to)?;
    let part = part_of(&to);
    create_private_file(&part)?;
    let copy = || {
        fs::copy(file, &part)?;
        fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o600))
    };
    copy().map_err(|source| StoreError::io("copying the backup", source))?;
    let log = dir.join(format!("{DATABASE_FILE}-wal"));
    must_be_new(&log)?;
    publish(&part, &to)
}

fn must_be_new(path: &Path) -> Result<(), StoreError> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) => Err(StoreError::io(
            format!("writing to {}", path.display()),
            std::io::Error::from(std::io::ErrorKind::AlreadyExists),
        )),
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Gives a complete, synced file its name.
fn publish(part: &Path, to: &Path) -> Result<(), StoreError> {
    let publish = || {
        fs::File::open(part)?.sync_all()?;
        fs::rename(part, to)?;
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty());
        sync_dir(dir.unwrap_or(Path::new(".")))
    };
    publish().map_err(|source| StoreError::io(format!("writing {}", to.display()), source))
}
