//! API tokens: made, kept, checked, revoked.
//!
//! What must stay true: a token's text exists only in the reply that made it. At
//! rest is its SHA-256, which is enough because the secret part is 256 random
//! bits, so there is nothing to guess and nothing to slow down. Comparison takes
//! the same time whatever is wrong. All tokens are in memory: one process owns
//! the data directory, so memory is never behind the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use airlock_journal::{Batch, Op, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::ids;
use crate::names::{self, BadName};
use crate::principal::{Principal, Role};
use crate::problem::Failure;

pub(crate) const SPACE: &str = "tokens";
const PREFIX: &str = "airlock_";
/// Most tokens that are neither expired nor revoked, see [`TokenError::TooMany`].
pub const TOKENS_MAX: usize = 10_000;
/// Most plugins in one token's scope.
pub const SCOPE_PLUGINS_MAX: usize = 1_000;

/// A token to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who uses it; several tokens may name the same principal.
    pub principal: String,
    /// What it may do; at least one.
    pub roles: BTreeSet<Role>,
    /// The plugins it may see and use; absent: all.
    #[serde(default)]
    pub plugins: Option<BTreeSet<String>>,
    /// Seconds until it expires; absent: never.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
    /// For people.
    #[serde(default)]
    pub note: String,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Names the token; not secret.
    pub id: String,
    /// Who uses it.
    pub principal: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// The plugins it may see and use; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<BTreeSet<String>>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// By whom.
    pub created_by: String,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A token that was revoked, and what acts in its name no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedToken {
    /// The token.
    #[serde(flatten)]
    pub token: TokenView,
    /// Schedules that were made or changed last with it: they do nothing until
    /// somebody changes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
    /// Webhooks that were made or got their secret with it: they take nothing until
    /// somebody gives them another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
}

/// A token that was just made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The token's text. It can't be shown again.
    pub token: String,
    /// Everything else about it.
    pub view: TokenView,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewToken({})", self.view.id)
    }
}

/// Why a token could not be made, found or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A name or note of the request is not one.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(&'static str),
    /// There is none with this id.
    #[error("there is no token `{0}`")]
    NotFound(String),
    /// Without it, nobody could administer the host over the API.
    #[error(
        "`{0}` is the last token that administers the whole host; make another first, or say `last` to do without"
    )]
    LastAdmin(String),
    /// As many tokens as there may be exist, and none has expired or is revoked.
    #[error("there are {TOKENS_MAX} live tokens already; revoke some")]
    TooMany,
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store failed.
    #[error("storing the token")]
    Store(#[from] StoreError),
}

impl Failure for TokenError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadName(_) => "bad-name",
            Self::BadRequest(_) => "bad-request",
            Self::NotFound(_) => "token-not-found",
            Self::LastAdmin(_) => "last-admin",
            Self::TooMany => "too-many-tokens",
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadName(_) | Self::BadRequest(_) => 400,
            Self::NotFound(_) => 404,
            Self::TooMany | Self::LastAdmin(_) => 409,
            Self::Unauthenticated(error) => error.status(),
            Self::Store(_) => 503,
        }
    }
}

/// Why a token was not accepted. Callers are not told which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token came with the request.
    #[error("no bearer token")]
    Missing,
    /// It is not a token of ours.
    #[error("unknown token")]
    Unknown,
    /// Its time is over.
    #[error("expired token {id}")]
    Expired {
        /// Which.
        id: String,
    },
    /// It was revoked.
    #[error("revoked token {id}")]
    Revoked {
        /// Which.
        id: String,
    },
}

impl Failure for AuthError {
    fn code(&self) -> &'static str {
        "unauthenticated"
    }
    fn status(&self) -> u16 {
        401
    }
    fn detail(&self) -> String {
        match self {
            Self::Missing => "send `Authorization: Bearer <token>`",
            _ => "the token is not valid",
        }
        .to_owned()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    view: TokenView,
    /// SHA-256 of the secret part, hexadecimal.
    sha256: String,
}

struct Held {
    view: TokenView,
    hash: [u8; 32],
    principal: Arc<Principal>,
}

/// All tokens.
pub(crate) struct Tokens {
    store: Arc<dyn Store>,
    held: RwLock<HashMap<String, Arc<Held>>>,
    /// Held from a change's check to its commit: two that each leave the other's
    /// token as the last would leave none.
    turn: tokio::sync::Mutex<()>,
    /// Changes with each of them.
    changed: watch::Sender<()>,
}

/// A change of tokens: what to commit, then what to hold.
pub(crate) struct TokenChange {
    pub(crate) op: Op,
    held: Arc<Held>,
}

impl Held {
    fn is_live(&self, now_ms: u64) -> bool {
        self.view.revoked_ms.is_none() && self.view.expires_ms.is_none_or(|at| at > now_ms)
    }

    fn administers(&self, now_ms: u64) -> bool {
        let admin = self.view.roles.contains(&Role::Admin);
        admin && self.view.plugins.is_none() && self.is_live(now_ms)
    }
}

impl TokenChange {
    pub(crate) fn view(&self) -> &TokenView {
        &self.held.view
    }
}

impl Tokens {
    /// Reads all tokens.
    pub(crate) fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let mut held = HashMap::new();
        for stored in crate::rows::all::<Stored>(&*store, SPACE)? {
            let damaged = || crate::rows::damaged(SPACE, stored.view.id.as_bytes());
            let hash = unhex(&stored.sha256).ok_or_else(damaged)?;
            let item = Held::new(stored.view, hash);
            held.insert(item.view.id.clone(), Arc::new(item));
        }
        let held = RwLock::new(held);
        Ok(Self {
            store,
            held,
            turn: Default::default(),
            changed: watch::Sender::default(),
        })
    }

    /// The right to change tokens, until it is dropped.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// The principal of a token's text.
    pub(crate) fn authenticate(
        &self,
        text: &str,
        now_ms: u64,
    ) -> Result<Arc<Principal>, AuthError> {
        let (id, secret) = split(text).ok_or(AuthError::Unknown)?;
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let held = self.read().get(id).cloned().ok_or(AuthError::Unknown)?;
        if !bool::from(held.hash.ct_eq(&hash)) {
            return Err(AuthError::Unknown);
        }
        let id = || held.view.id.clone();
        if held.view.revoked_ms.is_some() {
            return Err(AuthError::Revoked { id: id() });
        }
        if held.view.expires_ms.is_some_and(|at| at <= now_ms) {
            return Err(AuthError::Expired { id: id() });
        }
        Ok(Arc::clone(&held.principal))
    }

    /// All tokens, oldest first.
    pub(crate) fn list(&self) -> Vec<TokenView> {
        let mut views: Vec<_> = self.read().values().map(|held| held.view.clone()).collect();
        views.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        views
    }

    /// Makes a token; nothing is kept until [`Self::commit`].
    pub(crate) fn prepare(
        &self,
        by: &str,
        request: TokenRequest,
        now_ms: u64,
    ) -> Result<(TokenChange, String), TokenError> {
        check(&request)?;
        let all = self.read();
        if all.values().filter(|held| held.is_live(now_ms)).count() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        drop(all);
        let (id, secret) = (
            ids::hex(&ids::random::<8>()),
            ids::hex(&ids::random::<32>()),
        );
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let text = format!("{PREFIX}{id}_{secret}");
        let view = TokenView {
            id,
            principal: request.principal,
            roles: request.roles,
            plugins: request.plugins,
            created_ms: now_ms,
            created_by: by.to_owned(),
            expires_ms: request
                .expires_in_s
                .map(|s| now_ms.saturating_add(s.saturating_mul(1_000))),
            revoked_ms: None,
            note: request.note,
        };
        Ok((TokenChange::new(Held::new(view, hash)), text))
    }

    /// The change that revokes a token; the last that administers the host only
    /// where `last` says so.
    pub(crate) fn prepare_revoke(
        &self,
        id: &str,
        last: bool,
        now_ms: u64,
    ) -> Result<TokenChange, TokenError> {
        let all = self.read();
        let held = all.get(id).cloned();
        let held = held.ok_or_else(|| TokenError::NotFound(id.to_owned()))?;
        let mut others = all.values().filter(|other| other.view.id != id);
        let needed = held.administers(now_ms) && !others.any(|other| other.administers(now_ms));
        drop(all);
        if needed && !last {
            return Err(TokenError::LastAdmin(id.to_owned()));
        }
        let mut view = held.view.clone();
        view.revoked_ms.get_or_insert(now_ms);
        Ok(TokenChange::new(Held::new(view, held.hash)))
    }

    /// Makes the change durable with `audit` in the same batch, then puts it in
    /// force.
    pub(crate) async fn commit(
        &self,
        change: TokenChange,
        audit: Op,
    ) -> Result<TokenView, StoreError> {
        self.store
            .commit(Batch::new().op(change.op).op(audit))
            .await?;
        let view = change.held.view.clone();
        let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(view.id.clone(), change.held);
        drop(all);
        self.changed.send_replace(());
        Ok(view)
    }

    /// Whether what a principal came with still holds.
    pub(crate) fn holds(&self, who: &Principal, now_ms: u64) -> bool {
        let Some(id) = &who.token_id else {
            return true;
        };
        self.read().get(id).is_some_and(|held| held.is_live(now_ms))
    }

    /// Whether a token was revoked, or is not known.
    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        let all = self.read();
        all.get(id)
            .is_none_or(|held| held.view.revoked_ms.is_some())
    }

    /// Changes when a token is made or revoked.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(view: TokenView, hash: [u8; 32]) -> Self {
        let principal = Arc::new(Principal {
            name: view.principal.clone(),
            token_id: Some(view.id.clone()),
            roles: view.roles.clone(),
            plugins: view.plugins.clone(),
        });
        Self {
            view,
            hash,
            principal,
        }
    }
}

impl TokenChange {
    fn new(held: Held) -> Self {
        let stored = Stored {
            view: held.view.clone(),
            sha256: ids::hex(&held.hash),
        };
        let op = Op::Put {
            space: SPACE,
            key: held.view.id.clone().into(),
            value: crate::rows::encode(&stored),
        };
        Self {
            op,
            held: Arc::new(held),
        }
    }
}

fn check(request: &TokenRequest) -> Result<(), TokenError> {
    names::principal_name(&request.principal)?;
    names::why(&request.note)?;
    if request.roles.is_empty() {
        return Err(TokenError::BadRequest("a token needs at least one role"));
    }
    if request.expires_in_s == Some(0) {
        return Err(TokenError::BadRequest("`expires_in_s` is at least 1"));
    }
    if let Some(plugins) = &request.plugins {
        if plugins.len() > SCOPE_PLUGINS_MAX {
            return Err(TokenError::BadRequest(
                "a token's scope names at most 1,000 plugins",
            ));
        }
        plugins
            .iter()
            .try_for_each(|name| names::plugin_name(name))?;
    }
    Ok(())
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('_')
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let mut bytes = [0; 32];
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
