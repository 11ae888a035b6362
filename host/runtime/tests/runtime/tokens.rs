//! Tokens that are changed at once, and what is asked for with them meanwhile.

use airlock_runtime::{
    ActivateRequest, ApplyPolicy, Failure, GrantsUpdate, InstallRequest, Policy, Role, TokenRequest,
};

use crate::host::{Host, install, other, place};

async fn administrator(host: &Host) -> String {
    let request = TokenRequest {
        principal: "ann".to_owned(),
        roles: [Role::Admin].into(),
        ..TokenRequest::default()
    };
    let made = host.runtime.create_token(&host.who, request).await;
    made.expect("is made").view.id
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_that_are_revoked_at_once_one_stays() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    let first = host.runtime.tokens()[0].id.clone();
    let second = administrator(&host).await;
    let revoke = |id: String| {
        let (runtime, who) = (host.runtime.clone(), host.who.clone());
        async move {
            let revoked = runtime.revoke_token(&who, &id, false, "").await;
            revoked.map_or_else(|error| error.code(), |_| "revoked")
        }
    };
    let (one, other) = tokio::join!(revoke(first), revoke(second));
    assert_eq!((one, other), ("revoked", "last-admin"));
    let live = host.runtime.tokens();
    let live = live.iter().filter(|token| token.revoked_ms.is_none());
    assert_eq!(live.count(), 1);
}

/// What waited for its turn while its token was revoked is not done.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waited_is_refused_once_its_token_is_revoked() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    host.install("echo").await;
    let (runtime, ann) = (&host.runtime, host.with_token(Role::Admin).await);
    let id = ann.token_id.clone().expect("of a token");
    let revoked = runtime.revoke_token(&host.who, &id, false, "").await;
    revoked.expect("is revoked");
    let before = runtime
        .plugin(&host.who, "echo", None)
        .await
        .expect("is there");
    let code = |refused: Option<&dyn Failure>| refused.map(|error| (error.code(), error.status()));
    let refused = Some(("unauthenticated", 401));

    let token = runtime.create_token(&ann, TokenRequest::default()).await;
    assert_eq!(code(token.err().as_ref().map(|e| e as _)), refused);
    let token = runtime.revoke_token(&ann, &id, false, "").await;
    assert_eq!(code(token.err().as_ref().map(|e| e as _)), refused);
    let set = runtime.set_grants(&ann, "echo", GrantsUpdate::default());
    assert_eq!(code(set.await.err().as_ref().map(|e| e as _)), refused);
    let policy = Policy::parse("[plugins.echo.limits]\ncpu = \"1s\"").expect("a policy");
    let how = ApplyPolicy::default();
    let applied = runtime.policy_apply(&ann, &policy, &how).await;
    assert_eq!(code(applied.err().as_ref().map(|e| e as _)), refused);
    let request = InstallRequest {
        name: "echo".to_owned(),
        component: other(),
        digest: None,
        activate: true,
        check: false,
        why: String::new(),
    };
    let begun = runtime.install(&ann, request).expect("begins");
    let ended = runtime.wait_operation(&host.who, &begun.id).await;
    let problem = ended.expect("is known").problem.expect("it failed");
    assert_eq!(problem.code, "unauthenticated");
    let activate = ActivateRequest {
        digest: before.digest.clone(),
        downgrade: false,
        why: String::new(),
    };
    let activated = runtime.activate(&ann, "echo", &activate).await;
    assert_eq!(code(activated.err().as_ref().map(|e| e as _)), refused);
    let removed = runtime.remove_plugin(&ann, "echo", false, "").await;
    assert_eq!(code(removed.err().as_ref().map(|e| e as _)), refused);

    let after = runtime
        .plugin(&host.who, "echo", None)
        .await
        .expect("is there");
    assert_eq!(after, before);
    install(runtime, "echo", other()).await;
}
