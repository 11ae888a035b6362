//! The files of a folder. Each is opened by its name in the folder that is open
//! already, and never through a link: what changes meanwhile leads nowhere else.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};

use super::{DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, Refusal};
use crate::error::{MemoryError, bounded};

/// A file, open or refused.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path in the folder.
    pub(super) path: String,
    pub(super) bytes: Result<Open, Refusal>,
}

/// A file that can be read.
#[derive(Debug)]
pub(super) struct Open(OpenLater);

/// The folder it is in and its name there: not all files are open at once.
#[derive(Debug)]
struct OpenLater {
    folder: std::sync::Arc<OwnedFd>,
    name: String,
}

impl Open {
    pub(super) fn read(&self) -> Result<Vec<u8>, Refusal> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&*self.0.folder, &self.0.name, flags, Mode::empty())
            .map_err(|error| format!("it can't be opened: {error}"))?;
        let stat = fstat(&file).map_err(|error| format!("it can't be read: {error}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal::passed_over("it is no regular file"));
        }
        let mut bytes = Vec::new();
        let mut limited = File::from(file).take(FILE_BYTES_MAX + 1);
        let read = limited.read_to_end(&mut bytes);
        read.map_err(|error| format!("it can't be read: {error}"))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it is over {FILE_BYTES_MAX} bytes: divide it").into());
        }
        Ok(bytes)
    }
}

/// All files in a folder and below, in the order of their paths.
pub(super) fn walk(dir: &Path) -> Result<Vec<Found>, MemoryError> {
    let failed = |error: rustix::io::Errno| {
        MemoryError::invalid(
            "folder",
            format!("{} can't be read: {error}", dir.display()),
        )
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, dir, flags, Mode::empty()).map_err(failed)?;
    let mut found = Vec::new();
    folder(root, "", 0, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn folder(
    open: OwnedFd,
    path: &str,
    depth: usize,
    found: &mut Vec<Found>,
) -> Result<(), MemoryError> {
    let open = std::sync::Arc::new(open);
    let refuse = |path: String, reason: String| Found {
        path,
        bytes: Err(reason.into()),
    };
    let pass_over = |path: String, reason: &str| Found {
        path,
        bytes: Err(Refusal::passed_over(reason)),
    };
    let entries = match Dir::read_from(&*open) {
        Ok(entries) => entries,
        Err(error) => {
            found.push(refuse(
                path.to_owned(),
                format!("the folder can't be read: {error}"),
            ));
            return Ok(());
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let reason = format!("the folder can't be read to its end: {error}");
                found.push(refuse(path.to_owned(), reason));
                break;
            }
        };
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        bounded("folder", found.len() + 1, FILES_MAX, "files")?;
        let shown = format!("{path}{}", String::from_utf8_lossy(name));
        let Ok(name) = std::str::from_utf8(name) else {
            found.push(pass_over(shown, "its name is not UTF-8"));
            continue;
        };
        if name.starts_with('.') {
            found.push(pass_over(shown, "its name begins with a dot"));
            continue;
        }
        if let Some(next) = one(&open, name, shown, depth, found)? {
            let below = format!("{path}{name}/");
            folder(next, &below, depth + 1, found)?;
        }
    }
    Ok(())
}

/// Adds a file, or gives the folder that it is.
fn one(
    open: &std::sync::Arc<OwnedFd>,
    name: &str,
    path: String,
    depth: usize,
    found: &mut Vec<Found>,
) -> Result<Option<OwnedFd>, MemoryError> {
    let stat = rustix::fs::statat(&**open, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
    let bytes = match kind {
        Ok(FileType::RegularFile) => Ok(Open(OpenLater {
            folder: std::sync::Arc::clone(open),
            name: name.to_owned(),
        })),
        Ok(FileType::Directory) if depth >= DEPTH_MAX => {
            Err(format!("it is more than {DEPTH_MAX} folders deep").into())
        }
        Ok(FileType::Directory) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&**open, name, flags, Mode::empty()) {
                Ok(next) => return Ok(Some(next)),
                Err(error) => Err(format!("the folder can't be opened: {error}").into()),
            }
        }
        Ok(FileType::Symlink) => Err(Refusal::passed_over(
            "it is a symbolic link, which is not followed",
        )),
        Ok(_) => Err(Refusal::passed_over("it is no regular file")),
        Err(error) => Err(format!("it can't be read: {error}").into()),
    };
    found.push(Found { path, bytes });
    Ok(None)
}
