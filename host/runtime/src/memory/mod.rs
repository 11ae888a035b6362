//! The documents that agents and tools keep, as the rest of the runtime and its
//! administrators see them.
//!
//! What must stay true: what a removed plugin kept for itself is gone, and so are the
//! notes of a run that is pruned; a host that keeps no documents opens nothing.

mod admin;
mod embed;
mod error;
mod import;
mod types;

use std::sync::Arc;

use airlock_journal::StoreError;
use airlock_memory::{
    Kind, Memory, MemoryError, MemoryHome, Namespace, Reads, Wanted, limits::PAGE_MAX,
};
use airlock_sandbox::capability::memory::{agents_own, is_agents_own};
use tokio::runtime::Handle;

pub use error::MemoryFailure;
pub use import::{ImportFile, MemoryImport, MemoryImported, RefusedFile};
pub use types::{
    DocumentPut, DocumentsPage, DocumentsQuery, MemoryFound, MemoryPage, MemoryQuery, MemorySearch,
    NamespaceDeleted, NamespaceView,
};

use crate::principal::Principal;
use crate::runtime::Runtime;

/// Who works with the memory, but for plugins.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'w> {
    /// The host itself.
    Host,
    Principal(&'w Principal),
}

impl Asker<'_> {
    /// Whose places these are. No plugin has such a name.
    fn place(self) -> String {
        match self {
            Self::Host => "/".to_owned(),
            Self::Principal(who) => format!("/{}", who.name),
        }
    }
}

impl Runtime {
    /// Opens it where there is something in it, so that what is over is removed. Where
    /// its folder can't be written, that is said, and it is tried again by whoever needs
    /// it next.
    pub(crate) async fn open_memory(&self) -> Result<(), MemoryError> {
        let home = Arc::clone(&self.memory);
        let opened = tokio::task::spawn_blocking(move || home.open_if_used().map(drop));
        match opened.await.unwrap_or_else(|_| Err(interrupted())) {
            Err(error @ (MemoryError::Index { .. } | MemoryError::Busy { .. })) => {
                tracing::error!(%error, "the memory can't be opened");
                Ok(())
            }
            opened => opened,
        }
    }

    /// Closes it: what searches need of it is on disk then.
    pub(crate) async fn close_memory(&self) {
        let home = Arc::clone(&self.memory);
        if tokio::task::spawn_blocking(move || home.close())
            .await
            .is_err()
        {
            tracing::error!("closing the memory was interrupted");
        }
    }

    /// Works with it off the async threads, in a place of `who`.
    pub(crate) async fn with_memory<T: Send + 'static>(
        &self,
        who: Asker<'_>,
        work: impl FnOnce(&Memory) -> Result<T, MemoryError> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let io = Handle::current();
        let work = move |home: &MemoryHome, _: &Wanted| work(&*home.open()?);
        self.memory.work(&io, &who.place(), work).await
    }

    /// Changes it off the async threads, in a place of `who`, who must still have a say
    /// once they have it.
    async fn change_memory<T: Send + 'static>(
        self: &Arc<Self>,
        who: &Principal,
        change: impl FnOnce(&Memory) -> T + Send + 'static,
    ) -> Result<T, MemoryFailure> {
        let (runtime, whose) = (Arc::clone(self), who.clone());
        let work = move |memory: &Memory| {
            let holds = runtime.check_holds(&whose);
            Ok(holds.map(|()| change(memory)))
        };
        Ok(self.with_memory(Asker::Principal(who), work).await??)
    }

    /// Reads it off the async threads, in a place of `who`; one that was never used is
    /// not opened for that.
    pub(crate) async fn read_memory<T: Send + 'static>(
        &self,
        who: Asker<'_>,
        work: impl FnOnce(&Reads) -> Result<T, MemoryError> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let io = Handle::current();
        let work = move |home: &MemoryHome, wanted: &Wanted| work(&home.reads()?.wanted(wanted));
        self.memory.work(&io, &who.place(), work).await
    }

    /// Whether a plugin keeps documents for itself.
    pub(crate) async fn memory_holds(&self, plugin: &str) -> Result<bool, StoreError> {
        Ok(!self.own_namespaces(plugin).await?.is_empty())
    }

    /// Deletes what a plugin kept for itself; tells how many namespaces. Its grants
    /// must be gone before.
    pub(crate) async fn erase_memory(&self, plugin: &str) -> Result<u64, StoreError> {
        let home = Arc::clone(&self.memory);
        let queued = tokio::task::spawn_blocking(move || {
            home.allowed_before_is_queued();
            home.opened()
        });
        // What is queued is written once a sweep behind it is done: what is listed then
        // is all that there is.
        if let Some(memory) = queued.await.map_err(|_| store_error(interrupted()))? {
            memory.sweep().await.map_err(store_error)?;
        }
        let mut deleted = 0;
        for namespace in self.own_namespaces(plugin).await? {
            deleted += u64::from(self.delete_all(namespace).await.map_err(store_error)?);
        }
        Ok(deleted)
    }

    async fn delete_all(&self, namespace: Namespace) -> Result<bool, MemoryError> {
        let queued = self.with_memory(Asker::Host, move |memory| {
            Ok(memory.delete_namespace(&namespace))
        });
        queued.await?.await
    }

    async fn own_namespaces(&self, plugin: &str) -> Result<Vec<Namespace>, StoreError> {
        if !self.memory.is_used().map_err(store_error)? {
            return Ok(Vec::new());
        }
        let plugin = plugin.to_owned();
        let listed = self.with_memory(Asker::Host, move |memory| own_namespaces(memory, &plugin));
        listed.await.map_err(store_error)
    }

    /// Deletes the notes of runs, and what is written down of the writes of others.
    pub(crate) async fn forget_runs(
        &self,
        runs: &[String],
        notes: &[String],
    ) -> Result<(), MemoryError> {
        if !self.memory.is_used()? {
            return Ok(());
        }
        for run in notes {
            if let Ok(namespace) = Namespace::new(Kind::Run, run) {
                self.delete_all(namespace).await?;
            }
        }
        let home = Arc::clone(&self.memory);
        let opened = tokio::task::spawn_blocking(move || home.open());
        let memory = opened.await.unwrap_or_else(|_| Err(interrupted()))?;
        for run in runs {
            memory.forget_receipts(run).await?;
        }
        Ok(())
    }
}

/// That of a plugin for all, and those for one principal each.
fn own_namespaces(memory: &Memory, plugin: &str) -> Result<Vec<Namespace>, MemoryError> {
    let all = agents_own(plugin, None)?;
    let mut own = Vec::new();
    own.extend(memory.usage(&all)?.map(|_| all));
    let mut after = Namespace::new(Kind::Agent, &format!("{plugin}."))?;
    loop {
        let page = memory.namespaces(Some(Kind::Agent), Some(&after), PAGE_MAX)?;
        let last = page.len() < PAGE_MAX;
        for (namespace, _) in page {
            if !is_agents_own(&namespace, plugin) {
                return Ok(own);
            }
            after = namespace.clone();
            own.push(namespace);
        }
        if last {
            return Ok(own);
        }
    }
}

fn interrupted() -> MemoryError {
    MemoryError::Busy {
        why: "the host is stopping".to_owned(),
    }
}

fn store_error(error: MemoryError) -> StoreError {
    match error {
        MemoryError::Store(error) => error,
        MemoryError::Corrupt { place } => StoreError::Corrupt { place },
        error => StoreError::io("working with the memory", std::io::Error::other(error)),
    }
}
