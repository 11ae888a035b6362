//! What stands behind a guest's descriptors. The host's table holds these, under
//! the handles that the bindings type as `wasmtime_wasi`'s descriptors.

use std::sync::Arc;

use cap_std::fs::{Dir, File};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::Files;
use super::fault::Fault;
use super::prepare::{Area, Prepared};
use super::quota::Inode;
use super::slots::{Io, Slot, Slots};
use crate::gate::Permit;

/// The files room in one call.
pub struct FilesState {
    pub(super) prepared: Arc<Prepared>,
    pub(super) slots: Arc<Slots>,
}

impl FilesState {
    pub(super) fn new(prepared: &Arc<Prepared>) -> Self {
        Self {
            slots: Slots::call(&prepared.slots),
            prepared: Arc::clone(prepared),
        }
    }

    pub(super) fn io(&self) -> &Io {
        &self.prepared.io
    }
}

/// A descriptor.
#[derive(Clone)]
pub(super) enum Node {
    /// The preopen `/` of a plugin that was not granted one: each use is asked
    /// of the gate, so that what is not granted is denied and recorded.
    Root,
    /// A directory in a granted one, or that itself.
    Dir(Arc<DirNode>),
    /// An open regular file.
    File(Arc<FileNode>),
}

pub(super) struct DirNode {
    pub(super) area: Arc<Area>,
    pub(super) dir: Arc<Dir>,
    /// Its absolute guest path.
    pub(super) path: String,
    pub(super) _slot: Option<Slot>,
}

pub(super) struct FileNode {
    pub(super) area: Arc<Area>,
    pub(super) file: Arc<OpenFile>,
    /// What it was opened under; rechecked at each use.
    pub(super) permit: Permit<Files>,
    /// Whether it was opened for reading.
    pub(super) read: bool,
    /// Whether it was opened for writing.
    pub(super) write: bool,
    pub(super) _slot: Slot,
}

impl FileNode {
    /// # Errors
    /// `access`: the permit no longer holds; that is recorded.
    pub(super) fn holds(&self) -> Result<(), Fault> {
        let denied = |_| ErrorCode::Access.into();
        self.permit.recheck().map_err(denied)
    }
}

/// An open file. Fields drop in this order: the inode stops counting before its
/// number can be used again.
pub(super) struct OpenFile {
    /// Present where growth is counted.
    pub(super) inode: Option<Arc<Inode>>,
    pub(super) file: File,
}
