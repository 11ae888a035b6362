//! The runtime as a whole: opened once per data directory, asked by the server
//! and the command line.
//!
//! What must stay true: nothing is acknowledged before it is durable; opening
//! after an abrupt stop recovers, or says exactly what is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::audit::Audit;
use airlock_journal::{Batch, SqliteStore, Store, StoreError};
use airlock_memory::MemoryHome;
use airlock_sandbox::capability::http::Network;
use serde_json::json;
use tokio::sync::{RwLock, Semaphore, watch};

use crate::calls::{InFlight, PrincipalIds};
use crate::components::{self, Components};
use crate::config::RuntimeConfig;
use crate::engine::{self, Sandbox, Vault};
use crate::hooks::Hooks;
use crate::idempotency::Idempotency;
use crate::ids;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::operations::Operations;
use crate::plugins::{Active, Registry};
use crate::principal::{Principal, Role};
use crate::record::{self, AuditFailure, AuditPage, AuditQuery, AuditVerified, Refusals};
use crate::remote::Remotes;
use crate::runs::Runs;
use crate::schedules::Schedules;
use crate::stop::Stop;
use crate::tokens::{
    AuthError, NewToken, RevokedToken, TokenError, TokenRequest, TokenView, Tokens,
};
use crate::views::ViewsHandle;
use crate::{audit_key, backup};

/// Time between two removals of kept replies whose time is over.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A directory or key file.
    #[error("{step} {path}")]
    Files {
        /// What was being done.
        step: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error("opening the store")]
    Store(#[from] StoreError),
    /// The audit or its key.
    #[error("opening the audit")]
    Audit(#[from] airlock_journal::audit::AuditError),
    /// The key that signed the audit so far is gone.
    #[error(
        "the audit's key {path} is missing, and the audit was signed with it: put it back (and look for whoever removed it); where it is lost for good, `airlock serve --new-audit-key` goes on with a new one, on record; what was signed before still verifies by `audit.known-keys` beside it"
    )]
    AuditKeyLost {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another key signed the audit so far.
    #[error(
        "the audit's key {path} is {found}, and the audit was signed with {signed_by}: put that one there (and look for whoever replaced it); where it is lost for good, `airlock serve --new-audit-key` goes on with this one, on record; what was signed before still verifies by `audit.known-keys` beside it"
    )]
    AuditKeyOther {
        /// Where it is.
        path: PathBuf,
        /// The key that is there.
        found: String,
        /// The key that signed the newest checkpoint.
        signed_by: String,
    },
    /// A restore that was cut off could not be finished.
    #[error("finishing a restore")]
    Restore(#[from] backup::RestoreError),
    /// The secrets or their key.
    #[error("opening the secrets")]
    Vault(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration of language models.
    #[error("opening the models (`airlock models check FILE` tries a mended file)")]
    Models(#[from] crate::models::ModelsError),
    /// The documents.
    #[error("opening the memory")]
    Memory(#[from] airlock_memory::MemoryError),
    /// The sandbox.
    #[error("starting the sandbox")]
    Sandbox(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Plugins, grants, calls, tokens, secrets and audit of one data directory.
pub struct Runtime {
    config: RuntimeConfig,
    store: Arc<dyn Store>,
    /// The store, where it is one on this machine.
    pub(crate) sqlite: Option<Arc<SqliteStore>>,
    /// One backup at a time.
    pub(crate) backup_turn: tokio::sync::Mutex<()>,
    pub(crate) audit: Audit,
    pub(crate) vault: Arc<Vault>,
    pub(crate) models: Models,
    pub(crate) memory: Arc<MemoryHome>,
    pub(crate) remotes: Arc<Remotes>,
    network: Arc<Network>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) components: Arc<Components>,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) operations: Arc<Operations>,
    pub(crate) install_turns: Semaphore,
    /// Shared by installs from a component's bytes to its name; held alone by
    /// whoever removes components without a name.
    pub(crate) naming: RwLock<()>,
    pub(crate) in_flight: InFlight,
    pub(crate) principal_ids: PrincipalIds,
    pub(crate) stop: watch::Sender<Stop>,
    pub(crate) views: ViewsHandle,
    pub(crate) runs: Runs,
    pub(crate) halts: crate::halt::Halts,
    pub(crate) schedules: Arc<Schedules>,
    pub(crate) hooks: Arc<Hooks>,
    idempotency: Idempotency,
    metrics: Metrics,
    refusals: Refusals,
    first_token_file: Option<PathBuf>,
}

fn open_components(config: &RuntimeConfig) -> Result<Arc<Components>, OpenError> {
    let path = config.components_dir();
    match Components::open(path.clone()) {
        Ok(components) => Ok(Arc::new(components)),
        Err(source) => Err(OpenError::Files {
            step: "opening",
            path,
            source,
        }),
    }
}

fn open_idempotency(
    config: &RuntimeConfig,
    store: &Arc<dyn Store>,
) -> Result<Idempotency, StoreError> {
    let bytes_max = config.idempotency_bytes_max;
    Idempotency::open(Arc::clone(store), config.idempotency_keep, bytes_max)
}

impl Runtime {
    /// Opens a data directory. At its first start, an administrator's token is
    /// made and written to a file, see [`Runtime::first_token_file`]. Must run on
    /// a tokio runtime, which from then on does network and file I/O of guests,
    /// and which guests never block.
    ///
    /// # Errors
    /// [`OpenError`] says what could not be opened.
    pub async fn open(config: RuntimeConfig) -> Result<Arc<Self>, OpenError> {
        make_dirs(&config)?;
        backup::finish_restore(&config)?;
        let dir = config.journal_dir();
        let store = blocking(move || SqliteStore::open(dir)).await??;
        Self::assemble(config, Arc::clone(&store) as Arc<dyn Store>, Some(store)).await
    }

    /// As [`Runtime::open`] over a store that is open already, e.g. a test's. A store is
    /// one runtime's: what a second one is told of a run ends that run's work in the first.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub async fn with_store(
        config: RuntimeConfig,
        store: Arc<dyn Store>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::assemble(config, store, None).await
    }

    async fn assemble(
        config: RuntimeConfig,
        store: Arc<dyn Store>,
        sqlite: Option<Arc<SqliteStore>>,
    ) -> Result<Arc<Self>, OpenError> {
        make_dirs(&config)?;
        // Not before the store is this process's own: another's may be under way.
        clean(&config)?;
        let audit = audit_key::open(&config, &store).await?;
        let vault = engine::open_vault(&config, &store)?;
        let network = engine::open_network(config.ca_file.as_deref())?;
        let models = Models::open(&config, &vault, &store)?;
        let components = open_components(&config)?;
        let sink = Arc::new(record::Sink(audit.clone()));
        let memory = MemoryHome::new(Arc::clone(&store), config.memory_dir(), Default::default());
        let services = engine::services(
            Arc::clone(&store),
            sink,
            Arc::clone(&vault),
            Arc::clone(&network),
            Arc::clone(&memory),
            &config,
        );
        let sandbox = engine::open_sandbox(&config, services, Arc::clone(&components))?;
        let remotes = Remotes::open(&config, &vault, &network, &components, &sandbox, &audit)?;
        let mut runtime = Self {
            remotes: Arc::new(remotes),
            registry: Registry::open(Arc::clone(&store))?,
            tokens: Tokens::open(Arc::clone(&store))?,
            idempotency: open_idempotency(&config, &store)?,
            principal_ids: PrincipalIds::open(&*store).await?,
            views: ViewsHandle::open(config.views_dir(), Arc::clone(&store)),
            install_turns: Semaphore::new(config.install_jobs_max.max(1)),
            naming: RwLock::default(),
            in_flight: InFlight::new(config.calls_max),
            stop: watch::Sender::new(crate::halt::begin(&*store)?),
            halts: crate::halt::Halts::open(&*store)?,
            operations: Arc::default(),
            runs: Runs::new(config.agents_max, config.runs_max),
            schedules: Schedules::new(),
            hooks: Hooks::new(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            first_token_file: None,
            config,
            store,
            sqlite,
            backup_turn: Default::default(),
            audit,
            vault,
            models,
            memory,
            network,
            sandbox,
            components,
        };
        runtime.first_token().await?;
        runtime.open_memory().await?;
        let runtime = Arc::new(runtime);
        runtime.start_chores();
        runtime.adopt_backup().await?;
        runtime.finish_erasures().await;
        runtime.sweep_components().await;
        Ok(runtime)
    }

    /// Where this start wrote the first administrator's token (mode 0600);
    /// `None` at later starts.
    #[must_use]
    pub fn first_token_file(&self) -> Option<&Path> {
        self.first_token_file.as_deref()
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Kept replies.
    #[must_use]
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    /// Addresses this host listens on: no plugin's requests reach them unless its
    /// rule says `allow_own`.
    pub fn set_own_addresses(&self, addresses: Vec<std::net::SocketAddr>) {
        self.network.set_own_addresses(addresses);
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Commits operations that belong to no other concern.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(&self, ops: Vec<airlock_journal::Op>) -> Result<(), StoreError> {
        self.store.commit(Batch { ops }).await.map(drop)
    }

    /// The principal of a bearer token. A refusal is recorded, up to a rate.
    ///
    /// # Errors
    /// [`AuthError`], which callers see as one.
    pub fn authenticate(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        self.tokens.authenticate(token, ids::now_ms())
    }

    /// Whether the token that a principal came with is neither revoked nor
    /// expired.
    #[must_use]
    pub fn still_holds(&self, who: &Principal) -> bool {
        self.tokens.holds(who, ids::now_ms())
    }

    /// Refuses a principal whose token was revoked or has expired. Whatever waited
    /// for its turn asks this again before it changes anything.
    ///
    /// # Errors
    /// [`AuthError`], as of a token that is not known.
    pub fn check_holds(&self, who: &Principal) -> Result<(), AuthError> {
        match self.still_holds(who) {
            true => Ok(()),
            false => Err(AuthError::Unknown),
        }
    }

    /// Changes when a token is made or revoked.
    #[must_use]
    pub fn token_changes(&self) -> watch::Receiver<()> {
        self.tokens.changes()
    }

    /// Records that somebody was refused, up to a rate. `subject` is the route.
    pub fn note_refusal(self: &Arc<Self>, who: &str, code: &'static str, subject: &str) {
        let Some(left_out) = self.refusals.admit(Instant::now()) else {
            return;
        };
        let detail = json!({ "code": code, "left_out_before": left_out });
        let record = airlock_journal::audit::AuditRecord::now(who, "auth.refused", subject)
            .outcome("denied")
            .detail(detail);
        let runtime = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = runtime.audit.append(&record).await {
                tracing::error!(%error, "a refusal is not on record");
            }
        });
    }

    /// All tokens without their secrets.
    pub fn tokens(&self) -> Vec<TokenView> {
        self.tokens.list()
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The request makes no sense, whoever makes it has no say any more, or the
    /// store failed.
    pub async fn create_token(
        &self,
        who: &Principal,
        request: TokenRequest,
    ) -> Result<NewToken, TokenError> {
        let _turn = self.tokens.turn().await;
        self.check_holds(who)?;
        let (change, token) = self.tokens.prepare(&who.name, request, ids::now_ms())?;
        let record = record::admin(
            who,
            "token.create",
            &change.view().id,
            json!({
                "for": change.view().principal, "roles": change.view().roles,
                "plugins": change.view().plugins, "expires_ms": change.view().expires_ms,
            }),
        );
        let view = self.tokens.commit(change, record::op(&record)).await?;
        Ok(NewToken { token, view })
    }

    /// Revokes a token, at once. What was made with it acts no more; runs that it
    /// started go on.
    ///
    /// # Errors
    /// There is none with this id, whoever revokes it has no say any more, or the
    /// store failed.
    pub async fn revoke_token(
        &self,
        who: &Principal,
        id: &str,
        last: bool,
        why: &str,
    ) -> Result<RevokedToken, TokenError> {
        crate::names::why(why)?;
        let _turn = self.tokens.turn().await;
        // No delivery that was believed before acts after.
        let _deliveries = self.hooks.turn.lock().await;
        let change = self.tokens.prepare_revoke(id, last, ids::now_ms())?;
        let (schedules, hooks) = (self.schedules_of_token(id)?, self.hooks_of_token(id)?);
        let detail = json!({
            "for": change.view().principal, "why": why, "schedules": schedules, "hooks": hooks,
        });
        let record = self.act_of(who, "token.revoke", id, detail)?;
        let token = self.tokens.commit(change, record::op(&record)).await?;
        Ok(RevokedToken {
            token,
            schedules,
            hooks,
        })
    }

    /// A page of the audit.
    ///
    /// # Errors
    /// The query makes no sense, or records are damaged.
    pub async fn audit(&self, query: AuditQuery) -> Result<AuditPage, AuditFailure> {
        let audit = self.audit.clone();
        let read = self.blocking(move || record::page(&audit, query)).await;
        read.map_err(|_| AuditFailure::Interrupted)?
    }

    /// Verifies the whole audit.
    ///
    /// # Errors
    /// The given head is not one. What is wrong with the log is no error here:
    /// it is in the answer.
    pub async fn audit_verify(&self, head: Option<String>) -> Result<AuditVerified, AuditFailure> {
        let (config, audit) = (self.config.clone(), self.audit.clone());
        let read = self
            .blocking(move || record::verify(&config, &audit, head.as_deref()))
            .await;
        read.map_err(|_| AuditFailure::Interrupted)?
    }

    /// The newest signed head of the audit, and each one that follows; for
    /// whoever keeps them outside.
    #[must_use]
    pub fn audit_heads(&self) -> watch::Receiver<Option<airlock_journal::audit::SignedHead>> {
        self.audit.heads()
    }

    /// Runs work that blocks off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, crate::plugins::PluginError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| crate::plugins::PluginError::Interrupted)
    }

    /// Opens what the plugin's rules name, off the async threads.
    pub(crate) async fn prepared(&self, active: Arc<Active>) -> Result<Arc<Active>, String> {
        let sandbox = Arc::clone(&self.sandbox);
        let work = move || {
            active
                .plugin(&sandbox)
                .map(|_| active)
                .map_err(|e| e.to_string())
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err("the work was interrupted".to_owned()))
    }

    /// Removes components that no plugin names.
    pub(crate) async fn sweep_components(&self) {
        let _alone = self.naming.write().await;
        let mut named = std::collections::HashSet::new();
        for (slot, _) in self.registry.all() {
            let row = slot.row.lock().await;
            named.extend(row.versions.iter().map(|version| version.digest.clone()));
        }
        let components = Arc::clone(&self.components);
        let swept = self
            .blocking(move || components.retain(|digest| named.contains(digest)))
            .await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(%error, "unused components stay on disk");
        }
    }

    async fn first_token(&mut self) -> Result<(), OpenError> {
        if !self.tokens.is_empty() {
            return Ok(());
        }
        let request = TokenRequest {
            principal: "admin".to_owned(),
            roles: [Role::Admin].into(),
            note: "made at the first start".to_owned(),
            ..TokenRequest::default()
        };
        let invalid = |error: TokenError| StoreError::Corrupt {
            place: error.to_string(),
        };
        let prepared = self.tokens.prepare("system", request, ids::now_ms());
        let (change, token) = prepared.map_err(invalid)?;
        // The file first: a token that is in force and that nobody has would
        // lock everybody out.
        let path = self.config.admin_token_file();
        components::write_private(&path, &format!("{token}\n")).map_err(|source| {
            OpenError::Files {
                step: "writing",
                path: path.clone(),
                source,
            }
        })?;
        let who = Principal::local_admin("first-start");
        let record = record::admin(&who, "token.create", &change.view().id, json!({}));
        self.tokens.commit(change, record::op(&record)).await?;
        self.first_token_file = Some(path);
        Ok(())
    }

    /// Checkpoints of the audit by time, and removal of replies that are over.
    /// They end with the runtime.
    fn start_chores(self: &Arc<Self>) {
        let every = self.config.checkpoint_every;
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut next_prune = Instant::now() + PRUNE_EVERY;
            loop {
                tokio::time::sleep(every.max(Duration::from_secs(1))).await;
                let Some(runtime) = weak.upgrade() else {
                    return;
                };
                if let Err(error) = runtime.audit.checkpoint().await {
                    tracing::error!(%error, "no checkpoint of the audit");
                }
                if Instant::now() >= next_prune {
                    next_prune = Instant::now() + PRUNE_EVERY;
                    if let Err(error) = runtime.idempotency.prune(ids::now_ms()).await {
                        tracing::error!(%error, "kept replies were not pruned");
                    }
                    runtime.prune_by_time().await;
                    if let Err(error) = runtime.prune_deliveries(ids::now_ms()).await {
                        tracing::error!(%error, "notes of deliveries were not pruned");
                    }
                }
            }
        });
    }
}

impl From<crate::plugins::PluginError> for OpenError {
    fn from(_: crate::plugins::PluginError) -> Self {
        Self::Store(StoreError::Poisoned {
            cause: "opening was interrupted".to_owned(),
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await;
    let interrupted = |_| StoreError::Poisoned {
        cause: "opening was interrupted".to_owned(),
    };
    done.map_err(interrupted).map_err(OpenError::Store)
}

fn make_dir(path: PathBuf) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    made.map_err(|source| OpenError::Files {
        step: "making",
        path,
        source,
    })
}

fn make_dirs(config: &RuntimeConfig) -> Result<(), OpenError> {
    make_dir(config.data_dir().to_owned())?;
    make_dir(config.keys_dir.clone())
}

fn clean(config: &RuntimeConfig) -> Result<(), OpenError> {
    make_dir(config.journal_dir())?;
    backup::clean(config).map_err(|source| OpenError::Files {
        step: "cleaning",
        path: config.data_dir().to_owned(),
        source,
    })
}
