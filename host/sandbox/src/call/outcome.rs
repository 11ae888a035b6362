//! From the engine's errors to the error taxonomy of the contract.
//!
//! What must stay true: the limit that ended a call is named exactly; what a
//! caller reads never carries host paths or the text of a host failure.

use std::sync::atomic::Ordering;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use super::guard::Vitals;
use super::{CallError, Denial};
use crate::contract::types;
use crate::engine::WASM_STACK_BYTES;
use crate::gate::LimitReached;
use crate::grants::EffectClass;
use crate::inert::GuestExit;
use crate::limits::{ByteSize, Limits};

/// Milliseconds after which a call that found no free sandbox may come again.
const NO_SLOT_RETRY_MS: u64 = 100;

impl From<LimitReached> for CallError {
    fn from(reached: LimitReached) -> Self {
        limit(reached.limit, reached.value)
    }
}

fn limit(limit: &str, value: impl ToString) -> CallError {
    CallError::Limit {
        limit: limit.to_owned(),
        value: value.to_string(),
    }
}

/// Why the engine ended a call, in the caller's words.
pub(crate) fn ended(
    error: &wasmtime::Error,
    limits: &Limits,
    vitals: &Vitals,
    class: EffectClass,
) -> CallError {
    if let Some(reached) = error.downcast_ref::<LimitReached>() {
        return reached.clone().into();
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return no_room();
    }
    by_engine(error, limits)
        .or_else(|| by_refusal(limits, vitals))
        .unwrap_or_else(|| by_guest(error, class))
}

/// There is no free sandbox, or none for what a component needs.
pub(crate) fn no_room() -> CallError {
    CallError::Transient {
        message: "all sandboxes are in use".to_owned(),
        retry_after_ms: Some(NO_SLOT_RETRY_MS),
    }
}

/// Limits that the engine itself enforces.
fn by_engine(error: &wasmtime::Error, limits: &Limits) -> Option<CallError> {
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return Some(limit("stack", ByteSize(WASM_STACK_BYTES as u64)));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Some(limit("handles", limits.handles));
    }
    // These errors of the engine have no public type.
    let text = error.root_cause().to_string();
    let known = [
        ("store handle limit exceeded", "handles"),
        ("fuel allocated for hostcalls", "host_memory"),
        ("resource limit exceeded", "instances"),
    ];
    let (_, name) = known.iter().find(|(part, _)| text.contains(part))?;
    Some(match *name {
        "handles" => limit(name, limits.handles),
        "host_memory" => limit(name, limits.host_memory),
        _ => limit(name, limits.instances),
    })
}

/// A trap after a refusal to grow is that limit's doing: guests abort when an
/// allocation fails.
fn by_refusal(limits: &Limits, vitals: &Vitals) -> Option<CallError> {
    if vitals.memory_refused.load(Ordering::Relaxed) {
        return Some(limit("memory", limits.memory));
    }
    vitals
        .table_refused
        .load(Ordering::Relaxed)
        .then(|| limit("table_elements", limits.table_elements))
}

/// A trap is `permanent`: the same again would end the same way, and what the
/// tool did before is in the call's usage.
fn by_guest(error: &wasmtime::Error, class: EffectClass) -> CallError {
    let message = if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::UnreachableCodeReached => format!(
                "the tool aborted, as it does in a panic ({trap}); what it logged may say why"
            ),
            trap => format!("the tool crashed ({trap})"),
        }
    } else if let Some(exit) = error.downcast_ref::<GuestExit>() {
        return exit.outcome(class);
    } else if let Some(denial) = error.downcast_ref::<Denial>() {
        return CallError::Denied(denial.clone());
    } else {
        tracing::warn!(error = format!("{error:?}"), "a call was ended by the host");
        "the tool was ended by the host, whose log says why".to_owned()
    };
    CallError::Permanent { message }
}

/// Longest text of a tool's own error, bytes; what is longer is cut there.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// The text, cut at [`ERROR_BYTES_MAX`] and saying so.
fn bounded(text: String) -> String {
    if text.len() <= ERROR_BYTES_MAX {
        return text;
    }
    let end = text.floor_char_boundary(ERROR_BYTES_MAX);
    format!("{}… (cut, {} bytes)", &text[..end], text.len())
}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::InvalidInput(text) => Self::InvalidInput {
                message: bounded(text),
            },
            types::Error::Denied(denial) => Self::Denied(Denial {
                capability: bounded(denial.capability),
                operation: bounded(denial.operation),
                rule: bounded(denial.rule),
            }),
            types::Error::NotFound(text) => Self::NotFound {
                message: bounded(text),
            },
            types::Error::Transient(error) => Self::Transient {
                message: bounded(error.message),
                retry_after_ms: error.retry_after_ms,
            },
            types::Error::Permanent(text) => Self::Permanent {
                message: bounded(text),
            },
            types::Error::Escalate(text) => Self::Escalate {
                message: bounded(text),
            },
            types::Error::Limit(error) => Self::Limit {
                limit: bounded(error.limit),
                value: bounded(error.value),
            },
            types::Error::Cancelled => Self::Cancelled,
            types::Error::Unknown(text) => Self::Unknown {
                message: bounded(text),
            },
        }
    }
}

impl From<CallError> for types::Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::InvalidInput { message } => Self::InvalidInput(message),
            CallError::Denied(denial) => Self::Denied(types::Denial {
                capability: denial.capability,
                operation: denial.operation,
                rule: denial.rule,
            }),
            CallError::NotFound { message } => Self::NotFound(message),
            CallError::Transient {
                message,
                retry_after_ms,
            } => Self::Transient(types::TransientError {
                message,
                retry_after_ms,
            }),
            CallError::Permanent { message } => Self::Permanent(message),
            // An agent can't mend the host: a person must.
            CallError::Escalate { message }
            | CallError::ComponentMissing { message }
            | CallError::ComponentAltered { message } => Self::Escalate(message),
            CallError::Limit { limit, value } => Self::Limit(types::LimitError { limit, value }),
            CallError::Cancelled => Self::Cancelled,
            CallError::Unknown { message } => Self::Unknown(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_own_error_is_bounded() {
        let cases = [
            ("short".to_owned(), 5),
            ("é".repeat(ERROR_BYTES_MAX), ERROR_BYTES_MAX + 40),
        ];
        for (text, most) in cases {
            let kept = CallError::from(types::Error::Permanent(text));
            let CallError::Permanent { message } = kept else {
                panic!("{kept:?}")
            };
            assert!(message.len() <= most, "{} bytes", message.len());
        }
    }
}
