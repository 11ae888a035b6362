//! Quotas: exact at the limit, shared by all who write to a directory, and not
//! fooled by deleting, renaming, truncating or racing.

use std::path::Path;
use std::sync::Arc;

use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor, OpenFlags};
use wasmtime_wasi_io::streams::{DynOutputStream, StreamError};

use super::rig::{READ, Rig, WRITE, again, code, directory, limited, none, prepare, rule};
use crate::capability::files::fault::Fault;
use crate::capability::files::grant::Access::ReadWrite;
use crate::capability::files::grant::Rule;
use crate::capability::files::listing::{Seen, walk};
use crate::capability::files::quota::Quota;
use crate::grants::EffectClass;

fn quota(dir: &Path, bytes: u64, files: u64) -> Rule {
    limited(rule(dir, "/d", ReadWrite), bytes, files)
}

/// Bytes and names that are there now.
fn there(dir: &Path) -> (u64, u64) {
    let dir = std::fs::File::open(dir).expect("open");
    let Seen { bytes, files, .. } =
        walk(&cap_std::fs::Dir::from_std_file(dir), u64::MAX).expect("walk");
    (bytes, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_stop_at_the_limit_by_every_way() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[quota(&dir, 100, 10)]);
    rig.write("/d/a", &[0; 100]).await.expect("at the limit");
    assert_eq!(code(rig.write("/d/b", b"x").await), ErrorCode::Quota);
    assert!(
        rig.denied().1.contains("quota of 100B"),
        "{:?}",
        rig.denied()
    );
    let file = rig.open("/d/a", none(), READ | WRITE).await.expect("open");
    let mut view = rig.view();
    assert_eq!(
        view.write(again(&file), vec![1; 100], 0)
            .await
            .expect("over what is there"),
        100
    );
    assert_eq!(
        code(view.write(again(&file), vec![1; 2], 99).await),
        ErrorCode::Quota
    );
    assert_eq!(
        code(view.write(again(&file), vec![1], 1 << 40).await),
        ErrorCode::Quota
    );
    assert_eq!(
        code(view.write(again(&file), vec![1; 2], u64::MAX).await),
        ErrorCode::FileTooLarge
    );
    assert_eq!(
        code(view.set_size(again(&file), 101).await),
        ErrorCode::Quota
    );
    assert_eq!(
        code(view.set_size(again(&file), u64::MAX).await),
        ErrorCode::Quota
    );
    view.set_size(again(&file), 99).await.expect("smaller");
    for (one_more, fits) in [(1, true), (1, false)] {
        let stream = rig.view().append_via_stream(again(&file)).expect("stream");
        let output: &mut DynOutputStream = rig.table.get_mut(&stream).expect("stream");
        let wrote = output
            .blocking_write_and_flush(vec![2; one_more].into())
            .await;
        match wrote {
            Ok(()) => assert!(fits),
            Err(StreamError::LastOperationFailed(error)) => {
                assert!(!fits);
                assert_eq!(error.downcast_ref(), Some(&ErrorCode::Quota));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((rig.counted(), there(&dir)), ((100, 2), (100, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stop_at_the_limit_and_deleting_makes_room() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[quota(&dir, 100, 3)]);
    rig.write("/d/a", b"123").await.expect("write");
    rig.make_dir("/d/b").await.expect("mkdir");
    rig.write("/d/b/c", b"").await.expect("at the limit");
    assert_eq!(code(rig.write("/d/d", b"").await), ErrorCode::Quota);
    assert_eq!(code(rig.make_dir("/d/d").await), ErrorCode::Quota);
    rig.write("/d/a", b"12345")
        .await
        .expect("one that is there");
    // A rename over a file frees it.
    rig.rename("/d/b/c", "/d/a").await.expect("rename");
    assert_eq!(rig.counted(), (0, 2));
    rig.write("/d/d", b"").await.expect("room again");
    rig.delete("/d/d").await.expect("delete");
    rig.make_dir("/d/d").await.expect("room again");
    assert_eq!(rig.counted(), there(&dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_counts_and_what_others_change_is_seen() {
    let (_keep, dir) = directory();
    std::fs::create_dir_all(dir.join("x/y")).expect("mkdir");
    std::fs::write(dir.join("x/y/old"), [0; 60]).expect("write");
    let mut rig = Rig::new(&[quota(&dir, 100, 10)]);
    assert_eq!(rig.counted(), (60, 3));
    rig.write("/d/a", &[0; 40]).await.expect("at the limit");
    assert_eq!(code(rig.write("/d/b", &[0; 1]).await), ErrorCode::Quota);
    // Someone else makes room: the refusal is preceded by a recount, at most
    // one every few seconds.
    std::fs::remove_file(dir.join("x/y/old")).expect("remove");
    let mut wrote = rig.write("/d/b", &[0; 50]).await;
    for _ in 0..600 {
        if wrote.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        wrote = rig.write("/d/b", &[0; 50]).await;
    }
    assert_eq!(wrote.expect("room after a recount"), 50);
    assert_eq!(rig.counted(), there(&dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_over_its_quota_loads_and_can_only_shrink() {
    let (_keep, dir) = directory();
    for n in 0..20 {
        std::fs::write(dir.join(n.to_string()), "12345").expect("write");
    }
    let mut rig = Rig::new(&[quota(&dir, 1000, 5)]);
    assert_eq!(rig.read("/d/7").await.expect("read"), b"12345");
    let file = rig.open("/d/7", none(), WRITE).await.expect("open");
    let grown = rig.view().write(again(&file), b"x".to_vec(), 5).await;
    assert_eq!(code(grown), ErrorCode::Quota);
    rig.view()
        .write(file, b"x".to_vec(), 4)
        .await
        .expect("in place");
    rig.delete("/d/7").await.expect("delete");
    assert_eq!(code(rig.write("/d/new", b"").await), ErrorCode::Quota);

    // Over its bytes alone: what holds none may be made. A longer walk counts all
    // 19, and the one that is deleted is open.
    let mut rig = Rig::new(&[quota(&dir, 10, 50)]);
    assert_eq!(rig.counted(), (100, 19));
    rig.write("/d/new", b"").await.expect("an empty file");
    assert_eq!(code(rig.write("/d/new", b"x").await), ErrorCode::Quota);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_lately_is_not_counted_again() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[quota(&dir, 100, 10)]);
    std::fs::write(dir.join("of-others"), [0; 60]).expect("write");
    rig.write("/d/a", b"12345").await.expect("write");
    assert_eq!(rig.counted(), (5, 1));
    quota_of(&rig, 0).recount();
    assert_eq!(rig.counted(), (65, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_another_name_is_not_gone_with_one() {
    let (_keep, dir) = directory();
    std::fs::write(dir.join("a"), [0; 60]).expect("write");
    std::fs::hard_link(dir.join("a"), dir.join("b")).expect("another name");
    let mut rig = Rig::new(&[quota(&dir, 200, 10)]);
    assert_eq!(rig.counted(), (120, 2), "by name");
    let file = rig.open("/d/a", none(), READ).await.expect("open");
    rig.delete("/d/a").await.expect("delete");
    assert_eq!(rig.counted(), (60, 1));
    assert!(Quota::is_open(&dir.join("b")));
    HostDescriptor::drop(&mut rig.view(), file).expect("close");
    assert_eq!(rig.counted(), (60, 1));
    assert!(!Quota::is_open(&dir.join("b")), "nothing is kept of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_counts_until_it_is_closed() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[quota(&dir, 100, 10)]);
    for round in 0..3 {
        let how = OpenFlags::CREATE;
        let file = rig.open("/d/a", how, READ | WRITE).await.expect("open");
        rig.view()
            .write(again(&file), vec![0; 60], 0)
            .await
            .expect("write");
        if round == 1 {
            rig.write("/d/b", b"").await.expect("write");
            rig.rename("/d/b", "/d/a").await.expect("replace it");
        }
        rig.delete("/d/a").await.expect("delete");
        assert_eq!(rig.counted(), (60, 0), "round {round}");
        assert_eq!(code(rig.write("/d/c", &[0; 41]).await), ErrorCode::Quota);
        let grown = rig.view().write(again(&file), vec![0; 41], 60).await;
        assert_eq!(code(grown), ErrorCode::Quota);
        rig.delete("/d/c").await.expect("delete");
        HostDescriptor::drop(&mut rig.view(), file).expect("close");
        assert_eq!(rig.counted(), (0, 0), "round {round}");
    }
}

/// Two rules on a directory and on one inside it, of 100 bytes each.
fn nested(dir: &Path) -> Rig {
    std::fs::create_dir(dir.join("b")).expect("mkdir");
    let at = |host: &Path, guest| limited(rule(host, guest, ReadWrite), 100, 10);
    Rig::new(&[at(dir, "/a"), at(&dir.join("b"), "/b")])
}

fn quota_of(rig: &Rig, rule: usize) -> Quota {
    let quota = rig.room.prepared.areas[rule].quota.clone();
    quota.expect("a quota")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_by_another_directory_counts_until_it_is_closed() {
    let (_keep, dir) = directory();
    let mut rig = nested(&dir);
    let quota = quota_of(&rig, 1);
    let file = rig.open("/b/x", OpenFlags::CREATE, READ | WRITE).await;
    let file = file.expect("open");
    let wrote = rig.view().write(again(&file), vec![0; 60], 0).await;
    wrote.expect("write");
    rig.delete("/a/b/x").await.expect("delete");
    quota.recount();
    assert_eq!(quota.used(), (60, 0));
    assert_eq!(code(rig.write("/b/y", &[0; 41]).await), ErrorCode::Quota);
    let wrote = rig.view().write(again(&file), vec![0; 10], 60).await;
    wrote.expect("write");
    assert_eq!(quota.used(), (70, 1));
    HostDescriptor::drop(&mut rig.view(), file).expect("close");
    assert_eq!(quota.used(), (0, 1));
}

/// Between an opening and its look at the file's names, another may take those away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_while_it_is_deleted_leaves_nothing_counted() {
    let (_keep, dir) = directory();
    let mut rig = nested(&dir);
    let quota = quota_of(&rig, 1);
    let mut held = Vec::new();
    for (path, bytes) in [("/b/other", 10), ("/a/b/x", 60)] {
        let file = rig.open(path, OpenFlags::CREATE, READ | WRITE).await;
        let file = file.expect("open");
        let wrote = rig.view().write(again(&file), vec![0; bytes], 0).await;
        wrote.expect("write");
        held.push(file);
    }
    let late = std::fs::File::open(dir.join("b/x")).expect("open");
    rig.delete("/b/other").await.expect("delete");
    rig.delete("/a/b/x").await.expect("delete");
    quota.recount();
    assert_eq!(quota.used(), (10, 0));
    let refused = quota.opened(&cap_std::fs::File::from_std(late)).err();
    assert!(
        matches!(refused, Some(Fault::Code(ErrorCode::NoEntry))),
        "{refused:?}"
    );
    assert_eq!(quota.used(), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_directory_truncates_gives_no_credit() {
    let (_keep, dir) = directory();
    let mut rig = nested(&dir);
    let quota = quota_of(&rig, 0);
    let file = rig.open("/a/b/x", OpenFlags::CREATE, READ | WRITE).await;
    let file = file.expect("open");
    let wrote = rig.view().write(again(&file), vec![0; 60], 0).await;
    wrote.expect("write");
    rig.open("/b/x", OpenFlags::TRUNCATE, WRITE)
        .await
        .expect("truncate");
    quota.recount();
    rig.write("/a/y", &[0; 90]).await.expect("it is free");
    let wrote = rig.view().write(again(&file), vec![0; 1], 0).await;
    wrote.expect("write");
    assert_eq!(quota.used(), (91, 3));
    assert_eq!(quota.used(), there(&dir));
    let wrote = rig.view().write(again(&file), vec![0; 10], 1).await;
    assert_eq!(code(wrote), ErrorCode::Quota);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_and_calls_share_one_count() {
    let (_keep, dir) = directory();
    let one = [quota(&dir, 100, 10)];
    let two = [limited(rule(&dir, "/other", ReadWrite), 80, 10)];
    let mut first = Rig::new(&one);
    let mut second = Rig::new(&two);
    first.write("/d/a", &[0; 70]).await.expect("write");
    assert_eq!(second.counted(), (70, 1));
    assert_eq!(
        code(second.write("/other/b", &[0; 11]).await),
        ErrorCode::Quota
    );
    second
        .write("/other/b", &[0; 10])
        .await
        .expect("at its limit");
    first.write("/d/c", &[0; 20]).await.expect("at the other's");
    assert_eq!(code(first.write("/d/d", &[0; 1]).await), ErrorCode::Quota);
    assert_eq!(first.counted(), (100, 4));

    // Whatever directories come and go meanwhile.
    let (_keep, gone) = directory();
    drop(Rig::new(&[quota(&gone, 100, 10)]));
    let (_keep, other) = directory();
    let _other = Rig::new(&[quota(&other, 100, 10)]);
    let third = Rig::new(&two);
    first.delete("/d/c").await.expect("delete");
    assert_eq!(third.counted(), (80, 3));
    assert!(Quota::is_kept(&other) && !Quota::is_kept(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_never_pass_the_quota_together() {
    let (_keep, dir) = directory();
    let rules = [quota(&dir, 10_000, 40)];
    let prepared = Arc::new(prepare(&rules).expect("prepared"));
    let calls = (0..8).map(|call| {
        let (rules, prepared) = (rules.clone(), Arc::clone(&prepared));
        tokio::spawn(async move {
            let mut rig = Rig::call(&rules, &prepared, EffectClass::Plain);
            let mut refused = 0;
            for n in 0..60 {
                let path = format!("/d/{}", (call * 7 + n) % 50);
                match n % 5 {
                    0..3 => refused += u32::from(rig.write(&path, &vec![0; 700]).await.is_err()),
                    3 => drop(rig.rename(&path, &format!("/d/{}", n % 50)).await),
                    _ => drop(rig.delete(&path).await),
                }
            }
            refused
        })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        refused += call.await.expect("the call");
    }
    assert!(refused > 0, "the quota was never reached");
    let (bytes, files) = there(&dir);
    assert!(
        bytes <= 10_000 && files <= 40,
        "{bytes} bytes, {files} files"
    );
    let counted = prepared.areas[0].quota.as_ref().expect("a quota").used();
    assert_eq!(counted, (bytes, files), "counted and there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_file_counts_by_its_length() {
    let (_keep, dir) = directory();
    let mut rig = Rig::new(&[quota(&dir, 1 << 20, 10)]);
    let file = rig
        .open("/d/a", OpenFlags::CREATE, WRITE)
        .await
        .expect("open");
    rig.view()
        .write(again(&file), vec![1], (1 << 20) - 1)
        .await
        .expect("at the limit");
    assert_eq!(rig.counted(), (1 << 20, 1));
    rig.open("/d/a", OpenFlags::TRUNCATE, WRITE)
        .await
        .expect("truncate");
    assert_eq!(rig.counted(), (0, 1));
}
