//! Reading and changing the host's memory.
//!
//! What must stay true: what was not permitted is no [`Task`], and nothing else is done
//! for a call or a run; a write is queued only while what allowed it is in force, and
//! before anything that is deleted once that was taken away; reads and the making of
//! writes are not on the guests' threads.

use std::pin::Pin;
use std::sync::Arc;

use airlock_memory::{
    Change, Memory as Documents, MemoryError, MemoryHome, Namespace, Provenance, Quota, Reads,
    Search, Wanted, Written,
};
use tokio::runtime::Handle;

use super::answer::{Answer, EntryView, Found, document_view, entry_view, hit_view};
use super::grant::{Owner, Rule};
use super::{Memory, Op, Request};
use crate::call::{CallError, Denial};
use crate::capability::Capability;
use crate::gate::{LimitReached, Missing, Permit, RunPermit};
use crate::services::Services;

/// Largest answer, bytes of JSON.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What an answer to a list has besides its entries, bytes, at most: most of it is the
/// id where the next part begins.
const LIST_REST_BYTES_MAX: usize = 2 << 10;

/// Milliseconds after which a memory that is busy may be asked again.
const BUSY_MS: u64 = 200;

/// A request that was permitted, and where it goes.
#[derive(Debug)]
pub struct Task {
    request: Request,
    /// Each namespace as it was asked for, and where that is.
    places: Vec<(String, Namespace)>,
    quota: Quota,
}

impl Task {
    /// What a call was permitted: a permit for each of [`Request::ops`], in order.
    fn of_call(
        request: Request,
        permits: &[Permit<Memory>],
        owner: Owner<'_>,
    ) -> Result<Self, MemoryError> {
        let allowed = permits.iter();
        let allowed = allowed.filter_map(|permit| Some((permit.op(), permit.rule()?)));
        Self::new(request, allowed.collect(), owner)
    }

    /// What an agent's run was permitted: a permit for each of [`Request::ops`], in
    /// order.
    ///
    /// # Errors
    /// The permits are for something else, or there is no such namespace for `owner`.
    pub fn of_run(
        request: Request,
        permits: &[RunPermit<Memory>],
        owner: Owner<'_>,
    ) -> Result<Self, MemoryError> {
        let allowed = permits.iter();
        let allowed = allowed.map(|permit| (permit.op(), permit.rule().clone()));
        Self::new(request, allowed.collect(), owner)
    }

    fn new(
        mut request: Request,
        allowed: Vec<(&Op, Rule)>,
        owner: Owner<'_>,
    ) -> Result<Self, MemoryError> {
        if !request.ops().iter().eq(allowed.iter().map(|(op, _)| *op)) {
            return Err(MemoryError::Invalid {
                what: "request".to_owned(),
                why: "it is not what was permitted".to_owned(),
            });
        }
        let places = allowed.iter().map(|(op, rule)| {
            let place = rule.place(&op.namespace, owner)?;
            Ok((op.namespace.clone(), place))
        });
        let places = places.collect::<Result<Vec<_>, MemoryError>>()?;
        let first = allowed.first().map(|(_, rule)| rule);
        if let (Request::Put { document, .. }, Some(rule)) = (&mut request, first) {
            document.ttl_ms = rule.ttl_ms(document.ttl_ms);
        }
        Ok(Self {
            request,
            places,
            quota: first.map(Rule::quota).unwrap_or_default(),
        })
    }

    /// What was asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The change that it asks for, with its namespace and quota.
    fn change(&self) -> Option<(&Namespace, Change, Quota)> {
        let (_, namespace) = self.places.first()?;
        let change = match &self.request {
            Request::Put {
                document, expect, ..
            } => Change::put(document.as_ref().clone(), *expect),
            Request::Delete { id, expect, .. } => Change::delete(id.as_str(), *expect),
            _ => return None,
        };
        Some((namespace, change, self.quota))
    }

    fn shown(&self, namespace: &Namespace) -> &str {
        let place = self.places.iter().find(|(_, place)| place == namespace);
        place.map_or("", |(shown, _)| shown)
    }
}

/// The answer to a request that changes nothing. Blocks.
///
/// # Errors
/// As the memory's reads.
pub fn read(memory: &Reads, task: &Task) -> Result<Answer, MemoryError> {
    let Some((shown, namespace)) = task.places.first() else {
        return Err(nowhere());
    };
    match &task.request {
        Request::Get { id, .. } => {
            let document = memory.get(namespace, id)?;
            let view = document.map(|document| Box::new(document_view(document, shown, false)));
            Ok(Answer::Document(view))
        }
        Request::List {
            prefix,
            after,
            limit,
            ..
        } => {
            let from = (after.as_deref(), *limit);
            let (entries, next) = page(memory, (namespace, shown), prefix, from, false)?;
            Ok(Answer::Listed { entries, next })
        }
        Request::Search {
            text,
            vector,
            labels,
            from_ms,
            to_ms,
            limit,
            ..
        } => {
            let hits = memory.search(&Search {
                namespaces: task.places.iter().map(|(_, place)| place.clone()).collect(),
                text: text.clone(),
                vector: vector.clone(),
                labels: labels.clone(),
                from_ms: *from_ms,
                to_ms: *to_ms,
                limit: *limit,
            })?;
            let view = |hit: airlock_memory::Hit| {
                let shown = task.shown(&hit.entry.namespace).to_owned();
                hit_view(hit, &shown, false)
            };
            Ok(Answer::Found {
                hits: hits.into_iter().map(view).collect(),
            })
        }
        Request::Put { .. } | Request::Delete { .. } => Err(nowhere()),
    }
}

/// A page of a list: up to a limit of documents, and no more than an answer may have.
/// One that ends before says where the next begins. Blocks.
///
/// # Errors
/// As the memory's lists.
pub fn page(
    memory: &Reads,
    (namespace, shown): (&Namespace, &str),
    prefix: &str,
    from: (Option<&str>, usize),
    tells_who: bool,
) -> Result<(Vec<EntryView>, Option<String>), MemoryError> {
    let (mut entries, mut bytes) = (Vec::new(), LIST_REST_BYTES_MAX);
    let next = memory.walk(namespace, prefix, from, |entry| {
        let view = entry_view(entry, shown, tells_who);
        // With the comma.
        bytes += serde_json::to_vec(&view).map_or(ANSWER_BYTES_MAX, |text| text.len() + 1);
        // None is as large as an answer: the first always fits.
        let fits = entries.is_empty() || bytes <= ANSWER_BYTES_MAX;
        if fits {
            entries.push(view);
        }
        fits
    })?;
    Ok((entries, next))
}

fn nowhere() -> MemoryError {
    MemoryError::Invalid {
        what: "namespaces".to_owned(),
        why: "there is none to search in".to_owned(),
    }
}

/// A change that is queued.
pub type Queued = Pin<Box<dyn Future<Output = Result<Vec<Written>, MemoryError>> + Send>>;

/// Queues the change that a run's request asks for, at most once for a request of a
/// run, as [`Documents::write_once`]. Blocks.
///
/// # Errors
/// The request changes nothing.
pub fn write_once(
    memory: &Documents,
    (run, request): (&str, u64),
    task: &Task,
    provenance: &Provenance,
) -> Result<Queued, MemoryError> {
    let Some((namespace, change, quota)) = task.change() else {
        return Err(nowhere());
    };
    let once = (run, request);
    let queued = memory.write_once(once, namespace, vec![change], provenance, quota);
    Ok(Box::pin(queued))
}

/// The answer to a request that changes something, by what became of it. A change
/// that expected something else is answered, not refused.
///
/// # Errors
/// As the memory's writes.
pub fn written(
    request: &Request,
    written: Result<Vec<Written>, MemoryError>,
) -> Result<Answer, MemoryError> {
    let version = match written {
        Ok(written) => written.first().and_then(|written| written.version),
        Err(MemoryError::Conflict { found, .. }) => {
            let conflict = Found { found };
            return Ok(Answer::Conflict { conflict });
        }
        Err(error) => return Err(error),
    };
    Ok(match (request, version) {
        (Request::Put { .. }, Some(version)) => Answer::Put { version },
        (_, version) => Answer::Deleted {
            deleted: version.is_some(),
        },
    })
}

/// The JSON of an answer.
///
/// # Errors
/// It is larger than it may be.
pub(super) fn text(answer: &Answer) -> Result<String, CallError> {
    let text = serde_json::to_string(answer).map_err(|error| CallError::Permanent {
        message: format!("the answer is no JSON: {error}"),
    })?;
    match text.len() > ANSWER_BYTES_MAX {
        true => Err(CallError::Limit {
            limit: "answer_bytes".to_owned(),
            value: format!("{ANSWER_BYTES_MAX}: ask for fewer documents at once"),
        }),
        false => Ok(text),
    }
}

impl Answer {
    /// As JSON.
    ///
    /// # Errors
    /// `limit`: it is larger than it may be.
    pub fn text(&self) -> Result<String, CallError> {
        text(self)
    }
}

/// What whoever asked is told. Causes within the host are for its log alone.
#[must_use]
pub fn error_of(error: MemoryError, writes: bool) -> CallError {
    match &error {
        MemoryError::Invalid { .. }
        | MemoryError::TooLarge { .. }
        | MemoryError::Dimension { .. }
        | MemoryError::Conflict { .. } => CallError::InvalidInput {
            message: error.to_string(),
        },
        error if error.is_quota() => CallError::Denied(Denial {
            capability: Memory::NAME.to_owned(),
            operation: "put".to_owned(),
            rule: error.to_string(),
        }),
        MemoryError::TooLong { ms_max } => CallError::Limit {
            limit: "search_ms".to_owned(),
            value: format!("{ms_max}: search fewer namespaces, or for fewer and rarer words"),
        },
        MemoryError::Busy { .. } => CallError::Transient {
            message: error.to_string(),
            retry_after_ms: Some(BUSY_MS),
        },
        _ => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the memory failed"
            );
            let message = "the host's memory failed".to_owned();
            // Nothing but the store's own failure leaves open what became of a write.
            match writes && matches!(error, MemoryError::Store(_)) {
                true => CallError::Unknown { message },
                false => CallError::Permanent { message },
            }
        }
    }
}

/// The memory, for one plugin that is a tool.
pub struct Backend {
    home: Arc<MemoryHome>,
    io: Handle,
    plugin: String,
}

/// Why a request of a tool failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// As the tool sees it.
    Told(CallError),
    /// The call ends.
    Limit(LimitReached),
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Told(CallError::Denied(denial))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Told(error)
    }
}

impl From<LimitReached> for Failure {
    fn from(limit: LimitReached) -> Self {
        Self::Limit(limit)
    }
}

impl Backend {
    pub(super) fn new(services: &Services, plugin: &str) -> Self {
        Self {
            home: Arc::clone(&services.memory),
            io: services.io.clone(),
            plugin: plugin.to_owned(),
        }
    }

    /// Does what was permitted: a permit for each of the request's operations.
    pub(super) async fn perform(
        &self,
        permits: Vec<Permit<Memory>>,
        request: Request,
    ) -> Result<String, Failure> {
        let Some(first) = permits.first() else {
            return Err(error_of(nowhere(), false).into());
        };
        let info = first.gate().info();
        let provenance = Provenance {
            by: info.caller.clone(),
            run: None,
            request: Some(info.call_id.clone()),
            plugin: Some(self.plugin.clone()),
        };
        let owner = Owner {
            plugin: &self.plugin,
            principal: &info.principal,
            run: None,
        };
        let task = Task::of_call(request, &permits, owner);
        let task = task.map_err(|error| error_of(error, false))?;
        let permits = Arc::new(permits);
        let answer = match task.request.writes() {
            true => self.write(&permits, task, provenance).await?,
            false => self.read(&permits, task).await?,
        };
        let text = text(&answer)?;
        let first = &permits[0];
        drop(first.gate().budget().reserve(text.len() as u64)?);
        first.count_in(text.len() as u64);
        Ok(text)
    }

    async fn read(
        &self,
        permits: &Arc<Vec<Permit<Memory>>>,
        task: Task,
    ) -> Result<Answer, Failure> {
        let permits = Arc::clone(permits);
        let work = move |home: &MemoryHome, wanted: &Wanted| {
            let found = read(&home.reads()?.wanted(wanted), &task)?;
            Ok((found, permits))
        };
        let (found, permits) = self.blocking(work, false).await?;
        for permit in &*permits {
            permit.recheck()?;
        }
        Ok(found)
    }

    async fn write(
        &self,
        permits: &Arc<Vec<Permit<Memory>>>,
        task: Task,
        provenance: Provenance,
    ) -> Result<Answer, Failure> {
        let held = Arc::clone(permits);
        let work = move |home: &MemoryHome, _: &Wanted| {
            let memory = home.open()?;
            let Some((namespace, change, quota)) = task.change() else {
                return Err(nowhere());
            };
            let _turn = home.writing();
            let rechecked = held.iter().try_for_each(Permit::recheck);
            let queued =
                rechecked.map(|()| memory.write(namespace, vec![change], &provenance, quota));
            Ok(queued.map(|queued| (queued, task)))
        };
        let (queued, task) = self.blocking(work, true).await??;
        match written(&task.request, queued.await) {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_quota() => {
                let permit = &permits[0];
                let missing = Missing::new(error.to_string());
                let denied = permit.gate().deny(Memory::NAME, permit.op(), missing);
                Err(denied.into())
            }
            Err(error) => Err(error_of(error, true).into()),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryHome, &Wanted) -> Result<T, MemoryError> + Send + 'static,
        writes: bool,
    ) -> Result<T, CallError> {
        let done = self.home.work(&self.io, &self.plugin, work).await;
        done.map_err(|error| error_of(error, writes))
    }
}
