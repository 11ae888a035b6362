//! Deliveries: believed only with the right signature, and done once.
//!
//! What must stay true: a delivery has its effect once, whatever crashes and
//! however often it is sent: the run or the signal is one write with the note of
//! the delivery. A name that does not exist answers like a wrong signature, after
//! as much work. What waited for its turn is believed only if it would be now.

use std::sync::Arc;
use std::time::Instant;

use airlock_journal::{Batch, StoreError};
use bytes::Bytes;
use serde_json::{Value, json};

use super::admin::find;
use super::claim::{Claim, HookHead, claim};
use super::types::{Delivered, Row, Scheme, Taken};
use super::{DELIVERIES, EXPIRY, HookError};
use crate::engine::{Secret, VaultError};
use crate::ids;
use crate::rows::{decode, encode};
use crate::runtime::Runtime;

/// Largest body, bytes.
pub const BODY_BYTES_MAX: usize = 512 << 10;
/// How long a delivery is known again. Longer than its timestamp is believed.
const KEEP_MS: u64 = 24 * 3_600_000;
/// The same where nothing signed says when it was sent.
const KEEP_UNDATED_MS: u64 = 7 * KEEP_MS;
const PRUNE_ROWS: usize = 500;

impl Runtime {
    /// Takes a delivery: starts the run, or gives the signal; once.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn deliver_hook(
        self: &Arc<Self>,
        name: &str,
        head: HookHead<'_>,
        body: &Bytes,
    ) -> Result<Delivered, HookError> {
        let now_ms = ids::now_ms();
        let claim = claim(&head, now_ms)?;
        let signed = self.verified(name, &claim, body, now_ms)?;
        let row = self.still_signed(&signed)?;
        self.ready()?;
        self.hooks.admit(&row, Instant::now())?;
        let payload: Value = serde_json::from_slice(body)
            .map_err(|error| HookError::Body(format!("the body is not JSON: {error}")))?;
        let digest = ids::digest(body);
        let keys = keys(&row, &claim, &digest);
        let _turn = self.hooks.turn.lock().await;
        let row = self.still_signed(&signed)?;
        if let Some(taken) = self.taken(&keys, now_ms)? {
            return match taken.body == digest {
                true => Ok(Delivered {
                    run: taken.run,
                    replayed: true,
                }),
                false => Err(HookError::Reused),
            };
        }
        let keep_ms = match claim.scheme {
            Scheme::Standard => KEEP_MS,
            Scheme::Github => KEEP_UNDATED_MS,
        };
        let note = |run: &str| {
            let taken = Taken {
                body: digest.clone(),
                run: run.to_owned(),
                expires_ms: now_ms + keep_ms,
            };
            noted(&keys, &taken)
        };
        let detail = json!({ "hook": name, "delivery": claim.id });
        let run = match &row.hook.start {
            Some(start) => self.start_for(&row, start, payload, detail, note).await?,
            None => self.signal_for(&row, payload, detail, note).await?,
        };
        Ok(Delivered {
            run,
            replayed: false,
        })
    }

    async fn start_for(
        self: &Arc<Self>,
        row: &Row,
        start: &Value,
        payload: Value,
        detail: Value,
        note: impl Fn(&str) -> Batch,
    ) -> Result<String, HookError> {
        let who = row.maker.principal();
        let mut request = self.checked_start(&who, start)?;
        request.input["payload"] = payload;
        let run = ids::new_id("run_");
        let beside = note(&run);
        self.start_run_as(&who, run.clone(), request, detail, beside)
            .await?;
        Ok(run)
    }

    async fn signal_for(
        self: &Arc<Self>,
        row: &Row,
        payload: Value,
        detail: Value,
        note: impl Fn(&str) -> Batch,
    ) -> Result<String, HookError> {
        let Some(signal) = &row.hook.signal else {
            return Err(HookError::Refused);
        };
        let run = match (&signal.run, &signal.run_at) {
            (Some(run), _) => run.clone(),
            (None, at) => {
                let at = at.as_deref().unwrap_or_default();
                let found = payload.pointer(at).and_then(Value::as_str);
                let none = || HookError::Body(format!("the body has no run's id at `{at}`"));
                let run = found.ok_or_else(none)?;
                self.is_of(run, signal.agent.as_deref())?;
                run.to_owned()
            }
        };
        let who = row.maker.principal();
        let beside = note(&run);
        let signalled = self.signal_with(&who, &run, &signal.name, &payload, detail, beside);
        signalled.await?;
        Ok(run)
    }

    /// The webhook, if there is one and it signed this.
    fn verified(
        self: &Arc<Self>,
        name: &str,
        claim: &Claim,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Signed, HookError> {
        let found = find(self, name)?;
        let row = found.as_ref().filter(|row| row.hook.scheme == claim.scheme);
        let message = [claim.prefix.as_bytes(), body];
        let decoy = self.decoy()?;
        // All are checked, whichever holds.
        let mut held = None;
        for (label, sealed) in checks(row, &decoy, now_ms) {
            let holds = self
                .vault
                .mac_holds(&label, sealed, &message, &claim.signatures)?;
            if holds && held.is_none() {
                held = Some(sealed);
            }
        }
        match row.zip(held) {
            Some((row, sealed)) => Ok(Signed {
                name: name.to_owned(),
                id: row.id.clone(),
                sealed: sealed.to_owned(),
            }),
            None => {
                let known = found.is_some();
                let subject = if known { name } else { "unknown" };
                self.note_refusal("unknown", "hook-refused", subject);
                Err(HookError::Refused)
            }
        }
    }

    /// The webhook as it is now, if what signed a delivery still does and whoever
    /// it acts for still has a say.
    fn still_signed(self: &Arc<Self>, signed: &Signed) -> Result<Row, HookError> {
        let now_ms = ids::now_ms();
        let holds = |row: &Row| {
            let sealed = signed.sealed.as_slice();
            row.id == signed.id && (row.sealed == sealed || row.previous(now_ms) == Some(sealed))
        };
        let Some(row) = find(self, &signed.name)?.filter(holds) else {
            self.note_refusal("unknown", "hook-refused", &signed.name);
            return Err(HookError::Refused);
        };
        if self.is_revoked(&row.maker) {
            self.note_refusal(&row.maker.by, "hook-revoked", &signed.name);
            return Err(HookError::Revoked);
        }
        Ok(row)
    }

    fn decoy(&self) -> Result<Vec<u8>, VaultError> {
        if let Some(sealed) = self.hooks.decoy.get() {
            return Ok(sealed.clone());
        }
        let secret = Secret::new(ids::random::<32>());
        let (sealed, _) = self.vault.seal_apart(DECOY, &secret)?;
        Ok(self.hooks.decoy.get_or_init(|| sealed).clone())
    }

    fn taken(&self, keys: &[Bytes], now_ms: u64) -> Result<Option<Taken>, StoreError> {
        for key in keys {
            if let Some(bytes) = self.store().get(DELIVERIES, key)? {
                let taken: Taken = decode(DELIVERIES, key, &bytes)?;
                if taken.expires_ms > now_ms {
                    return Ok(Some(taken));
                }
            }
        }
        Ok(None)
    }

    /// Forgets deliveries whose time is over; gives how many notes that were.
    ///
    /// # Errors
    /// The store failed.
    pub async fn prune_deliveries(&self, now_ms: u64) -> Result<usize, StoreError> {
        let mut pruned = 0;
        loop {
            let due = self
                .store()
                .range(EXPIRY, &[], Some(&now_ms.to_be_bytes()), PRUNE_ROWS)?;
            if due.is_empty() {
                return Ok(pruned);
            }
            let _turn = self.hooks.turn.lock().await;
            let mut batch = Batch::new();
            for (index, _) in due {
                let key = index.slice(8..);
                // An id that came again after its time has another note by now.
                if self.taken(std::slice::from_ref(&key), now_ms)?.is_none() {
                    batch = batch.delete(DELIVERIES, key);
                }
                batch = batch.delete(EXPIRY, index);
                pruned += 1;
            }
            self.store().commit(batch).await?;
        }
    }
}

/// What signed a delivery: which webhook's secret, as it is sealed.
struct Signed {
    name: String,
    id: String,
    sealed: Vec<u8>,
}

/// What stands in the place of a secret that is not there.
const DECOY: &str = "hook decoy";

/// The secrets that a signature is checked against, with what they are sealed
/// under: as many for a name that does not exist, or that has one secret, as for
/// one that has two.
fn checks<'a>(row: Option<&'a Row>, decoy: &'a [u8], now_ms: u64) -> [(String, &'a [u8]); 2] {
    let secrets = row.map(|row| (row.label(), row.sealed.as_slice(), row.previous(now_ms)));
    let decoy = || (DECOY.to_owned(), decoy);
    match secrets {
        None => [decoy(), decoy()],
        Some((label, now, None)) => [(label, now), decoy()],
        Some((label, now, Some(before))) => [(label.clone(), now), (label, before)],
    }
}

/// What a delivery is known by: its id; where that is not signed, its body too.
fn keys(row: &Row, claim: &Claim, digest: &str) -> Vec<Bytes> {
    let by_id = ids::digest(claim.id.as_bytes());
    let mut keys = vec![format!("{}/id/{by_id}", row.id).into()];
    if claim.scheme == Scheme::Github {
        keys.push(format!("{}/body/{digest}", row.id).into());
    }
    keys
}

fn noted(keys: &[Bytes], taken: &Taken) -> Batch {
    keys.iter().fold(Batch::new(), |batch, key| {
        let index = [&taken.expires_ms.to_be_bytes()[..], key].concat();
        batch
            .put(DELIVERIES, key.clone(), encode(taken))
            .put(EXPIRY, index, Bytes::new())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Principal;
    use crate::runs::Maker;

    /// How much work it is tells nobody whether there is a webhook, or whether its
    /// secret was just changed.
    #[test]
    fn as_many_secrets_are_checked_whatever_there_is() {
        let hook = serde_json::json!({ "name": "paid", "start": {} });
        let row = |previous| Row {
            hook: serde_json::from_value(hook.clone()).expect("a webhook"),
            id: "hook_1".to_owned(),
            maker: Maker::of(&Principal::local_admin("test")),
            agent: None,
            made_ms: 0,
            secret_ms: 0,
            sealed: b"now".to_vec(),
            previous,
        };
        let before = || Some((b"before".to_vec(), 1_000));
        let (own, decoy) = ("hook hook_1", DECOY);
        let table = [
            (None, 0, [(decoy, "decoy"), (decoy, "decoy")]),
            (Some(row(None)), 0, [(own, "now"), (decoy, "decoy")]),
            (Some(row(before())), 999, [(own, "now"), (own, "before")]),
            (Some(row(before())), 1_000, [(own, "now"), (decoy, "decoy")]),
        ];
        for (row, now_ms, expect) in table {
            let found = checks(row.as_ref(), b"decoy", now_ms);
            let expect = expect.map(|(label, sealed)| (label.to_owned(), sealed.as_bytes()));
            assert_eq!(found, expect);
        }
    }
}
