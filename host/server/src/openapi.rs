//! The OpenAPI 3.1 document, made from the table of routes and the types of
//! bodies, so that it cannot say other than what is.

use std::sync::OnceLock;

use airlock_runtime::Problem;
use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::handlers::hooks::HEADERS;
use crate::handlers::run_events::LAST_EVENT_ID;
use crate::handlers::tools::TIMEOUT;
use crate::reply::{BACKUP, EVENTS, METRICS, NDJSON};
use crate::routes::{Access, ROUTES, Route, Takes};

/// The document as JSON text.
pub(crate) fn text() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    TEXT.get_or_init(|| Bytes::from(document().to_string()))
        .clone()
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let settings =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>().to_value();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut generator, &problem);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Airlock",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Runs tools from people you don't trust.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "signature": { "type": "apiKey", "in": "header", "name": "webhook-signature" },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, problem: &Value) -> Value {
    let mut responses = Map::new();
    for (status, schema) in route.replies {
        let mut response = json!({ "description": description(*status) });
        if *status != 204 {
            let schema = schema.map_or(json!({}), |schema| schema(generator).to_value());
            response["content"] = json!({ media(route): { "schema": schema } });
            if route.tells {
                response["content"][EVENTS] = json!({ "schema": { "type": "string" } });
            }
        }
        responses.insert(status.to_string(), response);
    }
    responses.insert(
        "default".to_owned(),
        json!({
            "description": "A problem; `code` says which.",
            "content": { "application/problem+json": { "schema": problem } },
        }),
    );
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route)],
        "parameters": parameters(route, generator),
        "responses": responses,
    });
    if let Some(body) = body(route, generator) {
        operation["requestBody"] = body;
    }
    if route.access == Access::Signed {
        operation["security"] = json!([{ "signature": [] }]);
    } else if route.access != Access::Public {
        let mut roles: Vec<&str> = route
            .access
            .roles()
            .iter()
            .map(|role| role.name())
            .collect();
        roles.push("admin");
        operation["security"] = json!([{ "token": [] }]);
        operation["x-airlock-roles"] = json!(roles);
    }
    operation
}

fn description(status: u16) -> &'static str {
    match status {
        201 => "Made.",
        202 => "Begun.",
        204 => "Done.",
        _ => "Done, with this result.",
    }
}

fn media(route: &Route) -> &'static str {
    match route.path {
        "/metrics" => METRICS,
        "/v1/audit/export" => NDJSON,
        "/v1/backup" => BACKUP,
        "/mcp" if route.method == "GET" => EVENTS,
        _ => "application/json",
    }
}

fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(['/', '.'])
        .filter(|part| !part.is_empty() && *part != "v1");
    let words = words.map(|part| part.trim_matches(['{', '}']));
    let mut id = route.method.to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn tag(route: &Route) -> &'static str {
    if route.path == "/mcp" {
        return "mcp";
    }
    let path = route.path.strip_prefix("/v1/");
    path.map_or("health", |path| path.split('/').next().unwrap_or(path))
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let named = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = named
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = route.query {
        parameters.extend(query_parameters(&inlined(query(generator), generator)));
    }
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    if route.once || route.takes == Takes::Input {
        let description = "Makes the request happen once: the same key with the same body gets the \
            stored reply for 24 hours, another body 422, one in flight 409, one whose outcome was \
            lost 409 `outcome_unknown`.";
        parameters.push(header(
            "Idempotency-Key",
            description,
            json!({ "type": "string", "maxLength": 255 }),
        ));
    }
    if route.tells && route.method == "GET" {
        let description = "With events: the id of the last one that was received; those after it \
            are sent.";
        let schema = json!({ "type": "integer", "minimum": 0 });
        parameters.push(header(LAST_EVENT_ID.as_str(), description, schema));
    }
    if route.takes == Takes::Delivery {
        let named = HEADERS.map(|(name, text)| header(name, text, json!({ "type": "string" })));
        parameters.extend(named);
    }
    if route.takes == Takes::Input {
        let description = "Milliseconds the call may take, waiting included.";
        let schema = json!({ "type": "integer", "minimum": 1, "maximum": 86_400_000 });
        parameters.push(header(TIMEOUT.as_str(), description, schema));
    }
    parameters
}

/// The schema itself where it is a reference.
fn inlined(schema: schemars::Schema, generator: &SchemaGenerator) -> Value {
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.rsplit('/').next());
    let found = name.and_then(|name| generator.definitions().get(name).cloned());
    found.unwrap_or_else(|| schema.to_value())
}

fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            json!({
                "name": name,
                "in": "query",
                "required": required.contains(&name.as_str()),
                "description": property["description"],
                "schema": property,
            })
        })
        .collect()
}

fn body(route: &Route, generator: &mut SchemaGenerator) -> Option<Value> {
    let schema = route
        .body
        .map_or(json!({}), |schema| schema(generator).to_value());
    let content = match route.takes {
        Takes::Nothing => return None,
        Takes::Json
        | Takes::Chunks
        | Takes::OptionalJson
        | Takes::Delivery
        | Takes::Input
        | Takes::Message => json!({ "application/json": { "schema": schema } }),
        Takes::Component => json!({ "application/wasm": {} }),
        Takes::Value => json!({ "application/octet-stream": {} }),
        Takes::Policy => json!({
            "application/json": { "schema": schema },
            "application/toml": { "schema": { "type": "string" } },
        }),
    };
    Some(json!({ "required": route.takes != Takes::OptionalJson, "content": content }))
}
