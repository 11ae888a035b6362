//! Tokens that are changed at once.

use airlock_runtime::{Failure, Role, TokenRequest};

use crate::host::{Host, place};

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
