//! The `console` object: it keeps a bounded number of lines for the answer.

use std::cell::RefCell;

use airlock_sdk::prelude::*;
use boa_engine::object::ObjectInitializer;
use boa_engine::property::Attribute;
use boa_engine::{Context, JsResult, JsValue, NativeFunction, js_string};

const LINES_MAX: usize = 1_000;
const BYTES_MAX: usize = 64 * 1024;

/// A line that a script printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// `log`, `info`, `warn`, `error` or `debug`.
    level: &'static str,
    /// The text.
    text: String,
}

#[derive(Default)]
pub(crate) struct Printed {
    pub(crate) lines: Vec<Line>,
    pub(crate) cut: bool,
    bytes: usize,
}

thread_local! {
    /// Beside the engine, whose garbage collector need not know of it.
    static PRINTED: RefCell<Printed> = RefCell::default();
}

/// Takes what was printed since the last time.
pub(crate) fn take() -> Printed {
    PRINTED.take()
}

/// Adds the global `console`.
pub(crate) fn install(context: &mut Context) -> JsResult<()> {
    let console = ObjectInitializer::new(context)
        .function(
            NativeFunction::from_copy_closure(|_, values, context| print("log", values, context)),
            js_string!("log"),
            0,
        )
        .function(
            NativeFunction::from_copy_closure(|_, values, context| print("info", values, context)),
            js_string!("info"),
            0,
        )
        .function(
            NativeFunction::from_copy_closure(|_, values, context| print("warn", values, context)),
            js_string!("warn"),
            0,
        )
        .function(
            NativeFunction::from_copy_closure(|_, values, context| print("error", values, context)),
            js_string!("error"),
            0,
        )
        .function(
            NativeFunction::from_copy_closure(|_, values, context| print("debug", values, context)),
            js_string!("debug"),
            0,
        )
        .build();
    context.register_global_property(js_string!("console"), console, Attribute::all())
}

#[allow(clippy::unnecessary_wraps, reason = "the engine's signature")]
fn print(level: &'static str, values: &[JsValue], _context: &mut Context) -> JsResult<JsValue> {
    PRINTED.with_borrow_mut(|printed| {
        if printed.cut || printed.lines.len() == LINES_MAX {
            printed.cut = true;
            return;
        }
        let parts: Vec<String> = values.iter().map(text).collect();
        let mut text = parts.join(" ");
        let room = BYTES_MAX - printed.bytes;
        if text.len() > room {
            text.truncate(text.floor_char_boundary(room));
            printed.cut = true;
        }
        printed.bytes += text.len();
        printed.lines.push(Line { level, text });
    });
    Ok(JsValue::undefined())
}

fn text(value: &JsValue) -> String {
    match value.as_string() {
        Some(text) => text.to_std_string_lossy(),
        None => value.display().to_string(),
    }
}
