//! `wasi:filesystem` for a guest: each function finds the node behind its
//! descriptor, asks the gate and hands on to the backend.
//!
//! What must stay true: each function asks for a permit or rechecks the one it
//! finds; what is behind a descriptor is a [`Node`], whatever the bindings say.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::Files;
use super::backend::{self, Place};
use super::fault::Fault;
use super::grant::{Op, Verb};
use super::listing::{BATCH_BYTES, Listing};
use super::node::{DirNode, Node};
use super::open::open;
use super::quota::key;
use super::stream::ReadStream;
use super::view::{Asked, FilesView, described, follows, holds, how, identity, times, verb};

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut listed = Vec::new();
        let granted = self.room.prepared.areas.clone();
        if granted.iter().all(|area| area.rule.guest != "/") {
            let root = self.table.push(Node::Root)?;
            listed.push((Resource::new_own(root.rep()), "/".to_owned()));
        }
        for area in granted {
            let path = area.rule.guest.clone();
            let node = Node::Dir(Arc::new(DirNode {
                dir: Arc::clone(&area.dir),
                area,
                path: path.clone(),
                _slot: None,
            }));
            listed.push((Resource::new_own(self.table.push(node)?.rep()), path));
        }
        Ok(listed)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<ErrorCode>().copied())
    }
}

impl HostDescriptor for FilesView<'_> {
    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        _offset: Filesize,
        _len: Filesize,
        _advice: Advice,
    ) -> FsResult<()> {
        holds(&*self.file(&fd)?)
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.synced(&fd, true).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        let flag = |set: bool, flag| if set { flag } else { DescriptorFlags::empty() };
        Ok(match self.node(&fd)? {
            Node::File(file) => {
                flag(file.read, DescriptorFlags::READ) | flag(file.write, DescriptorFlags::WRITE)
            }
            Node::Dir(dir) => {
                let mutate = dir.area.rule.writable() && self.may_write();
                DescriptorFlags::READ | flag(mutate, DescriptorFlags::MUTATE_DIRECTORY)
            }
            Node::Root => DescriptorFlags::READ,
        })
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(match self.node(&fd)? {
            Node::File(_) => DescriptorType::RegularFile,
            Node::Dir(_) | Node::Root => DescriptorType::Directory,
        })
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let file = self.writable(&fd)?;
        let set = backend::set_size(self.room.io(), &file, size).await;
        set.map_err(|fault| self.fail(&file.permit, fault))
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        access: NewTimestamp,
        change: NewTimestamp,
    ) -> FsResult<()> {
        let new = times(access, change)?;
        let file = match self.node(&fd)? {
            Node::File(file) => file,
            node => {
                let Asked { permit, target } = self.ask_node(&node, Verb::Write, ".")?;
                let set = backend::set_times(self.room.io(), &permit, target, true, new).await;
                return set.map_err(|fault| self.fail(&permit, fault));
            }
        };
        holds(&file)?;
        let op = Op::new(Verb::Write, "/", &file.permit.op().path);
        let permit = self.gate.permit::<Files>(op);
        let permit = permit.map_err(|_| ErrorCode::NotPermitted)?;
        let set = backend::set_file_times(self.room.io(), &permit, &file, new).await;
        set.map_err(|fault| self.fail(&permit, fault))
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        len: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let file = self.readable(&fd)?;
        let len = len.min(backend::READ_BYTES_MAX);
        let memory = self.gate.budget().reserve(len).map_err(FsError::trap)?;
        let read = backend::read(self.room.io(), &file, len, offset).await;
        let read = read.map_err(|fault| self.fail(&file.permit, fault))?;
        holds(&file)?;
        file.permit.count_in(read.len() as u64);
        drop(memory);
        let end = read.is_empty();
        Ok((read, end))
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let file = self.writable(&fd)?;
        let memory = self.gate.budget().reserve(bytes.len() as u64);
        let memory = memory.map_err(FsError::trap)?;
        let write = backend::write(self.room.io(), &file, bytes.into(), Place::At(offset));
        let wrote = write.await;
        let wrote = wrote.map_err(|fault| self.fail(&file.permit, fault))?;
        file.permit.count_out(wrote);
        drop(memory);
        Ok(wrote)
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let Asked { permit, target } = self.ask(&fd, Verb::List, ".")?;
        let slot = self.slot(&permit)?;
        let memory = self.gate.budget().reserve(BATCH_BYTES);
        let memory = memory.map_err(FsError::trap)?;
        let entries = backend::list(self.room.io(), &permit, target).await;
        let entries = entries.map_err(|fault| self.fail(&permit, fault))?;
        let listing = Listing::new(permit, entries, slot, memory);
        Ok(Resource::new_own(self.table.push(listing)?.rep()))
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.synced(&fd, false).await
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let Asked { permit, target } = self.ask(&fd, Verb::Create, &path)?;
        let created = backend::create_dir(self.room.io(), &permit, target).await;
        created.map_err(|fault| self.fail(&permit, fault))
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        Ok(described(&self.metadata(&fd).await?))
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let node = self.node(&fd)?;
        Ok(described(&self.metadata_at(&node, flags, &path).await?))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        access: NewTimestamp,
        change: NewTimestamp,
    ) -> FsResult<()> {
        let new = times(access, change)?;
        let Asked { permit, target } = self.ask(&fd, Verb::Write, &path)?;
        let follow = follows(flags);
        let set = backend::set_times(self.room.io(), &permit, target, follow, new).await;
        set.map_err(|fault| self.fail(&permit, fault))
    }

    async fn link_at(
        &mut self,
        _fd: Resource<Descriptor>,
        _flags: PathFlags,
        _old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        self.linked(&new_fd, &new_path)
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let how = how(path_flags, open_flags, flags)?;
        let asked = self.ask(&fd, verb(how), &path)?;
        let slot = self.slot(&asked.permit)?;
        let target = asked.target.clone();
        let done = open(self.room.io(), &asked.permit, target, how).await;
        let done = done.map_err(|fault| self.fail(&asked.permit, fault))?;
        self.opened(asked, slot, how, done)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Node>::new_own(fd.rep()))?;
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let Asked { permit, target } = self.ask(&fd, Verb::Stat, &path)?;
        let leads = backend::read_link(self.room.io(), &permit, target).await;
        leads.map_err(|fault| self.fail(&permit, fault))
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        self.removed(&fd, &path, true).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let from = self.ask(&fd, Verb::Rename, &old_path)?;
        let to = self.ask(&new_fd, Verb::Rename, &new_path)?;
        self.inside(&from.permit, &from.target)?;
        self.inside(&to.permit, &to.target)?;
        if !Arc::ptr_eq(&from.target.area, &to.target.area) {
            let rule = "a rename from one granted directory into another; copy instead";
            let fault = Fault::refused(ErrorCode::CrossDevice, rule);
            return Err(self.fail(&to.permit, fault));
        }
        let (io, slots) = (self.room.io(), &self.room.slots);
        let (old, new) = ((&from.permit, from.target), (&to.permit, to.target));
        let renamed = backend::rename(io, slots, old, new).await;
        renamed.map_err(|fault| self.fail(&from.permit, fault))
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        _old_path: String,
        new_path: String,
    ) -> FsResult<()> {
        self.linked(&fd, &new_path)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.removed(&fd, &path, false).await
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let file = self.readable(&fd)?;
        let stream = ReadStream::new(file, self.room.io().clone(), offset);
        Ok(self.table.push(Box::new(stream) as DynInputStream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.write_stream(&fd, Place::At(offset))
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.write_stream(&fd, Place::End)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let a = self.metadata(&a).await.ok();
        let b = self.metadata(&b).await.ok();
        Ok(a.zip(b).is_some_and(|(a, b)| key(&a) == key(&b)))
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        Ok(identity(&self.metadata(&fd).await?))
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let node = self.node(&fd)?;
        Ok(identity(&self.metadata_at(&node, flags, &path).await?))
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let stream = Resource::<Arc<Listing>>::new_borrow(stream.rep());
        let listing = Arc::clone(self.table.get(&stream)?);
        listing.permit.recheck().map_err(|_| ErrorCode::Access)?;
        loop {
            if let Some(entry) = listing.ready() {
                return Ok(entry.transpose()?);
            }
            let filled = Arc::clone(&listing);
            let fill = self.room.io().run(move || filled.fill()).await;
            fill.map_err(|fault| self.fail(&listing.permit, fault))?;
        }
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Arc<Listing>>::new_own(stream.rep()))?;
        Ok(())
    }
}
