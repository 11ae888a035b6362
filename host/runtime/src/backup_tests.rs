//! Restores that are cut off at each of their steps, and what comes after them.

use std::collections::BTreeSet;

use super::*;

/// What tells one truth from another.
const MARK: &str = "kv";

struct Place {
    config: RuntimeConfig,
    _dir: tempfile::TempDir,
}

/// A store that says who it is.
async fn store(dir: &Path, name: &str) -> Arc<SqliteStore> {
    let store = SqliteStore::open(dir).expect("opens");
    let batch = Batch::new().put(MARK, "", name.as_bytes().to_vec());
    store.commit(batch).await.expect("stores");
    store
}

/// Who the truth in a directory is.
fn name(dir: &Path) -> String {
    let store = SqliteStore::open(dir).expect("opens");
    let name = store.get(MARK, b"").expect("reads").expect("a name");
    String::from_utf8_lossy(&name).into_owned()
}

/// The backups `a` and `b`, in a folder.
async fn backups() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["a", "b"] {
        let store = store(&dir.path().join(name), name).await;
        let file = dir.path().join(format!("{name}.db"));
        store.backup(file).expect("a backup");
    }
    dir
}

impl Place {
    /// Data `old`, with everything that a restore moves or removes.
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = RuntimeConfig::new(dir.path().join("data"), dir.path().join("keys"));
        drop(store(&config.journal_dir(), "old").await);
        for dir in [
            config.components_dir(),
            config.views_dir(),
            config.memory_dir(),
            config.keys_dir.clone(),
        ] {
            fs::create_dir_all(&dir).expect("a folder");
            fs::write(dir.join("old"), "old").expect("a file");
        }
        for key in KEYS {
            fs::write(config.key_file(key), "key").expect("a file");
        }
        Self { config, _dir: dir }
    }

    /// Restores a backup, and is killed before step `cut`.
    fn killed(&self, file: &Path, cut: usize) -> PathBuf {
        let aside = restore_by(&self.config, file, true, &Placing::STEPS[..cut]);
        aside.expect("nothing fails").expect("there was data")
    }

    /// Is killed while it copies the backup.
    fn killed_early(&self) {
        let restored = self.config.data_dir.join("restored-7");
        fs::create_dir(&restored).expect("a folder");
        fs::write(restored.join("journal.db.part"), "half").expect("a file");
    }

    fn restore(&self, file: &Path) -> Option<PathBuf> {
        restore(&self.config, file, true).expect("it restores")
    }

    /// As opening the data does first.
    fn start(&self) -> String {
        finish_restore(&self.config).expect("it starts");
        assert_eq!(self.entries(RESTORED_PREFIX).len(), 0, "what is cut off");
        name(&self.config.journal_dir())
    }

    fn entries(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.config.data_dir).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let of = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(prefix)
        };
        paths.filter(of).collect()
    }

    /// The truths that were there, and whether the components were kept with them.
    fn replaced(&self) -> (BTreeSet<String>, bool) {
        let dirs = self.entries(REPLACED_PREFIX).into_iter();
        let kept: Vec<PathBuf> = dirs
            .flat_map(|dir| fs::read_dir(dir).expect("a folder"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        let truths = kept.iter().filter(|dir| dir.join(DATABASE_FILE).exists());
        let components = kept.iter().any(|dir| dir.join("old").exists());
        (truths.map(|dir| name(dir)).collect(), components)
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_restore_that_is_killed_anywhere_is_done_or_never_was_at_the_next_start() {
    let backups = backups().await;
    let a = backups.path().join("a.db");
    for cut in 0..=Placing::STEPS.len() {
        let place = Place::new().await;
        place.killed(&a, cut);
        assert_eq!(place.start(), "a", "before step {cut}");
        assert_eq!(place.replaced(), (set(&["old"]), true), "before step {cut}");
        let views = place.config.views_dir();
        assert!(!views.exists(), "before step {cut}: views of other data");
        assert_eq!(place.start(), "a", "before step {cut}, once more");
    }
    let place = Place::new().await;
    place.killed_early();
    assert_eq!(place.start(), "old");
    assert_eq!(place.replaced(), (set(&[]), false));
}

/// Wherever it and the one after it are killed.
#[tokio::test]
async fn an_earlier_restore_that_was_killed_overrules_no_later_one() {
    let backups = backups().await;
    let [a, b] = ["a.db", "b.db"].map(|name| backups.path().join(name));
    let last = Placing::STEPS.len();
    for (first, second) in (0..=last).flat_map(|one| (0..=last).map(move |two| (one, two))) {
        let place = Place::new().await;
        place.killed(&a, first);
        let aside = place.killed(&b, second);
        if second == last {
            assert_eq!(name(&place.config.journal_dir()), "b", "{first} {second}");
            assert_eq!(name(&aside.join("journal")), "a", "{first} {second}");
        }
        assert_eq!(place.start(), "b", "before steps {first} and {second}");
        let kept = (set(&["old", "a"]), true);
        assert_eq!(place.replaced(), kept, "before steps {first} and {second}");
    }
    let place = Place::new().await;
    place.killed_early();
    place.restore(&b);
    assert_eq!(place.start(), "b");
    assert_eq!(place.replaced(), (set(&["old"]), true));
}

/// Without being asked to replace anything, a restore that was killed is no free
/// place either.
#[tokio::test]
async fn what_a_killed_restore_leaves_is_data() {
    let backups = backups().await;
    let [a, b] = ["a.db", "b.db"].map(|name| backups.path().join(name));
    for cut in 0..=Placing::STEPS.len() {
        let place = Place::new().await;
        place.killed(&a, cut);
        let refused = restore(&place.config, &b, false);
        assert!(
            matches!(refused, Err(RestoreError::DataExists(_))),
            "before step {cut}: {refused:?}"
        );
        assert_eq!(place.start(), "a", "before step {cut}");
    }
}

/// What came to be at its place since it was moved: a truth, which is the newer
/// one, or what a start leaves that was cut off at once.
#[tokio::test]
async fn what_is_there_when_a_restore_is_finished() {
    let backups = backups().await;
    let [a, b] = ["a.db", "b.db"].map(|name| backups.path().join(name));
    type Comes = fn(&Path, &Path);
    let table: [(&str, Comes, &str); 4] = [
        ("nothing", |_, _| {}, "a"),
        (
            "an empty folder",
            |to, _| fs::create_dir(to).expect("a folder"),
            "a",
        ),
        (
            "a lock",
            |to, _| drop(DirLock::take(to).expect("a lock")),
            "a",
        ),
        (
            "a truth",
            |to, b| sqlite::restore(b, to).expect("it is copied"),
            "b",
        ),
    ];
    for (what, comes, in_force) in table {
        let place = Place::new().await;
        place.killed(&a, 3);
        let journal = place.config.journal_dir();
        assert!(!journal.exists(), "it was moved");
        comes(&journal, &b);
        assert_eq!(place.start(), in_force, "{what}");
        assert_eq!(place.replaced(), (set(&["old"]), true), "{what}");
    }
}

/// It said that it failed, so it must not come into force later.
#[tokio::test]
async fn a_restore_that_fails_leaves_everything_in_its_place() {
    let backups = backups().await;
    let [a, b] = ["a.db", "b.db"].map(|name| backups.path().join(name));
    let place = Place::new().await;
    let views = place.config.views_dir();
    fs::remove_dir_all(&views).expect("it goes");
    // Which can't be removed as a folder, after all else was moved.
    fs::write(&views, "a file").expect("a file");
    let failed = restore(&place.config, &a, true);
    assert!(
        matches!(failed, Err(RestoreError::Files { .. })),
        "{failed:?}"
    );
    assert_eq!(place.start(), "old");
    assert!(place.config.components_dir().join("old").exists());
    assert_eq!(place.entries(REPLACED_PREFIX).len(), 0);
    fs::remove_file(&views).expect("it goes");
    assert_eq!(place.start(), "old");
    place.restore(&b);
    assert_eq!(place.start(), "b");
}

/// Also while no truth is in its place, between two steps.
#[tokio::test]
async fn whoever_restores_is_left_alone() {
    let backups = backups().await;
    let [a, b] = ["a.db", "b.db"].map(|name| backups.path().join(name));
    for cut in 0..Placing::STEPS.len() {
        let place = Place::new().await;
        place.killed(&a, cut);
        let restored = place.entries(RESTORED_PREFIX);
        let held = DirLock::take(&restored[0]).expect("its own");
        let refused = [
            finish_restore(&place.config),
            restore(&place.config, &b, true).map(drop),
        ];
        for refused in refused {
            let in_use = matches!(
                refused,
                Err(RestoreError::Store {
                    source: StoreError::InUse { .. },
                    ..
                })
            );
            assert!(in_use, "before step {cut}: {refused:?}");
        }
        drop(held);
        assert_eq!(place.start(), "a", "before step {cut}");
    }
}

#[tokio::test]
async fn what_somebody_else_calls_so_stays() {
    let place = Place::new().await;
    let theirs = ["restored-", "restored-by-hand", "restored-7x"];
    for name in theirs {
        let dir = place.config.data_dir.join(name);
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join(DATABASE_FILE), "theirs").expect("a file");
    }
    finish_restore(&place.config).expect("it starts");
    assert_eq!(name(&place.config.journal_dir()), "old");
    assert_eq!(place.entries(RESTORED_PREFIX).len(), theirs.len());
}
