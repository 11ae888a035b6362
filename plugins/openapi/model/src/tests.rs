//! Documents, what is made of them, and the requests and answers of calls.

mod auth;
mod broken;
mod choices;
mod compiled;
mod hostile;
mod outcomes;
mod requests;
mod sent;

use serde_json::{Value, json};

use crate::{Compiled, Options, Tool, compile};

/// The example that ships.
const ORDERS: &str = include_str!("../../examples/orders.yaml");

/// A document of 3.1 with these paths and some schemas and schemes.
fn document(paths: Value) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Shop", "version": "1" },
        "servers": [{ "url": "https://api.example.com/v1" }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "header": { "type": "apiKey", "in": "header", "name": "X-Key" },
                "query": { "type": "apiKey", "in": "query", "name": "key" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": "session" },
                "bearer": { "type": "http", "scheme": "Bearer" },
                "basic": { "type": "http", "scheme": "basic" },
                "oauth": { "type": "oauth2", "flows": {} },
                "digest": { "type": "http", "scheme": "digest" },
                "tls": { "type": "mutualTLS" },
            },
        },
    })
}

fn compiled_with(document: &Value, options: &Options) -> Compiled {
    compile(&document.to_string(), options).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

fn compiled(document: &Value) -> Compiled {
    compiled_with(document, &Options::default())
}

/// The one tool of a document with this operation at this path.
fn tool(method: &str, path: &str, operation: Value) -> Tool {
    let compiled = compiled(&document(json!({ path: { method: operation } })));
    compiled.tools.into_iter().next().expect("a tool")
}

/// All that is wrong with a document.
fn problems(text: &str, options: &Options) -> Vec<String> {
    let problems = compile(text, options).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}
