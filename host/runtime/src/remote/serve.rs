//! A call of a server's tool, in the place of a call in a sandbox.
//!
//! What must stay true: what was not written is transient; what may have happened
//! is unknown where it must not happen twice. Its words come without secrets, see
//! [`airlock_mcp_client::Link`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Progress;
use airlock_mcp_client::{Call, Fault, Output};
use airlock_sandbox::{CallError, CallReport, EffectClass, Usage};
use tokio::sync::watch;

use crate::remote::Linked;

/// JSON-RPC's codes of what its caller did wrong.
const INVALID_PARAMS: i64 = -32_602;
const METHOD_NOT_FOUND: i64 = -32_601;
/// Milliseconds after which a server may be tried again.
const RETRY_MS: u64 = 1_000;

/// A call that was asked for.
pub(crate) struct Serving {
    /// The connection, or what kept it from being there.
    pub(crate) linked: Result<Arc<Linked>, Fault>,
    /// The tool's name within the plugin.
    pub(crate) tool: String,
    pub(crate) input: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) class: EffectClass,
    pub(crate) wall: Duration,
    pub(crate) output_bytes_max: u64,
}

/// A call that has begun.
pub(crate) struct Served {
    serving: Serving,
    watch: ServedWatch,
}

/// Sees a call from outside.
#[derive(Clone)]
pub(crate) struct ServedWatch {
    pub(crate) class: EffectClass,
    started: Instant,
    progress: watch::Sender<Option<Progress>>,
}

impl ServedWatch {
    pub(crate) fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }

    /// `lost`: it was sent, and what the server says of it can't be told.
    pub(crate) fn report(&self, result: Result<String, CallError>, lost: bool) -> CallReport {
        let wall_us = self.started.elapsed().as_micros();
        CallReport {
            result,
            lost,
            usage: Usage {
                wall_us: u64::try_from(wall_us).unwrap_or(u64::MAX),
                ..Usage::default()
            },
            denials: Vec::new(),
            log: Vec::new(),
        }
    }
}

impl Served {
    pub(crate) fn new(serving: Serving) -> Self {
        Self {
            watch: ServedWatch {
                class: serving.class,
                started: Instant::now(),
                progress: watch::Sender::new(None),
            },
            serving,
        }
    }

    pub(crate) fn watch(&self) -> ServedWatch {
        self.watch.clone()
    }

    /// Makes the call. Dropping the future takes it back.
    pub(crate) async fn run(self) -> CallReport {
        let answer = match self.asked().await {
            Ok(answer) => answer,
            Err(error) => return self.watch.report(Err(error), false),
        };
        let lost = matches!(answer, Err(Fault::Lost(_) | Fault::Broken(_)));
        let result = match answer {
            Ok(Output::Structured(text) | Output::Content(text)) => Ok(text),
            Ok(Output::Failed(message)) => Err(CallError::Permanent { message }),
            Err(fault) => Err(self.ended(fault)),
        };
        self.watch.report(result, lost)
    }

    /// Asks the server, unless there is nothing to ask.
    async fn asked(&self) -> Result<Result<Output, Fault>, CallError> {
        let Serving { linked, tool, .. } = &self.serving;
        let linked = linked.as_ref();
        let linked = linked.map_err(|fault| not_sent(&fault.to_string()))?;
        let missing = || CallError::NotFound {
            message: format!("the server has no tool `{tool}`"),
        };
        let tool = linked.pinned.tool(tool).ok_or_else(missing)?;
        if !self.serving.input.trim_start().starts_with('{') {
            return Err(CallError::InvalidInput {
                message: "a tool of an MCP server takes a JSON object".to_owned(),
            });
        }
        let progress = self.watch.progress.clone();
        let call = Call {
            tool,
            arguments: &self.serving.input,
            idempotency_key: self.serving.idempotency_key.as_deref(),
            progress: Arc::new(move |told| {
                progress.send_replace(Some(Progress {
                    done: told.done,
                    total: told.total,
                    message: told.message,
                }));
            }),
            until: (self.watch.started + self.serving.wall).into(),
            output_bytes_max: self.serving.output_bytes_max,
        };
        Ok(linked.link.call(call).await)
    }

    fn ended(&self, fault: Fault) -> CallError {
        match fault {
            Fault::NotSent(why) => not_sent(&why),
            Fault::Lost(why) => self.lost(&why),
            Fault::Broken(why) => CallError::Permanent {
                message: format!("the server's answer is of no use: {why}"),
            },
            Fault::Refused { code, message } => self.refused(code, message),
        }
    }

    fn lost(&self, why: &str) -> CallError {
        match self.serving.class {
            EffectClass::ReadOnly | EffectClass::Idempotent => CallError::Transient {
                message: format!("the server's answer is lost: {why}"),
                retry_after_ms: Some(RETRY_MS),
            },
            EffectClass::Plain | EffectClass::Destructive => CallError::Unknown {
                message: format!("the server was asked, and its answer is lost: {why}"),
            },
        }
    }

    /// What a server says no to. It may say any number, so none of them tells that
    /// nothing happened.
    fn refused(&self, code: i64, message: String) -> CallError {
        match code {
            INVALID_PARAMS => CallError::InvalidInput { message },
            METHOD_NOT_FOUND => CallError::NotFound { message },
            _ => CallError::Permanent {
                message: format!("the server refused it ({code}): {message}"),
            },
        }
    }
}

fn not_sent(why: &str) -> CallError {
    CallError::Transient {
        message: format!("the server was not asked: {why}"),
        retry_after_ms: Some(RETRY_MS),
    }
}
