//! What the room sees of a call, and how it asks the gate: the path as the guest
//! gave it becomes a permit and the open directory that the path is relative to.
//!
//! What must stay true: the directory is that of the rule that permits the path,
//! whatever rule the descriptor came from.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use cap_fs_ext::SystemTimeSpec;
use cap_std::fs::{Metadata, MetadataExt};
use cap_std::time::SystemTime;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, ErrorCode, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult};

use super::Files;
use super::backend::{self, Place, Target, Times};
use super::fault::Fault;
use super::grant::{Op, PATH_BYTES_MAX, PATH_DEPTH_MAX, Verb, depth};
use super::listing::descriptor_type;
use super::node::{DirNode, FileNode, FilesState, Node};
use super::open::{How, Opened};
use super::quota::key;
use super::slots::Slot;
use super::stream::WriteStream;
use crate::capability::Capability;
use crate::gate::{Gate, Missing, Permit};
use crate::grants::EffectClass;

/// The room's view of a call.
pub struct FilesView<'a> {
    pub(super) table: &'a mut ResourceTable,
    pub(super) gate: &'a Gate,
    pub(super) room: &'a FilesState,
}

/// A permit and what it is for.
pub(super) struct Asked {
    pub(super) permit: Permit<Files>,
    pub(super) target: Target,
}

/// The same for the whole process, and unknown to guests, so that inode numbers
/// can't be told from it.
static IDENTITY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl FilesView<'_> {
    pub(super) fn node(&self, fd: &Resource<Descriptor>) -> FsResult<Node> {
        let fd = Resource::<Node>::new_borrow(fd.rep());
        Ok(self.table.get(&fd)?.clone())
    }

    pub(super) fn file(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<FileNode>> {
        match self.node(fd)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) | Node::Root => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// The file behind `fd`, if it was opened for reading and may still be read.
    pub(super) fn readable(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<FileNode>> {
        let file = match self.node(fd)? {
            Node::File(file) if file.read => file,
            Node::File(_) => return Err(ErrorCode::BadDescriptor.into()),
            Node::Dir(_) | Node::Root => return Err(ErrorCode::IsDirectory.into()),
        };
        holds(&file)?;
        Ok(file)
    }

    /// The file behind `fd`, if it may still be written.
    pub(super) fn writable(&self, fd: &Resource<Descriptor>) -> FsResult<Arc<FileNode>> {
        let file = self.file(fd)?;
        if !file.write {
            let permitted = file.area.rule.writable();
            let code = [ErrorCode::NotPermitted, ErrorCode::BadDescriptor][usize::from(permitted)];
            return Err(code.into());
        }
        holds(&file)?;
        Ok(file)
    }

    pub(super) fn push(&mut self, node: Node) -> FsResult<Resource<Descriptor>> {
        Ok(Resource::new_own(self.table.push(node)?.rep()))
    }

    /// Asks for a permit to do `verb` to `path` relative to `fd`.
    pub(super) fn ask(&self, fd: &Resource<Descriptor>, verb: Verb, path: &str) -> FsResult<Asked> {
        let node = self.node(fd)?;
        self.ask_node(&node, verb, path)
    }

    pub(super) fn ask_node(&self, node: &Node, verb: Verb, path: &str) -> FsResult<Asked> {
        let base = match node {
            Node::Root => "/",
            Node::Dir(dir) => &dir.path,
            Node::File(_) => return Err(ErrorCode::NotDirectory.into()),
        };
        if path.contains('\0') {
            return Err(ErrorCode::IllegalByteSequence.into());
        }
        if path.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        let op = Op::new(verb, base, path);
        if path.len().max(op.path.len()) > PATH_BYTES_MAX || depth(&op.path) > PATH_DEPTH_MAX {
            return Err(ErrorCode::NameTooLong.into());
        }
        let within = matches!(node, Node::Dir(dir) if dir.area.rule.below(&op.path).is_some());
        let code = match within && verb.writes() {
            true => ErrorCode::NotPermitted,
            false => ErrorCode::Access,
        };
        let permit = self.gate.permit::<Files>(op).map_err(|_| code)?;
        match self.target(node, path, &permit) {
            Ok(target) => Ok(Asked { permit, target }),
            Err(fault) => Err(self.fail(&permit, fault)),
        }
    }

    /// Where the permitted path is: below the node's directory, which must be
    /// that of the rule that permits it.
    pub(super) fn target(
        &self,
        node: &Node,
        path: &str,
        permit: &Permit<Files>,
    ) -> Result<Target, Fault> {
        let rule = permit.rule().ok_or(ErrorCode::Access)?;
        match node {
            Node::Dir(node) if path.starts_with('/') => Err(Fault::refused(
                ErrorCode::NotPermitted,
                format!("an absolute path given relative to `{}`", node.path),
            )),
            Node::Dir(node) if node.area.rule == rule => Ok(Target {
                area: Arc::clone(&node.area),
                dir: Arc::clone(&node.dir),
                path: path.to_owned(),
            }),
            Node::Dir(node) => Err(Fault::refused(
                ErrorCode::NotPermitted,
                format!("another rule's path, reached from `{}`", node.path),
            )),
            Node::Root | Node::File(_) => {
                let area = self.room.prepared.area(&rule).ok_or(ErrorCode::Access)?;
                let below = rule.below(&permit.op().path).ok_or(ErrorCode::Access)?;
                Ok(Target {
                    area: Arc::clone(area),
                    dir: Arc::clone(&area.dir),
                    path: below.to_owned(),
                })
            }
        }
    }

    /// The guest's error for a fault; a refusal is recorded.
    pub(super) fn fail(&self, permit: &Permit<Files>, fault: Fault) -> FsError {
        match fault {
            Fault::Code(code) => code.into(),
            Fault::Limit(limit) => FsError::trap(limit),
            Fault::Refused { code, rule } => {
                self.gate.deny(Files::NAME, permit.op(), Missing::new(rule));
                code.into()
            }
        }
    }

    pub(super) async fn metadata(&mut self, fd: &Resource<Descriptor>) -> FsResult<Metadata> {
        match self.node(fd)? {
            Node::File(file) => {
                holds(&file)?;
                let meta = backend::stat_file(self.room.io(), &file).await;
                meta.map_err(|fault| self.fail(&file.permit, fault))
            }
            node => self.metadata_at(&node, PathFlags::empty(), ".").await,
        }
    }

    pub(super) async fn metadata_at(
        &mut self,
        node: &Node,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<Metadata> {
        let Asked { permit, target } = self.ask_node(node, Verb::Stat, path)?;
        let meta = backend::stat(self.room.io(), &permit, target, follows(flags)).await;
        meta.map_err(|fault| self.fail(&permit, fault))
    }

    pub(super) async fn synced(&mut self, fd: &Resource<Descriptor>, data: bool) -> FsResult<()> {
        let node = self.node(fd)?;
        let io = self.room.io();
        match &node {
            // What can't have been written needs no syncing.
            Node::File(file) if !file.write => Ok(()),
            Node::File(file) => {
                holds(file)?;
                let synced = backend::sync_file(io, file, data).await;
                synced.map_err(|fault| self.fail(&file.permit, fault))
            }
            Node::Dir(dir) if dir.area.rule.writable() && self.may_write() => {
                let Asked { permit, target } = self.ask_node(&node, Verb::Write, ".")?;
                let synced = backend::sync_dir(io, &permit, target).await;
                synced.map_err(|fault| self.fail(&permit, fault))
            }
            Node::Dir(_) | Node::Root => Ok(()),
        }
    }

    pub(super) fn may_write(&self) -> bool {
        self.gate.info().class != EffectClass::ReadOnly
    }

    /// Room for one more open file.
    pub(super) fn slot(&self, permit: &Permit<Files>) -> FsResult<Slot> {
        let slot = self.room.slots.take();
        slot.map_err(|fault| self.fail(permit, fault))
    }

    pub(super) fn opened(
        &mut self,
        Asked { permit, target }: Asked,
        slot: Slot,
        how: How,
        opened: Opened,
    ) -> FsResult<Resource<Descriptor>> {
        self.push(match opened {
            Opened::Dir(dir) => Node::Dir(Arc::new(DirNode {
                area: target.area,
                dir: Arc::new(dir),
                path: permit.op().path.clone(),
                _slot: Some(slot),
            })),
            Opened::File(file) => Node::File(Arc::new(FileNode {
                area: target.area,
                file: Arc::new(file),
                permit,
                read: how.read,
                write: how.write,
                _slot: slot,
            })),
        })
    }

    pub(super) async fn removed(
        &mut self,
        fd: &Resource<Descriptor>,
        path: &str,
        directory: bool,
    ) -> FsResult<()> {
        let Asked { permit, target } = self.ask(fd, Verb::Delete, path)?;
        self.inside(&permit, &target)?;
        let removed = backend::remove(self.room.io(), &permit, target, directory).await;
        removed.map_err(|fault| self.fail(&permit, fault))
    }

    /// Refuses to move or delete a granted directory itself.
    pub(super) fn inside(&self, permit: &Permit<Files>, target: &Target) -> FsResult<()> {
        if target.area.rule.guest != permit.op().path {
            return Ok(());
        }
        let fault = Fault::refused(
            ErrorCode::NotPermitted,
            "a granted directory stays in place",
        );
        Err(self.fail(permit, fault))
    }

    /// Refuses any link, by the grant that never allows one.
    pub(super) fn linked(&self, fd: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        self.ask(fd, Verb::Link, path)?;
        Err(ErrorCode::NotPermitted.into())
    }

    pub(super) fn write_stream(
        &mut self,
        fd: &Resource<Descriptor>,
        place: Place,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.writable(fd)?;
        let stream = WriteStream::new(file, self.room.io().clone(), place);
        Ok(self.table.push(Box::new(stream) as DynOutputStream)?)
    }
}

/// Whether a file may still be used.
pub(super) fn holds(file: &FileNode) -> FsResult<()> {
    file.permit.recheck().map_err(|_| ErrorCode::Access.into())
}

pub(super) fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

pub(super) fn how(
    path: PathFlags,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> Result<How, ErrorCode> {
    let how = How {
        read: flags.contains(DescriptorFlags::READ),
        write: flags.contains(DescriptorFlags::WRITE),
        create: open.contains(OpenFlags::CREATE),
        exclusive: open.contains(OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        directory: open.contains(OpenFlags::DIRECTORY),
        follow: follows(path),
    };
    let synced = DescriptorFlags::FILE_INTEGRITY_SYNC
        | DescriptorFlags::DATA_INTEGRITY_SYNC
        | DescriptorFlags::REQUESTED_WRITE_SYNC;
    if flags.intersects(synced) {
        return Err(ErrorCode::Unsupported);
    }
    if how.directory && (how.create || how.exclusive || how.truncate) {
        return Err(ErrorCode::Invalid);
    }
    // One opened for nothing is read.
    Ok(How {
        read: how.read || !how.write,
        ..how
    })
}

pub(super) fn verb(how: How) -> Verb {
    match how {
        How { create: true, .. } => Verb::Create,
        How { write: true, .. } | How { truncate: true, .. } => Verb::Write,
        How {
            directory: true, ..
        } => Verb::List,
        _ => Verb::Read,
    }
}

pub(super) fn times(access: NewTimestamp, change: NewTimestamp) -> Result<Times, ErrorCode> {
    let time = |new| match new {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(SystemTimeSpec::SymbolicNow)),
        NewTimestamp::Timestamp(at) if at.nanoseconds < 1_000_000_000 => UNIX_EPOCH
            .checked_add(Duration::new(at.seconds, at.nanoseconds))
            .map(|at| Some(SystemTimeSpec::Absolute(SystemTime::from_std(at))))
            .ok_or(ErrorCode::Overflow),
        NewTimestamp::Timestamp(_) => Err(ErrorCode::Invalid),
    };
    Ok((time(access)?, time(change)?))
}

pub(super) fn described(meta: &Metadata) -> DescriptorStat {
    let time = |seconds: i64, nanoseconds: i64| {
        Some(Datetime {
            seconds: u64::try_from(seconds).ok()?,
            nanoseconds: u32::try_from(nanoseconds).ok()?,
        })
    };
    DescriptorStat {
        type_: descriptor_type(meta.file_type()),
        link_count: meta.nlink(),
        size: meta.len(),
        data_access_timestamp: time(meta.atime(), meta.atime_nsec()),
        data_modification_timestamp: time(meta.mtime(), meta.mtime_nsec()),
        status_change_timestamp: time(meta.ctime(), meta.ctime_nsec()),
    }
}

pub(super) fn identity(meta: &Metadata) -> MetadataHashValue {
    MetadataHashValue {
        lower: IDENTITY.hash_one((key(meta), 0)),
        upper: IDENTITY.hash_one((key(meta), 1)),
    }
}
