//! Sessions of the versions of the protocol that have them.
//!
//! What must stay true: a session belongs to the token that began it; there are
//! so many at most, in all and of one token, and one that nothing happens in
//! ends; one whose token is no good any more ends at once.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use airlock_runtime::{Principal, Runtime};
use futures_util::{Stream, StreamExt, stream};
use rmcp::model::{
    ClientJsonRpcMessage, ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerResult,
};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::{McpConfig, SessionRefused};
use crate::left::{Left, Watched};

/// When a client is to come back whose connection broke off.
const RETRY: Duration = Duration::from_secs(3);
/// How often tokens are looked at whose time may be over.
pub(crate) const EXPIRY_EVERY: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// Who begins a session, while the request that does so is handled.
    static BEGINNING: Arc<Mutex<Option<Held>>>;
}

/// A session's token, and its place.
#[derive(Debug)]
struct Held {
    who: Arc<Principal>,
    /// Its requests that are under way, and answers that nobody took.
    left: Arc<Left>,
    /// Whether its version knows events without a message.
    primed: bool,
    _place: OwnedSemaphorePermit,
}

/// What a refusal says of a request whose id another one has that was not
/// answered: its answer could not be told from the other's.
pub(crate) const ID_IN_USE: &str =
    "a request with this id was not answered yet, or too many were left: begin another session";

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    local: LocalSessionManager,
    held: Mutex<HashMap<SessionId, Held>>,
    places: Arc<Semaphore>,
    /// Bytes of answers that nobody took.
    left_bytes: Arc<AtomicUsize>,
    /// Of one token.
    each_max: usize,
    _sweep: DropGuard,
}

/// Why no session begins.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionsError {
    #[error(transparent)]
    Local(#[from] LocalSessionManagerError),
    /// A request that must not begin one did.
    #[error("nobody begins a session")]
    Nobody,
    /// A request has the id of one that is under way.
    #[error("{ID_IN_USE}")]
    IdInUse,
}

impl Sessions {
    pub(crate) fn new(runtime: &Arc<Runtime>, config: &McpConfig) -> Arc<Self> {
        let mut local = LocalSessionManager::default();
        local.session_config.keep_alive = Some(config.session_idle);
        let end = CancellationToken::new();
        let sessions = Arc::new(Self {
            local,
            held: Mutex::default(),
            places: Arc::new(Semaphore::new(config.sessions_max)),
            left_bytes: Arc::default(),
            each_max: config.sessions_of_token_max,
            _sweep: end.clone().drop_guard(),
        });
        let sweep = sweep(Arc::downgrade(runtime), Arc::downgrade(&sessions));
        tokio::spawn(async move { end.run_until_cancelled(sweep).await });
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session is this token's.
    pub(crate) fn is_of(&self, id: &str, who: &Principal) -> bool {
        let held = self.lock();
        held.get(id).is_some_and(|held| same(&held.who, who))
    }

    /// Whether there is such a session, whosever it is.
    pub(crate) fn is_there(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Notes a request until it is answered; gives its id.
    fn asked(
        &self,
        id: &SessionId,
        message: &ClientJsonRpcMessage,
    ) -> Result<Option<RequestId>, SessionsError> {
        let ClientJsonRpcMessage::Request(request) = message else {
            return Ok(None);
        };
        let left = self.lock().get(id).map(|held| Arc::clone(&held.left));
        let Some(left) = left else { return Ok(None) };
        match left.ask(&request.id) {
            true => Ok(Some(request.id.clone())),
            false => Err(SessionsError::IdInUse),
        }
    }

    /// Whether a session's version knows events without a message.
    fn primes(&self, id: &SessionId) -> bool {
        self.lock().get(id).is_some_and(|held| held.primed)
    }

    /// A request's events, as a session's version knows them; its answer is kept where
    /// nobody takes it.
    fn watched<S>(
        &self,
        id: &SessionId,
        events: S,
        request: Option<RequestId>,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static + use<S>
    where
        S: Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    {
        let (left, primed) = match self.lock().get(id) {
            Some(held) => (Arc::clone(&held.left), held.primed),
            None => (Left::new(&self.left_bytes), false),
        };
        let is_known =
            move |event: &ServerSseMessage| std::future::ready(primed || event.message.is_some());
        Watched::new(events, left, request).filter(is_known)
    }

    /// Handles a request that may begin a session, for `who`.
    pub(crate) async fn beginning<T>(
        &self,
        who: &Arc<Principal>,
        work: impl Future<Output = T>,
    ) -> Result<T, SessionRefused> {
        let of_token = {
            let held = self.lock();
            held.values().filter(|held| same(&held.who, who)).count()
        };
        if of_token >= self.each_max {
            return Err(SessionRefused::OfToken(self.each_max));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| SessionRefused::InAll)?;
        let held = Held {
            who: Arc::clone(who),
            left: Left::new(&self.left_bytes),
            primed: false,
            _place: place,
        };
        let held = Arc::new(Mutex::new(Some(held)));
        Ok(BEGINNING.scope(held, work).await)
    }

    /// Ends the sessions of tokens that are no good any more.
    fn end_of(self: &Arc<Self>, runtime: &Runtime) {
        let gone: Vec<SessionId> = {
            let held = self.lock();
            let gone = held
                .iter()
                .filter(|(_, held)| !runtime.still_holds(&held.who));
            gone.map(|(id, _)| Arc::clone(id)).collect()
        };
        // One whose client reads slowly holds up no other.
        for id in gone {
            let sessions = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = sessions.close_session(&id).await {
                    tracing::debug!(%error, "a session ended before");
                }
            });
        }
    }
}

/// A principal may have several tokens, and each its own sessions.
fn same(a: &Principal, b: &Principal) -> bool {
    a.token_id == b.token_id && a.name == b.name
}

/// Whether the version that was agreed on knows events without a message, which some
/// clients of those before take for one.
fn is_primed(answer: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Response(response) = answer else {
        return false;
    };
    let ServerResult::InitializeResult(result) = &response.result else {
        return false;
    };
    result.protocol_version.as_str() >= ProtocolVersion::V_2025_11_25.as_str()
}

async fn sweep(runtime: Weak<Runtime>, sessions: Weak<Sessions>) {
    let Some(mut tokens) = runtime.upgrade().map(|runtime| runtime.token_changes()) else {
        return;
    };
    loop {
        tokio::select! {
            changed = tokens.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EXPIRY_EVERY) => {}
        }
        let (Some(runtime), Some(sessions)) = (runtime.upgrade(), sessions.upgrade()) else {
            return;
        };
        sessions.end_of(&runtime);
    }
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let taken = BEGINNING.try_with(|held| {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.take()
        });
        let held = taken.ok().flatten().ok_or(SessionsError::Nobody)?;
        let (id, transport) = self.local.create_session().await?;
        self.lock().insert(Arc::clone(&id), held);
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        let answer = self.local.initialize_session(id, message).await?;
        if let Some(held) = self.lock().get_mut(id) {
            held.primed = is_primed(&answer);
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.local.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.lock().remove(id);
        Ok(self.local.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let request = self.asked(id, &message)?;
        let events = self.local.create_stream(id, message).await?;
        Ok(self.watched(id, events, request))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        Ok(self.local.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let events = self.local.create_standalone_stream(id).await?;
        let first = self
            .primes(id)
            .then(|| ServerSseMessage::priming("0", RETRY));
        Ok(stream::iter(first).chain(events))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let left = self.lock().get(id).map(|held| Arc::clone(&held.left));
        if let Some(events) = left.and_then(|left| left.after(&last_event_id)) {
            return Ok(stream::iter(events).left_stream());
        }
        let of_request = last_event_id.contains('/');
        let events = self.local.resume(id, last_event_id).await?;
        // The session's own stream is nobody's answer: who keeps it open keeps the next
        // one from being told anything.
        let events = match of_request {
            true => self.watched(id, events, None).left_stream(),
            false => events.right_stream(),
        };
        Ok(events.right_stream())
    }
}
