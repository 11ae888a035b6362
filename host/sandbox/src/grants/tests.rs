use proptest::prelude::*;

use super::*;
use crate::capability::{self, LISTED};
use crate::objects::Object;
use crate::testing::grants;

#[test]
fn an_unknown_key_is_an_error_with_its_name() {
    for (text, key) in [
        ("fils = []", "fils"),
        ("[clocks]\nfast = true", "clocks"),
        ("kv = [{ bucket = \"b\", byte = \"1MiB\" }]", "byte"),
        (
            "env = [{ name = \"A\", value = \"x\", secret = true }]",
            "secret",
        ),
        (
            "config = [{ key = \"a\", value = \"x\", default = \"\" }]",
            "default",
        ),
        ("config = [{ key = \"a\" }]", "value"),
        ("kv = [{}]", "bucket"),
        ("effects = { a = \"readonly\" }", "readonly"),
        (
            "kv = [{ bucket = \"b\", scope = \"everyone\" }]",
            "everyone",
        ),
        ("kv = [{ bucket = \"b\", keys = -1 }]", "keys"),
        ("kv = [{ bucket = \"b\", bytes = 10 }]", "bytes"),
    ] {
        let error = toml::from_str::<Grants>(text).expect_err(text).to_string();
        assert!(error.contains(key), "{text}: {error}");
    }
}

#[test]
fn every_rooms_rules_refuse_unknown_keys() {
    for room in LISTED {
        let text = format!("{} = [{{ no-such-key = 1 }}]", room.name);
        let error = toml::from_str::<Grants>(&text).expect_err(room.name);
        let error = error.to_string();
        let told = ["no-such-key", "takes no rules"]
            .iter()
            .any(|part| error.contains(part));
        assert!(told, "{}: {error}", room.name);
    }
}

#[test]
fn rules_that_make_no_sense_are_refused_with_their_place() {
    for (text, complaint) in [
        (
            "kv = [{ bucket = \"a\" }, { bucket = \"a/b\" }]",
            "`kv` rule 1: bucket `a/b` must be 1 to 64 characters of [A-Za-z0-9._-]",
        ),
        (
            "kv = [{ bucket = \"a\", bytes = \"0B\" }]",
            "`kv` rule 0: bytes = \"0B\" must be 1B to 1024GiB",
        ),
        (
            "kv = [{ bucket = \"a\", bytes = \"1025GiB\" }]",
            "`kv` rule 0: bytes = \"1025GiB\" must be 1B to 1024GiB",
        ),
        (
            "kv = [{ bucket = \"a\", keys = 0 }]",
            "`kv` rule 0: keys = 0 must be at least 1",
        ),
        (
            "config = [{ key = \"\", value = \"\" }]",
            "`config` rule 0: key must not be empty",
        ),
        (
            "kv = [{ bucket = \"a\" }, { bucket = \"b\" }, { bucket = \"a\", bytes = \"1KiB\" }]",
            "`kv` rule 2: bucket = \"a\" is that of rule 0 already, which alone would hold; take that rule away first, or change it",
        ),
        (
            "env = [{ name = \"TZ\", value = \"UTC\" }, { name = \"TZ\", value = \"CET\" }]",
            "`env` rule 1: name = \"TZ\" is that of rule 0 already, which alone would hold; take that rule away first, or change it",
        ),
        (
            "config = [{ key = \"k\", value = \"1\" }, { key = \"k\", value = \"2\" }]",
            "`config` rule 1: key = \"k\" is that of rule 0 already, which alone would hold; take that rule away first, or change it",
        ),
        (
            "files = [{ host = \"/srv/a\", guest = \"/a\", access = \"read\" }, { host = \"/srv/b\", guest = \"/a\", access = \"read\" }]",
            "`files` rule 1: guest = \"/a\" is that of rule 0 already, which alone would hold; take that rule away first, or change it",
        ),
        (
            "http = [{ url = \"https://a.test/x\", methods = [\"GET\", \"POST\"] }, { url = \"https://a.test/x\", methods = [\"POST\", \"GET\"], rate = \"1/s\" }]",
            "`http` rule 1: url = \"https://a.test/x\", methods = [\"GET\", \"POST\"] is that of rule 0 already, which alone would hold; take that rule away first, or change it",
        ),
    ] {
        let grants: Grants = toml::from_str(text).expect(text);
        let error = grants.validate().expect_err(text);
        assert_eq!(error.to_string(), complaint);
    }
}

#[test]
fn rules_that_differ_in_what_they_are_for_stand_side_by_side() {
    for text in [
        "kv = [{ bucket = \"a\" }, { bucket = \"a\" }]",
        "kv = [{ bucket = \"a\", bytes = \"1024GiB\" }]",
        "kv = [{ bucket = \"a\" }, { bucket = \"A\" }]",
        "http = [{ url = \"https://a.test/x\" }, { url = \"https://a.test/x\", methods = [\"POST\"] }, { url = \"https://a.test/x\", secret = \"k\" }, { url = \"https://a.test/x\", allow_private = true }]",
    ] {
        let grants: Grants = toml::from_str(text).expect(text);
        assert!(grants.validate().is_ok(), "{text}");
    }
}

#[test]
fn what_is_not_said_has_a_default_and_is_written_out() {
    let written = toml::to_string(&grants("kv = [{ bucket = \"seen\" }]")).expect("TOML");
    expect_test::expect![[r#"
        [[kv]]
        bucket = "seen"
        bytes = "1MiB"
        keys = 1000
        scope = "principal"
        access = "read-write"
    "#]]
    .assert_eq(&written);
}

#[test]
fn a_rule_that_stands_there_twice_counts_once() {
    let twice = r#"kv = [{ bucket = "a" }, { bucket = "b" }, { bucket = "a", bytes = "1MiB" }]"#;
    let once = grants(r#"kv = [{ bucket = "a" }, { bucket = "b" }]"#);
    assert_eq!(grants(twice).without_repeats(), once);
    assert_eq!(once.clone().without_repeats(), once);
}

#[test]
fn nothing_is_granted_by_default() {
    for text in ["", "effects = { a = \"plain\" }"] {
        let grants = grants(text);
        for (capability, words) in [
            ("files", vec!["read", "/"]),
            ("http", vec!["GET", "https://example.com/"]),
            ("kv", vec!["get", "b", "k"]),
            ("env", vec!["read", "PATH"]),
            ("config", vec!["get", "k"]),
        ] {
            let explained = grants.explain(capability, &words).expect(capability);
            assert!(!explained.allowed, "{explained:?}");
        }
    }
}

#[test]
fn explain_knows_what_a_class_leaves_of_a_rule() {
    let grants = grants(r#"kv = [{ bucket = "b" }]"#);
    for (class, words, allowed) in [
        (EffectClass::Plain, ["set", "b", "k"], true),
        (EffectClass::ReadOnly, ["get", "b", "k"], true),
        (EffectClass::ReadOnly, ["set", "b", "k"], false),
    ] {
        let explained = grants.explain_as("kv", &words, class).expect("read");
        assert_eq!(explained.operation, words.join(" "));
        assert_eq!(explained.allowed, allowed, "{explained:?}");
        assert_eq!(explained.rule, allowed.then_some(0), "{explained:?}");
        let narrowed = "the tool is called as read-only, and this changes something";
        assert_eq!(explained.because != narrowed, allowed, "{explained:?}");
    }
}

#[test]
fn explain_names_what_it_does_not_know() {
    let error = Grants::default()
        .explain("sockets", &["connect"])
        .unwrap_err();
    let names: Vec<&str> = LISTED.iter().map(|room| room.name).collect();
    let known = names.join(", ");
    assert_eq!(
        error,
        format!("unknown capability `sockets`; there are: {known}")
    );
    let error = Grants::default().explain("kv", &["fly", "b"]).unwrap_err();
    assert!(
        error.starts_with("expected `ACTION BUCKET [KEY]`"),
        "{error}"
    );
}

#[test]
fn a_cell_shows_a_version_with_its_own_grants() {
    let cell = GrantsCell::new(0, named(0));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..2_000 {
                cell.replace(version, named(version));
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let (version, grants) = cell.load();
            assert_eq!(*grants, named(version));
            assert!(version >= last);
            last = version;
        }
    });
    assert_eq!((cell.version(), cell.load().0), (1_999, 1_999));
}

fn named(version: u64) -> Grants {
    grants(&format!(
        "config = [{{ key = \"version\", value = \"{version}\" }}]"
    ))
}

#[test]
fn the_schema_lists_every_room_and_closes_every_object() {
    let schema = capability::schema();
    let properties = schema["properties"].as_object().expect("properties");
    let names = LISTED.iter().map(|room| room.name).chain(["effects"]);
    for name in names.clone() {
        assert!(properties.contains_key(name), "{name}");
    }
    assert_eq!(properties.len(), names.count());
    assert_eq!(schema["additionalProperties"], false);
    let url = &schema["$defs"]["UrlPattern"];
    assert_eq!(
        (&url["type"], &url["pattern"]),
        (&"string".into(), &"^[Hh][Tt][Tt][Pp][Ss]?://".into())
    );
    let rules = schema["$defs"].as_object().expect("definitions");
    let objects = rules
        .iter()
        .filter(|(_, rule)| rule.get("properties").is_some());
    let mut checked = 0;
    for (name, rule) in objects {
        assert_eq!(rule["additionalProperties"], false, "{name}");
        for (key, property) in rule["properties"].as_object().expect(name) {
            assert!(property.get("description").is_some(), "{name}.{key}");
        }
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
}

/// Words of which grants are made, right and wrong ones.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "files",
        "http",
        "secrets",
        "kv",
        "env",
        "config",
        "clocks",
        "random",
        "log",
        "effects",
        "host",
        "guest",
        "access",
        "bytes",
        "url",
        "methods",
        "secret",
        "bucket",
        "keys",
        "scope",
        "name",
        "value",
        "key",
        "plugin",
        "principal",
        "read",
        "read-write",
        "plain",
        "1MiB",
        "https://*.example.com:443/a/*",
        "/srv",
        "",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        6 => word().prop_map(toml::Value::from),
        1 => any::<i64>().prop_map(toml::Value::from),
        1 => any::<bool>().prop_map(toml::Value::from),
        1 => (-1e9..1e9f64).prop_map(toml::Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(toml::Value::Array),
            prop::collection::btree_map(word(), inner, 0..4)
                .prop_map(|map| toml::Value::Table(map.into_iter().collect())),
        ]
    })
}

/// Whatever was read must be usable without a panic, and survive being written.
fn exercise(grants: &Grants, words: &[String]) {
    let _ = grants.validate();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for room in LISTED {
        let _ = grants.explain(room.name, &words);
    }
    let json = serde_json::to_string(grants).expect("JSON");
    assert_eq!(
        &serde_json::from_str::<Grants>(&json).expect("as it was written"),
        grants
    );
    let text = toml::to_string(grants).expect("TOML");
    assert_eq!(
        &toml::from_str::<Grants>(&text).expect("as it was written"),
        grants
    );
}

/// One rule of each capability, with every key.
const WHOLE: &str = r#"
    files = [{ host = "/srv/invoices", guest = "/invoices", access = "read-write", bytes = "1GiB", files = 10 }]
    http = [{ url = "https://*.example.com:443/a/*", methods = ["GET", "PUT"], secret = "key",
        request_bytes = "64KiB", response_bytes = "1MiB", rate = "100/min", allow_private = true }]
    kv = [{ bucket = "seen", bytes = "1MiB", keys = 9, scope = "plugin", access = "read" }]
    env = [{ name = "TZ", value = "UTC" }]
    config = [{ key = "currency", value = "CHF" }]
    effects = { submit = "plain", list = "read-only" }
"#;

#[test]
fn the_whole_is_valid() {
    let whole: Grants = toml::from_str(WHOLE).expect("grants");
    whole.validate().expect("valid");
}

/// Operations that the rules of [`WHOLE`] allow, for those it is made of.
fn operations() -> impl Strategy<Value = Vec<String>> {
    let known = prop::sample::select(vec![
        "write /invoices/a.txt",
        "read /invoices/../etc/passwd",
        "PUT https://a.example.com/a/b secret=key",
        "GET https://a.b.example.com/a/b",
        "set seen k",
        "get currency",
        "read TZ",
    ]);
    (known, airlock_fuzz::text_damage(), any::<bool>()).prop_map(|(operation, damage, damaged)| {
        let text = if damaged {
            damage.to(operation)
        } else {
            operation.to_owned()
        };
        text.split(' ').map(str::to_owned).collect()
    })
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    /// Grants that were right but for some characters, or some of their values.
    #[test]
    fn fuzz_damaged_grants(
        text in airlock_fuzz::text_damage(),
        tree in airlock_fuzz::json_damage(),
        words in operations(),
    ) {
        if let Ok(grants) = toml::from_str::<Grants>(&text.to(WHOLE)) {
            exercise(&grants, &words);
        }
        let whole: Grants = toml::from_str(WHOLE).expect("grants");
        let json = serde_json::to_value(&whole).expect("JSON");
        let damaged = tree.to(&json);
        if let Ok(Object(grants)) = serde_json::from_value::<Object<Grants>>(damaged.clone()) {
            let known = |key: &String| key == "effects" || LISTED.iter().any(|room| room.name == key);
            prop_assert!(damaged.as_object().is_some_and(|all| all.keys().all(known)), "{}", damaged);
            exercise(&grants, &words);
        }
    }

    #[test]
    fn fuzz_any_text_is_read_or_refused(text in "\\PC{0,200}") {
        if let Ok(grants) = toml::from_str::<Grants>(&text) {
            exercise(&grants, &[]);
        }
    }

    #[test]
    fn fuzz_any_table_is_read_or_refused(
        table in prop::collection::btree_map(word(), value(), 0..4),
        words in prop::collection::vec(word(), 0..4),
    ) {
        let table: toml::Table = table.into_iter().collect();
        let known = |key: &String| key == "effects" || LISTED.iter().any(|room| room.name == key);
        match table.clone().try_into::<Grants>() {
            Ok(grants) => {
                prop_assert!(table.keys().all(known), "{table:?}");
                exercise(&grants, &words);
            }
            Err(error) => {
                // Written and read as text, it is refused as well.
                let text = toml::to_string(&table).expect("TOML");
                prop_assert!(toml::from_str::<Grants>(&text).is_err(), "{error}");
            }
        }
    }

    #[test]
    fn fuzz_a_rule_with_any_bucket_is_valid_or_refused(
        bucket in ".{0,70}", bytes in any::<u64>(), keys in any::<u32>(),
    ) {
        let mut table = toml::Table::new();
        table.insert("bucket".into(), bucket.clone().into());
        table.insert("bytes".into(), format!("{bytes}B").into());
        table.insert("keys".into(), i64::from(keys).into());
        let mut outer = toml::Table::new();
        outer.insert("kv".into(), vec![toml::Value::Table(table)].into());
        let grants: Grants = outer.try_into().expect("well-formed");
        let name = (1..=64).contains(&bucket.len())
            && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let sensible = name && (1..=1 << 40).contains(&bytes) && keys > 0;
        prop_assert_eq!(grants.validate().is_ok(), sensible);
        exercise(&grants, &["get".into(), bucket, "k".into()]);
    }
}

/// What is shown of an operation, and of one that other things than rules decide.
#[test]
fn an_explanation_says_what_decided() {
    use crate::capability::Explanation;
    let granted = grants("kv = [{ bucket = \"b\" }]");
    let explain = || {
        granted
            .explain("kv", &["get", "b", "k"])
            .expect("an operation")
    };
    let shown = |explained: &Explanation| serde_json::to_value(explained).expect("JSON");
    let plain = shown(&explain());
    assert_eq!(
        (&plain["allowed"], &plain["rule"]),
        (&true.into(), &0.into())
    );
    assert_eq!(
        (&plain["sandboxed"], &plain["not_for"]),
        (&().into(), &().into())
    );
    let schema = serde_json::to_value(schemars::schema_for!(Explanation)).expect("a schema");
    let required = schema["required"].to_string();
    assert!(!required.contains("sandboxed"), "{required}");
    let sandboxed = &schema["properties"]["sandboxed"];
    assert_eq!(sandboxed.get("default"), None, "it is true, and left out");
    let mut refused = explain();
    refused.refuse("it is halted".to_owned());
    assert_eq!((refused.allowed, refused.rule), (false, None));
    assert_eq!(refused.because, "it is halted");
    let mut unheld = explain();
    unheld.not_for = vec!["read".to_owned()];
    unheld.unheld();
    let unheld = shown(&unheld);
    assert_eq!(
        (&unheld["allowed"], &unheld["sandboxed"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&unheld["rule"], &unheld["not_for"]),
        (&().into(), &().into())
    );
    let because = unheld["because"].as_str().expect("a reason");
    assert!(because.contains("is not sandboxed"), "{because}");
}
