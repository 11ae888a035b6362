//! What the host checks of JSON that it passes on as text, to tools that read it
//! themselves: that it is one JSON value, not too long, not too deep. Anything
//! more is the tool's to judge.

use serde::de::IgnoredAny;

use crate::call::CallError;
use crate::limits::ByteSize;

/// Deepest nesting of arrays and objects, as `serde_json` reads them.
pub const DEPTH_MAX: usize = 127;

/// Checks the JSON input of a call.
///
/// # Errors
/// `limit` for its size, `invalid-input` for what is not JSON or too deep.
pub fn check_input(text: &str, max: ByteSize) -> Result<(), CallError> {
    check_size("input", text, max)?;
    valid(text).map_err(|reason| CallError::InvalidInput {
        message: format!("the input {reason}"),
    })
}

/// Checks the JSON output of a call.
///
/// # Errors
/// `limit` for its size, `permanent` for what is not JSON or too deep.
pub fn check_output(text: &str, max: ByteSize) -> Result<(), CallError> {
    check_size("output", text, max)?;
    valid(text).map_err(|reason| CallError::Permanent {
        message: format!("the tool's output {reason}"),
    })
}

fn check_size(limit: &str, text: &str, max: ByteSize) -> Result<(), CallError> {
    if text.len() as u64 <= max.0 {
        return Ok(());
    }
    Err(CallError::Limit {
        limit: limit.to_owned(),
        value: max.to_string(),
    })
}

fn valid(text: &str) -> Result<(), String> {
    if depth(text) > DEPTH_MAX {
        return Err(format!("is nested deeper than {DEPTH_MAX}"));
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// How deep arrays and objects are nested. For text that is not JSON the number
/// means nothing, but it is found in one pass.
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
