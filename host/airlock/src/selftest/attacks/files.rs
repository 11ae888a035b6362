//! Getting at files that were not granted. The prober may read `/ro` and write
//! to `/rw`; the secret lies beside them, and `/ro/planted` is a symbolic link to
//! it that somebody planted.

use serde_json::json;

use super::{Attack, Expect, refused};

macro_rules! attack {
    ($name:literal, $tool:literal, $input:expr, $expect:expr) => {
        Attack {
            class: "files",
            name: $name,
            guest: "evil-prober",
            tool: $tool,
            input: |_| $input,
            expect: $expect,
        }
    };
}

const REFUSED: Expect = Expect::Answer("refused", refused);

pub(super) const ATTACKS: &[Attack] = &[
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
        Expect::After("nothing of the host", |_, _, body| {
            !body.to_string().contains("etc")
        })
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
        REFUSED
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
        Expect::After("the target is unchanged", |ground, _, _| {
            std::fs::read_to_string(ground.folder("outside/secret.txt"))
                .is_ok_and(|text| text == super::super::ground::CANARY)
        })
    ),
    attack!(
        "makes a link out of its folder",
        "soft_link",
        json!({ "from": "../outside/secret.txt", "to": "/rw/out" }),
        REFUSED
    ),
    attack!(
        "makes an absolute link",
        "soft_link",
        json!({ "from": "/etc/passwd", "to": "/rw/abs" }),
        REFUSED
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
        Expect::After("the file is whole", |ground, _, _| {
            std::fs::read_to_string(ground.folder("ro/readable.txt"))
                .is_ok_and(|text| text == "may be read")
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
        REFUSED
    ),
    attack!(
        "fills the disk",
        "fill",
        json!({ "path": "/rw/full", "amount": 64 << 20 }),
        Expect::After("ended at the quota", |ground, _, body| {
            let size =
                std::fs::metadata(ground.folder("rw/full")).map_or(0, |metadata| metadata.len());
            body["output"]["ok"] != true && size <= 1 << 20
        })
    ),
    attack!(
        "makes very many files",
        "many",
        json!({ "path": "/rw", "amount": 5_000 }),
        Expect::After("ended at the quota", |ground, _, body| {
            let count = std::fs::read_dir(ground.folder("rw")).map_or(usize::MAX, Iterator::count);
            body["output"]["ok"] != true && count <= 110
        })
    ),
];
