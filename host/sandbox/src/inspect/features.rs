//! The WebAssembly features that components may use, said once for the
//! validator at install and for the engine that compiles and runs.
//!
//! What must stay true: both agree, and what wasmtime calls incomplete stays off.

use wasmparser::WasmFeatures;

/// Features a component may use: what wasmtime enables by default in the build
/// used here, except for 64-bit memories, which its pool would check at every
/// access.
pub const RUN: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES)
    .difference(WasmFeatures::MEMORY64)
    .difference(WasmFeatures::EXCEPTIONS)
    .difference(WasmFeatures::THREADS);

/// Features that are refused by name, in words.
const REFUSED: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::CM_ASYNC, "async component functions"),
    (WasmFeatures::CM_ASYNC_STACKFUL, "async component functions"),
    (
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        "async component functions",
    ),
    (WasmFeatures::CM_ERROR_CONTEXT, "error contexts"),
    (WasmFeatures::CM_THREADING, "component threads"),
    (WasmFeatures::CM_MAP, "map types"),
    (WasmFeatures::CM_FIXED_LENGTH_LISTS, "fixed-length lists"),
    (WasmFeatures::CM_VALUES, "component values"),
    (WasmFeatures::CM_IMPLEMENTS, "`implements` annotations"),
    (WasmFeatures::MEMORY64, "64-bit memories"),
    (WasmFeatures::CM64, "64-bit component memories"),
    (WasmFeatures::THREADS, "shared memories and atomics"),
    (WasmFeatures::EXCEPTIONS, "exception handling"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception handling"),
    (WasmFeatures::GC_TYPES, "garbage-collected types"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
];

/// Everything the validator can read, to tell a component that needs a refused
/// feature from a broken one.
pub fn readable() -> WasmFeatures {
    let refused = REFUSED.iter().map(|(flag, _)| *flag);
    refused.fold(RUN, WasmFeatures::union)
}

/// The first feature without which `valid` fails, in words.
pub fn missing(valid: impl Fn(WasmFeatures) -> bool) -> &'static str {
    let needed = |flag: &WasmFeatures| !valid(readable().difference(*flag));
    let found = REFUSED.iter().find(|(flag, _)| needed(flag));
    found.map_or("several features together", |(_, words)| *words)
}

/// Makes the engine accept what install accepts, and nothing else.
pub fn configure(config: &mut wasmtime::Config) {
    for (flag, _) in REFUSED {
        config.wasm_features(*flag, false);
    }
}
