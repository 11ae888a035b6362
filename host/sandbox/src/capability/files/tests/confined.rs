//! What a hostile guest tries with paths, links, special files and read-only
//! grants: each gets a typed error, is recorded, and changes nothing outside.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags,
};

use super::rig::{FOLLOW, READ, Rig, WRITE, again, code, directory, limited, none, rule};
use crate::capability::files::grant::Access::{Read, ReadWrite};
use crate::capability::files::listing::measure;
use crate::grants::EffectClass;

/// A directory with a secret beside the granted `in`, and planted links to it.
fn planted(dir: &Path) -> std::path::PathBuf {
    let granted = dir.join("in");
    std::fs::create_dir(&granted).expect("mkdir");
    std::fs::create_dir(granted.join("sub")).expect("mkdir");
    std::fs::write(dir.join("secret"), "secret").expect("write");
    std::fs::write(granted.join("a"), "content").expect("write");
    symlink("/etc/passwd", granted.join("absolute")).expect("link");
    symlink("../secret", granted.join("relative")).expect("link");
    symlink("..", granted.join("up")).expect("link");
    symlink("relative", granted.join("chain")).expect("link");
    symlink("/proc/self/root", granted.join("magic")).expect("link");
    symlink("loop", granted.join("loop")).expect("link");
    symlink("sub/made", granted.join("dangling")).expect("link");
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_or_link_leads_out() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&planted(&dir), "/d", ReadWrite)]);
    let cases = [
        ("../secret", ErrorCode::Access),
        ("sub/../../secret", ErrorCode::Access),
        ("../../../../../../etc/passwd", ErrorCode::Access),
        ("/etc/passwd", ErrorCode::Access),
        ("/d/a", ErrorCode::NotPermitted),
        ("absolute", ErrorCode::NotPermitted),
        ("relative", ErrorCode::NotPermitted),
        ("chain", ErrorCode::NotPermitted),
        ("up/secret", ErrorCode::NotPermitted),
        ("up/in/a", ErrorCode::NotPermitted),
        ("magic/etc/passwd", ErrorCode::NotPermitted),
        ("loop", ErrorCode::Loop),
        ("a\0b", ErrorCode::IllegalByteSequence),
        ("", ErrorCode::NoEntry),
        ("a/b", ErrorCode::NotDirectory),
    ];
    for (path, expected) in cases {
        let before = rig.denials_counted();
        let fd = rig.preopen("/d");
        let open = rig
            .view()
            .open_at(fd, FOLLOW, path.to_owned(), none(), READ)
            .await;
        assert_eq!(code(open), expected, "{path}");
        let refused = matches!(expected, ErrorCode::Access | ErrorCode::NotPermitted);
        let recorded = rig.denials_counted() - before;
        assert_eq!(recorded, u64::from(refused), "{path}");
        let stat = rig.preopen("/d");
        let stat = rig.view().stat_at(stat, FOLLOW, path.to_owned()).await;
        assert_eq!(code(stat), expected, "stat {path}");
    }
    for (link, expected) in [
        ("absolute", ErrorCode::NotPermitted),
        ("relative", ErrorCode::NotPermitted),
        ("up", ErrorCode::NotPermitted),
        ("a", ErrorCode::Invalid),
    ] {
        let fd = rig.preopen("/d");
        let leads = rig.view().readlink_at(fd, link.to_owned()).await;
        assert_eq!(code(leads), expected, "readlink {link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_or_changed_through_a_planted_link() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&planted(&dir), "/d", ReadWrite)]);
    for link in ["absolute", "relative", "chain", "up/made"] {
        let wrote = rig.write(&format!("/d/{link}"), b"changed").await;
        assert_eq!(code(wrote), ErrorCode::NotPermitted, "{link}");
    }
    // A link inside that leads to nothing is not written through either.
    assert_eq!(code(rig.write("/d/dangling", b"x").await), ErrorCode::Busy);
    assert_eq!(
        code(rig.make_dir("/d/up/made").await),
        ErrorCode::NotPermitted
    );
    assert_eq!(
        code(rig.delete("/d/up/secret").await),
        ErrorCode::NotPermitted
    );
    assert_eq!(
        code(rig.rename("/d/up/secret", "/d/b").await),
        ErrorCode::NotPermitted
    );
    assert_eq!(
        code(rig.rename("/d/a", "/d/up/b").await),
        ErrorCode::NotPermitted
    );
    let fd = rig.preopen("/d");
    let (up, now) = ("up/secret".to_owned(), NewTimestamp::Now);
    let times = rig.view().set_times_at(fd, FOLLOW, up, now, now).await;
    assert_eq!(code(times), ErrorCode::NotPermitted);
    assert_eq!(std::fs::read(dir.join("secret")).expect("there"), b"secret");
    assert_eq!(std::fs::read_dir(&dir).expect("there").count(), 2);
    // Deleting a planted link deletes the link, and nothing else.
    rig.delete("/d/relative").await.expect("delete");
    assert!(dir.join("secret").exists() && !dir.join("in/relative").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_made() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&planted(&dir), "/d", ReadWrite)]);
    let fd = rig.preopen("/d");
    for target in ["a", "../secret", "/etc/passwd"] {
        let (old, new) = (target.to_owned(), "new".to_owned());
        let made = rig
            .view()
            .symlink_at(again(&fd), old.clone(), new.clone())
            .await;
        assert_eq!(code(made), ErrorCode::NotPermitted, "{target}");
        let (none, to) = (
            wasmtime_wasi::p2::bindings::filesystem::types::PathFlags::empty(),
            again(&fd),
        );
        let made = rig.view().link_at(again(&fd), none, old, to, new).await;
        assert_eq!(code(made), ErrorCode::NotPermitted, "{target}");
    }
    assert_eq!(rig.denied().0, "link /d/new");
    assert!(!dir.join("in/new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_grant_changes_nothing() {
    let (_keep, dir) = directory();
    let granted = planted(&dir);
    let before = std::fs::metadata(granted.join("a"))
        .expect("there")
        .modified()
        .ok();
    for class in [EffectClass::Plain, EffectClass::ReadOnly] {
        // Read by the grant, and read-write narrowed by the effect class.
        let access = if class == EffectClass::Plain {
            Read
        } else {
            ReadWrite
        };
        let mut rig = Rig::of_class(&[rule(&granted, "/d", access)], class);
        for how in [OpenFlags::CREATE, OpenFlags::TRUNCATE, none()] {
            let opened = rig.open("/d/a", how, READ | WRITE).await;
            assert_eq!(code(opened), ErrorCode::NotPermitted, "{class:?} {how:?}");
        }
        let truncated = rig.open("/d/a", OpenFlags::TRUNCATE, READ).await;
        assert_eq!(code(truncated), ErrorCode::NotPermitted);
        let file = rig.open("/d/a", none(), READ).await.expect("read");
        let (mut view, now) = (rig.view(), NewTimestamp::Now);
        let refused = [
            view.set_size(again(&file), 0).await,
            view.set_times(again(&file), now, now).await,
            view.write(again(&file), b"x".to_vec(), 0).await.map(|_| ()),
            view.write_via_stream(again(&file), 0).map(|_| ()),
            view.append_via_stream(again(&file)).map(|_| ()),
        ];
        for (n, result) in refused.into_iter().enumerate() {
            let code = code(result);
            let closed = matches!(code, ErrorCode::NotPermitted | ErrorCode::BadDescriptor);
            assert!(closed, "{class:?} {n} {code:?}");
        }
        view.sync(again(&file)).await.expect("nothing to sync");
        for result in [
            rig.make_dir("/d/new").await,
            rig.delete("/d/a").await,
            rig.rename("/d/a", "/d/b").await,
        ] {
            assert_eq!(code(result), ErrorCode::NotPermitted, "{class:?}");
        }
        let (fd, rest) = rig.resolve("/d/sub");
        assert_eq!(
            code(rig.view().remove_directory_at(again(&fd), rest).await),
            ErrorCode::NotPermitted
        );
        let times = rig
            .view()
            .set_times_at(again(&fd), FOLLOW, "a".to_owned(), now, now)
            .await;
        assert_eq!(code(times), ErrorCode::NotPermitted);
        assert_eq!(
            code(rig.view().set_times(again(&fd), now, now).await),
            ErrorCode::NotPermitted
        );
        let flags = rig.view().get_flags(fd).await.expect("flags");
        assert_eq!(flags, DescriptorFlags::READ, "{class:?}");
        assert_eq!(rig.read("/d/a").await.expect("still read"), b"content");
    }
    assert_eq!(
        std::fs::metadata(granted.join("a"))
            .expect("there")
            .modified()
            .ok(),
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_grant_is_no_way_into_another() {
    let (_keep, dir) = directory();
    let (read, write) = (dir.join("read"), dir.join("write"));
    for name in [&read, &write] {
        std::fs::create_dir(name).expect("mkdir");
        std::fs::write(name.join("a"), "content").expect("write");
    }
    std::fs::create_dir(write.join("inner")).expect("mkdir");
    std::fs::write(write.join("inner/a"), "shadowed").expect("write");
    let mut rig = Rig::new(&[
        rule(&read, "/read", Read),
        rule(&write, "/write", ReadWrite),
        rule(&dir.join("read"), "/write/inner", Read),
    ]);
    assert_eq!(
        code(rig.rename("/read/a", "/write/b").await),
        ErrorCode::NotPermitted
    );
    assert_eq!(
        code(rig.rename("/write/a", "/read/b").await),
        ErrorCode::NotPermitted
    );
    // `inner` of the second directory is hidden by the third rule.
    assert_eq!(rig.read("/write/inner/a").await.expect("read"), b"content");
    let fd = rig.preopen("/write");
    let hidden = rig
        .view()
        .open_at(again(&fd), FOLLOW, "inner/a".to_owned(), none(), READ)
        .await;
    assert_eq!(code(hidden), ErrorCode::NotPermitted);
    let hidden = rig
        .view()
        .open_at(again(&fd), FOLLOW, "inner/a".to_owned(), none(), WRITE)
        .await;
    assert_eq!(code(hidden), ErrorCode::NotPermitted);
    let across = rig
        .view()
        .open_at(fd, FOLLOW, "../read/a".to_owned(), none(), READ)
        .await;
    assert_eq!(code(across), ErrorCode::NotPermitted);
    for path in ["/write", "/read"] {
        let moved = rig.rename(path, "/write/moved").await;
        assert_eq!(code(moved), ErrorCode::NotPermitted, "{path}");
        assert_eq!(
            code(rig.delete(path).await),
            ErrorCode::NotPermitted,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_between_writable_grants_are_refused() {
    let (_keep, dir) = directory();
    for name in ["one", "two"] {
        std::fs::create_dir(dir.join(name)).expect("mkdir");
    }
    let mut rig = Rig::new(&[
        rule(&dir.join("one"), "/one", ReadWrite),
        rule(&dir.join("two"), "/two", ReadWrite),
    ]);
    rig.write("/one/a", b"x").await.expect("write");
    assert_eq!(
        code(rig.rename("/one/a", "/two/a").await),
        ErrorCode::CrossDevice
    );
    assert!(rig.denied().1.contains("copy instead"));
    assert!(dir.join("one/a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_grants_of_two_plugins_keep_their_own_access() {
    let (_keep, dir) = directory();
    let mut writer = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    let mut reader = Rig::new(&[rule(&dir, "/d", Read)]);
    writer.write("/d/a", b"one").await.expect("write");
    let held = reader.open("/d/a", none(), READ).await.expect("read");
    assert_eq!(
        code(reader.write("/d/a", b"two").await),
        ErrorCode::NotPermitted
    );
    assert_eq!(
        code(reader.view().set_size(held, 0).await),
        ErrorCode::NotPermitted
    );
    assert_eq!(reader.read("/d/a").await.expect("read"), b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn special_files_are_refused_without_waiting() {
    let (_keep, dir) = directory();
    let fifo = dir.join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("fifo");
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("socket");
    let device = rustix::fs::makedev(1, 3);
    // Needs privileges; without them there is no device to refuse.
    let devices = rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("device"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        device,
    )
    .is_ok();
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    for name in ["fifo", "socket"]
        .into_iter()
        .chain(devices.then_some("device"))
    {
        for flags in [READ, WRITE, READ | WRITE] {
            let opened = rig.open(&format!("/d/{name}"), none(), flags).await;
            assert_eq!(code(opened), ErrorCode::NotPermitted, "{name} {flags:?}");
        }
        assert!(
            rig.denied().1.contains("no devices, pipes or sockets"),
            "{name}"
        );
    }
    // With somebody at the pipe's other end no opening would wait.
    let other_end = std::fs::File::options().read(true).write(true).open(fifo);
    let _other_end = other_end.expect("open");
    for name in ["fifo", "socket"]
        .into_iter()
        .chain(devices.then_some("device"))
    {
        let (fd, now) = (rig.preopen("/d"), NewTimestamp::Now);
        let set = rig
            .view()
            .set_times_at(fd, FOLLOW, name.to_owned(), now, now)
            .await;
        assert_eq!(code(set), ErrorCode::NotPermitted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_open_files_are_bounded() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    let long = ["a/".repeat(3000), "a".repeat(300), "a/".repeat(200)];
    for path in long {
        let made = rig.make_dir(&format!("/d/{path}")).await;
        assert_eq!(code(made), ErrorCode::NameTooLong);
    }
    rig.write("/d/a", b"x").await.expect("write");
    let mut open = Vec::new();
    let refused = loop {
        match rig.open("/d/a", none(), READ).await {
            Ok(fd) => open.push(fd),
            Err(error) => break code::<()>(Err(error)),
        }
    };
    assert_eq!((open.len(), refused), (256, ErrorCode::InsufficientMemory));
    assert!(rig.denied().1.contains("256 files open"));
    for fd in open {
        HostDescriptor::drop(&mut rig.view(), fd).expect("drop");
    }
    assert_eq!(rig.room.slots.used(), 0);
    rig.open("/d/a", none(), READ).await.expect("room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_not_deepened_by_renames() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    for top in ["/d/one", "/d/two"] {
        let mut path = top.to_owned();
        for _ in 0..80 {
            rig.make_dir(&path).await.expect("mkdir");
            path.push_str("/x");
        }
    }
    let deep = format!("/d/two{}/one", "/x".repeat(79));
    assert_eq!(
        code(rig.rename("/d/one", &deep).await),
        ErrorCode::NameTooLong
    );
    rig.rename("/d/one", "/d/two/one")
        .await
        .expect("within the bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_not_lengthened_by_renames() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    let name = "n".repeat(250);
    let mut longest = "/d/one".to_owned();
    rig.make_dir(&longest).await.expect("mkdir");
    for _ in 0..16 {
        longest = format!("{longest}/{name}");
        rig.make_dir(&longest).await.expect("mkdir");
    }
    let room = 4096 - longest.len();
    for (more, fits) in [(room + 1, false), (room, true)] {
        let to = format!("/d/one{}", "x".repeat(more));
        match rig.rename("/d/one", &to).await {
            Ok(()) => assert!(fits, "{more}"),
            Err(error) => {
                assert_eq!(code::<()>(Err(error)), ErrorCode::NameTooLong);
                assert!(!fits, "{more}");
            }
        }
    }
}

/// What is not seen whole can be of any depth.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_beyond_the_quota_is_not_moved() {
    let (_keep, dir) = directory();
    for (top, levels) in [("deep", 100), ("to", 40)] {
        std::fs::create_dir_all(dir.join(top).join("x/".repeat(levels))).expect("mkdir");
    }
    let mut rig = Rig::new(&[limited(rule(&dir, "/d", ReadWrite), 1000, 10)]);
    let to = format!("/d/to{}/deep", "/x".repeat(40));
    assert_eq!(code(rig.rename("/d/deep", &to).await), ErrorCode::Quota);
    assert!(rig.denied().1.contains("10 files"), "{:?}", rig.denied());
    assert!(dir.join("deep/x").exists());
}

/// A walk holds one descriptor for each level, and they count as the call's.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rename_opens_is_bounded() {
    let (_keep, dir) = directory();
    std::fs::create_dir_all(dir.join("tree").join("x/".repeat(100))).expect("mkdir");
    let top = cap_std::fs::Dir::from_std_file(std::fs::File::open(&dir).expect("open"));
    let (mut levels, mut open) = (0, 0);
    let walked = measure(&top, 1_000, || {
        levels += 1;
        open = open.max(opened_below(&dir));
        Ok::<_, std::io::Error>(())
    });
    assert!(walked.expect("a walk").complete);
    // The directory itself was open before.
    assert!(open <= levels + 1, "{open} descriptors for {levels} levels");

    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    rig.write("/d/a", b"x").await.expect("write");
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(rig.open("/d/a", none(), READ).await.expect("open"));
    }
    let moved = rig.rename("/d/tree", "/d/moved").await;
    assert_eq!(code(moved), ErrorCode::InsufficientMemory);
    for fd in held {
        HostDescriptor::drop(&mut rig.view(), fd).expect("drop");
    }
    rig.rename("/d/tree", "/d/moved").await.expect("room again");
    assert_eq!(rig.room.slots.used(), 0);
}

/// Descriptors of this process that lead below `dir`.
fn opened_below(dir: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let leads = all.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    leads.filter(|path| path.starts_with(dir)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_of_links_and_renames_never_leads_out() {
    let (_keep, dir) = directory();
    let granted = planted(&dir);
    std::fs::create_dir(granted.join("real")).expect("mkdir");
    std::fs::write(granted.join("real/secret"), "inside").expect("write");
    symlink("..", granted.join("evil")).expect("link");
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, granted) = (Arc::clone(&stop), granted.clone());
        std::thread::spawn(move || {
            let name = |n: &str| granted.join(n);
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                for from in ["real", "evil"] {
                    std::fs::rename(name(from), name("swapped")).expect("rename");
                    std::fs::rename(name("swapped"), name(from)).expect("rename");
                    swaps += 1;
                }
            }
            swaps
        })
    };
    let mut rig = Rig::new(&[rule(&granted, "/d", ReadWrite)]);
    let (mut inside, mut refused, mut tries) = (0, 0, 0);
    // Until both sides of the race were met often, or for very long.
    while (inside < 50 || refused < 50 || tries < 2_000) && tries < 50_000 {
        tries += 1;
        match rig.read("/d/swapped/secret").await {
            Ok(bytes) => {
                assert_eq!(bytes, b"inside");
                inside += 1;
            }
            Err(error) => {
                refused += u32::from(code::<()>(Err(error)) == ErrorCode::NotPermitted);
            }
        }
        drop(rig.write("/d/swapped/made", b"x").await);
    }
    stop.store(true, Ordering::Relaxed);
    let swaps: u64 = swapping.join().expect("the swapper");
    assert!(
        inside > 0 && refused > 0,
        "{inside} {refused} in {swaps} swaps"
    );
    assert!(!dir.join("made").exists(), "a file was made outside");
    assert_eq!(std::fs::read(dir.join("secret")).expect("there"), b"secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_hold_no_host_paths() {
    let (_keep, dir) = directory();
    let granted = planted(&dir);
    let mut rig = Rig::new(&[rule(&granted, "/d", ReadWrite)]);
    for path in ["/d/relative", "/d/missing", "/etc/passwd", "/d/a/b"] {
        let error = rig.read(path).await.expect_err("an error");
        let text = format!("{error:?} {error} {:?}", rig.gate.denials());
        assert!(!text.contains(dir.to_str().expect("utf-8")), "{text}");
    }
}
