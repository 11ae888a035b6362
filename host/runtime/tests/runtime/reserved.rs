//! Airlock's own data and keys can't be granted, by none of the ways that grant.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use airlock_journal::MemoryStore;
use airlock_journal::memory::Disk;
use airlock_runtime::{
    ApplyPolicy, Failure, GrantsUpdate, Policy, Principal, RollbackRequest, Runtime, RuntimeConfig,
};

use crate::host::{self, place, run};

const CODE: &str = "reserved-directory";

/// The keys directory is one whose name begins as the data directory's.
async fn open(dir: &Path, disk: &Disk) -> Arc<Runtime> {
    let config = RuntimeConfig {
        keys_dir: dir.join("data-keys"),
        ..host::config(dir)
    };
    let opened = host::open(config, MemoryStore::on(disk)).await;
    opened.expect("opens")
}

fn who() -> Arc<Principal> {
    Arc::new(Principal::local_admin("test"))
}

async fn install(runtime: &Arc<Runtime>) {
    host::install(runtime, "echo", host::echo()).await;
}

fn rules(host: &Path) -> String {
    let host = host.display();
    format!("files = [{{ host = \"{host}\", guest = \"/d\", access = \"read\" }}]")
}

fn policy(host: &Path, plugin: &str) -> Policy {
    let text = format!("[plugins.{plugin}.grants]\n{}\n", rules(host));
    Policy::parse(&text).expect("a policy")
}

async fn set(runtime: &Arc<Runtime>, host: &Path) -> Result<u64, (&'static str, String)> {
    let update = GrantsUpdate {
        grants: toml::from_str(&rules(host)).expect("grants"),
        ..GrantsUpdate::default()
    };
    let set = runtime.set_grants(&who(), "echo", update).await;
    set.map(|set| set.version)
        .map_err(|error| (error.code(), error.detail()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_granting_reaches_the_hosts_own_data() {
    let (dir, disk) = place();
    let dir = dir.path().canonicalize().expect("a real path");
    let runtime = open(&dir, &disk).await;
    install(&runtime).await;
    symlink(dir.join("data"), dir.join("link")).expect("link");
    std::fs::create_dir(dir.join("database")).expect("mkdir");
    let refused = [
        "data",
        "data/components",
        "data-keys",
        "link",
        "link/journal",
        ".",
    ];
    for name in refused {
        let host = dir.join(name);
        let (code, detail) = set(&runtime, &host).await.expect_err(name);
        assert_eq!(code, CODE, "{name}");
        assert!(
            detail.contains(&*host.to_string_lossy()),
            "{name}: {detail}"
        );
        // Also for a plugin that is not installed yet.
        for plugin in ["echo", "other"] {
            let policy = policy(&host, plugin);
            let shown = runtime.policy_diff(&who(), &policy).await;
            assert_eq!(shown.expect_err(name).code(), CODE, "{name} for {plugin}");
            let applied = runtime
                .policy_apply(&who(), &policy, &ApplyPolicy::default())
                .await;
            assert_eq!(applied.expect_err(name).code(), CODE, "{name} for {plugin}");
        }
        let in_force = runtime.grants(&who(), "echo").expect("is there");
        assert_eq!(in_force.version, 0, "{name}: nothing changed");
    }
    let (code, detail) = set(&runtime, &dir.join("database/../data"))
        .await
        .expect_err("`..`");
    assert_eq!(code, "invalid-grants");
    assert!(detail.contains("must not contain `..`"), "{detail}");
    assert_eq!(set(&runtime, &dir.join("database")).await, Ok(1));
    let applied = runtime
        .policy_apply(
            &who(),
            &policy(&dir.join("database"), "echo"),
            &ApplyPolicy::default(),
        )
        .await;
    assert!(applied.is_ok(), "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_put_there_later_is_found_when_it_is_opened() {
    let (dir, disk) = place();
    let dir = dir.path().canonicalize().expect("a real path");
    let runtime = open(&dir, &disk).await;
    install(&runtime).await;
    std::fs::create_dir(dir.join("inbox")).expect("mkdir");
    assert_eq!(set(&runtime, &dir.join("inbox")).await, Ok(1));
    let nothing = GrantsUpdate::default();
    runtime
        .set_grants(&who(), "echo", nothing)
        .await
        .expect("is set");
    std::fs::remove_dir(dir.join("inbox")).expect("removes");
    symlink(dir.join("data"), dir.join("inbox")).expect("link");
    let request = RollbackRequest {
        version: Some(1),
        why: String::new(),
    };
    let back = runtime.rollback_grants(&who(), "echo", &request).await;
    assert_eq!(back.expect_err("is refused").code(), CODE);

    // Granted while it was a directory, opened while it is a link.
    std::fs::remove_file(dir.join("inbox")).expect("removes");
    std::fs::create_dir(dir.join("inbox")).expect("mkdir");
    assert_eq!(set(&runtime, &dir.join("inbox")).await, Ok(3));
    drop(runtime);
    std::fs::remove_dir(dir.join("inbox")).expect("removes");
    symlink(dir.join("data-keys"), dir.join("inbox")).expect("link");
    let again = open(&dir, &disk).await;
    let refused = again.call(&who(), run("echo", None)).await;
    let refused = refused.expect_err("is refused");
    assert_eq!(refused.code(), "grants-not-in-force");
    let shown = again.plugin(&who(), "echo", None).await.expect("is there");
    let broken = shown.broken.expect("says why");
    assert!(broken.contains("Airlock's keys directory"), "{broken}");
}
