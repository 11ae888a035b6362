//! Deliveries that wait for their turn while somebody takes the webhook's rights
//! away.

use super::*;
use crate::host::config;
use crate::host::gated::Gated;

/// What takes the webhook's rights away while deliveries wait for their turn.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Removed,
    Rotated,
    Revoked,
}

impl Taken {
    async fn away_from(self, host: &Host, token: &str) {
        let (runtime, who) = (&host.runtime, &host.who);
        match self {
            Self::Removed => runtime.remove_hook(who, "paid").await.expect("removed"),
            Self::Rotated => {
                let rotated = runtime.rotate_hook(who, "paid", RotateHook::default());
                drop(rotated.await.expect("rotated"));
            }
            Self::Revoked => {
                let revoked = runtime.revoke_token(who, token, false, "").await;
                drop(revoked.expect("revoked"));
            }
        }
    }
}

/// What was signed rightly and waits is not done once that is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_waited_for_its_turn_is_believed_only_if_it_would_be_now() {
    for (taken, expect) in [
        (Taken::Removed, "hook-refused"),
        (Taken::Rotated, "hook-refused"),
        (Taken::Revoked, "hook-revoked"),
    ] {
        let (dir, disk) = place();
        let store = Gated::on(&disk);
        let mut host = store.host(config(dir.path())).await;
        host.prepare(&[]).await;
        let ours = host.with_token(Role::Admin).await;
        let token = ours.token_id.clone().expect("of a token");
        let local = std::mem::replace(&mut host.who, ours);
        add(&host, json!({})).await.expect("made");
        host.who = local;
        store.hold("hook-deliveries");
        let (first, second) = (sent("1", "{}"), sent("2", "{}"));
        let behind = async {
            // The first has the turn from here until it is let go.
            while !store.is_held() {
                tokio::task::yield_now().await;
            }
            let let_go = async { store.let_go() };
            // In this order: each waits behind the one before.
            let (_, second, ()) = tokio::join!(
                taken.away_from(&host, &token),
                second.to(&host, "paid"),
                let_go
            );
            second
        };
        let (first, second) = tokio::join!(first.to(&host, "paid"), behind);
        first.expect("taken");
        let refused = second.expect_err("refused");
        assert!(refused.starts_with(expect), "{taken:?}: {refused}");
        assert_eq!(runs(&host).await, 1, "{taken:?}");
    }
}
