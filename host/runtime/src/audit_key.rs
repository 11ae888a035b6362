//! The audit with its key, and the keys before it.
//!
//! What must stay true: only an audit that has no records gets a key of its own
//! accord; where another key than the one that signed it so far goes on, somebody
//! asked for that, and it is on record; the keys whose signatures count are named
//! in the keys directory alone, never in the data that they vouch for.

use std::sync::Arc;

use airlock_journal::Store;
use airlock_journal::audit::{
    Audit, AuditError, KnownKeys, PublicKey, STREAM, Signer, TrustedKey, newest_head,
};
use serde_json::json;

use crate::config::RuntimeConfig;
use crate::principal::Principal;
use crate::record;
use crate::runtime::OpenError;

/// The file of the public keys that signed.
const KNOWN_KEYS: &str = "audit.known-keys";

/// Opens the audit in `store` with the key in the keys directory.
pub(crate) async fn open(
    config: &RuntimeConfig,
    store: &Arc<dyn Store>,
) -> Result<Audit, OpenError> {
    let path = config.key_file("audit.key");
    let len = store.head(STREAM.as_bytes())?.len;
    let lost = len > 0 && matches!(path.try_exists(), Ok(false));
    if lost && !config.new_audit_key {
        return Err(OpenError::AuditKeyLost { path });
    }
    let mut known = KnownKeys::open(config.key_file(KNOWN_KEYS))?;
    if lost {
        // Before there is another key: what is signed from now on is not theirs.
        known.replace_all(len)?;
    }
    let signer = Signer::open_or_create(&path)?;
    let key = signer.public_key();
    let found = key.id();
    let newest = newest_head(&**store)?.map(|head| head.key_id);
    let other = newest.filter(|signed_by| *signed_by != found);
    let changed = lost || other.is_some();
    if let (Some(signed_by), false) = (other, config.new_audit_key) {
        return Err(OpenError::AuditKeyOther {
            path,
            found,
            signed_by,
        });
    }
    if changed {
        known.replace_all(len)?;
    }
    known.keep(key)?;
    let audit = Audit::new(Arc::clone(store), signer).await?;
    if changed {
        record_new(&audit, &known, key).await?;
    }
    Ok(audit)
}

async fn record_new(audit: &Audit, known: &KnownKeys, key: PublicKey) -> Result<(), OpenError> {
    let who = Principal::local_admin("start");
    let replaced: Vec<_> = known
        .with(key)
        .into_iter()
        .filter_map(|known| Some(json!({ "key": known.key.id(), "until": known.until? })))
        .collect();
    let detail = json!({ "public_key": key.to_string(), "replaced": replaced });
    let record = record::admin(&who, "audit.new-key", &key.id(), detail);
    audit.append(&record).await?;
    audit.checkpoint().await?;
    Ok(())
}

/// The keys whose signatures count, `in_use` first.
pub(crate) fn trusted(
    config: &RuntimeConfig,
    in_use: PublicKey,
) -> Result<Vec<TrustedKey>, AuditError> {
    Ok(KnownKeys::open(config.key_file(KNOWN_KEYS))?.with(in_use))
}
