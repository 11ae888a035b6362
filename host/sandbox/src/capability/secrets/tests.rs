//! Cases of the room and the vault.
#![expect(clippy::disallowed_methods, reason = "tests make their own files")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use airlock_journal::{Batch, MemoryStore, Store};
use expect_test::expect;
use zeroize::Zeroizing;

use super::secret::check_name;
use super::{Secret, Vault};
use crate::capability::Cases;
use crate::grants::Grants;

mod redaction;

pub(crate) const CASES: Cases = Cases {
    grants: r#"http = [{ url = "https://api.example.com/", secret = "contracts-key" }]"#,
    allowed: &["contracts-key", "placeholder contracts-key"],
    denied: &["other", "placeholder other"],
};

#[test]
fn without_a_rule_that_binds_it_no_secret_is_given() {
    let explained = Grants::default()
        .explain("secrets", &["contracts-key"])
        .unwrap();
    assert!(!explained.allowed);
    assert_eq!(
        explained.because,
        "an http rule with `secret = \"contracts-key\"`"
    );
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
    assert_eq!(
        first
            .set("a", &Secret::new("one-value"))
            .await
            .unwrap()
            .version,
        1
    );
    assert_eq!(
        first
            .set("a", &Secret::new("two-value"))
            .await
            .unwrap()
            .version,
        2
    );
    first.set("b", &Secret::new("three")).await.unwrap();
    let again = vault(&store, 1).unwrap();
    assert_eq!(value(&again, "a"), Some((b"two-value".to_vec(), 2)));
    let names: Vec<String> = again
        .list()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
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
        store
            .commit(Batch::new().put("secrets", &b"b"[..], damaged))
            .await
            .unwrap();
        assert_eq!(vault.get("b").unwrap_err().code(), "secret-damaged");
        let damaged: Vec<bool> = vault
            .list()
            .unwrap()
            .iter()
            .map(|info| info.damaged)
            .collect();
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
    for bad in [
        "",
        "A",
        "-a",
        ".a",
        "a b",
        "a/b",
        "ä",
        "a\n",
        &"a".repeat(65),
    ] {
        let error = vault.set(bad, &Secret::new("value")).await.unwrap_err();
        assert_eq!(error.code(), "secret-name-invalid", "{bad:?}");
    }
    for good in ["four", "with space", "ä€😀", &"x".repeat(4096)] {
        vault.set("a", &Secret::new(good)).await.unwrap();
    }
    let long = "x".repeat(4097);
    let bad: [&[u8]; 10] = [
        b"",
        b"abc",
        long.as_bytes(),
        b"a\r\nb: c",
        b"line\n",
        b"nul\0nul",
        b"tab\ttab",
        b" space",
        b"space ",
        b"\xff\xfe\xfd\xfc",
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
    assert_eq!(
        value(&open(&key).unwrap(), "a"),
        Some((b"value".to_vec(), 1))
    );

    std::os::unix::fs::symlink(&key, keys.join("linked")).unwrap();
    assert_eq!(
        open(&keys.join("linked")).unwrap_err().code(),
        "secrets-key-io"
    );
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
