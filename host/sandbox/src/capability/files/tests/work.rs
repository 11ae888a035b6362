//! What is granted works.

use rustix::fs::OFlags;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, Host as _, HostDescriptor, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, StreamError};

use super::rig::{FOLLOW, READ, Rig, WRITE, again, code, directory, rule};
use crate::capability::files::bench::FileReadBench;
use crate::capability::files::grant::Access;
use crate::capability::files::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn each_path_goes_to_its_own_grant() {
    let (_keep, dir) = directory();
    for name in ["in", "out", "deep"] {
        std::fs::create_dir(dir.join(name)).expect("mkdir");
        std::fs::write(dir.join(name).join("a"), name).expect("write");
    }
    let mut rig = Rig::new(&[
        rule(&dir.join("in"), "/invoices", Access::Read),
        rule(&dir.join("out"), "/out", Access::ReadWrite),
        rule(&dir.join("deep"), "/out/deep", Access::ReadWrite),
    ]);
    for (path, content) in [
        ("/invoices/a", "in"),
        ("/out/a", "out"),
        ("/out/deep/a", "deep"),
    ] {
        assert_eq!(rig.read(path).await.expect(path), content.as_bytes());
        // The same through the preopen `/`, as a library with another lookup
        // would take it.
        let root = rig.preopen("/");
        let (empty, rest) = (OpenFlags::empty(), path[1..].to_owned());
        let fd = rig
            .view()
            .open_at(root, FOLLOW, rest, empty, READ)
            .await
            .expect(path);
        let (bytes, end) = rig.view().read(fd, 100, 0).await.expect(path);
        assert_eq!((bytes, end), (content.as_bytes().to_vec(), false));
    }
    let usage = rig.gate.usage();
    let read: Vec<_> = usage.iter().map(|u| (u.rule, u.bytes_in)).collect();
    assert_eq!(read, [(Some(0), 4), (Some(1), 6), (Some(2), 8)]);
    assert!(rig.gate.denials().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_root_can_be_granted() {
    let (_keep, dir) = directory();
    for name in ["root", "other"] {
        std::fs::create_dir(dir.join(name)).expect("mkdir");
        std::fs::write(dir.join(name).join("a"), name).expect("write");
    }
    let mut rig = Rig::new(&[
        rule(&dir.join("root"), "/", Access::Read),
        rule(&dir.join("other"), "/b", Access::ReadWrite),
    ]);
    assert_eq!(rig.read("/a").await.expect("read"), b"root");
    assert_eq!(rig.read("/b/a").await.expect("read"), b"other");
    rig.write("/b/c", b"x").await.expect("write");
    assert_eq!(code(rig.write("/c", b"x").await), ErrorCode::NotPermitted);
    assert_eq!(rig.names("/").await.expect("list"), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_made_changed_listed_and_deleted() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    rig.write("/d/b", b"hello").await.expect("write");
    rig.make_dir("/d/sub").await.expect("mkdir");
    rig.rename("/d/b", "/d/sub/c").await.expect("rename");
    assert_eq!(rig.names("/d").await.expect("list"), ["sub"]);
    assert_eq!(rig.read("/d/sub/c").await.expect("read"), b"hello");
    assert_eq!(rig.counted(), (5, 2));

    let (fd, rest) = rig.resolve("/d/sub/c");
    let stat = rig.view().stat_at(fd, FOLLOW, rest).await.expect("stat");
    assert_eq!((stat.type_, stat.size), (DescriptorType::RegularFile, 5));
    let exists = rig
        .open("/d/sub/c", OpenFlags::CREATE | OpenFlags::EXCLUSIVE, WRITE)
        .await;
    assert_eq!(code(exists), ErrorCode::Exist);
    assert_eq!(code(rig.delete("/d/sub").await), ErrorCode::IsDirectory);
    rig.delete("/d/sub/c").await.expect("delete");
    let (fd, rest) = rig.resolve("/d/sub");
    rig.view()
        .remove_directory_at(fd, rest)
        .await
        .expect("rmdir");
    assert_eq!(rig.counted(), (0, 0));
    assert_eq!(code(rig.read("/d/sub/c").await), ErrorCode::NoEntry);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_directories_are_opened_as_what_they_are() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("file"), "x").expect("write");
    std::fs::create_dir(dir.join("sub")).expect("mkdir");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let (none, no) = (OpenFlags::empty(), DescriptorFlags::empty());
    for (path, how, flags, expected) in [
        ("/d/sub", none, READ, Ok(DescriptorType::Directory)),
        (
            "/d/sub",
            OpenFlags::DIRECTORY,
            READ,
            Ok(DescriptorType::Directory),
        ),
        ("/d/sub", none, WRITE, Err(ErrorCode::IsDirectory)),
        (
            "/d/sub",
            OpenFlags::TRUNCATE,
            READ,
            Err(ErrorCode::IsDirectory),
        ),
        (
            "/d/sub",
            OpenFlags::CREATE,
            READ,
            Err(ErrorCode::IsDirectory),
        ),
        (
            "/d/file",
            OpenFlags::DIRECTORY,
            READ,
            Err(ErrorCode::NotDirectory),
        ),
        ("/d/file", none, no, Ok(DescriptorType::RegularFile)),
        (
            "/d/file",
            OpenFlags::CREATE,
            READ,
            Ok(DescriptorType::RegularFile),
        ),
    ] {
        let opened = rig.open(path, how, flags).await;
        let found = match opened {
            Ok(fd) => Ok(rig.view().get_type(fd).await.expect("its type")),
            refused => Err(code(refused)),
        };
        assert_eq!(found, expected, "{path} {how:?} {flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_never_waits() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("file"), "x").expect("write");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    for path in ["/d/file", "/d/new"] {
        let fd = rig.open(path, OpenFlags::CREATE, READ).await.expect(path);
        let node = Resource::<Node>::new_borrow(fd.rep());
        let Ok(Node::File(node)) = rig.table.get(&node) else {
            panic!("{path} is a file");
        };
        let flags = rustix::fs::fcntl_getfl(&node.file.file).expect("its flags");
        assert!(flags.contains(OFlags::NONBLOCK), "{path}: {flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_beyond_a_files_end() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), "12345").expect("write");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::Read)]);
    let file = rig.open("/d/a", OpenFlags::empty(), READ).await;
    let file = file.expect("open");
    let far = i64::MAX.cast_unsigned();
    for offset in [5, far, far + 1, u64::MAX - 1, u64::MAX, u64::MAX] {
        let read = rig.view().read(again(&file), 10, offset).await;
        assert_eq!(read.expect("the end"), (Vec::new(), true), "{offset}");
        let stream = rig.view().read_via_stream(again(&file), offset);
        let stream = stream.expect("stream");
        let input: &mut DynInputStream = rig.table.get_mut(&stream).expect("stream");
        let read = input.blocking_read(10).await;
        assert!(
            matches!(read, Err(StreamError::Closed)),
            "{offset} {read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_say_what_they_are() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), "12345").expect("write");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let file = rig
        .open("/d/a", OpenFlags::empty(), READ | WRITE)
        .await
        .expect("open");
    let mut view = rig.view();
    assert_eq!(
        view.get_flags(again(&file)).await.expect("flags"),
        READ | WRITE
    );
    assert_eq!(
        view.get_type(again(&file)).await.expect("type"),
        DescriptorType::RegularFile
    );
    view.set_size(again(&file), 3).await.expect("set-size");
    view.sync(again(&file)).await.expect("sync");
    view.sync_data(again(&file)).await.expect("sync-data");
    let at = Datetime {
        seconds: 1_000_000,
        nanoseconds: 5,
    };
    let time = NewTimestamp::Timestamp(at);
    view.set_times(again(&file), NewTimestamp::NoChange, time)
        .await
        .expect("set-times");
    let stat = view.stat(again(&file)).await.expect("stat");
    assert_eq!(
        (
            stat.size,
            stat.data_modification_timestamp
                .map(|t| (t.seconds, t.nanoseconds))
        ),
        (3, Some((1_000_000, 5)))
    );
    let dir = rig.preopen("/d");
    let mut view = rig.view();
    let flags = view.get_flags(again(&dir)).await.expect("flags");
    assert_eq!(flags, READ | DescriptorFlags::MUTATE_DIRECTORY);
    view.set_times(again(&dir), NewTimestamp::NoChange, time)
        .await
        .expect("set-times");
    let stat = view.stat(again(&dir)).await.expect("stat");
    let modified = stat.data_modification_timestamp;
    assert_eq!(
        modified.map(|t| (t.seconds, t.nanoseconds)),
        Some((1_000_000, 5))
    );
    let by_name = view
        .metadata_hash_at(again(&dir), FOLLOW, "a".to_owned())
        .await
        .expect("hash");
    let by_fd = view.metadata_hash(again(&file)).await.expect("hash");
    assert_eq!((by_name.lower, by_name.upper), (by_fd.lower, by_fd.upper));
    assert!(
        view.is_same_object(again(&file), again(&file))
            .await
            .expect("same")
    );
    assert!(
        !view
            .is_same_object(again(&file), again(&dir))
            .await
            .expect("other")
    );
    view.sync(again(&dir)).await.expect("sync a directory");
    view.set_times_at(
        again(&dir),
        FOLLOW,
        "a".to_owned(),
        NewTimestamp::Now,
        NewTimestamp::Now,
    )
    .await
    .expect("set-times-at");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_set_of_a_link_or_of_what_it_leads_to() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), "12345").expect("write");
    std::os::unix::fs::symlink("a", dir.join("link")).expect("link");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let seconds = |meta: std::io::Result<std::fs::Metadata>| {
        let modified = meta.and_then(|meta| meta.modified()).expect("a time");
        let since = modified.duration_since(std::time::UNIX_EPOCH);
        since.expect("after 1970").as_secs()
    };
    for (flags, at, file, link) in [
        (FOLLOW, 1_000, 1_000, None),
        (PathFlags::empty(), 2_000, 1_000, Some(2_000)),
    ] {
        let fd = rig.preopen("/d");
        let time = NewTimestamp::Timestamp(Datetime {
            seconds: at,
            nanoseconds: 0,
        });
        let (unchanged, name) = (NewTimestamp::NoChange, "link".to_owned());
        let set = rig
            .view()
            .set_times_at(fd, flags, name, unchanged, time)
            .await;
        set.expect("set");
        assert_eq!(seconds(std::fs::metadata(dir.join("a"))), file);
        let of_link = seconds(std::fs::symlink_metadata(dir.join("link")));
        assert!(link.is_none_or(|link| link == of_link), "{of_link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_read_write_and_append() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let file = rig
        .open("/d/a", OpenFlags::CREATE, READ | WRITE)
        .await
        .expect("open");
    let big = vec![b'x'; 150_000];
    for (bytes, at) in [
        (big.as_slice(), Some(0)),
        (b"end", None),
        (b"START", Some(0)),
    ] {
        let stream = match at {
            Some(offset) => rig.view().write_via_stream(again(&file), offset),
            None => rig.view().append_via_stream(again(&file)),
        };
        let stream = stream.expect("a stream");
        let output: &mut DynOutputStream = rig.table.get_mut(&stream).expect("a stream");
        let written = output.blocking_write_and_flush(bytes.to_vec().into()).await;
        written.expect("written");
        output.cancel().await;
    }
    let stream = rig
        .view()
        .read_via_stream(again(&file), 0)
        .expect("a stream");
    let input: &mut DynInputStream = rig.table.get_mut(&stream).expect("a stream");
    let mut read = Vec::new();
    loop {
        match input.blocking_read(100_000).await {
            Ok(bytes) => read.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(read.len(), 150_003);
    assert_eq!(
        (&read[..6], &read[149_999..]),
        (&b"STARTx"[..], &b"xend"[..])
    );
    let usage = &rig.gate.usage()[0];
    assert_eq!((usage.bytes_in, usage.bytes_out), (150_003, 150_008));
    assert_eq!(rig.gate.budget().held(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_work_without_blocking() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let file = rig
        .open("/d/a", OpenFlags::CREATE, READ | WRITE)
        .await
        .expect("open");
    let stream = rig
        .view()
        .write_via_stream(again(&file), 0)
        .expect("a stream");
    let output: &mut DynOutputStream = rig.table.get_mut(&stream).expect("a stream");
    assert_eq!(output.check_write().expect("ready"), 64 << 10);
    output.write("abc".into()).expect("taken");
    output.ready().await;
    assert_eq!(output.check_write().expect("written"), 64 << 10);
    // What was taken is written though the guest drops the stream at once.
    output.write("def".into()).expect("taken");
    output.cancel().await;
    let stream = rig
        .view()
        .read_via_stream(again(&file), 0)
        .expect("a stream");
    let input: &mut DynInputStream = rig.table.get_mut(&stream).expect("a stream");
    let mut read = input.read(4).expect("nothing yet");
    while read.is_empty() {
        tokio::task::yield_now().await;
        read = input.read(4).expect("or bytes");
    }
    assert_eq!(read, "abcd");
    input.ready().await;
    assert_eq!(input.read(100).expect("the rest"), "ef");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_error_becomes_its_code() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::ReadWrite)]);
    let error = wasmtime::Error::new(ErrorCode::Quota);
    let error = rig.table.push(error).expect("push");
    let code = rig
        .view()
        .filesystem_error_code(again(&error))
        .expect("lookup");
    assert_eq!(code, Some(ErrorCode::Quota));
    let other = rig
        .table
        .push(wasmtime::format_err!("other"))
        .expect("push");
    assert_eq!(
        rig.view().filesystem_error_code(other).expect("lookup"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_stay_inside_are_followed() {
    let (_keep, dir) = directory();
    std::fs::create_dir(dir.join("sub")).expect("mkdir");
    std::fs::write(dir.join("a"), "content").expect("write");
    std::os::unix::fs::symlink("../a", dir.join("sub/link")).expect("link");
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::Read)]);
    assert_eq!(rig.read("/d/sub/link").await.expect("read"), b"content");
    let (fd, rest) = rig.resolve("/d/sub/link");
    assert_eq!(
        rig.view()
            .readlink_at(again(&fd), rest.clone())
            .await
            .expect("readlink"),
        "../a"
    );
    let unfollowed = PathFlags::empty();
    let stat = rig
        .view()
        .stat_at(again(&fd), unfollowed, rest.clone())
        .await
        .expect("stat");
    assert_eq!(stat.type_, DescriptorType::SymbolicLink);
    let open = rig
        .view()
        .open_at(fd, unfollowed, rest, OpenFlags::empty(), READ)
        .await;
    assert_eq!(code(open), ErrorCode::Loop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_100_000_is_listed_in_bounded_memory() {
    let (_keep, dir) = directory();
    for n in 0..100_000 {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join(format!("entry-{n:06}-with-a-long-name-to-fill-memory")),
            rustix::fs::FileType::RegularFile,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("mknod");
    }
    let mut rig = Rig::new(&[rule(&dir, "/d", Access::Read)]);
    let names = rig.names("/d").await.expect("list");
    assert_eq!(names.len(), 100_000);
    assert_eq!(
        names[77_777],
        "entry-077777-with-a-long-name-to-fill-memory"
    );
    assert!(
        rig.gate.budget().held() <= 48 << 10,
        "{}",
        rig.gate.budget().held()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_reads_the_same_both_ways() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), vec![7; 1234]).expect("write");
    let io = tokio::runtime::Handle::current();
    let mut bench = FileReadBench::new(dir.to_str().expect("utf-8"), &io).expect("bench");
    assert_eq!(bench.granted("a").await.expect("granted"), 1234);
    assert_eq!(bench.direct("a").await.expect("direct"), 1234);
    assert!(bench.granted("missing").await.is_err());
    assert!(bench.direct("missing").await.is_err());
}
