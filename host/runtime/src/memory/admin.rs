//! What administrators do with documents.
//!
//! What must stay true: a token that is limited to some plugins sees what those keep
//! for themselves and the notes of their runs, and nothing else; what is changed is on
//! record before it is.

use std::sync::Arc;

use airlock_journal::StoreError;
use airlock_memory::limits::PAGE_MAX;
use airlock_memory::{Expect, Kind, Namespace, NewDocument, Provenance, Quota, Search};
use airlock_sandbox::capability::memory::{
    DocumentView, EntryView, document_view, entry_view, hit_view, page,
};
use serde_json::json;

use super::embed::Embedder;
use super::{
    Asker, DocumentPut, DocumentsPage, DocumentsQuery, MemoryFailure, MemoryFound, MemoryPage,
    MemoryQuery, MemorySearch, NamespaceDeleted, NamespaceView,
};
use crate::principal::Principal;
use crate::record;
use crate::runtime::Runtime;

impl Runtime {
    /// The namespaces that `who` may see, with what they hold.
    ///
    /// # Errors
    /// The query makes no sense, or the store failed.
    pub async fn memory_namespaces(
        &self,
        who: &Principal,
        query: MemoryQuery,
    ) -> Result<MemoryPage, MemoryFailure> {
        let kind = query.kind.as_deref().map(kind_named).transpose()?;
        let mut after = query.after.as_deref().map(Namespace::parse).transpose()?;
        page_size(query.limit)?;
        let mut page = MemoryPage {
            namespaces: Vec::new(),
            next: None,
        };
        if !self.memory.is_used()? {
            return Ok(page);
        }
        loop {
            let behind = after.clone();
            let listed = self.with_memory(Asker::Principal(who), move |memory| {
                memory.namespaces(kind, behind.as_ref(), PAGE_MAX)
            });
            let listed = listed.await?;
            let last = listed.len() < PAGE_MAX;
            for (namespace, usage) in listed {
                if page.namespaces.len() == query.limit {
                    page.next = page.namespaces.last().map(|view| view.namespace.clone());
                    return Ok(page);
                }
                if self.sees(who, &namespace)? {
                    page.namespaces.push(NamespaceView {
                        namespace: namespace.to_string(),
                        usage,
                    });
                }
                after = Some(namespace);
            }
            if last {
                return Ok(page);
            }
        }
    }

    /// A page of a namespace's documents, without their texts.
    ///
    /// # Errors
    /// There is no such namespace, or `who` may not see it.
    pub async fn memory_documents(
        &self,
        who: &Principal,
        namespace: &str,
        query: DocumentsQuery,
    ) -> Result<DocumentsPage, MemoryFailure> {
        let namespace = self.seen(who, namespace)?;
        page_size(query.limit)?;
        let shown = namespace.to_string();
        let listed = self.read_memory(Asker::Principal(who), move |memory| {
            let from = (query.after.as_deref(), query.limit);
            let there = memory.usage(&namespace)?.is_some();
            let place = (&namespace, &*namespace.to_string());
            let page = page(memory, place, &query.prefix, from, true)?;
            Ok(there.then_some(page))
        });
        let Some((documents, next)) = listed.await? else {
            return Err(MemoryFailure::NoNamespace(shown));
        };
        Ok(DocumentsPage { documents, next })
    }

    /// A document.
    ///
    /// # Errors
    /// There is none, or `who` may not see it.
    pub async fn memory_document(
        &self,
        who: &Principal,
        namespace: &str,
        id: &str,
    ) -> Result<DocumentView, MemoryFailure> {
        let namespace = self.seen(who, namespace)?;
        let (shown, wanted) = (namespace.to_string(), id.to_owned());
        let got = self.read_memory(Asker::Principal(who), move |memory| {
            memory.get(&namespace, &wanted)
        });
        match got.await? {
            Some(document) => Ok(document_view(document, &shown, true)),
            None => Err(MemoryFailure::NoDocument {
                namespace: shown,
                id: id.to_owned(),
            }),
        }
    }

    /// Writes a document of a shared namespace, whole.
    ///
    /// # Errors
    /// It makes no sense, is not in the version that was expected, or does not fit.
    pub async fn put_memory_document(
        self: &Arc<Self>,
        who: &Principal,
        namespace: &str,
        id: &str,
        put: DocumentPut,
    ) -> Result<EntryView, MemoryFailure> {
        let namespace = self.shared(who, namespace)?;
        let shown = namespace.to_string();
        let vector = match (&put.embed, put.vector) {
            (None, vector) => vector,
            (Some(_), Some(_)) => {
                let why = "`vector` and `embed`: give one of them".to_owned();
                return Err(MemoryFailure::Invalid(why));
            }
            (Some(role), None) => self.vector_of(who, role, &put.text).await?,
        };
        let detail = json!({ "namespace": shown, "id": id });
        self.on_record(who, "memory.put", &shown, detail).await?;
        let document = NewDocument {
            id: id.to_owned(),
            text: put.text,
            value: put.value,
            labels: put.labels,
            vector,
            ttl_ms: put.ttl_ms,
            source: put.source,
        };
        let (to, by) = (namespace.clone(), provenance(who));
        let queued = self.change_memory(who, move |memory| {
            memory.put(&to, document, put.expect, &by, Quota::default())
        });
        queued.await?.await?;
        let (wanted, missing) = (id.to_owned(), id.to_owned());
        let got = self.read_memory(Asker::Principal(who), move |memory| {
            memory.get(&namespace, &wanted)
        });
        match got.await? {
            Some(document) => Ok(entry_view(document.entry, &shown, true)),
            None => Err(MemoryFailure::NoDocument {
                namespace: shown,
                id: missing,
            }),
        }
    }

    /// Removes a document of any namespace; with `expect` only in that version.
    ///
    /// # Errors
    /// There is none, or it is in another version.
    pub async fn delete_memory_document(
        self: &Arc<Self>,
        who: &Principal,
        namespace: &str,
        id: &str,
        (expect, why): (Option<u64>, &str),
    ) -> Result<(), MemoryFailure> {
        let namespace = self.seen(who, namespace)?;
        named(crate::names::why(why))?;
        self.check_holds(who)?;
        let shown = namespace.to_string();
        if !self.memory.is_used()? {
            let id = id.to_owned();
            return Err(MemoryFailure::NoDocument {
                namespace: shown,
                id,
            });
        }
        let detail = json!({ "namespace": shown, "id": id, "why": why });
        self.on_record(who, "memory.delete", &shown, detail).await?;
        let (wanted, by) = (id.to_owned(), provenance(who));
        let expect = expect.map_or(Expect::Any, Expect::Version);
        let queued = self.change_memory(who, move |memory| {
            memory.delete(&namespace, &wanted, expect, &by)
        });
        match queued.await?.await? {
            true => Ok(()),
            false => Err(MemoryFailure::NoDocument {
                namespace: shown,
                id: id.to_owned(),
            }),
        }
    }

    /// Deletes a namespace with all its documents: from then on nothing of it is
    /// found.
    ///
    /// # Errors
    /// There is none, or `who` may not see it.
    pub async fn delete_memory_namespace(
        self: &Arc<Self>,
        who: &Principal,
        namespace: &str,
        why: &str,
    ) -> Result<NamespaceDeleted, MemoryFailure> {
        let namespace = self.seen(who, namespace)?;
        named(crate::names::why(why))?;
        self.check_holds(who)?;
        let shown = namespace.to_string();
        let held = namespace.clone();
        let usage = self
            .read_memory(Asker::Principal(who), move |memory| memory.usage(&held))
            .await?;
        let Some(usage) = usage else {
            return Err(MemoryFailure::NoNamespace(shown));
        };
        let detail = json!({
            "namespace": shown, "documents": usage.documents, "bytes": usage.bytes, "why": why,
        });
        self.on_record(who, "memory.delete-namespace", &shown, detail)
            .await?;
        let queued = self.change_memory(who, move |memory| memory.delete_namespace(&namespace));
        queued.await?.await?;
        Ok(NamespaceDeleted {
            namespace: shown,
            usage,
        })
    }

    /// Looks for documents.
    ///
    /// # Errors
    /// It makes no sense, or `who` may not see one of the namespaces.
    pub async fn search_memory(
        self: &Arc<Self>,
        who: &Principal,
        asked: MemorySearch,
    ) -> Result<MemoryFound, MemoryFailure> {
        let namespaces = asked.namespaces.iter().map(|name| self.seen(who, name));
        let namespaces = namespaces.collect::<Result<Vec<_>, _>>()?;
        let vector = match (&asked.embed, &asked.text, asked.vector) {
            (None, _, vector) => vector,
            // There is nothing to look for, as without a role.
            (Some(_), Some(text), None) if text.trim().is_empty() => None,
            (Some(role), Some(text), None) => self.vector_of(who, role, text).await?,
            (Some(_), ..) => {
                let why = "`embed` makes a vector of `text`: give that, and no `vector`";
                return Err(MemoryFailure::Invalid(why.to_owned()));
            }
        };
        let search = Search {
            namespaces,
            text: asked.text,
            vector,
            labels: asked.labels,
            from_ms: asked.from_ms,
            to_ms: asked.to_ms,
            limit: asked.limit,
        };
        let hits = self.read_memory(Asker::Principal(who), move |memory| memory.search(&search));
        let view = |hit: airlock_memory::Hit| {
            let shown = hit.entry.namespace.to_string();
            hit_view(hit, &shown, true)
        };
        Ok(MemoryFound {
            hits: hits.await?.into_iter().map(view).collect(),
        })
    }

    /// The vector of a text; what it took is on record.
    async fn vector_of(
        self: &Arc<Self>,
        who: &Principal,
        role: &str,
        text: &str,
    ) -> Result<Option<Vec<f32>>, MemoryFailure> {
        let embedder = Embedder::new(self, role, who)?;
        let made = embedder.vectors(vec![text.to_owned()]).await;
        self.embedded(who, &embedder, role).await?;
        Ok(made?.pop())
    }

    /// A namespace that `who` may see.
    fn seen(&self, who: &Principal, namespace: &str) -> Result<Namespace, MemoryFailure> {
        let namespace = Namespace::parse(namespace)?;
        match self.sees(who, &namespace)? {
            true => Ok(namespace),
            false => Err(MemoryFailure::NoNamespace(namespace.to_string())),
        }
    }

    /// A namespace that `who` may write.
    pub(super) fn shared(
        &self,
        who: &Principal,
        namespace: &str,
    ) -> Result<Namespace, MemoryFailure> {
        let namespace = self.seen(who, namespace)?;
        self.check_holds(who)?;
        match namespace.kind() {
            Kind::Shared => Ok(namespace),
            _ => Err(MemoryFailure::NotShared(namespace.to_string())),
        }
    }

    /// Whether a token reaches a namespace: what a plugin keeps for itself, and the
    /// notes of its runs, are as the plugin.
    fn sees(&self, who: &Principal, namespace: &Namespace) -> Result<bool, StoreError> {
        if !who.is_scoped() {
            return Ok(true);
        }
        let name = namespace.name();
        Ok(match namespace.kind() {
            Kind::Agent => who.may_see(name.split('.').next().unwrap_or(name)),
            Kind::Run => self
                .agent_of(name)?
                .is_some_and(|agent| who.may_see(&agent)),
            Kind::Shared => false,
        })
    }

    /// Puts on record what `who` is about to change.
    pub(super) async fn on_record(
        &self,
        who: &Principal,
        action: &str,
        subject: &str,
        detail: serde_json::Value,
    ) -> Result<(), MemoryFailure> {
        let record = self.act_of(who, action, subject, detail)?;
        self.audit.append(&record).await?;
        Ok(())
    }

    /// Puts on record what models were asked for, whoever still has a say.
    pub(super) async fn embedded(
        &self,
        who: &Principal,
        embedder: &Embedder,
        subject: &str,
    ) -> Result<(), MemoryFailure> {
        let (tokens, micros) = embedder.used();
        let role = embedder.role();
        let detail = json!({ "role": role, "tokens": tokens, "cost_micros": micros });
        let record = record::admin(who, "memory.embed", subject, detail);
        self.audit.append(&record).await?;
        Ok(())
    }
}

pub(super) fn provenance(who: &Principal) -> Provenance {
    Provenance {
        by: who.name.clone(),
        ..Provenance::default()
    }
}

fn kind_named(name: &str) -> Result<Kind, MemoryFailure> {
    let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    known.ok_or_else(|| MemoryFailure::Invalid("kind: `run`, `agent` or `shared`".to_owned()))
}

fn page_size(limit: usize) -> Result<(), MemoryFailure> {
    match (1..=PAGE_MAX).contains(&limit) {
        true => Ok(()),
        false => Err(MemoryFailure::Invalid(format!("limit: 1 to {PAGE_MAX}"))),
    }
}

fn named(checked: Result<(), crate::names::BadName>) -> Result<(), MemoryFailure> {
    checked.map_err(|error| MemoryFailure::Invalid(error.to_string()))
}
