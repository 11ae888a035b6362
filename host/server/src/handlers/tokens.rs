//! Tokens.

use std::collections::BTreeSet;

use airlock_runtime::{Role, TokenRequest, TokenView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Tokens.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenList {
    tokens: Vec<TokenView>,
}

/// How to revoke.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeQuery {
    /// Also where no other token administers the whole host.
    #[serde(default)]
    last: bool,
    /// Why, for the audit.
    #[serde(default)]
    why: String,
}

/// Who a token is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Whoami<'a> {
    principal: &'a str,
    token_id: Option<&'a str>,
    roles: &'a BTreeSet<Role>,
    plugins: Option<&'a BTreeSet<String>>,
}

pub(crate) async fn whoami(call: Call) -> Result<Reply, Refusal> {
    Reply::json(&Whoami {
        principal: &call.who.name,
        token_id: call.who.token_id.as_deref(),
        roles: &call.who.roles,
        plugins: call.who.plugins.as_ref(),
    })
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let tokens = call.runtime().tokens();
    Reply::json(&TokenList { tokens })
}

pub(crate) async fn create(call: Call) -> Result<Reply, Refusal> {
    let request: TokenRequest = call.json()?;
    let token = call.runtime().create_token(&call.who, request).await?;
    let reply = Reply::json_as(201, &token)?;
    Ok(Reply {
        secret: true,
        ..reply
    })
}

pub(crate) async fn revoke(call: Call) -> Result<Reply, Refusal> {
    let query: RevokeQuery = call.query()?;
    let token = call
        .runtime()
        .revoke_token(&call.who, call.param("id"), query.last, &query.why)
        .await?;
    Reply::json(&token)
}
