//! Calls in flight: a revoked grant stops descriptors, streams and listings; a
//! full budget ends the call; slow work of one plugin is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    ErrorCode, HostDescriptor, HostDirectoryEntryStream, OpenFlags,
};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, StreamError, StreamResult};

use super::rig::{FOLLOW, READ, Rig, WRITE, again, code, directory, grants, none, prepare, rule};
use crate::capability::files::grant::Access::{Read, ReadWrite};
use crate::capability::files::grant::Rule;
use crate::capability::files::slots::Io;
use crate::gate::LimitReached;
use crate::grants::EffectClass;

/// Far from what a slow machine needs.
const LONG: Duration = Duration::from_secs(60);

fn stream_code<T>(result: StreamResult<T>) -> ErrorCode {
    match result.err() {
        Some(StreamError::LastOperationFailed(error)) => *error.downcast_ref().expect("a code"),
        other => panic!("{other:?}"),
    }
}

/// Opens everything, replaces the grants, and uses all that was opened.
async fn check_stopped(change: impl FnOnce(&Rule) -> Vec<Rule>) {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), vec![7; 200_000]).expect("write");
    let granted = rule(&dir, "/d", ReadWrite);
    let mut rig = Rig::new(std::slice::from_ref(&granted));
    let file = rig.open("/d/a", none(), READ | WRITE).await.expect("open");
    let dir_fd = rig.preopen("/d");
    let mut view = rig.view();
    let listing = view.read_directory(again(&dir_fd)).await.expect("list");
    let input = view.read_via_stream(again(&file), 0).expect("stream");
    let output = view.write_via_stream(again(&file), 0).expect("stream");
    let reading: &mut DynInputStream = rig.table.get_mut(&input).expect("stream");
    assert_eq!(reading.blocking_read(100).await.expect("read").len(), 100);

    rig.cell.replace(2, grants(&change(&granted)));

    let reading: &mut DynInputStream = rig.table.get_mut(&input).expect("stream");
    assert_eq!(
        stream_code(reading.blocking_read(100).await),
        ErrorCode::Access
    );
    let writing: &mut DynOutputStream = rig.table.get_mut(&output).expect("stream");
    assert_eq!(
        stream_code(writing.blocking_write_and_flush("x".into()).await),
        ErrorCode::Access
    );
    let mut view = rig.view();
    assert_eq!(
        code(view.read(again(&file), 10, 0).await),
        ErrorCode::Access
    );
    assert_eq!(
        code(view.write(again(&file), vec![1], 0).await),
        ErrorCode::Access
    );
    assert_eq!(
        code(view.set_size(again(&file), 0).await),
        ErrorCode::Access
    );
    assert_eq!(code(view.stat(again(&file)).await), ErrorCode::Access);
    assert_eq!(
        code(view.read_directory_entry(listing).await),
        ErrorCode::Access
    );
    let open = view
        .open_at(dir_fd, FOLLOW, "a".to_owned(), none(), WRITE)
        .await;
    let code = code(open);
    assert!(
        matches!(code, ErrorCode::Access | ErrorCode::NotPermitted),
        "{code:?}"
    );
    assert!(!rig.gate.denials().is_empty());
    assert_eq!(
        std::fs::read(dir.join("a")).expect("there"),
        vec![7; 200_000]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_stops_what_is_open() {
    check_stopped(|_| Vec::new()).await;
    // Narrowed, moved to another directory, moved elsewhere in the guest.
    check_stopped(|rule| {
        vec![Rule {
            access: Read,
            ..rule.clone()
        }]
    })
    .await;
    check_stopped(|rule| {
        vec![Rule {
            host: "/srv".to_owned(),
            ..rule.clone()
        }]
    })
    .await;
    check_stopped(|rule| {
        vec![Rule {
            guest: "/elsewhere".to_owned(),
            ..rule.clone()
        }]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_change_stops_nothing() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), "content").expect("write");
    let granted = rule(&dir, "/d", ReadWrite);
    let mut rig = Rig::new(std::slice::from_ref(&granted));
    let file = rig.open("/d/a", none(), READ).await.expect("open");
    let before = Rule {
        guest: "/before".to_owned(),
        ..granted.clone()
    };
    rig.cell.replace(2, grants(&[before, granted]));
    rig.view().read(file, 10, 0).await.expect("still read");
    assert_eq!(rig.read("/d/a").await.expect("still opened"), b"content");
    // What was added is for the next call: this one has not opened it.
    assert_eq!(code(rig.read("/before/a").await), ErrorCode::Access);
}

#[tokio::test(flavor = "multi_thread")]
async fn buffers_stay_within_the_budget_of_the_call() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    let file = rig
        .open("/d/a", OpenFlags::CREATE, READ | WRITE)
        .await
        .expect("open");
    let _held = rig
        .gate
        .budget()
        .reserve((16 << 20) - 1000)
        .expect("most of it");
    let read = rig
        .view()
        .read(again(&file), 1 << 20, 0)
        .await
        .expect_err("no room");
    let limit = read.downcast().expect_err("a trap");
    assert_eq!(
        limit.downcast_ref::<LimitReached>().map(|l| l.limit),
        Some("host_memory")
    );
    let write = rig.view().write(again(&file), vec![0; 1001], 0).await;
    assert!(write.expect_err("no room").downcast().is_err());
    let stream = rig.view().read_via_stream(again(&file), 0).expect("stream");
    let input: &mut DynInputStream = rig.table.get_mut(&stream).expect("stream");
    assert!(matches!(
        input.blocking_read(5000).await,
        Err(StreamError::Trap(_))
    ));
    let stream = rig
        .view()
        .write_via_stream(again(&file), 0)
        .expect("stream");
    let output: &mut DynOutputStream = rig.table.get_mut(&stream).expect("stream");
    let wrote = output.blocking_write_and_flush(vec![0; 1001].into()).await;
    assert!(matches!(wrote, Err(StreamError::Trap(_))));
    rig.view()
        .write(file, vec![0; 1000], 0)
        .await
        .expect("what fits");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_work_waits_for_its_own_plugin_and_dropped_work_never_starts() {
    let io = Io::new(&tokio::runtime::Handle::current());
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let started = Arc::new(AtomicUsize::new(0));
    let stuck = |io: &Io| {
        let (wait, started) = (Arc::clone(&wait), Arc::clone(&started));
        io.run(move || {
            started.fetch_add(1, Ordering::SeqCst);
            let _ = wait.lock().expect("lock").recv();
            Ok(())
        })
    };
    let hung: Vec<_> = (0..20).map(|_| tokio::spawn(stuck(&io))).collect();
    while started.load(Ordering::SeqCst) < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Another plugin has turns of its own.
    let other = Io::new(&tokio::runtime::Handle::current());
    assert_eq!(other.run(|| Ok(7)).await.expect("its turn"), 7);
    // One that gives up waiting never starts.
    let late = tokio::time::timeout(Duration::from_millis(50), io.run(|| Ok(()))).await;
    assert!(late.is_err());
    // Aborting only asks: what waits is dropped once its task has ended.
    for task in hung {
        task.abort();
        assert!(task.await.is_err_and(|ended| ended.is_cancelled()));
    }
    drop(release);
    assert_eq!(io.run(|| Ok(8)).await.expect("turns are given back"), 8);
    assert_eq!(started.load(Ordering::SeqCst), 16);
}

/// Takes all turns of a plugin until what it gives is dropped.
async fn all_turns(io: &Io) -> std::sync::mpsc::Sender<()> {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let started = Arc::new(AtomicUsize::new(0));
    for _ in 0..16 {
        let (wait, started) = (Arc::clone(&wait), Arc::clone(&started));
        tokio::spawn(io.run(move || {
            started.fetch_add(1, Ordering::SeqCst);
            let _ = wait.lock().expect("lock").recv();
            Ok(())
        }));
    }
    while started.load(Ordering::SeqCst) < 16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    release
}

/// A guest that writes without waiting for any of it.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_nobody_waits_for_keep_no_turns() {
    let (_keep, dir) = directory();
    let rules = [rule(&dir, "/d", ReadWrite)];
    let prepared = Arc::new(prepare(&rules).expect("prepared"));
    let mut rig = Rig::call(&rules, &prepared, EffectClass::Plain);
    let file = rig.open("/d/a", OpenFlags::CREATE, WRITE).await;
    let file = file.expect("open");
    let release = all_turns(rig.room.io()).await;
    let mut streams = Vec::new();
    for n in 0..40 {
        let stream = rig.view().write_via_stream(again(&file), n);
        let stream = stream.expect("stream");
        let output: &mut DynOutputStream = rig.table.get_mut(&stream).expect("stream");
        assert!(output.check_write().expect("room") > 0);
        output.write("x".into()).expect("taken");
        streams.push(stream);
    }
    drop(release);
    let mut other = Rig::call(&rules, &prepared, EffectClass::Plain);
    let deleted = timeout(LONG, other.delete("/d/a")).await;
    deleted.expect("its turn").expect("deleted");
    let last = streams.pop().expect("a stream");
    let output: &mut DynOutputStream = rig.table.get_mut(&last).expect("stream");
    output.flush().expect("flushes");
    timeout(LONG, output.ready()).await.expect("its turn");
    output.check_write().expect("written");
}

/// The lock of the device is held by nobody who waits for a directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_waits_keeps_no_other_directory_waiting() {
    let ((_one, one), (_two, two)) = (directory(), directory());
    let mut busy = Rig::new(&[rule(&one, "/d", ReadWrite)]);
    let mut other = Rig::new(&[rule(&two, "/d", ReadWrite)]);
    for rig in [&mut busy, &mut other] {
        rig.write("/d/a", b"x").await.expect("write");
    }
    let quota = busy.room.prepared.areas[0].quota.clone();
    let quota = quota.expect("a quota");
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (tell, begun) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _growing = quota.busy();
        tell.send(()).expect("heard");
        let _ = wait.recv();
    });
    begun.recv().expect("it grows");
    let mut waits = std::pin::pin!(busy.delete("/d/a"));
    let waited = timeout(Duration::from_millis(200), waits.as_mut()).await;
    assert!(waited.is_err(), "something grows there");
    let deleted = timeout(LONG, other.delete("/d/a")).await;
    deleted.expect("nobody is waited for").expect("deleted");
    drop(release);
    waits.await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_file_work_is_an_error_of_that_call() {
    let io = Io::new(&tokio::runtime::Handle::current());
    let failed = io
        .run(|| -> Result<(), _> { panic!("expected in this test") })
        .await;
    assert!(failed.is_err());
    assert_eq!(io.run(|| Ok(1)).await.expect("next"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_is_rechecked_when_it_comes() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), "content").expect("write");
    let mut rig = Rig::new(&[rule(&dir, "/d", ReadWrite)]);
    let file = rig.open("/d/a", none(), READ | WRITE).await.expect("open");
    let release = all_turns(rig.room.io()).await;
    let cell = Arc::clone(&rig.cell);
    let revoke = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cell.replace(2, grants(&[]));
        drop(release);
    };
    let mut view = rig.view();
    let (wrote, ()) = tokio::join!(view.write(again(&file), vec![1], 0), revoke);
    assert_eq!(code(wrote), ErrorCode::Access);
    assert_eq!(std::fs::read(dir.join("a")).expect("there"), b"content");
}
