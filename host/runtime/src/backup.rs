//! Copies of the whole truth in one file, and going back to one.
//!
//! A backup is a database like the store's own, which beside everything else
//! holds the components that its plugins name. The keys are not in it.
//!
//! What must stay true: a backup is one moment, and whole; restoring never
//! destroys what was there; what an interrupted one left undone is done when the
//! data directory is opened or restored again, and what was restored last is in
//! force.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use airlock_journal::sqlite::{self, DATABASE_FILE, DirLock};
use airlock_journal::{Batch, Op, SqliteStore, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::components::{Components, sync_dir};
use crate::config::RuntimeConfig;
use crate::engine::ComponentSource;
use crate::plugins::{PLUGINS, PluginRow};
use crate::principal::Principal;
use crate::problem::Failure;
use crate::record;
use crate::runtime::Runtime;
use crate::tokens::AuthError;
use crate::{ids, rows};

/// In a backup: components by digest, and under the empty key what the backup is.
const SPACE: &str = "backup";
/// Directories in which backups are made, in the data directory.
const WORK_PREFIX: &str = "backup-";

/// The truth of a backup on its way into its place, in the data directory.
const RESTORED_PREFIX: &str = "restored-";
/// What was there before.
const REPLACED_PREFIX: &str = "replaced-";

/// Keys without which a backup's secrets and audit are of no use.
const KEYS: [&str; 2] = ["vault.key", "audit.key"];

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    at_ms: u64,
    by: String,
}

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Another one is being made.
    #[error("a backup is being made already")]
    Busy,
    /// The store is not one on this machine.
    #[error("this host's store is not backed up by Airlock")]
    Elsewhere,
    /// Making, reading or removing files.
    #[error("{step}")]
    Files {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The store or its copy.
    #[error("copying the store")]
    Store(#[from] StoreError),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The work was interrupted.
    #[error("the work was interrupted")]
    Interrupted,
}

impl Failure for BackupError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy => "backup-busy",
            Self::Elsewhere => "backup-elsewhere",
            Self::Files { .. } | Self::Store(_) => "backup-failed",
            Self::Unauthenticated(error) => error.code(),
            Self::Interrupted => "interrupted",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Busy | Self::Elsewhere => 409,
            Self::Files { .. } | Self::Store(_) => 500,
            Self::Unauthenticated(error) => error.status(),
            Self::Interrupted => 503,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Files { .. } | Self::Store(_) => {
                "no backup was made; the host's log says why".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is data already.
    #[error("{0} holds data already")]
    DataExists(PathBuf),
    /// A key of the host that made the backup is not there.
    #[error(
        "{0} is missing: a backup holds no keys, and without those it was made with its secrets can't be opened nor its audit verified; put them there first"
    )]
    KeyMissing(PathBuf),
    /// The backup is damaged or none, or a process owns the data directory.
    #[error("restoring {file}")]
    Store {
        /// The backup.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
    /// Moving or making files.
    #[error("{step} {path}")]
    Files {
        /// What was being done.
        step: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Runtime {
    /// Copies everything into one file, of one moment, while calls go on. The
    /// file has no name: it is gone once it is closed.
    ///
    /// # Errors
    /// One is being made already, or it could not be written.
    pub async fn backup(self: &Arc<Self>, who: &Principal) -> Result<fs::File, BackupError> {
        let sqlite = self.sqlite.clone().ok_or(BackupError::Elsewhere)?;
        let _turn = self.backup_turn.try_lock().map_err(|_| BackupError::Busy)?;
        // No component that the copy names goes meanwhile.
        let _naming = self.naming.read().await;
        let label = Label {
            at_ms: ids::now_ms(),
            by: who.name.clone(),
        };
        let record = self.act_of(who, "backup", "", json!({}))?;
        self.audit.append(&record).await?;
        let (data, components) = (self.config().data_dir.clone(), Arc::clone(&self.components));
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let dir = WorkDir::new(&data)?;
            sqlite.backup(dir.0.join(DATABASE_FILE))?;
            let copy = SqliteStore::open(&dir.0)?;
            runtime.block_on(add_components(&*copy, &components, &label))?;
            let file = dir.0.join("whole.db");
            copy.backup(&file)?;
            drop(copy);
            fs::File::open(&file).map_err(files("opening the copy"))
        };
        let made = tokio::task::spawn_blocking(work).await;
        made.map_err(|_| BackupError::Interrupted)?
    }

    /// After a restore: gives the components their files, and puts the restore on
    /// record. Does nothing otherwise.
    pub(crate) async fn adopt_backup(&self) -> Result<(), StoreError> {
        let Some(label) = self.store().get(SPACE, b"")? else {
            return Ok(());
        };
        let label: Label = rows::decode(SPACE, b"", &label)?;
        while let Some((key, component)) = self.store().range(SPACE, &[0], None, 1)?.pop() {
            let digest = String::from_utf8_lossy(&key).into_owned();
            let stored = self.components.put(&digest, &component);
            stored.map_err(|source| StoreError::io(format!("storing {digest}"), source))?;
            self.commit(vec![Op::Delete { space: SPACE, key }]).await?;
        }
        crate::runs::restored::block_all(self, label.at_ms).await?;
        let who = Principal::local_admin("restore");
        let detail = json!({ "made_at_ms": label.at_ms, "made_by": label.by });
        let record = record::admin(&who, "restore", "", detail);
        let missed = crate::schedules::passed_over(self.store(), label.at_ms, ids::now_ms())?;
        let batch = missed.delete(SPACE, "");
        self.audit.commit(batch, &record).await.map(drop)
    }
}

/// Puts the components that the copy's plugins name into the copy.
async fn add_components(
    copy: &dyn Store,
    components: &Components,
    label: &Label,
) -> Result<(), BackupError> {
    let plugins = rows::all::<PluginRow>(copy, PLUGINS)?;
    let versions = plugins.into_iter().flat_map(|row| row.versions);
    let digests: BTreeSet<String> = versions.map(|version| version.digest).collect();
    for digest in digests {
        let read = components.component(&digest);
        let component = read.map_err(files("reading a component"))?;
        let batch = Batch::new().put(SPACE, digest, component);
        copy.commit(batch).await?;
    }
    let batch = Batch::new().put(SPACE, "", rows::encode(label));
    copy.commit(batch).await?;
    Ok(())
}

fn files(step: &'static str) -> impl Fn(std::io::Error) -> BackupError {
    move |source| BackupError::Files { step, source }
}

/// A directory of its own that goes with it.
struct WorkDir(PathBuf);

impl WorkDir {
    fn new(data: &Path) -> Result<Self, BackupError> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("{WORK_PREFIX}{}", ids::hex(&ids::random::<8>()));
        let dir = data.join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(files("making a directory for the copy"))?;
        Ok(Self(dir))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, dir = %self.0.display(), "what a backup needed stays");
        }
    }
}

/// Removes what a backup, or a restore into an empty place, left that was cut off by
/// an abrupt stop.
pub(crate) fn clean(config: &RuntimeConfig) -> std::io::Result<()> {
    let part = config.journal_dir().join(format!("{DATABASE_FILE}.part"));
    match fs::remove_file(part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let data = &config.data_dir;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a data directory from a backup, which is checked first. With `replace`,
/// data that is there is moved into a directory of its own within the data
/// directory, which is told. Opening the data directory does the rest.
///
/// # Errors
/// A damaged backup, missing keys, data that is there, a process that owns it.
/// Nothing was destroyed, and what was there is in its place.
pub fn restore(
    config: &RuntimeConfig,
    file: &Path,
    replace: bool,
) -> Result<Option<PathBuf>, RestoreError> {
    restore_by(config, file, replace, &Placing::STEPS)
}

fn restore_by(
    config: &RuntimeConfig,
    file: &Path,
    replace: bool,
    steps: &[Step],
) -> Result<Option<PathBuf>, RestoreError> {
    let failed = |source| RestoreError::Store {
        file: file.to_owned(),
        source,
    };
    sqlite::check_backup(file).map_err(failed)?;
    let missing = KEYS.map(|name| config.key_file(name));
    if let Some(key) = missing.into_iter().find(|key| !key.is_file()) {
        return Err(RestoreError::KeyMissing(key));
    }
    // An earlier one that was cut off is over first: finished after this one, it
    // would overrule it.
    finish_restore(config)?;
    let journal = config.journal_dir();
    if !journal.join(DATABASE_FILE).exists() {
        remove_views(config)?;
        sqlite::restore(file, &journal).map_err(failed)?;
        return Ok(None);
    }
    if !replace {
        return Err(RestoreError::DataExists(config.data_dir.clone()));
    }
    let _owned = DirLock::take(&journal).map_err(failed)?;
    // Beside what is there, so that whatever fails leaves that in its place.
    let placing = Placing::new(config);
    let copied = sqlite::restore(file, &placing.restored);
    let held = copied.and_then(|()| DirLock::take(&placing.restored));
    let placed = held.map_err(failed).and_then(|held| {
        placing.go(steps)?;
        Ok(held)
    });
    if let Err(error) = placed {
        // The failure is what matters; the next start does what this leaves.
        let _ = placing.undo();
        return Err(error);
    }
    Ok(Some(placing.aside))
}

/// A restored truth on its way into the place of the one that is there, which is
/// moved out of the way.
struct Placing<'a> {
    config: &'a RuntimeConfig,
    restored: PathBuf,
    aside: PathBuf,
}

/// It can be cut off anywhere and done again.
type Step = fn(&Placing<'_>) -> Result<(), RestoreError>;

impl<'a> Placing<'a> {
    /// In this order. Until the last is done, the next start does them all again.
    const STEPS: [Step; 5] = [
        |placing| placing.make_aside(),
        |placing| placing.move_aside(&placing.config.components_dir()),
        |placing| placing.move_aside(&placing.config.journal_dir()),
        |placing| remove_views(placing.config),
        |placing| placing.put(),
    ];

    fn new(config: &'a RuntimeConfig) -> Self {
        let mut id = ids::now_ms();
        loop {
            let placing = Self::of(config, id);
            if !placing.restored.exists() && !placing.aside.exists() {
                return placing;
            }
            id += 1;
        }
    }

    fn of(config: &'a RuntimeConfig, id: u64) -> Self {
        let data = &config.data_dir;
        Self {
            config,
            restored: data.join(format!("{RESTORED_PREFIX}{id}")),
            aside: data.join(format!("{REPLACED_PREFIX}{id}")),
        }
    }

    fn go(&self, steps: &[Step]) -> Result<(), RestoreError> {
        steps.iter().try_for_each(|step| step(self))
    }

    fn make_aside(&self) -> Result<(), RestoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let making = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.aside);
        making.map_err(|source| files_of("making", &self.aside, source))
    }

    /// To a name that is free there: where one of it was moved already, this is
    /// what came since.
    fn move_aside(&self, dir: &Path) -> Result<(), RestoreError> {
        let Some(name) = dir.file_name().filter(|_| dir.exists()) else {
            return Ok(());
        };
        let mut to = self.aside.join(name);
        let mut more = 2;
        while to.exists() {
            to.set_file_name(format!("{}-{more}", name.display()));
            more += 1;
        }
        rename(dir, &to)
    }

    fn put(&self) -> Result<(), RestoreError> {
        let synced = |dir: &Path| {
            let synced = sync_dir(dir);
            synced.map_err(|source| files_of("syncing", dir, source))
        };
        synced(&self.aside)?;
        rename(&self.restored, &self.config.journal_dir())?;
        synced(&self.config.data_dir)
    }

    /// Puts back what was moved. The copy stays until all of it is back: without
    /// either the next start would begin anew.
    fn undo(&self) -> Result<(), RestoreError> {
        if !self.restored.exists() {
            return Ok(());
        }
        for dir in [self.config.journal_dir(), self.config.components_dir()] {
            let moved = dir.file_name().map(|name| self.aside.join(name));
            if let Some(moved) = moved.filter(|moved| moved.exists() && !dir.exists()) {
                rename(&moved, &dir)?;
            }
        }
        // Not where it holds anything.
        let _ = fs::remove_dir(&self.aside);
        remove(&self.restored)
    }

    /// Whether another truth came to be there after this one's place was made free:
    /// that one is the newer.
    fn is_overtaken(&self) -> bool {
        let journal = self.config.journal_dir();
        let moved = journal.file_name().map(|name| self.aside.join(name));
        let has_truth = |dir: &Path| dir.join(DATABASE_FILE).exists();
        moved.is_some_and(|moved| has_truth(&moved)) && has_truth(&journal)
    }
}

/// Does what a restore that was cut off left undone: its copy is put in place
/// where it is whole and nothing newer is there, else removed.
pub(crate) fn finish_restore(config: &RuntimeConfig) -> Result<(), RestoreError> {
    for id in cut_off(&config.data_dir)? {
        let placing = Placing::of(config, id);
        let failed = |source| RestoreError::Store {
            file: placing.restored.clone(),
            source,
        };
        // Whoever restores right now holds both.
        let _held = DirLock::take(&placing.restored).map_err(failed)?;
        let journal = config.journal_dir();
        let owned = journal
            .exists()
            .then(|| DirLock::take(&journal))
            .transpose();
        let _owned = owned.map_err(failed)?;
        let whole = placing.restored.join(DATABASE_FILE).exists();
        match whole && !placing.is_overtaken() {
            true => placing.go(&Placing::STEPS)?,
            false => remove(&placing.restored)?,
        }
    }
    Ok(())
}

/// The restores that were cut off, oldest first.
fn cut_off(data: &Path) -> Result<Vec<u64>, RestoreError> {
    let read = |source| files_of("reading", data, source);
    let mut ids = Vec::new();
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ids),
        entries => entries.map_err(read)?,
    };
    for entry in entries {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|n| n.strip_prefix(RESTORED_PREFIX));
        // What somebody else calls so has no number.
        ids.extend(id.and_then(|id| id.parse::<u64>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    fs::rename(from, to).map_err(|source| files_of("moving", from, source))
}

fn remove(dir: &Path) -> Result<(), RestoreError> {
    fs::remove_dir_all(dir).map_err(|source| files_of("removing", dir, source))
}

fn files_of(step: &'static str, path: &Path, source: std::io::Error) -> RestoreError {
    RestoreError::Files {
        step,
        path: path.to_owned(),
        source,
    }
}

/// They are of other data, and are computed again.
fn remove_views(config: &RuntimeConfig) -> Result<(), RestoreError> {
    for path in [config.views_dir(), config.memory_dir()] {
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(files_of("removing", &path, source));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
