//! The protocol's requests, each for the token that it came with.
//!
//! What must stay true: whose request it is comes with the request, never from
//! the session; what is not declared as a capability is not there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airlock_runtime::{Principal, Problem, Runtime};
#[expect(deprecated, reason = "earlier versions of the protocol have it")]
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestMethod, CompleteRequestParams,
    CompleteResult, CustomRequest, CustomResult, Implementation, ListPromptsRequestMethod,
    ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, LoggingLevel,
    PaginatedRequestParams, ProtocolVersion, RequestStateCodec, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ErrorData, ServerHandler};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

use crate::agents::{self, Cancel, Show, Start, Wait};
use crate::ask::{self, Answered, Asking};
use crate::call::{self, Call};
use crate::follow::{self, Following};
use crate::http::SUBJECT;
use crate::listing;
use crate::names::{Named, Own, plugin_of, resolve};
use crate::sessions::EXPIRY_EVERY;
use crate::{once, outcome};

/// Calls of tools that are answered at once, over all sessions: a session's go on
/// when the connection they came in on is gone.
const REQUESTS_MAX: usize = 2_048;
/// And of one token, so that none takes all the places.
const REQUESTS_OF_TOKEN_MAX: usize = 256;

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<Runtime>,
    codec: RequestStateCodec,
    requests: Semaphore,
    /// How many are answered of each token.
    of_token: Mutex<HashMap<TokenId, usize>>,
}

/// A principal's name and its token.
type TokenId = (String, Option<String>);

/// The place of a request.
pub(crate) struct Place<'a> {
    shared: &'a Shared,
    of: TokenId,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut of_token = self.shared.of_token();
        if let Some(count) = of_token.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                of_token.remove(&self.of);
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Arc<Self> {
        let mut key = [0; RequestStateCodec::MIN_KEY_LENGTH];
        // Without randomness nothing else of the host works either.
        getrandom::fill(&mut key).expect("the system gives random bytes");
        let codec = RequestStateCodec::new_unchecked(key);
        Arc::new(Self {
            runtime,
            codec,
            requests: Semaphore::new(REQUESTS_MAX),
            of_token: Mutex::default(),
        })
    }

    fn of_token(&self) -> MutexGuard<'_, HashMap<TokenId, usize>> {
        self.of_token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self, who: &Principal) -> Result<Place<'_>, Box<Problem>> {
        let full = |status, code, detail: &str| {
            let mut problem = Problem::new(status, code, detail);
            problem.retry_after_s = Some(1);
            Box::new(problem)
        };
        let of = (who.name.clone(), who.token_id.clone());
        let permit = self.requests.try_acquire();
        let permit =
            permit.map_err(|_| full(503, "overloaded", "too many requests are answered"))?;
        let mut of_token = self.of_token();
        let count = of_token.entry(of.clone()).or_default();
        if *count >= REQUESTS_OF_TOKEN_MAX {
            let detail = format!("the token has {count} requests under way already");
            return Err(full(429, "too-many-requests", &detail));
        }
        *count += 1;
        Ok(Place {
            shared: self,
            of,
            _permit: permit,
        })
    }
}

/// Who made an HTTP request; put among its extensions by whoever checked.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<Principal>);

/// One session, or one request where there are none.
pub(crate) struct Handler {
    shared: Arc<Shared>,
    /// Who makes every request; only in-process.
    owner: Option<Arc<Principal>>,
    /// What of a call's log is told.
    #[expect(deprecated, reason = "earlier versions of the protocol have it")]
    level: Mutex<Option<LoggingLevel>>,
    /// Tells of changes of the list.
    teller: Mutex<Option<Teller>>,
}

/// A task that ends when this is dropped.
struct Teller(JoinHandle<()>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, owner: Option<Arc<Principal>>) -> Self {
        Self {
            shared,
            owner,
            level: Mutex::default(),
            teller: Mutex::default(),
        }
    }

    fn runtime(&self) -> &Arc<Runtime> {
        &self.shared.runtime
    }

    /// Whose request it is.
    fn who(&self, extensions: &rmcp::model::Extensions) -> Result<Arc<Principal>, ErrorData> {
        if let Some(owner) = &self.owner {
            return match self.runtime().still_holds(owner) {
                true => Ok(Arc::clone(owner)),
                false => Err(outcome::not_valid_any_more()),
            };
        }
        let parts = extensions.get::<http::request::Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
        let nobody = || ErrorData::internal_error("nobody is known to ask", None);
        let Caller(who) = caller.ok_or_else(nobody)?;
        // It may have waited for its turn in the session.
        match self.runtime().still_holds(who) {
            true => Ok(Arc::clone(who)),
            false => Err(outcome::not_valid_any_more()),
        }
    }

    #[expect(deprecated, reason = "earlier versions of the protocol have it")]
    fn level(&self, context: &RequestContext<RoleServer>) -> Option<LoggingLevel> {
        let own = context.meta.log_level();
        own.or_else(|| *self.level.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answered(
        &self,
        who: Arc<Principal>,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.clone();
        let Some(named) = resolve(self.runtime(), &who, &name) else {
            // Whether it is there or not: nobody learns which.
            if !who.may_see(plugin_of(&name)) {
                self.runtime()
                    .note_refusal(&who.name, "outside-scope", SUBJECT);
            }
            return Err(outcome::no_such_tool(&name));
        };
        let _place = match self.shared.place(&who) {
            Ok(place) => place,
            Err(full) => return Ok(outcome::failed(*full).into()),
        };
        let answered = match named {
            Named::Tool { plugin, tool } => {
                let call = Call {
                    runtime: self.runtime(),
                    who: &who,
                    plugin,
                    tool,
                    arguments: request.arguments,
                    level: self.level(context),
                };
                return Ok(call.made(context).await.into());
            }
            Named::Own(own) if !listing::may_use(&who, own) => {
                return Err(outcome::no_such_tool(&name));
            }
            Named::Own(Own::Status) => self.status(&who, request).await,
            Named::Own(Own::Cancel) => self.cancel(&who, request).await,
            Named::Own(Own::Wait) => self.wait(&who, request, context).await?,
            Named::Agent { agent } => self.start(&who, agent, request, context).await?,
        };
        Ok(answered.unwrap_or_else(|problem| outcome::failed(*problem).into()))
    }

    async fn status(&self, who: &Arc<Principal>, request: CallToolRequestParams) -> Answer {
        let Show { run } = agents::arguments(request.arguments)?;
        let shown = agents::shown(self.runtime(), who, &run, false).await;
        Ok(shown.into())
    }

    async fn cancel(&self, who: &Arc<Principal>, request: CallToolRequestParams) -> Answer {
        let Cancel { run, why } = agents::arguments(request.arguments)?;
        let (runtime, who) = (Arc::clone(self.runtime()), Arc::clone(who));
        // It goes on when the client leaves.
        let work = async move {
            match runtime.cancel_run(&who, &run, &why).await {
                Ok(()) => agents::shown(&runtime, &who, &run, false).await,
                Err(error) => outcome::refused(&error),
            }
        };
        let lost = |_| Box::new(Problem::new(500, "unknown", "the host failed"));
        Ok(tokio::spawn(work).await.map_err(lost)?.into())
    }

    async fn wait(
        &self,
        who: &Arc<Principal>,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answer, ErrorData> {
        let again = self.again(who, &request).await?;
        let read = agents::arguments::<Wait>(request.arguments);
        let terms = read.and_then(|wait| Ok((wait.wait()?, wait.run)));
        let (wait, run) = match terms {
            Ok(terms) => terms,
            Err(problem) => return Ok(Err(problem)),
        };
        let again = match again {
            Ok(again) => again.filter(|again| again.run == run),
            Err(result) => return Ok(Ok(*result)),
        };
        let following = Following {
            runtime: self.runtime(),
            who,
            asking: self.asking(who, &request.name),
            context,
            run,
            until: follow::until(wait),
            left_open: again
                .into_iter()
                .filter_map(|again| again.left_open)
                .collect(),
            told: 0,
        };
        following.waited().await.map(Ok)
    }

    async fn start(
        &self,
        who: &Arc<Principal>,
        agent: String,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answer, ErrorData> {
        let again = match self.again(who, &request).await? {
            Ok(again) => again,
            Err(result) => return Ok(Ok(*result)),
        };
        let read = agents::arguments::<Start>(request.arguments);
        let terms = read.and_then(|start| start.of(agent));
        let keyed = call::terms(context);
        let ((start, wait), (key, _)) = match terms.and_then(|terms| Ok((terms, keyed?))) {
            Ok(terms) => terms,
            Err(problem) => return Ok(Err(problem)),
        };
        let (run, left_open) = match again {
            // The client made its request again, to answer a question of the run.
            Some(again) => (again.run, again.left_open),
            None => match once::start(self.runtime(), who, key, start).await {
                Ok(run) => (run, None),
                Err(problem) => return Ok(Err(problem)),
            },
        };
        let following = Following {
            runtime: self.runtime(),
            who,
            asking: self.asking(who, &request.name),
            context,
            run,
            until: follow::until(wait),
            left_open: left_open.into_iter().collect(),
            told: 0,
        };
        following.waited().await.map(Ok)
    }

    fn asking<'a>(&'a self, who: &'a Principal, tool: &'a str) -> Asking<'a> {
        Asking {
            codec: &self.shared.codec,
            who,
            tool,
        }
    }

    /// What a request answers that was made before; decides it.
    async fn again(
        &self,
        who: &Principal,
        request: &CallToolRequestParams,
    ) -> Result<Result<Option<Again>, Box<CallToolResponse>>, ErrorData> {
        let Some(state) = &request.request_state else {
            return Ok(Ok(None));
        };
        let shown = self.asking(who, &request.name).open(state)?;
        let mut again = Again {
            run: shown.run.clone(),
            left_open: None,
        };
        // Without an answer it is asked again.
        let Some(response) = ask::response(request.input_responses.as_ref())? else {
            return Ok(Ok(Some(again)));
        };
        let question = shown.question().to_owned();
        match shown.decide(self.runtime(), who, response).await {
            Ok(Answered::Decided) => {}
            Ok(Answered::LeftOpen) => again.left_open = Some(question),
            // The client keeps the run, which waits on.
            Err(error) => {
                let mut refused = outcome::refused(&error);
                outcome::meta(&mut refused).insert(agents::RUN.to_owned(), json!(again.run));
                return Ok(Err(Box::new(refused.into())));
            }
        }
        Ok(Ok(Some(again)))
    }

    /// Tells the client of changes of what it may call, until it leaves or its
    /// token is no good any more.
    fn tell_changes(&self, who: Arc<Principal>, peer: Peer<RoleServer>) {
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        if teller.is_some() {
            return;
        }
        let runtime = Arc::downgrade(self.runtime());
        let changes = self.runtime().offer_changes();
        let tokens = self.runtime().token_changes();
        let seen = listing::fingerprint(self.runtime(), &who);
        let mut changed = Changed {
            runtime,
            who,
            changes,
            tokens,
            seen,
        };
        let task = tokio::spawn(async move {
            while changed.next().await {
                if peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        });
        *teller = Some(Teller(task));
    }
}

/// What a tool of Airlock's own, or an agent's, answers.
type Answer = Result<CallToolResponse, Box<Problem>>;

/// A request that was made before.
struct Again {
    run: String,
    /// The question that the person did not decide.
    left_open: Option<String>,
}

/// Changes of what a token may call.
struct Changed {
    runtime: std::sync::Weak<Runtime>,
    who: Arc<Principal>,
    changes: tokio::sync::watch::Receiver<()>,
    tokens: tokio::sync::watch::Receiver<()>,
    seen: [u8; 32],
}

impl Changed {
    /// Waits until it is another list; false: the token holds no more, or the
    /// runtime is gone.
    async fn next(&mut self) -> bool {
        loop {
            let more = tokio::select! {
                changed = self.changes.changed() => changed.is_ok(),
                changed = self.tokens.changed() => changed.is_ok(),
                // A token that expires changes nothing.
                () = tokio::time::sleep(EXPIRY_EVERY) => true,
            };
            let runtime = self.runtime.upgrade().filter(|_| more);
            let Some(runtime) = runtime.filter(|runtime| runtime.still_holds(&self.who)) else {
                return false;
            };
            let now = listing::fingerprint(&runtime, &self.who);
            if now != self.seen {
                self.seen = now;
                return true;
            }
        }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        #[expect(deprecated, reason = "earlier versions of the protocol have it")]
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        let implementation = Implementation::new("airlock", env!("CARGO_PKG_VERSION"))
            .with_title("Airlock")
            .with_description("Tools in sandboxes, and agents whose runs survive crashes.");
        ServerConfig::new(capabilities).with_server_info(implementation)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let who = self.who(&context.extensions)?;
        let cursor = request.and_then(|request| request.cursor);
        listing::page(self.runtime(), &who, cursor.as_deref())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let who = self.who(&context.extensions)?;
        self.answered(who, request, &context).await
    }

    #[expect(deprecated, reason = "earlier versions of the protocol have it")]
    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.who(&context.extensions)?;
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.level);
        Ok(())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if let Ok(who) = self.who(&context.extensions) {
            self.tell_changes(who, context.peer);
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let tools = SubscriptionFilter::builder().tools_list_changed().build();
        Some(requested.intersection(&tools))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let who = self.who(&context.request_context().extensions)?;
        let (runtime, changes) = (self.runtime(), self.runtime().offer_changes());
        let mut changed = Changed {
            runtime: Arc::downgrade(runtime),
            tokens: runtime.token_changes(),
            seen: listing::fingerprint(runtime, &who),
            changes,
            who,
        };
        loop {
            let more = tokio::select! {
                more = changed.next() => more,
                () = context.cancelled() => false,
                () = runtime.stopping() => false,
            };
            if !more || context.sink().notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// What is none of the protocol's requests: another method, or one that is here with
    /// parameters that are not.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let sessions = context
            .protocol_version()
            .is_none_or(|version| version < ProtocolVersion::V_2026_07_28);
        Err(outcome::no_request(&request, sessions))
    }

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<
            ListResourceTemplatesRequestMethod,
        >())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token's requests leave places to others.
    #[tokio::test]
    async fn places_are_bounded_in_all_and_of_each_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = airlock_runtime::RuntimeConfig {
            compiler: std::path::PathBuf::new(),
            ..airlock_runtime::RuntimeConfig::new(dir.path().join("data"), dir.path().join("keys"))
        };
        let runtime = Runtime::open(config).await.expect("opens");
        let shared = Shared::new(runtime);
        let who = |name: String| Principal::local_admin(&name);
        let mut held = Vec::new();
        let mut refused = Vec::new();
        for token in 0..9 {
            for _ in 0..=REQUESTS_OF_TOKEN_MAX {
                match shared.place(&who(token.to_string())) {
                    Ok(place) => held.push(place),
                    Err(problem) => refused.push(problem.code),
                }
            }
        }
        assert_eq!(held.len(), REQUESTS_MAX);
        // The eighth takes the last place of all.
        assert_eq!(refused[..7], ["too-many-requests"; 7]);
        assert!(refused[7..].iter().all(|code| code == "overloaded"));
        held.clear();
        assert!(shared.of_token().is_empty());
        assert!(shared.place(&who("0".to_owned())).is_ok());
    }
}
