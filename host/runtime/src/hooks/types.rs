//! Webhooks as the API takes and shows them, and as they lie in the store.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runs::{Maker, SignalTarget, StartRun};

/// How deliveries are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp` and
    /// `webhook-signature`, HMAC-SHA-256 over `id.timestamp.body`.
    #[default]
    Standard,
    /// GitHub's: `x-hub-signature-256`, HMAC-SHA-256 over the body, and
    /// `x-github-delivery`.
    Github,
}

/// A webhook, as it is made. Its runs are started, and its signals given, in the
/// name of whoever makes it or gave it its secret last, with the roles and scope
/// of that token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// 1 to 64 of `a-z 0-9 - _`, beginning with a letter.
    pub name: String,
    /// How deliveries are signed.
    #[serde(default)]
    pub scheme: Scheme,
    /// The run to start, as in `POST /v1/runs`; its input gets the delivery's body
    /// as `payload`. This, or `signal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<StartRun>")]
    pub start: Option<Value>,
    /// The signal to give; its payload is the delivery's body. This, or `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalTarget>,
    /// Deliveries a minute at most, 1 to 6,000; as many at once.
    #[serde(default = "sixty")]
    pub rate_per_min: u32,
    /// What its sender signs with; without it one is made, and shown in the reply.
    #[serde(default, skip_serializing)]
    pub secret: Option<GivenSecret>,
}

fn sixty() -> u32 {
    60
}

/// A secret in a request. `standard`: `whsec_` and 24 to 64 bytes in base64;
/// `github`: 16 to 256 characters.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GivenSecret(pub(super) String);

impl fmt::Debug for GivenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenSecret(…)")
    }
}

/// Gives a webhook another secret.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateHook {
    /// The new one; without it one is made, and shown in the reply.
    #[serde(default)]
    pub secret: Option<GivenSecret>,
    /// For how long the one before holds too, seconds, at most 604,800 (a week).
    #[serde(default)]
    pub keep_s: u64,
}

/// A webhook; never its secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HookView {
    /// What was asked for.
    #[serde(flatten)]
    pub hook: HookRequest,
    /// In whose name it acts.
    pub by: String,
    /// Whether the token was revoked with which it was made, or got its secret: it
    /// takes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
    /// When it got its secret, milliseconds since 1970.
    pub secret_ms: u64,
    /// Until when the secret before holds too, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_until_ms: Option<u64>,
}

/// A webhook that was made or got another secret.
#[derive(Clone, Serialize, JsonSchema)]
pub struct HookMade {
    /// The secret that was made: shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The webhook.
    pub hook: HookView,
}

impl fmt::Debug for HookMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HookMade");
        shown.field("hook", &self.hook).finish_non_exhaustive()
    }
}

/// A delivery that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Delivered {
    /// The run that was started or got the signal.
    pub run: String,
    /// It was taken before; nothing was done again.
    #[serde(skip)]
    pub replayed: bool,
}

/// A webhook as it lies in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) hook: HookRequest,
    /// Random: a webhook that is made again is another one.
    pub(super) id: String,
    pub(super) maker: Maker,
    /// The agent it is about, where that is known before a delivery.
    pub(super) agent: Option<String>,
    pub(super) made_ms: u64,
    pub(super) secret_ms: u64,
    /// The secret, sealed, as [`Row::label`] names it.
    pub(super) sealed: Vec<u8>,
    /// The one before, and until when it holds too.
    #[serde(default)]
    pub(super) previous: Option<(Vec<u8>, u64)>,
}

impl Row {
    /// What its secrets are sealed under.
    pub(super) fn label(&self) -> String {
        label(&self.id)
    }

    /// The secret before, as long as it holds too.
    pub(super) fn previous(&self, now_ms: u64) -> Option<&[u8]> {
        let previous = self.previous.as_ref();
        let previous = previous.filter(|(_, until_ms)| *until_ms > now_ms)?;
        Some(&previous.0)
    }

    /// As it is shown; `revoked`: the token of its maker was.
    pub(super) fn view(&self, revoked: bool) -> HookView {
        HookView {
            revoked,
            hook: self.hook.clone(),
            by: self.maker.by.clone(),
            made_ms: self.made_ms,
            secret_ms: self.secret_ms,
            previous_until_ms: self.previous.as_ref().map(|(_, until_ms)| *until_ms),
        }
    }
}

pub(super) fn label(id: &str) -> String {
    format!("hook {id}")
}

/// A delivery that was taken, as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// The digest of its body.
    pub(super) body: String,
    pub(super) run: String,
    pub(super) expires_ms: u64,
}
