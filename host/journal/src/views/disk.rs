//! The views' files. sled may do anything with damaged ones, up to ending the
//! process, so it only ever opens files that are byte for byte what it left: a
//! manifest written at a clean close holds their digest. After a crash, or any
//! other change, a new generation begins.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::engine::Position;
use super::shelf::{Broken, Shelf, guarded};

/// Raised with every change of what the fold computes or how it is stored.
const VERSION: u32 = 2;
const CACHE_BYTES: u64 = 4 << 20;
/// sled gives its files back a moment after it was dropped, and must not keep
/// the server from starting or stopping.
const WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    generation: u64,
    files: [u8; 32],
}

#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    generation: u64,
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            generation: 0,
        }
    }

    /// Opens what a clean close left.
    pub(super) fn reopen(&mut self) -> Result<(Shelf, Position), Broken> {
        let text = fs::read(self.manifest()).map_err(broken("reading the manifest"))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| Broken(format!("the manifest is damaged: {error}")))?;
        if manifest.version != VERSION {
            let version = manifest.version;
            return Err(Broken(format!(
                "they have version {version}, not {VERSION}"
            )));
        }
        self.generation = manifest.generation;
        let dir = self.generation_dir();
        let files = digest(&dir).map_err(broken("reading the files"))?;
        if files != manifest.files {
            return Err(Broken(
                "the files are not what a clean close left".to_owned(),
            ));
        }
        let shelf = open_sled(dir)?;
        let position = shelf
            .position()?
            .ok_or_else(|| Broken("they have no position".to_owned()))?;
        Ok((shelf, position))
    }

    /// Whether nothing was ever here, as at a first start.
    pub(super) fn is_new(&self) -> bool {
        match fs::read_dir(&self.root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Throws everything away and opens an empty generation.
    pub(super) fn fresh(&mut self) -> Result<Shelf, Broken> {
        self.clear().map_err(broken("making room"))?;
        loop {
            self.generation += 1;
            if fs::symlink_metadata(self.generation_dir()).is_err() {
                break;
            }
        }
        open_sled(self.generation_dir())
    }

    /// Closes a shelf and writes down what its files are.
    pub(super) fn close(&self, shelf: Shelf, position: Position) -> Result<(), Broken> {
        let Shelf::Sled(db) = shelf else {
            return Ok(());
        };
        guarded("flushing", || db.flush().map(drop))?;
        guarded("closing", move || {
            drop(db);
            Ok(())
        })?;
        let dir = self.generation_dir();
        wait_until_closed(&dir)?;
        let manifest = Manifest {
            version: VERSION,
            generation: self.generation,
            files: digest(&dir).map_err(broken("reading the files"))?,
        };
        let text = serde_json::to_vec(&manifest).map_err(|error| Broken(error.to_string()))?;
        tracing::debug!(records = position.head.len, "views closed");
        let new = self.root.join("manifest.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, self.manifest()))
            .map_err(broken("writing the manifest"))
    }

    fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    fn generation_dir(&self) -> PathBuf {
        self.root.join(format!("sled-{}", self.generation))
    }

    /// Leaves an empty directory where ours was, whatever it was. A part that
    /// cannot be removed is left alone: it is not used.
    fn clear(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.root) {
            Ok(meta) if !meta.is_dir() => fs::remove_file(&self.root)?,
            Ok(_) => {
                for entry in fs::read_dir(&self.root)? {
                    let path = entry?.path();
                    let removed = match path.is_dir() && !path.is_symlink() {
                        true => fs::remove_dir_all(&path),
                        false => fs::remove_file(&path),
                    };
                    if let Err(error) = removed {
                        tracing::warn!(%error, path = %path.display(), "an old view stays");
                    }
                }
            }
            Err(_) => {}
        }
        fs::create_dir_all(&self.root)
    }
}

/// Opens sled in a thread of its own, since it might also never come back.
fn open_sled(dir: PathBuf) -> Result<Shelf, Broken> {
    let (sender, opened) = mpsc::channel();
    let open = move || {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        // Whoever waited for it may have given up.
        let _ = sender.send(guarded("opening", || config.open()));
    };
    std::thread::Builder::new()
        .name("journal-views-open".to_owned())
        .spawn(open)
        .map_err(broken("starting a thread"))?;
    match opened.recv_timeout(WAIT_MAX) {
        Ok(db) => Ok(Shelf::Sled(db?)),
        Err(_) => Err(Broken("opening: sled does not come back".to_owned())),
    }
}

/// sled holds a lock on its file until its last thread has let go.
fn wait_until_closed(dir: &Path) -> Result<(), Broken> {
    let deadline = Instant::now() + WAIT_MAX;
    let file = fs::File::open(dir.join("db")).map_err(broken("reading the files"))?;
    while file.try_lock().is_err() {
        if Instant::now() > deadline {
            return Err(Broken("sled does not let go of its files".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A digest over the names and contents of all files under `dir`.
fn digest(dir: &Path) -> io::Result<[u8; 32]> {
    let mut sha = Sha256::new();
    add_dir(&mut sha, dir)?;
    Ok(sha.finalize().into())
}

fn add_dir(sha: &mut Sha256, dir: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        let name = entry.file_name();
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name.as_encoded_bytes());
        sha.update([u8::from(kind.is_dir())]);
        if kind.is_dir() {
            add_dir(sha, &entry.path())?;
        } else if kind.is_file() {
            add_file(sha, &entry.path())?;
        } else {
            return Err(io::Error::other(
                "something that is neither file nor directory",
            ));
        }
    }
    sha.update([2]);
    Ok(())
}

fn add_file(sha: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    sha.update(file.metadata()?.len().to_le_bytes());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => sha.update(&buffer[..read]),
        }
    }
}

fn broken(step: &'static str) -> impl Fn(io::Error) -> Broken {
    move |error| Broken(format!("{step}: {error}"))
}
