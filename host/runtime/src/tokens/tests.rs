use airlock_journal::MemoryStore;
use bytes::Bytes;

use super::*;
use crate::record;

fn tokens() -> Tokens {
    Tokens::open(MemoryStore::new()).expect("opens")
}

fn request(expires_in_s: Option<u64>) -> TokenRequest {
    TokenRequest {
        principal: "ann".to_owned(),
        roles: [Role::Admin].into(),
        expires_in_s,
        ..TokenRequest::default()
    }
}

/// Makes a token at `now_ms`.
async fn made(tokens: &Tokens, request: TokenRequest, now_ms: u64) -> NewToken {
    let (change, token) = tokens.prepare("me", request, now_ms).expect("prepared");
    let view = commit(tokens, change).await;
    NewToken { token, view }
}

async fn commit(tokens: &Tokens, change: TokenChange) -> TokenView {
    let audit = record::admin(
        &Principal::local_admin("me"),
        "token",
        "t",
        serde_json::json!({}),
    );
    let committed = tokens.commit(change, record::op(&audit)).await;
    committed.expect("committed")
}

#[tokio::test]
async fn a_token_holds_until_its_time_is_over() {
    let tokens = tokens();
    assert!(tokens.is_empty());
    let made = made(&tokens, request(Some(10)), 1_000).await;
    assert!(!tokens.is_empty());
    assert_eq!(made.view.expires_ms, Some(11_000));
    let who = tokens.authenticate(&made.token, 1_000).expect("it is good");
    let expired = AuthError::Expired {
        id: made.view.id.clone(),
    };
    for (now_ms, holds) in [
        (1_000, true),
        (10_999, true),
        (11_000, false),
        (11_001, false),
        (u64::MAX, false),
    ] {
        let found = tokens.authenticate(&made.token, now_ms);
        let expected = match holds {
            true => Ok(Arc::clone(&who)),
            false => Err(expired.clone()),
        };
        assert_eq!(found, expected, "at {now_ms}");
        assert_eq!(tokens.holds(&who, now_ms), holds, "at {now_ms}");
    }
    assert!(tokens.holds(&Principal::local_admin("me"), u64::MAX));
}

#[tokio::test]
async fn what_is_refused_of_a_token_tells_nothing_but_what_to_send() {
    let tokens = tokens();
    let made = made(&tokens, request(None), 1_000).await;
    let id = &made.view.id;
    assert_eq!(format!("{made:?}"), format!("NewToken({id})"));
    let other = format!("{PREFIX}{id}_{}", "0".repeat(64));
    for text in ["", "airlock_", &other, &made.token.replace(id, "ffff")] {
        let refused = tokens.authenticate(text, 1_000);
        assert_eq!(refused, Err(AuthError::Unknown), "{text}");
    }
    let revoke = tokens.prepare_revoke(id, true, 2_000).expect("prepared");
    assert_eq!(commit(&tokens, revoke).await.revoked_ms, Some(2_000));
    let refused = tokens
        .authenticate(&made.token, 2_000)
        .expect_err("revoked");
    assert_eq!(refused, AuthError::Revoked { id: id.clone() });
    assert_eq!(refused.detail(), "the token is not valid");
    let missing = AuthError::Missing.detail();
    assert_eq!(missing, "send `Authorization: Bearer <token>`");
}

#[test]
fn a_scope_names_a_bounded_number_of_plugins() {
    for (count, taken) in [
        (1, true),
        (SCOPE_PLUGINS_MAX, true),
        (SCOPE_PLUGINS_MAX + 1, false),
        (SCOPE_PLUGINS_MAX + 2, false),
    ] {
        let plugins = (0..count).map(|n| format!("p{n}")).collect();
        let request = TokenRequest {
            plugins: Some(plugins),
            ..request(None)
        };
        let refused = tokens().prepare("me", request, 0).err();
        assert_eq!(refused.is_none(), taken, "{count}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_kept_of_a_token_is_read_again_or_refused() {
    let store = MemoryStore::new();
    let tokens = Tokens::open(Arc::clone(&store) as Arc<dyn Store>).expect("opens");
    let made = made(&tokens, request(None), 1_000).await;
    let again = Tokens::open(Arc::clone(&store) as Arc<dyn Store>).expect("opens");
    assert_eq!(again.list().pop().as_ref(), Some(&made.view));
    assert!(again.authenticate(&made.token, 1_000).is_ok());
    let id = made.view.id.clone();
    let row = store.get(SPACE, id.as_bytes()).expect("reads");
    let row: serde_json::Value =
        serde_json::from_slice(&row.expect("is there")).expect("it is JSON");
    let hash = row["sha256"].as_str().expect("a hash");
    for damaged in [
        &hash[1..],
        &hash[..63],
        &format!("{hash}0"),
        &format!("g{}", &hash[1..]),
    ] {
        let mut row = row.clone();
        row["sha256"] = damaged.into();
        let batch = Batch::new().put(SPACE, id.clone(), Bytes::from(row.to_string()));
        store.commit(batch).await.expect("written");
        let opened = Tokens::open(Arc::clone(&store) as Arc<dyn Store>);
        assert!(opened.is_err(), "{damaged}");
    }
}
