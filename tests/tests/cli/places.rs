//! Where a data directory is begun, and where not.

use std::path::Path;

use airlock_tests::component;

use crate::{Place, path};

/// All below a folder, the folder's neighbours too.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = entries
        .flat_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let below = match entry.path().is_dir() {
                true => self::names(&entry.path()),
                false => Vec::new(),
            };
            let below = below.into_iter().map(|inner| format!("{name}/{inner}"));
            std::iter::once(name.clone())
                .chain(below)
                .collect::<Vec<_>>()
        })
        .collect();
    names.sort();
    names
}

/// A command that reads makes nothing where there is no data, and none makes
/// anything in a folder of somebody else's.
pub(crate) fn no_data(place: &Place) {
    let folder = place.folder.join("places");
    let foreign = folder.join("foreign");
    std::fs::create_dir_all(&foreign).expect("a folder");
    std::fs::write(foreign.join("thesis.txt"), "years of work").expect("a file");
    let diary = folder.join("diary");
    std::fs::create_dir_all(diary.join("journal")).expect("a folder");
    std::fs::write(diary.join("journal/monday.txt"), "rain").expect("a file");
    let policy = path(&folder.join("p.toml"));
    std::fs::write(&policy, "[plugins.echo.grants]\n").expect("a file");
    let before = names(&folder);
    let echo = path(&component("airlock-plugin-echo"));
    let (typo, foreign, diary) = (path(&folder.join("typo")), path(&foreign), path(&diary));
    let reading: [&[&str]; 18] = [
        &["plugin", "list"],
        &["plugin", "inspect", "x"],
        &["plugin", "remove", "x"],
        &["grants", "x"],
        &["grant", "x", "kv = []"],
        &["revoke", "x"],
        &["rollback", "x"],
        &["explain", "x", "kv", "get", "b"],
        &["tool", "list"],
        &["tool", "call", "x/y", "{}"],
        &["secret", "list"],
        &["token", "list"],
        &["audit", "list"],
        &["audit", "verify"],
        &["audit", "export"],
        &["views", "stats"],
        &["backup", "copy.db"],
        &["apply", &policy],
    ];
    let making: [&[&str]; 5] = [
        &["plugin", "add", "echo", &echo],
        &["token", "create", "x", "--role", "viewer"],
        &["secret", "set", "x", "--file", &policy],
        &["apply", &policy, "--yes"],
        &["serve", "--listen", "127.0.0.1:0"],
    ];
    let refused = |args: &[&str], data: &str, says: &str| {
        let ran = place.run(&[args, &["--data", data]].concat());
        assert_eq!(ran.code, 2, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
        assert_eq!(names(&folder), before, "{args:?}");
    };
    for args in reading {
        refused(args, &typo, "there is no Airlock data in");
        refused(args, &foreign, "it has `thesis.txt`");
    }
    for args in making {
        refused(args, &foreign, "it has `thesis.txt`");
        refused(args, &diary, "it has `journal`");
    }
    begun(place, &folder);
    std::fs::remove_dir_all(&folder).expect("removes the folder");
}

/// A note of a server that crashed leads nobody's token to whoever listens there
/// now, whichever process has its number.
pub(crate) fn stale_note(place: &Place) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    listener.set_nonblocking(true).expect("no waiting");
    let address = listener.local_addr().expect("an address");
    let note = place.data.join("server.address");
    let own = std::process::id();
    for pid in [1, own] {
        std::fs::write(&note, format!("{pid} http://{address}\n")).expect("a note");
        place.ok(&["plugin", "list"]);
        let named = ["plugin", "list", "--server", &format!("http://{address}")];
        let refused = place.run(&named);
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains("no token for"), "{}", refused.err);
        let reached = listener.accept().map_err(|error| error.kind());
        assert_eq!(reached.err(), Some(std::io::ErrorKind::WouldBlock));
    }
    std::fs::remove_file(&note).expect("removes it");
}

/// A folder that is new, empty or holds the configuration becomes one.
fn begun(place: &Place, folder: &Path) {
    for (name, file) in [
        ("new", None),
        ("empty", Some("")),
        ("own", Some("airlock.toml")),
    ] {
        let data = folder.join(name);
        if let Some(file) = file {
            std::fs::create_dir(&data).expect("a folder");
            if !file.is_empty() {
                std::fs::write(data.join(file), "calls_max = 10").expect("a file");
            }
        }
        let at = ["--data", &path(&data)];
        place.ok(&[&["token", "create", "x", "--role", "viewer"], &at[..]].concat());
        let listed = place.ok(&[&["token", "list"], &at[..]].concat());
        assert!(listed.contains('x'), "{name}: {listed}");
    }
}
