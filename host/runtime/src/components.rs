//! Component bytes on disk, named by their digest.
//!
//! What must stay true: bytes are verified each time they are read, so a
//! component that was changed under its digest is refused; a file is complete
//! and synced before anything names it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::engine::ComponentSource;
use crate::{ids, names};

/// The directory of component files.
#[derive(Debug)]
pub(crate) struct Components {
    dir: PathBuf,
}

impl Components {
    /// Opens the directory and removes what an interrupted write left behind.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "part")
            {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { dir })
    }

    /// Stores a component, durably; does nothing when it is there and sound.
    pub(crate) fn put(&self, digest: &str, component: &[u8]) -> io::Result<()> {
        if self.component(digest).is_ok() {
            return Ok(());
        }
        let path = self.path(digest)?;
        let part = path.with_extension(format!("{}.part", ids::hex(&ids::random::<8>())));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(component)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        sync_dir(&self.dir)
    }

    /// Removes every component that `keep` does not name.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let digest = name
                .map(|name| name.replacen('-', ":", 1))
                .unwrap_or_default();
            if names::digest(&digest).is_ok() && !keep(&digest) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> io::Result<PathBuf> {
        names::digest(digest).map_err(|bad| io::Error::new(ErrorKind::InvalidInput, bad))?;
        Ok(self
            .dir
            .join(digest.replacen(':', "-", 1))
            .with_extension("wasm"))
    }
}

impl ComponentSource for Components {
    fn component(&self, digest: &str) -> io::Result<Bytes> {
        let bytes = Bytes::from(fs::read(self.path(digest)?)?);
        if ids::digest(&bytes) == digest {
            return Ok(bytes);
        }
        Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("the component {digest} was changed on disk"),
        ))
    }
}

/// Makes renames in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a file that only its owner can read, durably, in place of any other.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension(format!("{}.part", ids::hex(&ids::random::<8>())));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_changed_under_its_digest_is_refused_and_can_be_put_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let components = Components::open(dir.path().to_owned()).expect("opens");
        let digest = ids::digest(b"component");
        components.put(&digest, b"component").expect("stores");
        assert_eq!(components.component(&digest).expect("reads"), "component");
        let path = components.path(&digest).expect("a path");
        fs::write(&path, b"changed").expect("writes");
        let refused = components.component(&digest).expect_err("is refused");
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        components.put(&digest, b"component").expect("repairs");
        assert!(components.component(&digest).is_ok());
    }

    #[test]
    fn only_digests_name_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let components = Components::open(dir.path().to_owned()).expect("opens");
        for name in ["sha256:../../etc/passwd", "../x", "", "sha256:AB"] {
            let refused = components.component(name).expect_err("is refused");
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name}");
        }
    }

    #[test]
    fn leftovers_and_unnamed_components_go() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("sha256-0.ab.part"), b"").expect("writes");
        let components = Components::open(dir.path().to_owned()).expect("opens");
        let (keep, lose) = (ids::digest(b"keep"), ids::digest(b"lose"));
        components.put(&keep, b"keep").expect("stores");
        components.put(&lose, b"lose").expect("stores");
        components.retain(|digest| digest == keep).expect("cleans");
        assert!(components.component(&keep).is_ok());
        assert!(components.component(&lose).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }
}
