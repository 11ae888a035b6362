//! Opening what a permit names: never anything but a regular file or directory,
//! and never in a way that could block.

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::Files;
use super::backend::{Target, resize};
use super::fault::Fault;
use super::node::OpenFile;
use super::prepare::Area;
use super::slots::Io;
use crate::gate::Permit;

/// How often a file that appears and disappears is tried.
const ATTEMPTS: usize = 8;

/// How to open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) create: bool,
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
    pub(super) directory: bool,
    pub(super) follow: bool,
}

/// What was opened.
pub(super) enum Opened {
    Dir(Dir),
    File(OpenFile),
}

/// Opens `target`.
pub(super) async fn open(
    io: &Io,
    permit: &Permit<Files>,
    target: Target,
    how: How,
) -> Result<Opened, Fault> {
    io.permitted(permit, move || open_now(&target, how)).await
}

pub(super) fn open_now(target: &Target, how: How) -> Result<Opened, Fault> {
    if how.create && how.exclusive {
        return created(target, how);
    }
    for _ in 0..ATTEMPTS {
        match existing(target, how) {
            Err(Fault::Code(ErrorCode::NoEntry)) if how.create => {}
            result => return result,
        }
        match created(target, how) {
            Err(Fault::Code(ErrorCode::Exist)) => {}
            result => return result,
        }
    }
    Err(ErrorCode::Busy.into())
}

fn existing(target: &Target, how: How) -> Result<Opened, Fault> {
    let Target { area, dir, path } = target;
    let meta = if how.follow {
        dir.metadata(path)
    } else {
        dir.symlink_metadata(path)
    }?;
    let changes = how.write || how.truncate;
    match () {
        () if meta.is_symlink() => Err(ErrorCode::Loop.into()),
        () if meta.is_dir() && (changes || how.create) => Err(ErrorCode::IsDirectory.into()),
        () if meta.is_dir() => Ok(Opened::Dir(if how.follow {
            dir.open_dir(path)?
        } else {
            dir.open_dir_nofollow(path)?
        })),
        () if !meta.is_file() => Err(Fault::special()),
        () if how.directory => Err(ErrorCode::NotDirectory.into()),
        () => {
            let mut options = options(how);
            options.read(how.read).write(changes);
            let open = registered(area, dir.open_with(path, &options)?)?;
            if how.truncate {
                resize(area, &open, 0)?;
            }
            Ok(Opened::File(open))
        }
    }
}

/// Opens what a name leads to, for its attributes alone.
pub(super) fn followed(target: &Target) -> Result<Opened, Fault> {
    let how = |write: bool| How {
        read: !write,
        write,
        follow: true,
        ..How::default()
    };
    match existing(target, how(false)) {
        Err(Fault::Code(ErrorCode::Access)) => existing(target, how(true)),
        result => result,
    }
}

fn created(target: &Target, how: How) -> Result<Opened, Fault> {
    let Target { area, dir, path } = target;
    let quota = area.quota.as_ref().ok_or(ErrorCode::NotPermitted)?;
    let mut options = options(how);
    options.read(how.read).write(true).create_new(true);
    let file = quota.grow(|| {
        let held = quota.reserve(0, 1)?;
        let file = dir.open_with(path, &options)?;
        held.settle();
        Ok(file)
    })?;
    registered(area, file).map(Opened::File)
}

/// Never waits for the other end of a pipe, nor takes a terminal.
fn options(how: How) -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    options.follow(match how.follow {
        true => FollowSymlinks::Yes,
        false => FollowSymlinks::No,
    });
    options
}

/// Checks again what was opened, since the name may have been swapped, and
/// registers it where growth is counted.
fn registered(area: &Area, file: File) -> Result<OpenFile, Fault> {
    if !file.metadata()?.is_file() {
        return Err(Fault::special());
    }
    let inode = area.quota.as_ref().map(|quota| quota.opened(&file));
    Ok(OpenFile {
        inode: inode.transpose()?,
        file,
    })
}
