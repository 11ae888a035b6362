//! What a tool learns about the call it is in.

use std::time::Duration;

/// About this one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Unique to this call, for logs and support. Opaque.
    pub call_id: String,
    /// Who calls, as an opaque id that is stable for one principal and one
    /// plugin.
    pub principal: String,
    /// Equal for all attempts at the same work. Pass it on to services that take
    /// idempotency keys. `None` when the caller gave none.
    pub idempotency_key: Option<String>,
    /// The wall time that was left when the call started. The host ends the call
    /// when it is used up.
    pub deadline: Duration,
    /// 1 for the first attempt, then 2, 3, and so on.
    pub attempt: u32,
}

impl Context {
    pub(crate) fn new(call_id: String, principal: String) -> Self {
        Self {
            call_id,
            principal,
            idempotency_key: None,
            deadline: Duration::from_secs(10),
            attempt: 1,
        }
    }
}
