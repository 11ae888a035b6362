//! One call of one plugin on directories of its own, without an engine.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, HostDescriptor, HostDirectoryEntryStream, OpenFlags,
    PathFlags,
};

use crate::capability::files::grant::{Access, Rule};
use crate::capability::files::node::FilesState;
use crate::capability::files::prepare::Prepared;
use crate::capability::files::reserved::Reserved;
use crate::capability::files::view::FilesView;
use crate::capability::{Grants, PrepareError};
use crate::gate::{CallInfo, Gate};
use crate::grants::{EffectClass, GrantsCell};
use crate::limits::ByteSize;

pub(super) const READ: DescriptorFlags = DescriptorFlags::READ;
pub(super) const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
pub(super) const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;

/// An opening without any flag.
pub(super) fn none() -> OpenFlags {
    OpenFlags::empty()
}

/// A rule on `host`.
pub(super) fn rule(host: &std::path::Path, guest: &str, access: Access) -> Rule {
    Rule {
        host: host.to_str().expect("utf-8").to_owned(),
        guest: guest.to_owned(),
        access,
        bytes: None,
        files: None,
    }
}

/// The same with quotas.
pub(super) fn limited(rule: Rule, bytes: u64, files: u64) -> Rule {
    Rule {
        bytes: Some(ByteSize(bytes)),
        files: Some(files),
        ..rule
    }
}

/// One call.
pub(super) struct Rig {
    pub(super) table: ResourceTable,
    pub(super) gate: Gate,
    pub(super) cell: Arc<GrantsCell>,
    pub(super) room: FilesState,
    /// Guest paths and handles of the preopens.
    preopens: Vec<(String, u32)>,
}

impl Rig {
    pub(super) fn new(rules: &[Rule]) -> Self {
        Self::of_class(rules, EffectClass::Plain)
    }

    pub(super) fn of_class(rules: &[Rule], class: EffectClass) -> Self {
        let prepared = prepare(rules).expect("the rules can be prepared");
        Self::call(rules, &Arc::new(prepared), class)
    }

    /// Another call of a plugin that is prepared.
    pub(super) fn call(rules: &[Rule], prepared: &Arc<Prepared>, class: EffectClass) -> Self {
        let cell = Arc::new(GrantsCell::new(1, grants(rules)));
        let info = CallInfo {
            call_id: "c".to_owned(),
            plugin: "p".into(),
            tool: "t".to_owned(),
            principal: "u".to_owned(),
            caller: "u".to_owned(),
            class,
        };
        let mut rig = Self {
            table: ResourceTable::new(),
            gate: Gate::new(info, Arc::clone(&cell), 16 << 20),
            cell,
            room: FilesState::new(prepared),
            preopens: Vec::new(),
        };
        let listed = rig.view().get_directories().expect("preopens");
        rig.preopens = listed.into_iter().map(|(fd, p)| (p, fd.rep())).collect();
        rig
    }

    pub(super) fn view(&mut self) -> FilesView<'_> {
        FilesView {
            table: &mut self.table,
            gate: &self.gate,
            room: &self.room,
        }
    }

    /// The preopen with exactly this guest path.
    pub(super) fn preopen(&self, guest: &str) -> Resource<Descriptor> {
        let found = self.preopens.iter().find(|(path, _)| path == guest);
        Resource::new_borrow(found.expect(guest).1)
    }

    /// The preopen that wasi-libc picks for an absolute path, the one with the
    /// longest prefix, and the rest of the path.
    pub(super) fn resolve(&self, path: &str) -> (Resource<Descriptor>, String) {
        let below = |guest: &str| match guest {
            "/" => path.strip_prefix('/'),
            guest => path
                .strip_prefix(guest)
                .filter(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        let (rest, fd) = self
            .preopens
            .iter()
            .filter_map(|(guest, fd)| below(guest).map(|rest| (guest.len(), rest, *fd)))
            .max_by_key(|(len, ..)| *len)
            .map(|(_, rest, fd)| (rest.trim_start_matches('/'), fd))
            .expect("the preopen `/` covers everything");
        let rest = if rest.is_empty() { "." } else { rest };
        (Resource::new_borrow(fd), rest.to_owned())
    }

    pub(super) async fn open(
        &mut self,
        path: &str,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let (fd, rest) = self.resolve(path);
        self.view().open_at(fd, FOLLOW, rest, how, flags).await
    }

    pub(super) async fn read(&mut self, path: &str) -> FsResult<Vec<u8>> {
        let fd = self.open(path, OpenFlags::empty(), READ).await?;
        let (bytes, _) = self.view().read(again(&fd), 1 << 20, 0).await?;
        HostDescriptor::drop(&mut self.view(), fd).expect("drop");
        Ok(bytes)
    }

    /// Makes or replaces a file.
    pub(super) async fn write(&mut self, path: &str, bytes: &[u8]) -> FsResult<u64> {
        let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let fd = self.open(path, how, WRITE).await?;
        let wrote = self.view().write(again(&fd), bytes.to_vec(), 0).await;
        HostDescriptor::drop(&mut self.view(), fd).expect("drop");
        wrote
    }

    pub(super) async fn delete(&mut self, path: &str) -> FsResult<()> {
        let (fd, rest) = self.resolve(path);
        self.view().unlink_file_at(fd, rest).await
    }

    pub(super) async fn rename(&mut self, from: &str, to: &str) -> FsResult<()> {
        let (from_fd, from) = self.resolve(from);
        let (to_fd, to) = self.resolve(to);
        self.view().rename_at(from_fd, from, to_fd, to).await
    }

    pub(super) async fn make_dir(&mut self, path: &str) -> FsResult<()> {
        let (fd, rest) = self.resolve(path);
        self.view().create_directory_at(fd, rest).await
    }

    /// Names in a directory, sorted.
    pub(super) async fn names(&mut self, path: &str) -> FsResult<Vec<String>> {
        let (fd, rest) = self.resolve(path);
        let how = OpenFlags::DIRECTORY;
        let dir = self.view().open_at(fd, FOLLOW, rest, how, READ).await?;
        let listing = self.view().read_directory(dir).await?;
        let mut names = Vec::new();
        let listing = listing.rep();
        while let Some(entry) = self
            .view()
            .read_directory_entry(Resource::new_borrow(listing))
            .await?
        {
            names.push(entry.name);
        }
        names.sort();
        Ok(names)
    }

    /// The last denial: operation and rule.
    pub(super) fn denied(&self) -> (String, String) {
        let denial = self.gate.last_denial().expect("something was denied");
        (denial.operation, denial.rule)
    }

    /// How many operations were denied.
    pub(super) fn denials_counted(&self) -> u64 {
        self.gate.usage().iter().map(|usage| usage.denied).sum()
    }

    /// What is counted in the area of the first rule.
    pub(super) fn counted(&self) -> (u64, u64) {
        let quota = self.room.prepared.areas[0].quota.as_ref();
        quota.expect("a quota").used()
    }
}

/// Opens what `rules` name.
pub(super) fn prepare(rules: &[Rule]) -> Result<Prepared, PrepareError> {
    Prepared::new(rules, &Reserved::default(), &Handle::current())
}

pub(super) fn grants(rules: &[Rule]) -> Grants {
    Grants {
        files: rules.to_vec(),
        ..Grants::default()
    }
}

/// Another borrow of a handle.
pub(super) fn again<T>(fd: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(fd.rep())
}

/// The code that an operation failed with.
pub(super) fn code<T>(result: FsResult<T>) -> ErrorCode {
    let error = result.err().expect("it fails");
    error.downcast().expect("a code, not a trap")
}

/// A directory that is removed at the end, and its path.
pub(super) fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_owned();
    (dir, path)
}
