//! Airlock's own data and keys are never granted, whatever path leads there.

use std::os::unix::fs::symlink;
use std::path::Path;

use tokio::runtime::Handle;

use super::rig::{directory, rule};
use crate::capability::files::check_reserved;
use crate::capability::files::grant::Access::Read;
use crate::capability::files::prepare::Prepared;
use crate::capability::files::reserved::Reserved;

/// A host's directories: data and keys, one key elsewhere, and plain ones.
fn place(dir: &Path) -> Reserved {
    for made in [
        "host/data/journal",
        "host/data-keys",
        "host/data-of-others",
        "vault/deep",
        "inbox",
    ] {
        std::fs::create_dir_all(dir.join(made)).expect("mkdir");
    }
    std::fs::write(dir.join("vault/deep/audit.key"), "key").expect("write");
    for (to, link) in [
        (dir.join("host/data"), "to-data"),
        ("to-data".into(), "to-link"),
        ("host/data/journal".into(), "to-journal"),
        ("../vault/../host".into(), "inbox/up"),
        ("inbox".into(), "to-inbox"),
        (dir.join("vault/deep/audit.key"), "host/data-keys/audit.key"),
    ] {
        symlink(to, dir.join(link)).expect("link");
    }
    Reserved::new([
        ("data directory", dir.join("host/data")),
        ("keys directory", dir.join("host/data-keys")),
    ])
}

#[tokio::test]
async fn what_is_airlocks_own_is_not_granted() {
    let (_keep, dir) = directory();
    let reserved = place(&dir);
    // The path, what it does, and with what; nothing: it may be granted.
    let refused = [
        ("host/data", "is", "host/data"),
        ("host/data/", "is", "host/data"),
        ("host/./data", "is", "host/data"),
        ("host", "holds", "host/data"),
        (".", "holds", "host/data"),
        ("host/data/journal", "lies in", "host/data"),
        ("host/data/not-there-yet", "lies in", "host/data"),
        ("to-data", "is", "host/data"),
        ("to-link", "is", "host/data"),
        ("to-link/journal", "lies in", "host/data"),
        ("to-journal", "lies in", "host/data"),
        ("inbox/up", "holds", "host/data"),
        ("inbox/up/data", "is", "host/data"),
        ("inbox/../host/data", "is", "host/data"),
        ("host/data-keys", "is", "host/data-keys"),
        ("vault", "holds", "vault/deep/audit.key"),
        ("vault/deep", "holds", "vault/deep/audit.key"),
    ];
    for (path, verb, place) in refused {
        let found = reserved.check(&dir.join(path)).expect_err(path).to_string();
        assert!(
            found.starts_with(&format!("`{}`", dir.join(path).display())),
            "{found}"
        );
        let told = format!("{verb} Airlock's ");
        let place = format!("`{}`: no plugin gets that", dir.join(place).display());
        assert!(
            found.contains(&told) && found.contains(&place),
            "{path}: {found}"
        );
        let leads = std::fs::canonicalize(dir.join(path)).is_ok_and(|real| real != dir.join(path));
        assert_eq!(found.contains("which leads to"), leads, "{path}: {found}");
    }
    for path in ["inbox", "to-inbox", "host/data-of-others", "not-there"] {
        assert_eq!(reserved.check(&dir.join(path)), Ok(()), "{path}");
    }
}

#[tokio::test]
async fn rules_are_refused_when_granted_and_again_when_opened() {
    let (_keep, dir) = directory();
    let reserved = place(&dir);
    let prepare = |name: &str| {
        let rules = [
            rule(&dir.join("inbox"), "/in", Read),
            rule(&dir.join(name), "/x", Read),
        ];
        let checked = check_reserved(&rules, &reserved).map_err(|error| error.rule);
        let opened = Prepared::new(&rules, &reserved, &Handle::current());
        (
            checked,
            opened
                .map(drop)
                .map_err(|error| (error.rule, error.message)),
        )
    };
    assert_eq!(prepare("host/data-of-others"), (Ok(()), Ok(())));
    for name in [
        "host/data",
        "host",
        "host/data/journal",
        "to-data",
        "host/data-keys",
    ] {
        let (checked, opened) = prepare(name);
        assert_eq!(checked, Err(1), "{name}");
        let (rule, message) = opened.expect_err(name);
        assert_eq!(rule, 1, "{name}");
        assert!(message.contains("Airlock's"), "{name}: {message}");
    }
    // What was innocent when it was granted became a link.
    assert_eq!(prepare("to-inbox"), (Ok(()), Ok(())));
    std::fs::remove_file(dir.join("to-inbox")).expect("removes");
    symlink(dir.join("host/data"), dir.join("to-inbox")).expect("link");
    let (_, opened) = prepare("to-inbox");
    assert!(opened.expect_err("is refused").1.contains("data directory"));
}
