//! One script in a fresh engine.

use std::path::Path;

use airlock_sdk::Error;
use boa_engine::builtins::promise::PromiseState;
use boa_engine::object::builtins::JsPromise;
use boa_engine::property::Attribute;
use boa_engine::{Context, JsError, JsObject, JsResult, JsValue, Source, js_string};
use serde_json::Value;

use crate::{Failure, Outcome, console};

const CODE_BYTES_MAX: usize = 512 * 1024;
const CALLS_MAX: usize = 400;
/// What the script's own places are named in a backtrace.
const SCRIPT: &str = "script.js";

pub(crate) fn run(code: &str, input: &Value) -> Result<Outcome, Error> {
    if code.len() > CODE_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "code: must be at most {CODE_BYTES_MAX} bytes"
        )));
    }
    drop(console::take());
    let mut context = Context::default();
    context.runtime_limits_mut().set_recursion_limit(CALLS_MAX);
    let result = evaluate(code, input, &mut context);
    let printed = console::take();
    let (value, error) = match result {
        Ok(value) => (value, None),
        Err(error) => (Value::Null, Some(failure(&error))),
    };
    Ok(Outcome {
        ok: error.is_none(),
        value,
        console: printed.lines,
        console_cut: printed.cut,
        error,
    })
}

fn evaluate(code: &str, input: &Value, context: &mut Context) -> JsResult<Value> {
    console::install(context)?;
    let value = JsValue::from_json(input, context)?;
    context.register_global_property(js_string!("input"), value, Attribute::all())?;
    // Taken before the script can put another function in its place.
    let stringify = stringify(context)?;
    let value = context.eval(Source::from_bytes(code).with_path(Path::new(SCRIPT)))?;
    context.run_jobs()?;
    let value = settled(value)?;
    let text = stringify.call(&JsValue::undefined(), &[value], context)?;
    // `undefined` and functions have no JSON form.
    let Some(text) = text.as_string() else {
        return Ok(Value::Null);
    };
    Ok(serde_json::from_str(&text.to_std_string_lossy()).unwrap_or_default())
}

fn stringify(context: &mut Context) -> JsResult<JsObject> {
    let json = context
        .global_object()
        .get(js_string!("JSON"), context)?
        .to_object(context)?;
    json.get(js_string!("stringify"), context)?
        .to_object(context)
}

fn settled(value: JsValue) -> JsResult<JsValue> {
    let Some(promise) = value
        .as_object()
        .and_then(|object| JsPromise::from_object(object.clone()).ok())
    else {
        return Ok(value);
    };
    match promise.state() {
        PromiseState::Fulfilled(value) => Ok(value),
        PromiseState::Rejected(reason) => Err(JsError::from_opaque(reason)),
        PromiseState::Pending => Err(JsError::from_opaque(
            js_string!("the promise never settles: nothing is left to run").into(),
        )),
    }
}

/// The error's text, and its place from the first line of the backtrace that is
/// in the script.
fn failure(error: &JsError) -> Failure {
    let text = error.to_string();
    let (message, backtrace) = text.split_once("\n    at ").unwrap_or((&text, ""));
    let place = backtrace
        .lines()
        .chain(std::iter::once(message))
        .find_map(|line| place_after(line, &format!("{SCRIPT}:")).or_else(|| place_in_words(line)));
    let (line, column) = place.unzip();
    let message = message
        .split(&format!(" ({SCRIPT}:"))
        .next()
        .unwrap_or(message)
        .trim_end_matches(" (native)");
    Failure {
        message: message.to_owned(),
        line,
        column,
    }
}

/// `3:14` after a marker.
fn place_after(text: &str, marker: &str) -> Option<(u32, u32)> {
    let (line, rest) = text.split_once(marker)?.1.split_once(':')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((line.parse().ok()?, rest[..digits].parse().ok()?))
}

/// `line 3, col 14`, as the parser says it.
fn place_in_words(text: &str) -> Option<(u32, u32)> {
    let (line, rest) = text.rsplit_once("line ")?.1.split_once(", col ")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((line.parse().ok()?, rest[..digits].parse().ok()?))
}
