//! Cases of the room, the vault, and the redactor.
#![expect(clippy::disallowed_methods, reason = "tests make their own files")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use airlock_journal::{Batch, MemoryStore, Store};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use expect_test::expect;
use zeroize::Zeroizing;

use super::secret::check_name;
use super::{Matcher, Redactor, Secret, Vault};
use crate::capability::Cases;
use crate::grants::Grants;

pub(crate) const CASES: Cases = Cases {
    grants: r#"http = [{ url = "https://api.example.com/", secret = "contracts-key" }]"#,
    allowed: &["contracts-key", "placeholder contracts-key"],
    denied: &["other", "placeholder other"],
};

#[test]
fn without_a_rule_that_binds_it_no_secret_is_given() {
    let explained = Grants::default().explain("secrets", &["contracts-key"]).unwrap();
    assert!(!explained.allowed);
    assert_eq!(explained.because, "an http rule with `secret = \"contracts-key\"`");
}

fn vault(store: &Arc<MemoryStore>, key: u8) -> Result<Vault, super::VaultError> {
    Vault::with_key(store.clone(), &Zeroizing::new([key; 32]))
}

fn value(vault: &Vault, name: &str) -> Option<(Vec<u8>, u64)> {
    let got = vault.get(name).unwrap();
    got.map(|(secret, version)| (secret.expose().to_vec(), version))
}

#[tokio::test]
async fn secrets_are_kept_by_name_and_version() {
    let store = MemoryStore::new();
    let first = vault(&store, 1).unwrap();
    assert_eq!(first.set("a", &Secret::new("one-value")).await.unwrap().version, 1);
    assert_eq!(first.set("a", &Secret::new("two-value")).await.unwrap().version, 2);
    first.set("b", &Secret::new("three")).await.unwrap();
    let again = vault(&store, 1).unwrap();
    assert_eq!(value(&again, "a"), Some((b"two-value".to_vec(), 2)));
    let names: Vec<String> = again.list().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(again.list().unwrap()[0].set_at_ms > 1_600_000_000_000);
    assert!(again.remove("a").await.unwrap());
    assert!(!again.remove("a").await.unwrap());
    assert_eq!(value(&first, "a"), None);
    let code = vault(&store, 2).unwrap_err().code();
    assert_eq!(code, "secrets-key-wrong");
}

#[tokio::test]
async fn what_is_stored_shows_nothing_and_opens_in_its_own_place_alone() {
    let store = MemoryStore::new();
    let vault = vault(&store, 1).unwrap();
    vault.set("a", &Secret::new("plain-value")).await.unwrap();
    vault.set("b", &Secret::new("other-value")).await.unwrap();
    let sealed = store.get("secrets", b"a").unwrap().unwrap();
    assert!(!sealed.windows(5).any(|window| window == b"plain"));
    let mut flipped = Vec::from(&sealed[..]);
    flipped[3] ^= 1;
    let cut = sealed.slice(..sealed.len() - 1);
    for damaged in [sealed.clone(), flipped.into(), cut, bytes::Bytes::new()] {
        store.commit(Batch::new().put("secrets", &b"b"[..], damaged)).await.unwrap();
        assert_eq!(vault.get("b").unwrap_err().code(), "secret-damaged");
        let damaged: Vec<bool> = vault.list().unwrap().iter().map(|info| info.damaged).collect();
        assert_eq!(damaged, [false, true], "one damaged record hides no other");
    }
    vault.set("b", &Secret::new("set again")).await.unwrap();
    assert_eq!(value(&vault, "b"), Some((b"set again".to_vec(), 1)));
    assert!(vault.remove("b").await.unwrap());
}

#[tokio::test]
async fn names_and_values_are_judged() {
    let vault = vault(&MemoryStore::new(), 1).unwrap();
    for good in ["a", "contracts-key", "a.b_c-1", "0", &"a".repeat(64)] {
        check_name(good).unwrap();
        vault.set(good, &Secret::new("value")).await.unwrap();
    }
    for bad in ["", "A", "-a", ".a", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
        let error = vault.set(bad, &Secret::new("value")).await.unwrap_err();
        assert_eq!(error.code(), "secret-name-invalid", "{bad:?}");
    }
    for good in ["four", "with space", "ä€😀", &"x".repeat(4096)] {
        vault.set("a", &Secret::new(good)).await.unwrap();
    }
    let long = "x".repeat(4097);
    let bad: [&[u8]; 10] = [
        b"", b"abc", long.as_bytes(), b"a\r\nb: c", b"line\n", b"nul\0nul", b"tab\ttab",
        b" space", b"space ", b"\xff\xfe\xfd\xfc",
    ];
    for bad in bad {
        let error = vault.set("a", &Secret::new(bad)).await.unwrap_err();
        assert_eq!(error.code(), "secret-value-invalid", "{bad:?}");
    }
}

#[test]
fn a_secret_prints_nothing() {
    let secret = Secret::new("hidden-value");
    expect!["Secret(…)"].assert_eq(&format!("{secret:?}"));
    let vault = vault(&MemoryStore::new(), 1).unwrap();
    expect!["Vault(…)"].assert_eq(&format!("{vault:?}"));
}

#[tokio::test]
async fn the_key_file_is_made_once_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (data, keys) = (dir.path().join("data"), dir.path().join("keys"));
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::create_dir(&keys).unwrap();
    let key = keys.join("secrets.key");
    let store = MemoryStore::new();
    let open = |path: &std::path::Path| Vault::open(store.clone(), path, &data);
    for inside in ["key", "sub/key", "../data/key"] {
        let code = open(&data.join(inside)).unwrap_err().code();
        assert_eq!(code, "secrets-key-inside-data", "{inside}");
    }
    std::os::unix::fs::symlink(&data, keys.join("link")).unwrap();
    let code = open(&keys.join("link/key")).unwrap_err().code();
    assert_eq!(code, "secrets-key-inside-data");

    let vault = open(&key).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&key) & 0o777, 0o600);
    vault.set("a", &Secret::new("value")).await.unwrap();
    assert_eq!(value(&open(&key).unwrap(), "a"), Some((b"value".to_vec(), 1)));

    std::os::unix::fs::symlink(&key, keys.join("linked")).unwrap();
    assert_eq!(open(&keys.join("linked")).unwrap_err().code(), "secrets-key-io");
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(open(&key).unwrap_err().code(), "secrets-key-permissions");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = std::fs::read_to_string(&key).unwrap();
    for (damaged, code) in [
        ("", "secrets-key-invalid"),
        ("zz", "secrets-key-invalid"),
        (&text[..40], "secrets-key-invalid"),
        (&"0".repeat(64), "secrets-key-wrong"),
    ] {
        std::fs::write(&key, damaged).unwrap();
        assert_eq!(open(&key).unwrap_err().code(), code);
    }
    std::fs::remove_file(&key).unwrap();
    assert_eq!(open(&key).unwrap_err().code(), "secrets-key-missing");
    assert!(!key.exists(), "a lost key is not replaced in silence");
    std::fs::write(&key, text).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open(&key).is_ok());
}

const VALUE: &str = "pa$$ w/o+rd?é<\"'&>\\";

/// What redaction makes of `text`, taken in parts of `size` bytes.
fn redact(text: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = Redactor::new(Arc::new(Matcher::new([&Secret::new(VALUE)])));
    let mut out = Vec::new();
    for part in text.chunks(size) {
        out.extend_from_slice(&redactor.push(part));
    }
    out.extend_from_slice(&redactor.finish());
    out
}

#[test]
fn common_encodings_are_masked() {
    let bytes = VALUE.as_bytes();
    let hex = |upper: bool| -> String {
        let digits = bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") });
        digits.collect()
    };
    let json = serde_json::to_string(VALUE).unwrap();
    let escaped: String = VALUE.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let mut texts = vec![
        VALUE.to_owned(),
        url::form_urlencoded::byte_serialize(bytes).collect(),
        url::form_urlencoded::byte_serialize(bytes).collect::<String>().replace('+', "%20"),
        bytes.iter().map(|b| format!("%{b:02X}")).collect(),
        bytes.iter().map(|b| format!("%{b:02x}")).collect(),
        url::Url::parse(&format!("http://a/?{VALUE}")).unwrap().query().unwrap().to_owned(),
        hex(true),
        hex(false),
        json.trim_matches('"').to_owned(),
        json[1..json.len() - 1].to_owned(),
        json[1..json.len() - 1].replace('/', "\\/"),
        VALUE.chars().rev().collect(),
        VALUE.to_ascii_uppercase(),
        VALUE.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;"),
    ];
    texts.push(escaped);
    for before in ["", "u", "us", "usr:"] {
        let text = format!("{before}{VALUE}");
        for after in ["", "x", "xy", "xyz"] {
            let text = format!("{text}{after}");
            texts.push(STANDARD.encode(&text));
            texts.push(STANDARD_NO_PAD.encode(&text));
            texts.push(URL_SAFE.encode(&text));
            texts.push(URL_SAFE_NO_PAD.encode(&text));
        }
    }
    for text in &texts[1..] {
        let masked = redact(format!("<<{text}>>").as_bytes(), 7);
        let masked = String::from_utf8_lossy(&masked);
        assert_eq!(masked.len(), text.len() + 4);
        let stars = masked.matches('*').count();
        // All but the up to six characters at the rim that depend on the neighbours.
        assert!(stars + 16 >= text.len() && stars > 8, "{text}: {masked}");
    }
    // Alone, nothing of it stays: not the bits in the last character either.
    for alone in [STANDARD_NO_PAD.encode(VALUE), URL_SAFE_NO_PAD.encode(VALUE)] {
        assert_eq!(redact(alone.as_bytes(), 5), vec![b'*'; alone.len()], "{alone}");
    }
    let wide: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(redact(&wide, 3), vec![b'*'; wide.len()]);
}

#[test]
fn the_beginning_of_a_value_at_the_end_of_a_stream_is_masked() {
    assert_eq!(redact(b"at: pa$$ w/o", 4), b"at: ********");
    assert_eq!(redact(b"at: pa$$", 4), b"at: pa$$");
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn frames_make_no_difference(
        parts in prop::collection::vec(
            prop_oneof![
                Just(VALUE.to_owned()),
                Just(STANDARD.encode(VALUE)),
                Just("pa$$".to_owned()),
                Just("pa$$ w/o+rd".to_owned()),
                "[a-zA-Z$ /%&]{0,10}",
            ],
            0..8,
        ),
        size in 1..20_usize,
    ) {
        let text = parts.concat();
        let whole = redact(text.as_bytes(), usize::MAX);
        prop_assert_eq!(&redact(text.as_bytes(), size), &whole);
        prop_assert_eq!(whole.len(), text.len());
        prop_assert!(!whole.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()));
    }

    #[test]
    fn other_text_is_left_as_it_is(text in "[bcdefg0-5 .,\\n]{0,200}", size in 1..50_usize) {
        prop_assert_eq!(redact(text.as_bytes(), size), text.as_bytes());
    }
}
}
