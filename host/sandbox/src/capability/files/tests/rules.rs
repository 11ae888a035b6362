//! What an administrator may write, and what is refused with a clear complaint.

use expect_test::{Expect, expect};

use super::rig::{Rig, code, directory, prepare, rule};
use crate::capability::Grants;
use crate::capability::files::grant::{Access, BYTES_DEFAULT, FILES_DEFAULT, Verb, join};
use crate::capability::files::{Op, backend::leads_out};

fn parsed(text: &str) -> Result<Grants, String> {
    let grants: Grants = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    grants.validate().map_err(|e| e.message)?;
    Ok(grants)
}

fn check_refused(rule: &str, expect: &Expect) {
    let refused = parsed(&format!("files = [{{ {rule} }}]")).expect_err(rule);
    expect.assert_eq(&refused);
}

#[test]
fn senseless_rules_are_refused() {
    let read = |host: &str, guest: &str| {
        format!("host = \"{host}\", guest = \"{guest}\", access = \"read\"")
    };
    check_refused(
        &read("srv", "/a"),
        &expect!["`host` must be an absolute path, not `srv`"],
    );
    check_refused(
        &read("/srv/../etc", "/a"),
        &expect!["`host` must not contain `..`: `/srv/../etc`"],
    );
    check_refused(
        &read("/", "/a"),
        &expect!["`/` can't be granted: name one directory of data"],
    );
    check_refused(
        &read("/proc/self", "/a"),
        &expect!["`/proc/self` can't be granted: name one directory of data"],
    );
    check_refused(
        &read("//dev/", "/a"),
        &expect!["`//dev/` can't be granted: name one directory of data"],
    );
    for guest in ["a", "/a/", "/a/../b", "/a//b", "/./a", "", "/a\\u0000b"] {
        let refused = parsed(&format!("files = [{{ {} }}]", read("/srv", guest)));
        assert!(refused.is_err(), "{guest}");
    }
    let refused = parsed(&format!("files = [{{ {} }}]", read("/srv\\u0000", "/a")));
    assert!(refused.is_err(), "a NUL in the host's path");
    check_refused(
        r#"host = "/srv", guest = "/a", access = "write""#,
        &expect!["unknown variant `write`, expected `read` or `read-write`"],
    );
    check_refused(
        r#"host = "/srv", guest = "/a", access = "read", quota = "1GiB""#,
        &expect![
            "unknown field `quota`, expected one of `host`, `guest`, `access`, `bytes`, `files`"
        ],
    );
}

#[test]
fn quotas_have_defaults() {
    let grants = parsed(r#"files = [{ host = "/srv", guest = "/a", access = "read-write" }]"#);
    let rule = &grants.expect("a good rule").files[0];
    assert_eq!(
        (rule.bytes_max(), rule.files_max()),
        (BYTES_DEFAULT, FILES_DEFAULT)
    );
}

#[test]
fn paths_are_joined_by_components() {
    let cases = [
        ("/a", "b", "/a/b"),
        ("/a", "./b/.//c/", "/a/b/c"),
        ("/a", "../b", "/b"),
        ("/a", "../../../b", "/b"),
        ("/a", "/b", "/b"),
        ("/", ".", "/"),
        ("/a/b", "..", "/a"),
    ];
    for (base, path, joined) in cases {
        assert_eq!(join(base, path), joined, "{base} {path}");
    }
    let op = Op::new(Verb::Read, "/", "a\n\u{1b}[2Jb");
    assert_eq!(op.to_string(), "read /a\\n\\u{1b}[2Jb");
    assert!(Op::parse(&["read", "relative"]).is_err());
    assert!(Op::parse(&["chmod", "/a"]).is_err());
    assert!(Op::parse(&[]).is_err());
    assert!(Op::parse(&["rename", "/a b"]).is_ok());
    let two_names = Op::parse(&["rename", "/rep/x", "/inv/y"]).unwrap_err();
    expect!["a rename asks for each of its two names: explain `rename <old path>` and `rename <new path>`"]
        .assert_eq(&two_names);
}

#[test]
fn links_are_judged_by_where_they_climb() {
    let cases = [
        (0, "a", false),
        (0, "a/../b", false),
        (0, "..", true),
        (1, "..", false),
        (1, "../..", true),
        (2, "../../../a/b/c", true),
        (9, "/etc/passwd", true),
    ];
    for (level, leads, out) in cases {
        assert_eq!(leads_out(level, leads), out, "{level} {leads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_can_not_be_granted_are_refused() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("file"), "x").expect("write");
    std::os::unix::fs::symlink("/proc/self", dir.join("sneaky")).expect("link");
    std::fs::create_dir(dir.join("inner")).expect("mkdir");
    let one = |name: &str| vec![rule(&dir.join(name), "/a", Access::ReadWrite)];
    let two = |first: (&str, Access), second: (&str, &str, Access)| {
        let (name, guest, access) = second;
        vec![
            rule(&dir.join(first.0), "/a", first.1),
            rule(&dir.join(name), guest, access),
        ]
    };
    use Access::{Read, ReadWrite};
    let cases = [
        (one("missing"), 0, "No such file or directory"),
        (one("file"), 0, "Not a directory"),
        (one("sneaky"), 0, "can't be granted"),
        (two((".", Read), ("inner", "/a", Read)), 1, "given twice"),
        (
            two((".", ReadWrite), ("inner", "/b", Read)),
            1,
            "would not hold",
        ),
        (
            two(("inner", Read), (".", "/b", ReadWrite)),
            1,
            "would not hold",
        ),
        (
            two((".", ReadWrite), (".", "/b", Read)),
            1,
            "would not hold",
        ),
    ];
    for (rules, index, complaint) in cases {
        let refused = prepare(&rules).err().expect(complaint);
        assert_eq!(refused.rule, index, "{refused}");
        assert!(refused.message.contains(complaint), "{refused}");
    }
    assert!(prepare(&two((".", Read), ("inner", "/b", ReadWrite))).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_each_path_is_seen_and_denied() {
    let mut rig = Rig::new(&[]);
    for path in ["/etc/passwd", "/", "/invoices/a.csv", "/../etc/passwd"] {
        let denied = rig.read(path).await;
        assert_eq!(code(denied).name(), "access", "{path}");
    }
    let seen: Vec<_> = rig
        .gate
        .denials()
        .into_iter()
        .map(|d| d.operation)
        .collect();
    assert_eq!(seen, ["read /etc/passwd", "read /", "read /invoices/a.csv"]);
}
