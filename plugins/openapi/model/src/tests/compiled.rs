//! What tools tell of themselves, and what is asked for.

use serde_json::{Value, json};

use super::{ORDERS, compiled, compiled_with, document, tool};
use crate::{Carrier, Image, Options, compile};

fn names(compiled: &crate::Compiled) -> Vec<&str> {
    compiled
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect()
}

#[test]
fn the_example_is_eleven_tools_and_two_rules() {
    let compiled = compile(ORDERS, &Options::default()).expect("it compiles");
    assert_eq!(compiled.plugin, "orders");
    assert_eq!(compiled.server, "https://eu.api.example.com/v1");
    let table: Vec<(&str, &str, bool, bool, bool, bool)> = compiled
        .tools
        .iter()
        .map(|tool| {
            let told = &tool.listing;
            let auth = tool.plan.auth.is_some();
            let name = tool.name.as_str();
            let method = tool.plan.method.as_str();
            (
                name,
                method,
                told.read_only,
                told.idempotent,
                told.destructive,
                auth,
            )
        })
        .collect();
    assert_eq!(
        table,
        [
            ("list_orders", "GET", true, true, false, true),
            ("create_order", "POST", false, false, false, true),
            ("get_order", "GET", true, true, false, true),
            ("replace_order", "PUT", false, true, false, true),
            ("change_order", "PATCH", false, false, false, true),
            ("cancel_order", "DELETE", false, true, true, true),
            ("add_note", "POST", false, false, false, true),
            ("attach_file", "POST", false, false, false, true),
            ("get_label", "GET", true, true, false, true),
            ("get_categories", "GET", true, true, false, true),
            ("health", "GET", true, true, false, false),
        ]
    );
    let scopes: Vec<&str> = compiled
        .wants
        .iter()
        .map(|want| want.scope.as_str())
        .collect();
    assert_eq!(
        scopes,
        [
            r#"{ url = "https://eu.api.example.com/v1/**", methods = ["GET"] }"#,
            r#"{ url = "https://eu.api.example.com/v1/**", methods = ["DELETE", "GET", "PATCH", "POST", "PUT"], secret = "orders-key" }"#,
        ]
    );
    assert_eq!(
        compiled.secrets,
        [("orders-key".to_owned(), Carrier::Bearer)]
    );
    assert_eq!(compiled.notes, Vec::<String>::new());
}

#[test]
fn the_same_document_makes_the_same_bytes_in_json_and_yaml() {
    let one = compile(ORDERS, &Options::default()).expect("it compiles");
    let again = compile(ORDERS, &Options::default()).expect("it compiles");
    assert_eq!(one.image, again.image);
    let value = crate::read::read(ORDERS).expect("YAML");
    let json = compile(&value.to_string(), &Options::default()).expect("JSON");
    assert_eq!(one.image, json.image);
    let other = Options {
        secrets: vec!["other".to_owned()],
        ..Options::default()
    };
    assert_ne!(
        compile(ORDERS, &other).expect("it compiles").image,
        one.image
    );
}

/// The core schema of YAML 1.2; what no number of JSON is stays a text.
#[test]
fn texts_without_quotes_are_what_yaml_says() {
    let table = [
        ("16", json!(16)),
        ("-16", json!(-16)),
        ("0x10", json!(16)),
        ("0o20", json!(16)),
        ("-0x10", json!("-0x10")),
        ("0x-10", json!("0x-10")),
        ("0x+10", json!("0x+10")),
        ("1.50", json!(1.5)),
        (".inf", json!(".inf")),
        ("~", json!(null)),
        ("yes", json!("yes")),
    ];
    for (text, expect) in table {
        let value = crate::read::read(&format!("a: {text}")).expect("YAML");
        assert_eq!(value["a"], expect, "{text}");
    }
}

#[test]
fn an_image_gives_back_what_was_put_in() {
    let compiled = compile(ORDERS, &Options::default()).expect("it compiles");
    let image = Image::open(compiled.image.as_slice()).expect("an image");
    let image = image.expect("not empty");
    assert_eq!(image.index.wants, compiled.wants);
    for (entry, tool) in image.index.tools.iter().zip(&compiled.tools) {
        assert_eq!(image.plan(&entry.name), Ok(Some(tool.plan.clone())));
        assert_eq!(image.listing(entry).as_ref(), Ok(&tool.listing));
    }
    assert_eq!(image.plan("none"), Ok(None));
    assert!(Image::open(&[0_u8; 64][..]).expect("no image").is_none());
    for broken in [
        &[][..],
        &[9, 0, 0, 0, 0, 0, 0, 0],
        &compiled.image[..40],
        &[0xff; 32],
    ] {
        assert!(Image::open(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn schemas_refer_to_themselves_alone() {
    let compiled = compile(ORDERS, &Options::default()).expect("it compiles");
    let of = |name: &str| {
        let tool = compiled.tools.iter().find(|tool| tool.name == name);
        tool.expect("a tool").listing.clone()
    };
    let create = of("create_order").input;
    assert_eq!(create["required"], json!(["body"]));
    assert_eq!(create["additionalProperties"], false);
    assert_eq!(create["properties"]["body"]["$ref"], "#/$defs/NewOrder");
    let definitions = create["$defs"].as_object().expect("definitions");
    let found: Vec<&String> = definitions.keys().collect();
    assert_eq!(found, ["NewOrder", "Line", "Payment", "Money"]);
    // What 3.0 says otherwise.
    assert_eq!(
        definitions["NewOrder"]["properties"]["note"]["type"],
        json!(["string", "null"])
    );
    let amount =
        json!({ "type": "integer", "exclusiveMinimum": 0, "description": "In minor units." });
    assert_eq!(definitions["Money"]["properties"]["amount"], amount);
    let price =
        json!({ "anyOf": [{ "allOf": [{ "$ref": "#/$defs/Money" }] }, { "type": "null" }] });
    assert_eq!(definitions["Line"]["properties"]["price"], price);
    assert!(definitions["Payment"].get("discriminator").is_none());
    let tree = of("get_categories").output;
    let category = &tree["$defs"]["Category"]["properties"];
    assert_eq!(category["children"]["items"]["$ref"], "#/$defs/Category");
    assert_eq!(
        of("attach_file").input["properties"]["body"]["description"],
        "Bytes in base64: file."
    );
    let page = of("list_orders").output;
    assert_eq!(page["properties"]["body"]["required"], json!(["orders"]));
}

#[test]
fn what_a_tool_tells_is_bounded_and_says_what_it_is() {
    let long = "words ".repeat(5_000);
    let listing = tool(
        "post",
        "/o",
        json!({ "summary": "S\u{202e}um", "description": long, "deprecated": true }),
    )
    .listing;
    assert_eq!(listing.title.as_deref(), Some("Sum"));
    assert!(
        listing
            .description
            .starts_with("Deprecated.\n\nSum\n\nwords ")
    );
    assert!(listing.description.ends_with("\n\nPOST /o"));
    assert_eq!(listing.description.len(), 8 << 10);
    assert_eq!(tool("get", "/o", json!({})).listing.description, "GET /o");
    assert_eq!(
        tool("get", "/o", json!({})).listing.input,
        json!({ "type": "object", "properties": {}, "additionalProperties": false })
    );
}

#[test]
fn properties_may_be_named_as_keywords_are() {
    let schema = json!({ "type": "object", "properties": {
        "$ref": { "type": "string" }, "nullable": { "type": "boolean" }, "required": { "type": "string" },
        "properties": { "type": "object", "properties": { "enum": { "type": "string" } } } } });
    let body = json!({ "content": { "application/json": { "schema": schema.clone() } } });
    let made = tool("post", "/o", json!({ "requestBody": body }))
        .listing
        .input;
    assert_eq!(made["properties"]["body"], schema);
}

#[test]
fn operations_are_chosen_by_tag_id_tool_and_path() {
    let all = 11;
    let cases: [(&[&str], &[&str], usize); 10] = [
        (&[], &[], all),
        (&["orders"], &[], 7),
        (&["orders"], &["createOrder", "cancel_order"], 5),
        (&["/orders/{id}"], &[], 4),
        (&["/orders/*"], &[], 7),
        (&["/orders*"], &[], 9),
        (&["GET /orders*"], &[], 3),
        (&["get /health", "attachments"], &[], 3),
        (&[], &["catalogue", "/health"], all - 2),
        (&["health"], &[], 1),
    ];
    for (include, exclude, count) in cases {
        let options = Options {
            include: include.iter().map(|word| (*word).to_owned()).collect(),
            exclude: exclude.iter().map(|word| (*word).to_owned()).collect(),
            ..Options::default()
        };
        let compiled = compile(ORDERS, &options).expect("it compiles");
        assert_eq!(compiled.tools.len(), count, "{include:?} {exclude:?}");
    }
    // What is not taken is not asked for.
    let options = Options {
        include: vec!["health".to_owned()],
        ..Options::default()
    };
    let compiled = compile(ORDERS, &options).expect("it compiles");
    assert_eq!((compiled.wants.len(), compiled.secrets.len()), (1, 0));
}

#[test]
fn of_several_schemes_one_is_sent() {
    let of = |security: Value, options: &Options| {
        let mut document = document(json!({ "/a": { "get": { "security": security } } }));
        let schemes = &mut document["components"]["securitySchemes"];
        schemes["nameless"] = json!({ "type": "apiKey", "in": "header" });
        schemes["nowhere"] = json!({ "type": "apiKey", "in": "body", "name": "k" });
        schemes["typeless"] = json!({});
        let compiled = compiled_with(&document, options);
        let auth = compiled.tools[0].plan.auth.clone();
        auth.map(|auth| (auth.secret, auth.carrier))
    };
    let none = Options::default();
    let key = |carrier: Carrier| Some(("shop-key".to_owned(), carrier));
    let header = || Carrier::Header("X-Key".to_owned());
    assert_eq!(of(json!([]), &none), None);
    assert_eq!(of(json!([{}]), &none), None);
    assert_eq!(of(json!([{}, { "basic": [] }]), &none), key(Carrier::Basic));
    assert_eq!(
        of(json!([{ "header": [] }, { "basic": [] }]), &none),
        key(header())
    );
    assert_eq!(
        of(json!([{ "digest": [] }, { "basic": [] }]), &none),
        key(Carrier::Basic)
    );
    assert_eq!(
        of(
            json!([{ "header": [], "basic": [] }, { "basic": [] }]),
            &none
        ),
        key(Carrier::Basic)
    );
    assert_eq!(of(json!([{ "tls": [] }, {}]), &none), None);
    // One that is wrong takes none of the others away.
    for wrong in ["nameless", "nowhere", "typeless", "missing"] {
        for alternatives in [
            json!([{ wrong: [] }, { "basic": [] }]),
            json!([{ "basic": [] }, { wrong: [] }]),
        ] {
            assert_eq!(of(alternatives, &none), key(Carrier::Basic), "{wrong}");
        }
    }
    let basic = Options {
        plugin: "p".to_owned(),
        auth: Some("basic".to_owned()),
        secrets: vec!["own".to_owned()],
        ..Options::default()
    };
    let chosen = of(json!([{ "header": [] }, { "basic": [] }]), &basic);
    assert_eq!(chosen, Some(("own".to_owned(), Carrier::Basic)));
    let two = document(json!({ "/a": { "get": { "security": [{ "header": [] }] } },
        "/b": { "post": { "security": [{ "bearer": [] }] } }, "/c": { "get": { "security": [{ "oauth": [] }] } } }));
    let options = Options {
        secrets: vec!["oauth=token".to_owned()],
        ..Options::default()
    };
    let compiled = compiled_with(&two, &options);
    let found: Vec<&str> = compiled
        .secrets
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(found, ["shop-bearer", "shop-header", "token"]);
    assert_eq!(compiled.wants.len(), 3);
    assert!(
        compiled.wants[0]
            .scope
            .contains(r#"methods = ["POST"], secret = "shop-bearer""#)
    );
}

#[test]
fn a_private_server_is_asked_for_as_one() {
    let of = |url: &str, private: bool| {
        let mut document = document(json!({ "/a": { "get": { "security": [{ "bearer": [] }] } } }));
        document["servers"] = json!([{ "url": url }]);
        let options = Options {
            private,
            ..Options::default()
        };
        let compiled = compiled_with(&document, &options);
        let scope = compiled.wants[0].scope.clone();
        let url = scope.split('"').nth(1).unwrap_or_default().to_owned();
        (
            url,
            scope.contains("allow_private = true"),
            compiled.notes.len(),
        )
    };
    let cases = [
        (
            "https://api.example.com",
            false,
            "https://api.example.com/**",
            false,
            0,
        ),
        (
            "https://api.example.com",
            true,
            "https://api.example.com/**",
            true,
            0,
        ),
        (
            "HTTPS://API.Example.com:443/v1/",
            false,
            "https://api.example.com/v1/**",
            false,
            0,
        ),
        (
            "http://api.example.com:8080",
            false,
            "http://api.example.com:8080/**",
            false,
            1,
        ),
        (
            "http://127.0.0.1:9000/x",
            false,
            "http://127.0.0.1:9000/x/**",
            true,
            0,
        ),
        (
            "http://localhost:9000",
            false,
            "http://localhost:9000/**",
            true,
            0,
        ),
        ("http://[::1]:9000", false, "http://[::1]:9000/**", true, 0),
        ("http://10.0.0.7", false, "http://10.0.0.7/**", true, 0),
    ];
    for (url, private, rule, allowed, notes) in cases {
        assert_eq!(of(url, private), (rule.to_owned(), allowed, notes), "{url}");
    }
}

#[test]
fn an_operation_on_another_server_becomes_another_plugin() {
    let document = document(json!({
        "/a": { "get": { "operationId": "a" } },
        "/b": { "get": { "operationId": "b", "servers": [{ "url": "https://b.example.com" }] } },
    }));
    let options = Options {
        base_url: Some("https://b.example.com/".to_owned()),
        include: vec!["b".to_owned()],
        ..Options::default()
    };
    let compiled = compiled_with(&document, &options);
    assert_eq!(names(&compiled), ["b"]);
    assert_eq!(compiled.tools[0].plan.base, "https://b.example.com");
    // An operation's servers are in the place of its path's.
    let of = |path: Value, operation: Value| {
        let get = json!({ "operationId": "o", "servers": operation });
        let text = super::document(json!({ "/o": { "servers": path, "get": get } })).to_string();
        compile(&text, &Options::default()).is_ok()
    };
    let here = || json!([{ "url": "https://api.example.com/v1/" }]);
    let there = || json!([{ "url": "https://b.example.com" }]);
    assert!(of(there(), here()) && of(here(), here()) && of(json!([]), here()));
    assert!(of(here(), json!([])) && of(json!([]), json!([])));
    assert!(!of(here(), there()) && !of(there(), json!([])) && !of(there(), there()));
}

#[test]
fn bodies_and_answers_are_asked_for_as_json_where_there_is_a_choice() {
    let media = |names: &[&str]| -> Value {
        let content = names.iter().map(|name| ((*name).to_owned(), json!({})));
        Value::Object(content.collect())
    };
    let body = |names: &[&str]| {
        let tool = tool(
            "post",
            "/o",
            json!({ "requestBody": { "content": media(names) } }),
        );
        tool.plan.body.expect("a body").media
    };
    assert_eq!(
        body(&["text/plain", "application/json"]),
        "application/json"
    );
    assert_eq!(
        body(&["multipart/form-data", "application/vnd.x+json"]),
        "application/vnd.x+json"
    );
    assert_eq!(body(&["image/png", "text/csv"]), "text/csv");
    assert_eq!(body(&["*/*"]), "application/octet-stream");
    let accept = |names: &[&str]| {
        let responses = json!({ "200": { "content": media(names) } });
        tool("get", "/o", json!({ "responses": responses }))
            .plan
            .accept
    };
    assert_eq!(
        accept(&["text/csv", "application/json; charset=utf-8"]),
        "application/json, text/csv"
    );
    assert_eq!(accept(&["a\r\nb: c"]), "application/json, */*;q=0.5");
    assert_eq!(accept(&[]), "application/json, */*;q=0.5");
    let get = json!({ "requestBody": { "content": media(&["application/json"]) } });
    let compiled = compiled(&document(json!({ "/o": { "get": get } })));
    assert!(compiled.tools[0].plan.body.is_none());
    assert!(compiled.notes[0].contains("a body of GET has no meaning"));
}

/// What only the other side of an exchange has is not asked for.
#[test]
fn properties_of_the_other_side_are_not_required() {
    let mut document = document(json!({}));
    document["components"]["schemas"] = json!({
        "Id": { "type": "string", "readOnly": true },
        "Order": { "required": ["id", "ref", "secret", "note"], "properties": {
            "id": { "type": "string", "readOnly": true },
            "ref": { "$ref": "#/components/schemas/Id" },
            "secret": { "type": "string", "writeOnly": true },
            "note": { "type": "string", "readOnly": false },
        } },
        "Made": { "required": ["id"], "properties": { "id": { "readOnly": true } } },
    });
    let content = |name: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        json!({ "content": { "application/json": { "schema": schema } } })
    };
    for name in ["Order", "Made"] {
        document["paths"][format!("/{name}")] = json!({ "post": { "operationId": name,
            "requestBody": content(name), "responses": { "200": content(name) } } });
    }
    let compiled = compiled(&document);
    let [order, made] = compiled.tools.as_slice() else {
        panic!("{:?}", names(&compiled));
    };
    let required = |schema: &Value, name: &str| schema["$defs"][name].get("required").cloned();
    assert_eq!(
        required(&order.listing.input, "Order"),
        Some(json!(["secret", "note"]))
    );
    assert_eq!(
        required(&order.listing.output, "Order"),
        Some(json!(["id", "ref", "note"]))
    );
    assert_eq!(required(&made.listing.input, "Made"), None);
    assert_eq!(required(&made.listing.output, "Made"), Some(json!(["id"])));
}

#[test]
fn a_secret_that_is_no_scheme_is_told() {
    let of = |security: Value| {
        let parameters = json!([{ "name": "authorization", "in": "header", "required": true }]);
        let get = json!({ "operationId": "o", "parameters": parameters, "security": security });
        compiled(&document(json!({ "/o": { "get": get } }))).notes
    };
    let note = "o: the header `Authorization` is no parameter: what it holds is a secret, which \
                needs a scheme under `security`, or --auth bearer";
    assert_eq!(of(json!([])), [note]);
    assert_eq!(of(json!([{ "header": [] }])), [note]);
    for sent in ["bearer", "basic", "oauth"] {
        assert_eq!(of(json!([{ sent: [] }])), Vec::<String>::new(), "{sent}");
    }
}
