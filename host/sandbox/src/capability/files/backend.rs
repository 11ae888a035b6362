//! The effects: each takes the permit for what it does, or the open file that
//! holds it, and rechecks it when its turn on the host's I/O runtime comes.
//!
//! What must stay true: paths are resolved by cap-std below the directory they
//! are relative to; what changes sizes or names goes through the quota.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use bytes::Bytes;
use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::fs::{Dir, File, Metadata, ReadDir};
use rustix::fs::{AtFlags, Timestamps};
use rustix::io::{Errno, ReadWriteFlags};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::Files;
use super::fault::Fault;
use super::grant::{PATH_BYTES_MAX, PATH_DEPTH_MAX, depth};
use super::listing::measure;
use super::node::{FileNode, OpenFile};
use super::open::{Opened, followed};
use super::prepare::Area;
use super::quota::{Quota, key};
use super::slots::{Io, Slots};
use crate::gate::Permit;

/// Most bytes one read gives.
pub(super) const READ_BYTES_MAX: u64 = 64 << 10;

/// A path, and the open directory it is relative to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) area: Arc<Area>,
    pub(super) dir: Arc<Dir>,
    pub(super) path: String,
}

/// Where to write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    At(u64),
    End,
}

/// New times: access, modification.
pub(super) type Times = (Option<SystemTimeSpec>, Option<SystemTimeSpec>);

impl Area {
    fn counted(&self) -> Result<&Quota, Fault> {
        self.quota.as_ref().ok_or(ErrorCode::NotPermitted.into())
    }
}

/// Attributes of a name.
pub(super) async fn stat(
    io: &Io,
    permit: &Permit<Files>,
    Target { dir, path, .. }: Target,
    follow: bool,
) -> Result<Metadata, Fault> {
    io.permitted(permit, move || match follow {
        true => Ok(dir.metadata(path)?),
        false => Ok(dir.symlink_metadata(path)?),
    })
    .await
}

/// Attributes of an open file.
pub(super) async fn stat_file(io: &Io, node: &Arc<FileNode>) -> Result<Metadata, Fault> {
    let node = Arc::clone(node);
    io.run(move || {
        node.holds()?;
        Ok(node.file.file.metadata()?)
    })
    .await
}

/// Up to `len` bytes from `offset`; none at the end.
pub(super) fn read(
    io: &Io,
    node: &Arc<FileNode>,
    len: u64,
    offset: u64,
) -> impl Future<Output = Result<Vec<u8>, Fault>> + Send + 'static {
    let (io, node) = (io.clone(), Arc::clone(node));
    async move {
        node.holds()?;
        // No file reaches there, and to the kernel -1 is the file's own position.
        let len = len.min(i64::MAX.cast_unsigned().saturating_sub(offset));
        if len == 0 {
            return Ok(Vec::new());
        }
        if let Some(read) = read_cached(&node.file.file, len, offset) {
            return Ok(read);
        }
        io.run(move || {
            node.holds()?;
            read_now(&node.file.file, len, offset)
        })
        .await
    }
}

/// What the host has in memory, read on the caller's thread: waiting for a turn
/// and another thread takes several times as long. `None` when it would block.
pub(super) fn read_cached(file: &File, len: u64, offset: u64) -> Option<Vec<u8>> {
    let mut buffer = buffer(len);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let read = rustix::io::preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
    buffer.truncate(read);
    Some(buffer)
}

pub(super) fn read_now(file: &File, len: u64, offset: u64) -> Result<Vec<u8>, Fault> {
    let mut buffer = buffer(len);
    loop {
        match rustix::io::pread(file, &mut buffer, offset) {
            Err(Errno::INTR) => {}
            result => {
                buffer.truncate(result?);
                return Ok(buffer);
            }
        }
    }
}

fn buffer(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len.min(READ_BYTES_MAX)).unwrap_or(0)]
}

/// Writes `bytes`; gives how many were, fewer where the disk took no more.
pub(super) fn write(
    io: &Io,
    node: &Arc<FileNode>,
    bytes: Bytes,
    place: Place,
) -> impl Future<Output = Result<u64, Fault>> + Send + 'static {
    let node = Arc::clone(node);
    io.run(move || {
        node.holds()?;
        write_now(&node.area, &node.file, &bytes, place)
    })
}

pub(super) fn write_now(
    area: &Area,
    open: &OpenFile,
    bytes: &[u8],
    place: Place,
) -> Result<u64, Fault> {
    let len = bytes.len() as u64;
    let end = |size: u64| match place {
        Place::At(offset) => offset.checked_add(len),
        Place::End => size.checked_add(len),
    };
    sized(area, open, end, |file| match place {
        Place::At(offset) => write_all(bytes, |rest, done| {
            rustix::io::pwrite(file, rest, offset + done)
        }),
        Place::End => write_all(bytes, |rest, _| {
            rustix::io::pwritev2(
                file,
                &[IoSlice::new(rest)],
                u64::MAX,
                ReadWriteFlags::APPEND,
            )
        }),
    })
}

/// Changes a file's size.
pub(super) async fn set_size(io: &Io, node: &Arc<FileNode>, size: u64) -> Result<(), Fault> {
    let node = Arc::clone(node);
    io.run(move || {
        node.holds()?;
        resize(&node.area, &node.file, size)
    })
    .await
}

pub(super) fn resize(area: &Area, open: &OpenFile, size: u64) -> Result<(), Fault> {
    sized(
        area,
        open,
        |_| Some(size),
        |file| Ok(rustix::fs::ftruncate(file, size)?),
    )
}

/// Does what changes a file's size to at most `end` of the size before.
fn sized<T>(
    area: &Area,
    open: &OpenFile,
    end: impl Fn(u64) -> Option<u64>,
    mut change: impl FnMut(&File) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let quota = area.counted()?;
    let inode = open.inode.as_ref().ok_or(ErrorCode::NotPermitted)?;
    quota.grow(|| {
        let mut state = inode.state();
        let size = open.file.metadata()?.len();
        let end = end(size).ok_or(ErrorCode::FileTooLarge)?;
        let held = quota.reserve(end.saturating_sub(size), 0)?;
        let changed = change(&open.file);
        let after = open
            .file
            .metadata()
            .map_or(end.max(size), |meta| meta.len());
        held.settle_size(&mut state, size, after);
        changed
    })
}

fn write_all(
    bytes: &[u8],
    mut write: impl FnMut(&[u8], u64) -> Result<usize, Errno>,
) -> Result<u64, Fault> {
    let mut done = 0;
    while done < bytes.len() {
        match write(&bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done as u64)
}

/// Sets the times of a name.
pub(super) async fn set_times(
    io: &Io,
    permit: &Permit<Files>,
    target: Target,
    follow: bool,
    (access, change): Times,
) -> Result<(), Fault> {
    io.permitted(permit, move || {
        if !follow {
            let Target { dir, path, .. } = target;
            return Ok(dir.set_symlink_times(path, access, change)?);
        }
        let times = timestamps((access, change));
        match followed(&target)? {
            Opened::File(open) => Ok(rustix::fs::futimens(&open.file, &times)?),
            Opened::Dir(dir) => Ok(rustix::fs::utimensat(&dir, ".", &times, AtFlags::empty())?),
        }
    })
    .await
}

/// Sets the times of an open file.
pub(super) async fn set_file_times(
    io: &Io,
    permit: &Permit<Files>,
    node: &Arc<FileNode>,
    times: Times,
) -> Result<(), Fault> {
    let open = Arc::clone(&node.file);
    let times = timestamps(times);
    io.permitted(permit, move || {
        Ok(rustix::fs::futimens(&open.file, &times)?)
    })
    .await
}

fn timestamps((access, change): Times) -> Timestamps {
    Timestamps {
        last_access: timespec(access),
        last_modification: timespec(change),
    }
}

fn timespec(time: Option<SystemTimeSpec>) -> rustix::fs::Timespec {
    let special = |tv_nsec| rustix::fs::Timespec { tv_sec: 0, tv_nsec };
    match time {
        None => special(rustix::fs::UTIME_OMIT),
        Some(SystemTimeSpec::SymbolicNow) => special(rustix::fs::UTIME_NOW),
        Some(SystemTimeSpec::Absolute(time)) => {
            let since = time.into_std().duration_since(std::time::UNIX_EPOCH);
            let since = since.unwrap_or_default();
            rustix::fs::Timespec {
                tv_sec: since.as_secs().cast_signed(),
                tv_nsec: since.subsec_nanos().into(),
            }
        }
    }
}

/// Makes a file's content durable, with its attributes unless `data` alone.
pub(super) async fn sync_file(io: &Io, node: &Arc<FileNode>, data: bool) -> Result<(), Fault> {
    let node = Arc::clone(node);
    io.run(move || {
        node.holds()?;
        match data {
            true => Ok(node.file.file.sync_data()?),
            false => Ok(node.file.file.sync_all()?),
        }
    })
    .await
}

/// Makes a directory's names durable.
pub(super) async fn sync_dir(
    io: &Io,
    permit: &Permit<Files>,
    Target { dir, path, .. }: Target,
) -> Result<(), Fault> {
    io.permitted(permit, move || Ok(dir.open(path)?.sync_all()?))
        .await
}

/// Makes a directory.
pub(super) async fn create_dir(
    io: &Io,
    permit: &Permit<Files>,
    Target { area, dir, path }: Target,
) -> Result<(), Fault> {
    io.permitted(permit, move || {
        let quota = area.counted()?;
        quota.grow(|| {
            let held = quota.reserve(0, 1)?;
            dir.create_dir(&path)?;
            held.settle();
            Ok(())
        })
    })
    .await
}

/// Deletes a file or link, or with `directory` an empty directory.
pub(super) async fn remove(
    io: &Io,
    permit: &Permit<Files>,
    target: Target,
    directory: bool,
) -> Result<(), Fault> {
    io.permitted(permit, move || remove_now(&target, directory))
        .await
}

pub(super) fn remove_now(target: &Target, directory: bool) -> Result<(), Fault> {
    let Target { area, dir, path } = target;
    let quota = area.counted()?;
    let remove = || {
        let meta = dir.symlink_metadata(path)?;
        match (directory, meta.is_dir()) {
            (true, _) => dir.remove_dir(path)?,
            (false, true) => return Err(ErrorCode::IsDirectory.into()),
            (false, false) => dir.remove_file(path)?,
        }
        quota.removed(&meta);
        Ok(())
    };
    quota.shrink(|| Ok(()), remove)
}

/// Renames within one granted directory. What a walk of it opens counts in
/// `slots`.
pub(super) async fn rename(
    io: &Io,
    slots: &Arc<Slots>,
    (from_permit, from): (&Permit<Files>, Target),
    (to_permit, to): (&Permit<Files>, Target),
) -> Result<(), Fault> {
    let (slots, path) = (Arc::clone(slots), to_permit.op().path.clone());
    io.permitted(from_permit, move || rename_now(&slots, &from, &to, &path))
        .await
}

/// `path` is the guest path of `to`.
pub(super) fn rename_now(
    slots: &Arc<Slots>,
    from: &Target,
    to: &Target,
    path: &str,
) -> Result<(), Fault> {
    let quota = from.area.counted()?;
    let check = || fits(slots, from, path);
    quota.shrink(check, || {
        let moved = from.dir.symlink_metadata(&from.path)?;
        let replaced = to.dir.symlink_metadata(&to.path).ok();
        from.dir.rename(&from.path, &to.dir, &to.path)?;
        if let Some(replaced) = replaced.filter(|meta| key(meta) != key(&moved)) {
            quota.removed(&replaced);
        }
        Ok(())
    })
}

/// Refuses to move a tree to where its paths would be longer than a guest's can
/// be.
fn fits(slots: &Arc<Slots>, from: &Target, to: &str) -> Result<(), Fault> {
    if !from.dir.symlink_metadata(&from.path)?.is_dir() {
        return Ok(());
    }
    let tree = from.dir.open_dir_nofollow(&from.path)?;
    let files_max = from.area.rule.files_max();
    let seen = measure(&tree, files_max, || slots.take())?;
    let longest = to.len() + usize::from(seen.files > 0) + seen.path_bytes;
    if seen.height + depth(to) > PATH_DEPTH_MAX || longest > PATH_BYTES_MAX {
        return Err(ErrorCode::NameTooLong.into());
    }
    if !seen.complete {
        let rule = format!("what is in it can't be looked through within {files_max} files");
        return Err(Fault::refused(ErrorCode::Quota, rule));
    }
    Ok(())
}

/// Where a link leads, if that is inside the granted directory.
pub(super) async fn read_link(
    io: &Io,
    permit: &Permit<Files>,
    Target { area, dir, path }: Target,
) -> Result<String, Fault> {
    let link = area.rule.below(&permit.op().path).map_or(0, depth);
    io.permitted(permit, move || {
        let leads = dir.read_link(path)?.into_os_string().into_string();
        let leads = leads.map_err(|_| ErrorCode::IllegalByteSequence)?;
        if leads_out(link.saturating_sub(1), &leads) {
            return Err(Fault::escape());
        }
        Ok(leads)
    })
    .await
}

/// Whether a link's text climbs above the granted directory from `level`.
pub(super) fn leads_out(level: usize, leads: &str) -> bool {
    let mut level = Some(level).filter(|_| !leads.starts_with('/'));
    for part in leads.split('/') {
        level = match part {
            "" | "." => level,
            ".." => level.and_then(|level| level.checked_sub(1)),
            _ => level.map(|level| level + 1),
        };
    }
    level.is_none()
}

/// Starts listing a directory.
pub(super) async fn list(
    io: &Io,
    permit: &Permit<Files>,
    Target { dir, path, .. }: Target,
) -> Result<ReadDir, Fault> {
    io.permitted(permit, move || Ok(dir.read_dir(path)?)).await
}
