//! What administrators do with webhooks: make, list, rotate, remove.

use std::sync::Arc;

use airlock_journal::{Batch, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::types::{GivenSecret, HookMade, HookRequest, HookView, RotateHook, Row, Scheme, label};
use super::{HookError, SPACE};
use crate::engine::Secret;
use crate::principal::{Principal, Role};
use crate::record;
use crate::rows::{decode, encode};
use crate::runs::Maker;
use crate::runtime::Runtime;
use crate::{ids, names};

/// Most webhooks of a host.
const HOOKS_MAX: usize = 1_000;
const RATE_MAX: u32 = 6_000;
const KEEP_S_MAX: u64 = 7 * 24 * 3_600;
/// Before the base64 of a secret of Standard Webhooks.
const WHSEC: &str = "whsec_";

impl Runtime {
    /// The webhooks that `who` may see, by name.
    ///
    /// # Errors
    /// The store failed.
    pub fn hooks(&self, who: &Principal) -> Result<Vec<HookView>, HookError> {
        let rows: Vec<Row> = crate::rows::all(self.store(), SPACE)?;
        let seen = rows.iter().filter(|row| sees(who, row));
        Ok(seen.map(|row| self.shown_hook(row)).collect())
    }

    /// Names of the webhooks that were made with a token.
    pub(crate) fn hooks_of_token(&self, token: &str) -> Result<Vec<String>, StoreError> {
        let rows: Vec<Row> = crate::rows::all(self.store(), SPACE)?;
        let own = rows.into_iter().filter(|row| row.maker.is_of(token));
        Ok(own.map(|row| row.hook.name).collect())
    }

    fn shown_hook(&self, row: &Row) -> HookView {
        row.view(self.is_revoked(&row.maker))
    }

    /// Makes a webhook.
    ///
    /// # Errors
    /// The request makes no sense, the name is taken, or the store failed.
    pub async fn add_hook(
        self: &Arc<Self>,
        who: &Principal,
        mut request: HookRequest,
    ) -> Result<HookMade, HookError> {
        names::hook_name(&request.name)?;
        let agent = self.checked_hook(who, &request)?;
        let (key, shown) = key_of(request.scheme, request.secret.take())?;
        let _turn = self.hooks.turn.lock().await;
        if find(self, &request.name)?.is_some() {
            return Err(HookError::Exists(request.name));
        }
        if self.store().range(SPACE, b"", None, HOOKS_MAX)?.len() >= HOOKS_MAX {
            return Err(HookError::Full(HOOKS_MAX));
        }
        let id = ids::new_id("hook_");
        let (sealed, first) = self.vault.seal_apart(&label(&id), &key)?;
        let now_ms = ids::now_ms();
        let row = Row {
            hook: request,
            id,
            maker: Maker::of(who),
            agent,
            made_ms: now_ms,
            secret_ms: now_ms,
            sealed,
            previous: None,
        };
        let batch = Batch {
            ops: first.into_iter().collect(),
        };
        self.write_hook(who, "hook.add", &row, batch, json!(row.hook))
            .await?;
        Ok(HookMade {
            secret: shown,
            hook: self.shown_hook(&row),
        })
    }

    /// Gives a webhook another secret. Whoever knows that one has it act, so it
    /// acts in the name of whoever gave it from then on.
    ///
    /// # Errors
    /// There is none, the request makes no sense, `who` may not have it do what it
    /// does, or the store failed.
    pub async fn rotate_hook(
        self: &Arc<Self>,
        who: &Principal,
        name: &str,
        request: RotateHook,
    ) -> Result<HookMade, HookError> {
        if request.keep_s > KEEP_S_MAX {
            return Err(HookError::Invalid(format!(
                "keep_s: at most {KEEP_S_MAX}, a week"
            )));
        }
        let _turn = self.hooks.turn.lock().await;
        let before = self.hook_row(who, name)?;
        let maker = Maker::of(who);
        if before.maker != maker {
            self.checked_hook(who, &before.hook)?;
        }
        let (key, shown) = key_of(before.hook.scheme, request.secret)?;
        let (sealed, _) = self.vault.seal_apart(&before.label(), &key)?;
        let now_ms = ids::now_ms();
        let until_ms = now_ms + request.keep_s * 1_000;
        let previous = (request.keep_s > 0).then(|| (before.sealed.clone(), until_ms));
        let detail = json!({ "keep_s": request.keep_s, "by_before": before.maker.by });
        let row = Row {
            maker,
            sealed,
            previous,
            secret_ms: now_ms,
            ..before
        };
        self.write_hook(who, "hook.rotate", &row, Batch::new(), detail)
            .await?;
        Ok(HookMade {
            secret: shown,
            hook: self.shown_hook(&row),
        })
    }

    /// Removes a webhook. Runs that it started go on.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn remove_hook(
        self: &Arc<Self>,
        who: &Principal,
        name: &str,
    ) -> Result<(), HookError> {
        let _turn = self.hooks.turn.lock().await;
        self.hook_row(who, name)?;
        let record = self.act_of(who, "hook.remove", name, json!({}))?;
        let batch = Batch::new()
            .delete(SPACE, name.to_owned())
            .op(record::op(&record));
        self.store().commit(batch).await?;
        Ok(())
    }

    async fn write_hook(
        &self,
        who: &Principal,
        action: &str,
        row: &Row,
        batch: Batch,
        detail: Value,
    ) -> Result<(), HookError> {
        let name = row.hook.name.clone();
        let record = self.act_of(who, action, &name, detail)?;
        let batch = batch.put(SPACE, name, encode(row)).op(record::op(&record));
        self.store().commit(batch).await?;
        Ok(())
    }

    fn hook_row(&self, who: &Principal, name: &str) -> Result<Row, HookError> {
        let found = find(self, name)?.filter(|row| sees(who, row));
        found.ok_or_else(|| HookError::NotFound(name.to_owned()))
    }

    /// Refuses what could never be done; gives the agent it is about.
    fn checked_hook(
        &self,
        who: &Principal,
        request: &HookRequest,
    ) -> Result<Option<String>, HookError> {
        let invalid = |text: &str| Err(HookError::Invalid(text.to_owned()));
        if !(1..=RATE_MAX).contains(&request.rate_per_min) {
            return invalid("rate_per_min: 1 to 6000");
        }
        match (&request.start, &request.signal) {
            (Some(start), None) => {
                if start["input"].get("payload").is_some() {
                    return invalid("start: its input's `payload` is the delivery's body");
                }
                Ok(Some(self.checked_start(who, start)?.agent))
            }
            (None, Some(signal)) => {
                if !signal.payload.is_null() {
                    return invalid("signal: its payload is the delivery's body");
                }
                crate::runs::check_signal(&signal.name, &Value::Null)?;
                match (&signal.run, &signal.run_at, &signal.agent) {
                    (Some(run), None, None) => Ok(Some(self.checked_signal(who, run)?)),
                    (None, Some(at), Some(agent)) if at.starts_with('/') => {
                        self.checked_agent(who, agent)?;
                        Ok(Some(agent.clone()))
                    }
                    (None, Some(_), Some(_)) => {
                        invalid("signal: `run_at` is a JSON pointer, as `/data/run`")
                    }
                    (None, Some(_), None) => invalid(
                        "signal: `run_at` needs `agent`: its runs alone get what a delivery brings",
                    ),
                    (Some(_), None, Some(_)) => {
                        invalid("signal: `agent` belongs to `run_at`; `run` names one run")
                    }
                    _ => invalid("signal: give either `run` or `run_at`"),
                }
            }
            _ => invalid("give either `start` or `signal`"),
        }
    }
}

fn sees(who: &Principal, row: &Row) -> bool {
    let own = row.maker.by == who.name;
    match &row.agent {
        Some(agent) => who.may_see(agent) && (own || who.has_one_of(&[Role::Operator])),
        None => own || (!who.is_scoped() && who.has_one_of(&[Role::Operator])),
    }
}

/// The row of a webhook.
pub(super) fn find(runtime: &Runtime, name: &str) -> Result<Option<Row>, StoreError> {
    let found = runtime.store().get(SPACE, name.as_bytes())?;
    found
        .map(|bytes| decode(SPACE, name.as_bytes(), &bytes))
        .transpose()
}

/// The key that was given, or a new one with the text to show.
fn key_of(
    scheme: Scheme,
    given: Option<GivenSecret>,
) -> Result<(Secret, Option<String>), HookError> {
    let invalid = |text: &str| Err(HookError::Invalid(text.to_owned()));
    match (scheme, given) {
        (Scheme::Standard, None) => {
            let key = ids::random::<32>();
            let text = format!("{WHSEC}{}", STANDARD.encode(key));
            Ok((Secret::new(key), Some(text)))
        }
        (Scheme::Github, None) => {
            let text = ids::hex(&ids::random::<32>());
            Ok((Secret::new(text.clone().into_bytes()), Some(text)))
        }
        (Scheme::Standard, Some(GivenSecret(text))) => {
            let key = text.strip_prefix(WHSEC);
            let key = key.and_then(|text| STANDARD.decode(text).ok());
            match key.filter(|key| (24..=64).contains(&key.len())) {
                Some(key) => Ok((Secret::new(key), None)),
                None => invalid("secret: `whsec_` and 24 to 64 bytes in base64"),
            }
        }
        (Scheme::Github, Some(GivenSecret(text))) => match (16..=256).contains(&text.len()) {
            true => Ok((Secret::new(text.into_bytes()), None)),
            false => invalid("secret: 16 to 256 characters"),
        },
    }
}
