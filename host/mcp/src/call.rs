//! A call of a tool: the arguments as its input, progress and log as
//! notifications, the reply as a result.
//!
//! What must stay true: the call is the runtime's, as over `/v1`; a client that
//! reads slowly sees less progress and holds no call up; a request that is
//! cancelled, or whose token is revoked, ends its call, unless that has an idempotency
//! key.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{CallRefused, CallStage, Principal, Problem, Runtime, StoredReply, ToolCall};
use bytes::Bytes;
use futures_util::future::BoxFuture;
#[expect(deprecated, reason = "earlier versions of the protocol have it")]
use rmcp::model::{
    CallToolResult, JsonObject, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{Peer, RequestContext, RoleServer};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::outcome::{self, Logged};

/// In a request's `_meta`: makes the call happen once.
pub(crate) const IDEMPOTENCY_KEY: &str = "airlock/idempotency-key";
/// In a request's `_meta`: milliseconds that a call may take, waiting included.
pub(crate) const TIMEOUT_MS: &str = "airlock/timeout-ms";
/// The longest of those: a day.
pub(crate) const TIMEOUT_MS_MAX: u64 = 86_400_000;

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) who: &'a Arc<Principal>,
    pub(crate) plugin: String,
    pub(crate) tool: String,
    pub(crate) arguments: Option<JsonObject>,
    /// What is told of its log: what is at least so severe.
    #[expect(deprecated, reason = "earlier versions of the protocol have it")]
    pub(crate) level: Option<LoggingLevel>,
}

impl Call<'_> {
    /// Makes it.
    pub(crate) async fn made(self, context: &RequestContext<RoleServer>) -> CallToolResult {
        let (key, timeout) = match terms(context) {
            Ok(terms) => terms,
            Err(problem) => return outcome::failed(*problem),
        };
        let logger = format!("{}/{}", self.plugin, self.tool);
        let token = context.meta.get_progress_token();
        let (stage, progress) = match &token {
            Some(_) => {
                let (sender, receiver) = watch::channel(CallStage::Waiting);
                (Some(sender), Some(receiver))
            }
            None => (None, None),
        };
        let call = ToolCall {
            plugin: self.plugin,
            tool: self.tool,
            input: input(self.arguments),
            timeout,
            idempotency_key: key,
            log: self.level.is_some(),
            stage,
        };
        let mut revoked = pin!(self.runtime.revoked(self.who));
        let work = self.runtime.call(self.who, call);
        let mut telling = token.zip(progress).map(|(token, stage)| Telling {
            peer: context.peer.clone(),
            token,
            stage,
            last: f64::NEG_INFINITY,
            sending: None,
        });
        let mut work = pin!(work);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut work => break ended,
                () = context.ct.cancelled() => return cancelled(),
                () = &mut revoked => return cancelled(),
                () = Telling::more(&mut telling) => {}
            }
        };
        if let Some(telling) = telling {
            telling.last().await;
        }
        replied(ended, self.level, &logger, &context.peer).await
    }
}

/// Nobody reads it: the request was taken back, or who made it has no say any more.
fn cancelled() -> CallToolResult {
    outcome::failed(Problem::new(503, "cancelled", "cancelled"))
}

fn input(arguments: Option<JsonObject>) -> Bytes {
    match arguments {
        None => Bytes::from_static(b"{}"),
        // A map of JSON values is JSON.
        Some(arguments) => serde_json::to_vec(&arguments).unwrap_or_default().into(),
    }
}

/// The idempotency key and the bound on time that came with a request.
pub(crate) fn terms(
    context: &RequestContext<RoleServer>,
) -> Result<(Option<String>, Option<Duration>), Box<Problem>> {
    let bad = |detail: String| Box::new(Problem::new(400, "bad-meta", detail));
    let key = match context.meta.get(IDEMPOTENCY_KEY) {
        None => None,
        Some(Value::String(key)) => Some(key.clone()),
        Some(_) => return Err(bad(format!("`{IDEMPOTENCY_KEY}` is a text"))),
    };
    let timeout = match context.meta.get(TIMEOUT_MS).map(Value::as_u64) {
        None => None,
        Some(Some(ms @ 1..=TIMEOUT_MS_MAX)) => Some(Duration::from_millis(ms)),
        Some(_) => return Err(bad(format!("`{TIMEOUT_MS}` is 1 to {TIMEOUT_MS_MAX}"))),
    };
    Ok((key, timeout))
}

#[expect(deprecated, reason = "earlier versions of the protocol have it")]
async fn replied(
    ended: Result<StoredReply, CallRefused>,
    level: Option<LoggingLevel>,
    logger: &str,
    peer: &Peer<RoleServer>,
) -> CallToolResult {
    let reply = match ended {
        Ok(reply) => reply,
        Err(refused) => return outcome::refused(&refused),
    };
    if let Some(level) = level {
        for logged in outcome::log_of(&reply.body) {
            if severity(level_of(&logged)) < severity(level) {
                continue;
            }
            // Whoever left misses it.
            if peer
                .notify_logging_message(message(logged, logger))
                .await
                .is_err()
            {
                break;
            }
        }
    }
    outcome::replied(reply.status, &reply.body, reply.replayed)
}

#[expect(deprecated, reason = "earlier versions of the protocol have it")]
fn message(logged: Logged, logger: &str) -> LoggingMessageNotificationParam {
    let level = level_of(&logged);
    let data = match logged.fields.is_empty() {
        true => Value::from(logged.message),
        false => json!({ "message": logged.message, "fields": logged.fields }),
    };
    LoggingMessageNotificationParam::new(level, data).with_logger(logger)
}

#[expect(deprecated, reason = "earlier versions of the protocol have it")]
fn level_of(logged: &Logged) -> LoggingLevel {
    match logged.level.as_str() {
        "trace" | "debug" => LoggingLevel::Debug,
        "warn" | "stderr" => LoggingLevel::Warning,
        "error" => LoggingLevel::Error,
        _ => LoggingLevel::Info,
    }
}

#[expect(deprecated, reason = "earlier versions of the protocol have it")]
fn severity(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

/// Tells the client how far a call is. One report is on its way at a time; the
/// call does not wait for it.
struct Telling {
    peer: Peer<RoleServer>,
    token: ProgressToken,
    stage: watch::Receiver<CallStage>,
    /// Progress that was told: it only ever grows.
    last: f64,
    sending: Option<BoxFuture<'static, ()>>,
}

impl Telling {
    /// Resolves when something was told, or there is something to tell.
    async fn more(telling: &mut Option<Self>) {
        let Some(telling) = telling else {
            return std::future::pending().await;
        };
        if let Some(sending) = &mut telling.sending {
            sending.await;
            telling.sending = None;
            return;
        }
        match telling.stage.changed().await {
            Ok(()) => telling.sending = telling.report(),
            // The call has ended.
            Err(_) => std::future::pending().await,
        }
    }

    /// What was reported and not told yet.
    async fn last(mut self) {
        if let Some(sending) = self.sending.take() {
            sending.await;
        }
        if let Some(sending) = self.report() {
            sending.await;
        }
    }

    fn report(&mut self) -> Option<BoxFuture<'static, ()>> {
        let CallStage::Running(Some(progress)) = self.stage.borrow_and_update().clone() else {
            return None;
        };
        if progress.done <= self.last {
            return None;
        }
        self.last = progress.done;
        let mut told = ProgressNotificationParam::new(self.token.clone(), progress.done);
        told.total = progress.total;
        told.message = Some(progress.message).filter(|message| !message.is_empty());
        let peer = self.peer.clone();
        Some(Box::pin(async move {
            // Whoever left misses it.
            let _ = peer.notify_progress(told).await;
        }))
    }
}
