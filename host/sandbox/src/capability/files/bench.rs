//! One granted file read with and without the gate, for `cargo xtask bench`:
//! the same functions open and read the file on the same runtime; only one way
//! asks for permits, rechecks, counts and keeps a descriptor.

use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, HostDescriptor, OpenFlags, PathFlags,
};

use super::backend::{READ_BYTES_MAX, Target, read_cached, read_now};
use super::fault::Fault;
use super::grant::{Access, Rule};
use super::node::FilesState;
use super::open::{How, Opened, open_now};
use super::prepare::Prepared;
use super::reserved::Reserved;
use super::view::FilesView;
use crate::capability::{Grants, PrepareError};
use crate::gate::{CallInfo, Gate};
use crate::grants::{EffectClass, GrantsCell};

/// A granted directory in one call.
pub struct FileReadBench {
    table: ResourceTable,
    gate: Gate,
    room: FilesState,
    preopen: u32,
}

impl FileReadBench {
    /// Grants `host` for reading; file operations run on `io`.
    ///
    /// # Errors
    /// The directory can't be opened.
    pub fn new(host: &str, io: &Handle) -> Result<Self, PrepareError> {
        let rule = Rule {
            host: host.to_owned(),
            guest: "/data".to_owned(),
            access: Access::Read,
            bytes: None,
            files: None,
        };
        let prepared = Prepared::new(std::slice::from_ref(&rule), &Reserved::default(), io)?;
        let grants = Grants {
            files: vec![rule],
            ..Grants::default()
        };
        let info = CallInfo {
            call_id: "bench".to_owned(),
            plugin: "bench".into(),
            tool: "read".to_owned(),
            principal: "bench".to_owned(),
            caller: "bench".to_owned(),
            class: EffectClass::Plain,
        };
        let mut bench = Self {
            table: ResourceTable::new(),
            gate: Gate::new(info, Arc::new(GrantsCell::new(1, grants)), 1 << 20),
            room: FilesState::new(&Arc::new(prepared)),
            preopen: 0,
        };
        let listed = bench.view().get_directories().unwrap_or_default();
        bench.preopen = listed.last().map_or(0, |(fd, _)| fd.rep());
        Ok(bench)
    }

    /// Opens, reads up to 64 KiB and closes as a guest does; gives the number
    /// of bytes.
    ///
    /// # Errors
    /// What the guest would be told.
    pub async fn granted(&mut self, path: &str) -> wasmtime::Result<usize> {
        let preopen = Resource::<Descriptor>::new_borrow(self.preopen);
        let mut view = self.view();
        let (follow, none, read) = (
            PathFlags::SYMLINK_FOLLOW,
            OpenFlags::empty(),
            DescriptorFlags::READ,
        );
        let fd = view
            .open_at(preopen, follow, path.to_owned(), none, read)
            .await?;
        let borrowed = Resource::new_borrow(fd.rep());
        let (bytes, _) = view.read(borrowed, READ_BYTES_MAX, 0).await?;
        HostDescriptor::drop(&mut view, fd)?;
        Ok(bytes.len())
    }

    /// The same by the same functions, without the gate.
    ///
    /// # Errors
    /// The file can't be opened or read.
    pub async fn direct(&self, path: &str) -> wasmtime::Result<usize> {
        let fault = |fault| wasmtime::format_err!("{fault:?}");
        let area = &self.room.prepared.areas[0];
        let target = Target {
            area: Arc::clone(area),
            dir: Arc::clone(&area.dir),
            path: path.to_owned(),
        };
        let how = How {
            read: true,
            follow: true,
            ..How::default()
        };
        let io = self.room.io();
        let opened = io.run(move || open_now(&target, how)).await;
        let Opened::File(open) = opened.map_err(fault)? else {
            return Err(fault(Fault::special()));
        };
        if let Some(read) = read_cached(&open.file, READ_BYTES_MAX, 0) {
            return Ok(read.len());
        }
        let read = io
            .run(move || read_now(&open.file, READ_BYTES_MAX, 0))
            .await;
        Ok(read.map_err(fault)?.len())
    }

    fn view(&mut self) -> FilesView<'_> {
        FilesView {
            table: &mut self.table,
            gate: &self.gate,
            room: &self.room,
        }
    }
}
