//! Documents that say nothing of secrets, or only what can't be sent: an
//! administrator says how one is.

use serde_json::{Value, json};

use super::{compiled_with, problems};
use crate::{Carrier, Options, request};

/// A document with these schemes, if any, and two operations.
fn document(schemes: Option<Value>, security: Option<Value>) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Shop", "version": "1" },
        "servers": [{ "url": "https://api.example.com" }],
        "paths": { "/a": { "get": {} }, "/b": { "post": {} } },
    });
    if let Some(schemes) = schemes {
        document["components"] = json!({ "securitySchemes": schemes });
    }
    if let Some(security) = security {
        document["paths"]["/a"]["get"]["security"] = security;
    }
    document
}

fn asking(auth: &str, secrets: &[&str]) -> Options {
    Options {
        auth: (!auth.is_empty()).then(|| auth.to_owned()),
        secrets: secrets.iter().map(|one| (*one).to_owned()).collect(),
        ..Options::default()
    }
}

#[test]
fn where_a_document_says_nothing_an_administrator_says_how() {
    let cases = [
        ("bearer", Carrier::Bearer, "authorization", "Bearer P"),
        ("basic", Carrier::Basic, "authorization", "Basic UA=="),
        (
            "header:X-Api-Key",
            Carrier::Header("X-Api-Key".to_owned()),
            "x-api-key",
            "P",
        ),
        (
            "query:api_key",
            Carrier::Query("api_key".to_owned()),
            "",
            "",
        ),
    ];
    for (auth, carrier, name, value) in cases {
        let common = asking(auth, &["key"]);
        let by_name = asking(auth, &[&format!("{auth}=key")]);
        for options in [common, by_name] {
            let compiled = compiled_with(&document(None, None), &options);
            assert_eq!(compiled.secrets, [("key".to_owned(), carrier.clone())]);
            assert_eq!(compiled.wants.len(), 1, "one rule for both");
            assert_eq!(compiled.notes, Vec::<String>::new());
            for tool in &compiled.tools {
                let made = request(&tool.plan, "{}", Some("P"), None).expect("a request");
                match &carrier {
                    Carrier::Query(_) => assert!(made.url.ends_with("?api_key=P"), "{}", made.url),
                    _ => assert!(
                        made.headers.contains(&(name.to_owned(), value.to_owned())),
                        "{:?}",
                        made.headers
                    ),
                }
            }
        }
        let compiled = compiled_with(&document(None, None), &asking(auth, &[]));
        assert_eq!(compiled.secrets[0].0, "shop-key");
    }
    let compiled = compiled_with(&document(None, None), &asking("", &[]));
    assert_eq!(compiled.secrets, []);
    assert!(
        compiled.notes[0].contains("say how with --auth bearer, basic, header:NAME"),
        "{:?}",
        compiled.notes
    );
}

/// The document's own word stands before the option's.
#[test]
fn a_scheme_of_the_document_is_the_document_s() {
    let of = |schemes: Value, security: Option<Value>, auth: &str| {
        let compiled = compiled_with(&document(Some(schemes), security), &asking(auth, &[]));
        let tools = compiled.tools.iter();
        let carriers = tools.map(|tool| tool.plan.auth.as_ref().map(|auth| auth.carrier.clone()));
        carriers.collect::<Vec<_>>()
    };
    let key = || json!({ "type": "apiKey", "in": "header", "name": "X-Key" });
    let header = || Some(Carrier::Header("X-Key".to_owned()));
    // One of that name; and one that no operation names.
    assert_eq!(
        of(json!({ "bearer": key() }), None, "bearer"),
        [header(), header()]
    );
    assert_eq!(of(json!({ "k": key() }), None, "k"), [header(), header()]);
    assert_eq!(
        of(json!({ "k": key() }), None, "bearer"),
        [Some(Carrier::Bearer), Some(Carrier::Bearer)]
    );
    // Where one operation says it, the other needs none.
    let digest = json!({ "d": { "type": "http", "scheme": "digest" } });
    let bearer = || vec![Some(Carrier::Bearer), None];
    assert_eq!(of(digest, Some(json!([{ "d": [] }])), "bearer"), bearer());
    assert_eq!(
        of(json!({}), Some(json!([{ "gone": [] }])), "bearer"),
        bearer()
    );
    let two = of(json!({ "k": key() }), Some(json!([{ "k": [] }])), "k");
    assert_eq!(two, [header(), None]);
}

#[test]
fn what_is_not_used_is_refused_with_what_to_do() {
    let tls = json!({ "t": { "type": "mutualTLS" } });
    let digest = json!({ "d": { "type": "http", "scheme": "digest" } });
    let cases = [
        (
            document(None, None),
            asking("", &["key"]),
            "--secret key: no operation is sent with a secret, since the document asks for none; \
             say how it is sent with --auth bearer, basic, header:NAME or query:NAME",
        ),
        (
            document(None, None),
            asking("", &["bearer=key"]),
            "--secret bearer=…: no operation is sent with `bearer`; in use: none",
        ),
        (
            document(None, None),
            asking("token", &[]),
            "--auth token: no operation can be sent with it; in use: none; where the document \
             names no scheme, write bearer, basic, header:NAME or query:NAME",
        ),
        (
            document(None, Some(json!([]))),
            asking("bearer", &[]),
            "--auth bearer: no operation can be sent with it; in use: none",
        ),
        (
            document(None, None),
            asking("header:Host", &[]),
            "--auth header:Host: the header `Host` is the connection's",
        ),
        (
            document(None, None),
            asking("header:a\r\nb", &[]),
            "--auth header:a\\r\\nb: `a\\r\\nb` is no header's name",
        ),
        (
            document(None, None),
            asking("header:", &[]),
            "--auth header:: `` is no header's name",
        ),
        (
            document(None, None),
            asking("query:a b", &[]),
            "--auth query:a b: `a b` can't name a value of a query",
        ),
        (
            document(Some(tls), None),
            asking("t", &[]),
            "--auth: `t` is a client certificate, which can't be sent",
        ),
        (
            document(Some(digest), Some(json!([{ "d": [] }]))),
            asking("", &[]),
            "#/paths/~1a/get/security: none of what it asks for can be sent: `d` is HTTP \
             authentication `digest`",
        ),
    ];
    for (document, options, says) in cases {
        let found = problems(&document.to_string(), &options);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(says), "{}\nnot {says}", found[0]);
    }
}

/// A whole `Authorization` as an API key, as Kubernetes has it.
#[test]
fn a_key_in_authorization_is_told_as_the_whole_value() {
    for name in ["authorization", "Authorization"] {
        let schemes = json!({ "k": { "type": "apiKey", "in": "header", "name": name } });
        let document = document(Some(schemes), Some(json!([{ "k": [] }])));
        let compiled = compiled_with(&document, &Options::default());
        let words = compiled.secrets[0].1.words();
        assert!(
            words.ends_with("with its scheme, e.g. `Bearer TOKEN`"),
            "{words}"
        );
    }
    let plain = Carrier::Header("X-Key".to_owned()).words();
    assert_eq!(plain, "a key, sent as the header `X-Key`");
}
