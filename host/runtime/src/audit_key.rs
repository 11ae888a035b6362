//! The audit with its key.
//!
//! What must stay true: only an audit that has no records gets a key of its own
//! accord; where another key than the one that signed it so far goes on, somebody
//! asked for that, and it is on record.

use std::sync::Arc;

use airlock_journal::Store;
use airlock_journal::audit::{Audit, STREAM, Signer, newest_head};
use serde_json::json;

use crate::config::RuntimeConfig;
use crate::principal::Principal;
use crate::record;
use crate::runtime::OpenError;

/// Opens the audit in `store` with the key in the keys directory.
pub(crate) async fn open(
    config: &RuntimeConfig,
    store: &Arc<dyn Store>,
) -> Result<Audit, OpenError> {
    let path = config.key_file("audit.key");
    let signed = store.head(STREAM.as_bytes())?.len > 0;
    let lost = signed && matches!(path.try_exists(), Ok(false));
    if lost && !config.new_audit_key {
        return Err(OpenError::AuditKeyLost { path });
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
    let audit = Audit::new(Arc::clone(store), signer).await?;
    if changed {
        let who = Principal::local_admin("start");
        let detail = json!({ "public_key": key.to_string() });
        let record = record::admin(&who, "audit.new-key", &found, detail);
        audit.append(&record).await?;
        audit.checkpoint().await?;
    }
    Ok(audit)
}
