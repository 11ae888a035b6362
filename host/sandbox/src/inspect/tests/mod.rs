//! What is said of which component: tables of texts and answers, and bytes at
//! random, which must never panic.

mod fuzz;
mod metadata;
mod needs;

use expect_test::{Expect, expect};

use super::{Bounds, InstallError, component, known, text};

const BOUNDS: Bounds = Bounds {
    component_bytes: 1 << 20,
    instances: 10,
    memory_bytes: 64 << 20,
    table_elements: 1_000,
};

/// What is said of a component.
fn answer(bytes: &[u8]) -> String {
    match component(bytes, &BOUNDS) {
        Ok(found) => {
            let contract = found.contract.map_or(String::new(), |c| format!(" {c}"));
            let (imports, capabilities) = (found.imports, found.capabilities);
            format!(
                "{:?}{contract} imports {imports:?} capabilities {capabilities:?}",
                found.kind
            )
        }
        Err(error) => format!("{}: {error}", error.code()),
    }
}

/// Each case is a name and the component's text.
fn check(cases: &[(&str, String)], expected: &Expect) {
    let answers = cases.iter().map(|(name, wat)| {
        let bytes = wat::parse_str(wat).expect(name);
        format!("{name}\n  {}\n", answer(&bytes))
    });
    expected.assert_eq(&answers.collect::<String>());
}

/// A component with one exported function, and `more` before it.
fn exporting(more: &str, signature: &str) -> String {
    format!(
        r#"(component {more}
          (core module $m (memory (export "memory") 1)
            (func (export "f") unreachable)
            (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable))
          (core instance $i (instantiate $m))
          {signature})"#
    )
}

/// The same with a function that needs nothing.
fn plain(more: &str) -> String {
    exporting(
        more,
        r#"(func (export "f") (canon lift (core func $i "f")))"#,
    )
}

/// A component that imports an interface with one function.
fn importing(name: &str) -> String {
    plain(&format!(
        r#"(import "{name}" (instance (export "f" (func))))"#
    ))
}

#[test]
fn not_components() {
    let valid = wat::parse_str(plain("")).expect("a component");
    let cases: [(&str, Vec<u8>); 10] = [
        ("nothing", Vec::new()),
        ("a picture", b"\x89PNG\r\n\x1a\n".to_vec()),
        ("text", b"(component)".to_vec()),
        ("text after a comment", b"  ;; hello\n(component)".to_vec()),
        (
            "a core module",
            wat::parse_str("(module)").expect("a module"),
        ),
        ("a core module as text", b"(module)".to_vec()),
        ("the magic number alone", b"\0asm".to_vec()),
        ("a later version", b"\0asm\x99\0\x01\0".to_vec()),
        ("a cut component", valid[..valid.len() - 3].to_vec()),
        ("a longer component", [valid, b"abc".to_vec()].concat()),
    ];
    let answers: Vec<String> = cases
        .iter()
        .map(|(name, bytes)| format!("{name}\n  {}\n", answer(bytes)))
        .collect();
    expect![[r#"
        nothing
          component-invalid: not a valid component: the file is empty
        a picture
          component-invalid: not a valid component: the file does not start with `\0asm`
        text
          component-text: this is WebAssembly text, not a binary component; turn it into one with `wasm-tools parse`
        text after a comment
          component-text: this is WebAssembly text, not a binary component; turn it into one with `wasm-tools parse`
        a core module
          core-module: this is a core WebAssembly module, not a component; build for `wasm32-wasip2`, or wrap it with `wasm-tools component new`
        a core module as text
          component-text: this is WebAssembly text, not a binary component; turn it into one with `wasm-tools parse`
        the magic number alone
          component-invalid: not a valid component: an unknown version of the WebAssembly format
        a later version
          component-invalid: not a valid component: an unknown version of the WebAssembly format
        a cut component
          component-invalid: not a valid component: unexpected end-of-file (at offset 0x7d)
        a longer component
          component-invalid: not a valid component: unexpected end-of-file (at offset 0x9e)
    "#]].assert_eq(&answers.concat());
}

/// What would take much more memory than it has bytes is not validated.
#[test]
fn too_much_to_validate() {
    let section = |id: u8, content: &[u8]| {
        let mut len = content.len();
        let mut section = vec![id];
        while len >= 128 {
            section.push((len & 127) as u8 | 128);
            len >>= 7;
        }
        section.push(len as u8);
        [section, content.to_vec()].concat()
    };
    let header = b"\0asm\x0d\0\x01\0";
    let nested = (0..2_000).fold(header.to_vec(), |inner, _| {
        [header.to_vec(), section(4, &inner)].concat()
    });
    // Function types without parameters: 4 bytes each, 700,000 in each of three.
    let types = [vec![0xe0, 0xdc, 0x2a], [0x40, 0, 1, 0].repeat(700_000)].concat();
    let inner = [header.to_vec(), section(7, &types)].concat();
    let wide = [header.to_vec(), section(4, &inner).repeat(3)].concat();
    let bounds = Bounds {
        component_bytes: 64 << 20,
        ..BOUNDS
    };
    let answers = [nested, wide].map(|bytes| {
        let error = component(&bytes, &bounds).expect_err("too much");
        format!("{}: {error}\n", error.code())
    });
    expect![[r#"
        component-invalid: not a valid component: components are nested deeper than 64
        component-invalid: not a valid component: its types, imports and the like have more than 8388608 bytes
    "#]].assert_eq(&answers.concat());
}

#[test]
fn imports_that_are_unknown_are_refused_by_name() {
    let cases = [
        ("none", plain("")),
        (
            "what is served",
            [
                "wasi:io/poll@0.2.0",
                "wasi:clocks/wall-clock@0.2.6",
                "wasi:cli/stdout@0.2.99",
                "wasi:sockets/tcp@0.2.1",
                "airlock:tool/host@1.0.0",
            ]
            .map(|name| format!(r#"(import "{name}" (instance (export "f" (func))))"#))
            .concat(),
        ),
        (
            "a prerelease that is served",
            importing("wasi:config/store@0.2.0-rc.1"),
        ),
        (
            "another prerelease",
            importing("wasi:config/store@0.2.0-rc.7"),
        ),
        (
            "an unknown interface",
            importing("acme:billing/ledger@1.2.3"),
        ),
        (
            "an unknown interface without a version",
            importing("acme:billing/ledger"),
        ),
        (
            "an unknown interface of WASI",
            importing("wasi:nn/tensor@0.2.0-rc-2024-10-28"),
        ),
        ("an old WASI", importing("wasi:clocks/wall-clock@0.1.0")),
        (
            "a snapshot of WASI",
            importing("wasi:io/poll@0.2.0-rc-2023-11-10"),
        ),
        (
            "WASI 0.3",
            [
                "wasi:clocks/monotonic-clock@0.3.0",
                "wasi:filesystem/types@0.3.0-rc-2025-09-16",
                "acme:x/y@1.0.0",
            ]
            .map(|name| format!(r#"(import "{name}" (instance (export "f" (func))))"#))
            .concat(),
        ),
        ("a later contract", importing("airlock:tool/host@1.7.0")),
        ("another contract", importing("airlock:tool/host@2.0.0")),
        (
            "an interface the contract has not",
            importing("airlock:tool/shell@1.0.0"),
        ),
        (
            "a function of the host",
            r#"(import "exec" (func (param "command" string)))"#.to_owned(),
        ),
        (
            "a core module",
            r#"(import "lib" (core module))"#.to_owned(),
        ),
        ("a component", r#"(import "lib" (component))"#.to_owned()),
        (
            "an interface of types",
            r#"(import "acme:billing/types@1.0.0" (instance
            (type $m u64) (export "money" (type (eq $m)))))"#
                .to_owned(),
        ),
        (
            "a resource of an unknown interface",
            r#"(import "acme:billing/types@1.0.0" (instance
            (export "account" (type (sub resource)))))"#
                .to_owned(),
        ),
        (
            "another name for a known resource",
            r#"
            (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
            (alias export $poll "pollable" (type $pollable))
            (import "pollable" (type (eq $pollable)))"#
                .to_owned(),
        ),
        (
            "a name with control characters",
            r#"(import "wasi:io/poll@0.2.0-rc" (instance (export "f" (func))))"#.to_owned(),
        ),
    ];
    let cases = cases.map(|(name, wat)| {
        (
            name,
            if wat.trim_start().starts_with("(component") {
                wat
            } else {
                plain(&wat)
            },
        )
    });
    check(
        &cases,
        &expect![[r#"
        none
          Typed imports [] capabilities []
        what is served
          Typed imports ["wasi:io/poll@0.2.0", "wasi:clocks/wall-clock@0.2.6", "wasi:cli/stdout@0.2.99", "wasi:sockets/tcp@0.2.1", "airlock:tool/host@1.0.0"] capabilities ["clocks", "log"]
        a prerelease that is served
          Typed imports ["wasi:config/store@0.2.0-rc.1"] capabilities ["config"]
        another prerelease
          unknown-import: the component imports what Airlock does not offer: `wasi:config/store@0.2.0-rc.7` (accepted: 0.2.0-draft, 0.2.0-rc.1)
        an unknown interface
          unknown-import: the component imports what Airlock does not offer: `acme:billing/ledger@1.2.3`
        an unknown interface without a version
          unknown-import: the component imports what Airlock does not offer: `acme:billing/ledger`
        an unknown interface of WASI
          unknown-import: the component imports what Airlock does not offer: `wasi:nn/tensor@0.2.0-rc-2024-10-28`
        an old WASI
          unknown-import: the component imports what Airlock does not offer: `wasi:clocks/wall-clock@0.1.0` (accepted: 0.2.x)
        a snapshot of WASI
          unknown-import: the component imports what Airlock does not offer: `wasi:io/poll@0.2.0-rc-2023-11-10` (accepted: 0.2.x)
        WASI 0.3
          wasi-03: the component needs WASI 0.3 (wasi:clocks/monotonic-clock@0.3.0, wasi:filesystem/types@0.3.0-rc-2025-09-16), which Airlock does not run; build it for WASI 0.2 (`wasm32-wasip2`)
        a later contract
          unknown-import: the component imports what Airlock does not offer: `airlock:tool/host@1.7.0` (accepted: 1.0.x)
        another contract
          unknown-import: the component imports what Airlock does not offer: `airlock:tool/host@2.0.0` (accepted: 1.0.x)
        an interface the contract has not
          unknown-import: the component imports what Airlock does not offer: `airlock:tool/shell@1.0.0`
        a function of the host
          unknown-import: the component imports what Airlock does not offer: `exec`
        a core module
          unknown-import: the component imports what Airlock does not offer: `lib`
        a component
          unknown-import: the component imports what Airlock does not offer: `lib`
        an interface of types
          Typed imports [] capabilities []
        a resource of an unknown interface
          unknown-import: the component imports what Airlock does not offer: `acme:billing/types@1.0.0`
        another name for a known resource
          Typed imports ["wasi:io/poll@0.2.0"] capabilities []
        a name with control characters
          unknown-import: the component imports what Airlock does not offer: `wasi:io/poll@0.2.0-rc` (accepted: 0.2.x)
    "#]],
    );
}

#[test]
fn exports() {
    let contract = |tools: &str, manifest: &str| {
        let export = |interface: &str, version: &str| match version {
            "" => String::new(),
            version => format!(r#"(export "airlock:tool/{interface}@{version}" (instance $e))"#),
        };
        let all = export("tools", tools) + &export("manifest", manifest);
        format!("(component (instance $e) {all})")
    };
    let cases = [
        ("nothing", "(component)".to_owned()),
        (
            "a type",
            r#"(component (type $t (enum "a")) (export "t" (type $t)))"#.to_owned(),
        ),
        ("the contract", contract("1.0.0", "1.0.0")),
        ("a patch of the contract", contract("1.0.9", "1.0.9")),
        ("a later contract", contract("1.1.0", "1.1.0")),
        ("another contract", contract("2.0.0", "2.0.0")),
        (
            "a prerelease of the contract",
            contract("1.0.0-rc.1", "1.0.0-rc.1"),
        ),
        ("half of the contract", contract("1.0.0", "")),
        ("two versions of the contract", contract("1.0.0", "1.0.1")),
        ("the other half", contract("", "1.0.0")),
        (
            "functions of an interface",
            exporting(
                "",
                r#"
            (func $f (canon lift (core func $i "f"))) (instance $e (export "add" (func $f)))
            (export "docs:calculator/ops@0.1.0" (instance $e))"#,
            ),
        ),
        (
            "too many functions",
            exporting(
                "",
                &(0..257)
                    .map(|n| format!(r#"(func (export "f{n}") (canon lift (core func $i "f")))"#))
                    .collect::<String>(),
            ),
        ),
        (
            "a component of components",
            r#"(component (component $c) (export "c" (component $c)))"#.to_owned(),
        ),
    ];
    check(
        &cases,
        &expect![[r#"
        nothing
          no-tools: the component exports no function; export `airlock:tool/tools` or functions of its own
        a type
          no-tools: the component exports no function; export `airlock:tool/tools` or functions of its own
        the contract
          ToolWorld airlock:tool@1.0.0 imports [] capabilities []
        a patch of the contract
          ToolWorld airlock:tool@1.0.9 imports [] capabilities []
        a later contract
          contract-mismatch: the component does not follow the contract: it exports `airlock:tool/tools@1.1.0`; accepted: 1.0.x
        another contract
          contract-mismatch: the component does not follow the contract: it exports `airlock:tool/tools@2.0.0`; accepted: 1.0.x
        a prerelease of the contract
          contract-mismatch: the component does not follow the contract: it exports `airlock:tool/tools@1.0.0-rc.1`; accepted: 1.0.x
        half of the contract
          contract-mismatch: the component does not follow the contract: it exports `airlock:tool/tools@1.0.0` without `airlock:tool/manifest@1.0.0`
        two versions of the contract
          contract-mismatch: the component does not follow the contract: it exports `airlock:tool/tools@1.0.0` without `airlock:tool/manifest@1.0.0`
        the other half
          no-tools: the component exports no function; export `airlock:tool/tools` or functions of its own
        functions of an interface
          Typed imports [] capabilities []
        too many functions
          limit-exceeded: the component needs 257 exported functions; the limit `tools` is 256
        a component of components
          no-tools: the component exports no function; export `airlock:tool/tools` or functions of its own
    "#]],
    );
}

/// A component whose function `f` has this parameter.
fn taking(types: &str, param: &str) -> String {
    let types = format!("(type $handle' (resource (rep i32))) {types}");
    exporting(
        "",
        &format!(
            r#"{types}
        (core module $n (memory (export "memory") 1) (func (export "f") (param i32) unreachable)
          (func (export "g") (param i32 i32) unreachable)
          (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable))
        (core instance $j (instantiate $n))
        {param}"#
        ),
    )
}

#[test]
fn signatures() {
    let lift = |name: &str, core: &str, signature: &str| {
        format!(
            r#"(func (export "{name}") {signature} (canon lift (core func $j "{core}") (memory (core memory $j "memory")) (realloc (core func $j "r"))))"#
        )
    };
    let handle = r#"(export $handle "handle" (type $handle'))"#;
    let cases = [
        ("own", taking(handle, &lift("close", "f", r#"(param "it" (own $handle))"#))),
        ("borrow in a list", taking(handle, &lift("all", "g", r#"(param "them" (list (borrow $handle)))"#))),
        ("deep in a record", taking(&format!(r#"{handle}
            (type $inner' (record (field "one" u8) (field "two" (option (own $handle))))) (export $inner "inner" (type $inner'))
            (type $outer' (record (field "items" (list $inner)))) (export $outer "outer" (type $outer'))"#),
            &lift("deep", "g", r#"(param "body" $outer)"#))),
        ("in a result", taking(handle, r#"
            (core module $o (memory (export "memory") 1) (func (export "f") (result i32) unreachable))
            (core instance $k (instantiate $o))
            (func (export "open") (result (result (own $handle) (error string)))
              (canon lift (core func $k "f") (memory (core memory $k "memory"))))"#)),
        ("a stream", taking("", &lift("copy", "f", r#"(param "from" (stream u8))"#))),
        ("a future", taking("", &lift("later", "f", r#"(param "value" (future string))"#))),
        ("an async function", taking("", r#"(func (export "wait") async (canon lift (core func $i "f")))"#)),
        ("an error context", taking("", &lift("why", "f", r#"(param "error" error-context)"#))),
        ("a map", taking("", &lift("count", "g", r#"(param "words" (map string u32))"#))),
        ("a fixed-length list", taking("", &lift("key", "f", r#"(param "bytes" (list u8 1))"#))),
        ("threads inside", exporting(r#"(core module (memory 1 1 shared))"#,
            r#"(func (export "f") (canon lift (core func $i "f")))"#)),
        ("wasi:http/incoming-handler", r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
              (export "incoming-request" (type (sub resource))) (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (core module $m (func (export "f") (param i32 i32) unreachable))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out)) (canon lift (core func $i "f")))
            (component $shim
              (import "request" (type $request (sub resource))) (import "out" (type $out (sub resource)))
              (import "handle" (func $handle (param "request" (own $request)) (param "response-out" (own $out))))
              (export "handle" (func $handle)))
            (instance $e (instantiate $shim (with "request" (type $request)) (with "out" (type $out)) (with "handle" (func $handle))))
            (export "wasi:http/incoming-handler@0.2.0" (instance $e)))"#.to_owned()),
        ("wasi:cli/run", r#"(component
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "f")))
            (instance $e (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $e)))"#.to_owned()),
    ];
    check(
        &cases,
        &expect![[r#"
            own
              resource-in-signature: `close` can't be a tool: parameter it is a resource handle; only plain values can be passed as JSON
            borrow in a list
              resource-in-signature: `all` can't be a tool: parameter them[] is a resource handle; only plain values can be passed as JSON
            deep in a record
              resource-in-signature: `deep` can't be a tool: parameter body.items[].two? is a resource handle; only plain values can be passed as JSON
            in a result
              resource-in-signature: `open` can't be a tool: the result.ok is a resource handle; only plain values can be passed as JSON
            a stream
              async-in-signature: `copy` can't be a tool: parameter from is a stream; only plain values can be passed as JSON
            a future
              async-in-signature: `later` can't be a tool: parameter value is a future; only plain values can be passed as JSON
            an async function
              async-in-signature: `wait` can't be a tool: it is async, and Airlock runs WASI 0.2 only
            an error context
              async-in-signature: `why` can't be a tool: parameter error is an error context; only plain values can be passed as JSON
            a map
              component-feature: the component uses map types, which Airlock does not run: Maps require the component model map feature (at offset 0xc4)
            a fixed-length list
              component-feature: the component uses fixed-length lists, which Airlock does not run: Fixed-length lists require the component model fixed-length lists feature (at offset 0xc4)
            threads inside
              component-feature: the component uses shared memories and atomics, which Airlock does not run: threads must be enabled for shared memories (at offset 0x15)
            wasi:http/incoming-handler
              resource-in-signature: `wasi:http/incoming-handler@0.2.0#handle` can't be a tool: parameter request is a resource handle; only plain values can be passed as JSON
            wasi:cli/run
              Typed imports [] capabilities []
        "#]],
    );
}

/// Errors of later steps, which have no component to show them.
#[test]
fn other_errors() {
    let errors = [
        InstallError::ImportMismatch {
            reason: "`wasi:io/poll@0.2.0` has no function `f`".to_owned(),
        },
        InstallError::CompileLimit {
            limit: "cpu",
            value: "1m".to_owned(),
        },
        InstallError::Compile {
            reason: "type mismatch at offset 0x10".to_owned(),
        },
        InstallError::Metadata {
            reason: "limit cpu reached (500ms)".to_owned(),
        },
        InstallError::MetadataInvalid("it lists no tools".to_owned()),
        InstallError::SignatureTooLarge {
            function: "f".to_owned(),
            what: "types",
            max: 9,
        },
        InstallError::Internal {
            step: "writing compiled code",
            source: "disk full".into(),
        },
    ];
    let shown: Vec<String> = errors
        .iter()
        .map(|e| format!("{}: {e}\n", e.code()))
        .collect();
    expect![[r#"
        import-mismatch: the component does not fit the interfaces it imports: `wasi:io/poll@0.2.0` has no function `f`
        compile-limit: compiling the component reached the limit `cpu` (1m)
        compile-failed: the component does not compile: type mismatch at offset 0x10
        metadata-failed: asking the component for its tools failed: limit cpu reached (500ms)
        metadata-invalid: what the component says of itself breaks the contract: it lists no tools
        signature-too-large: `f` can't be a tool: its signature has more than 9 types
        internal: writing compiled code
    "#]].assert_eq(&shown.concat());
}

/// What the constant says is what the contract's own file says.
#[test]
fn the_contract_s_version() {
    let wit = include_str!("../../../../../wit/airlock-tool/types.wit");
    let package = format!(
        "package {}@{};",
        known::CONTRACT_PACKAGE,
        known::CONTRACT_VERSION
    );
    assert!(wit.contains(&package), "{package}");
}

#[test]
fn foreign_text() {
    let cases = [
        "plain",
        "two\nlines\tand a tab",
        "\u{1b}[31mred\u{7}",
        "\u{202e}gnp.exe",
        "é 😀",
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|case| format!("{} | {}\n", text::line(case), text::escape(case)))
        .collect();
    expect![[r#"
        plain | plain
        two\u{a}lines\u{9}and a tab | two
        lines	and a tab
        \u{1b}[31mred\u{7} | \u{1b}[31mred\u{7}
        \u{202e}gnp.exe | \u{202e}gnp.exe
        é 😀 | é 😀
    "#]]
    .assert_eq(&shown.concat());
    let long = text::line(&"é".repeat(1000));
    assert_eq!(long.len(), 300 + "…".len());
}
