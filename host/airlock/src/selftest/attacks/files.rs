//! Getting at files that were not granted. The prober may read `/ro` and write
//! to `/rw`; the secret lies beside them, and `/ro/planted` is a symbolic link to
//! it that somebody planted.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::super::ground::{CANARY, Ground};
use super::{Attack, Expect, Seen, got, members, refused_by};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack::new("files", "evil-prober", ($name, $tool), |_| $input, $expect)
    };
}

/// An attack on the descriptors themselves, below the standard library.
macro_rules! raw {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack::new("files", "evil-files", ($name, $tool), |_| $input, $expect)
    };
}

/// Refused as what may not be, and not since it is missing.
const REFUSED: Expect = Expect::Answer("refused", |answer| {
    refused_by(answer, &["ermission denied", "not permitted"])
});

const UNCHANGED: Expect = Expect::After("refused, and unchanged", |seen| {
    let told = members(&seen.body["output"]);
    let refused = told.is_some_and(|mut all| all.all(|(_, told)| none_worked(told)));
    refused && is(seen, "ro/readable.txt", "may be read") && is(seen, "rw/own.txt", "own")
});

/// Among the outcomes of several attempts none is `ok`, and there are some.
fn none_worked(told: &Value) -> bool {
    told.as_array().is_some_and(|told| {
        !told.is_empty() && told.iter().all(|told| told.is_string() && told != "ok")
    })
}

/// Whether a file of the scene holds this.
fn is(seen: &Seen<'_>, file: &str, content: &str) -> bool {
    std::fs::read_to_string(seen.ground.folder(file)).is_ok_and(|text| text == content)
}

/// The bytes and the number of the files in a folder of the scene.
fn held(seen: &Seen<'_>, folder: &str) -> (u64, usize) {
    let entries = std::fs::read_dir(seen.ground.folder(folder))
        .into_iter()
        .flatten();
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.fold((0, 0), |(bytes, files), file| {
        (bytes + file.len(), files + 1)
    })
}

/// Puts a folder and a link out of the grant in each other's place.
fn swap(ground: &Ground, stop: &AtomicBool) {
    let name = |name: &str| ground.folder(&format!("race/{name}"));
    while !stop.load(Ordering::Relaxed) {
        for from in ["in", "out"] {
            let _ = std::fs::rename(name(from), name("swapped"));
            let _ = std::fs::rename(name("swapped"), name(from));
        }
    }
}

/// Everything that was seen through the swapped name is known, and the folder
/// was among it.
fn saw_the_inside_alone(seen: &Seen<'_>) -> bool {
    let known = ["inside", "not-permitted", "no-entry"];
    let told = &seen.body["output"];
    let all =
        members(told).is_some_and(|mut all| all.all(|(told, _)| known.contains(&told.as_str())));
    all && told["inside"].is_u64() && !seen.ground.folder("outside/made").exists()
}

pub(super) const ATTACKS: &[Attack] = &[
    attack!(
        "reads what it was granted",
        "read",
        json!({ "path": "/ro/readable.txt" }),
        Expect::Answer("the file", |v| got(v) && v["data"] == "may be read")
    ),
    attack!(
        "writes what it was granted",
        "write",
        json!({ "path": "/rw/new.txt" }),
        Expect::After("the file", |seen| {
            got(&seen.body["output"]) && is(seen, "rw/new.txt", "written by an attacker")
        })
    ),
    attack!(
        "reads /etc/passwd",
        "read",
        json!({ "path": "/etc/passwd" }),
        Expect::Denied("files")
    ),
    attack!(
        "reads a host path",
        "read",
        json!({ "path": "/proc/self/environ" }),
        Expect::Denied("files")
    ),
    attack!(
        "lists the root",
        "list",
        json!({ "path": "/" }),
        Expect::Denied("files")
    ),
    attack!(
        "climbs with ..",
        "read",
        json!({ "path": "/ro/../outside/secret.txt" }),
        REFUSED
    ),
    attack!(
        "climbs with .. within",
        "read",
        json!({ "path": "/ro/x/../../outside/secret.txt" }),
        REFUSED
    ),
    attack!(
        "climbs with many ..",
        "read",
        json!({ "path": "/ro/../../../../../../etc/passwd" }),
        REFUSED
    ),
    attack!(
        "uses a relative path",
        "read",
        json!({ "path": "../outside/secret.txt" }),
        REFUSED
    ),
    attack!(
        "uses NUL",
        "read",
        json!({ "path": "/ro/readable.txt%00/../../outside/secret.txt" }),
        Expect::Answer("refused", |v| refused_by(v, &["NUL"]))
    ),
    attack!(
        "follows a planted link",
        "read",
        json!({ "path": "/ro/planted" }),
        REFUSED
    ),
    attack!(
        "follows a planted link to a folder",
        "read",
        json!({ "path": "/ro/planted-folder/secret.txt" }),
        REFUSED
    ),
    attack!(
        "writes through a planted link",
        "write",
        json!({ "path": "/rw/planted" }),
        Expect::After("the target is unchanged", |seen| {
            !got(&seen.body["output"]) && is(seen, "outside/secret.txt", CANARY)
        })
    ),
    attack!(
        "makes a link out of its folder",
        "soft_link",
        json!({ "from": "../outside/secret.txt", "to": "/rw/out" }),
        Expect::Answer("not made", |v| v["made"] == false && v["ok"] == false)
    ),
    attack!(
        "makes an absolute link",
        "soft_link",
        json!({ "from": "/etc/passwd", "to": "/rw/abs" }),
        Expect::Answer("not made", |v| v["made"] == false && v["ok"] == false)
    ),
    attack!(
        "writes where it may read",
        "write",
        json!({ "path": "/ro/readable.txt" }),
        REFUSED
    ),
    attack!(
        "truncates where it may read",
        "truncate",
        json!({ "path": "/ro/readable.txt" }),
        Expect::After("the file is whole", |seen| {
            !got(&seen.body["output"]) && is(seen, "ro/readable.txt", "may be read")
        })
    ),
    attack!(
        "removes where it may read",
        "remove",
        json!({ "path": "/ro/readable.txt" }),
        REFUSED
    ),
    attack!(
        "moves out of what it may read",
        "rename",
        json!({ "from": "/ro/readable.txt", "to": "/rw/mine" }),
        REFUSED
    ),
    attack!(
        "moves into what it may read",
        "rename",
        json!({ "from": "/rw/own.txt", "to": "/ro/planted2" }),
        REFUSED
    ),
    attack!(
        "links what it may read to where it may write",
        "hard_link",
        json!({ "from": "/ro/readable.txt", "to": "/rw/linked" }),
        REFUSED
    ),
    attack!(
        "opens a pipe",
        "fifo_like",
        json!({ "path": "/rw/pipe" }),
        REFUSED
    ),
    attack!(
        "uses a very long path",
        "read",
        json!({ "path": format!("/ro/{}", "a/".repeat(10_000)) }),
        Expect::Answer("refused", |v| refused_by(v, &["too long"]))
    ),
    attack!(
        "fills the disk",
        "fill",
        json!({ "path": "/rw/full", "amount": 64 << 20 }),
        Expect::After("ended at the quota, and not before", |seen| {
            let written = seen.body["output"]["written"].as_u64().unwrap_or_default();
            let (bytes, _) = held(seen, "rw");
            !got(&seen.body["output"]) && written > 512 << 10 && bytes <= 1 << 20
        })
    ),
    attack!(
        "makes very many files",
        "many",
        json!({ "path": "/rw", "amount": 5_000 }),
        Expect::After("ended at the quota, and not before", |seen| {
            let (_, files) = held(seen, "rw");
            !got(&seen.body["output"]) && (90..=100).contains(&files)
        })
    ),
    raw!(
        "opens what was not granted, by every name",
        "open_each",
        json!({ "dir": "/ro", "paths": [
            "readable.txt", "../outside/secret.txt", "/etc/passwd", "planted",
            "planted-folder/secret.txt", "x/../../outside/secret.txt", "readable.txt\u{0}",
            "../rw/own.txt",
        ] }),
        Expect::Answer("only what was granted", |v| {
            let opened =
                |(path, told): (&String, &Value)| (!told.is_string()).then(|| path.clone());
            members(v).is_some_and(|all| all.filter_map(opened).eq(["readable.txt".to_owned()]))
        })
    ),
    raw!(
        "asks where planted links lead",
        "readlink_each",
        json!({ "dir": "/ro", "paths": ["planted", "planted-folder"] }),
        Expect::Answer("not told", |v| {
            members(v).is_some_and(|mut all| all.all(|(_, told)| told == "not-permitted"))
        })
    ),
    raw!(
        "makes links of every kind",
        "link_each",
        json!({ "dir": "/raw", "paths": ["own.txt", "../outside/secret.txt", "/etc/passwd"] }),
        Expect::After("none is made", |seen| {
            let told = members(&seen.body["output"]);
            told.is_some_and(|mut all| all.all(|(_, told)| none_worked(told)))
                && std::fs::symlink_metadata(seen.ground.folder("raw/evil")).is_err()
        })
    ),
    raw!(
        "changes in every way what it may read",
        "change_each",
        json!({ "dir": "/ro", "paths": ["readable.txt"] }),
        UNCHANGED
    ),
    raw!(
        "changes by its own read grant what another plugin may write",
        "change_each",
        json!({ "dir": "/theirs", "paths": ["own.txt"] }),
        UNCHANGED
    ),
    raw!(
        "renames and links between two grants",
        "rename_across",
        json!({ "dir": "/raw", "paths": ["own.txt", "/ro"] }),
        Expect::Answer("refused", none_worked)
    ),
    raw!(
        "races against a link that is swapped in",
        "race",
        json!({ "dir": "/race", "paths": ["swapped"], "amount": 2_000 }),
        Expect::After("only the inside is seen", saw_the_inside_alone)
    )
    .beside(swap),
    raw!(
        "fills one quota by many calls at once",
        "fill",
        json!({ "dir": "/full", "amount": 9_999 }),
        Expect::After("all end at the quota", |seen| {
            let (bytes, files) = held(seen, "full");
            seen.body["output"]["told"] == "quota"
                && files <= 100
                && (500_000..=1 << 20).contains(&bytes)
        })
    )
    .calls(6),
    raw!(
        "hides bytes in files that are deleted while open",
        "fill",
        json!({ "dir": "/gone", "amount": 100_000, "paths": ["gone"] }),
        Expect::Answer("ended at the quota", |v| {
            let bytes = v["bytes"].as_u64().unwrap_or_default();
            v["told"] == "quota" && (900_000..=1 << 20).contains(&bytes)
        })
    ),
    raw!(
        "makes files and folders without content",
        "inodes",
        json!({ "dir": "/many" }),
        Expect::After("ended at the quota", |seen| {
            seen.body["output"]["file"] == "quota" && held(seen, "many").1 == 100
        })
    ),
    raw!(
        "makes folders in folders without end",
        "deepen",
        json!({ "dir": "/deep" }),
        Expect::Answer("ended", |v| v["told"] == "name-too-long"
            && v["depth"].as_u64() > Some(10))
    ),
    raw!(
        "looks for host paths in error texts",
        "error_text",
        json!({ "dir": "/raw", "paths": ["/raw/missing", "/etc/passwd", "/ro/planted", "/ro/readable.txt/x"] }),
        Expect::Answer("none", |v| {
            let texts = v.as_array().map_or(0, Vec::len);
            texts >= 4 && !v.to_string().contains(".rs")
        })
    ),
];
