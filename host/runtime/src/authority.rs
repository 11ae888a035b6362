//! Whether whoever asked for something may still have it done.
//!
//! What must stay true: whatever was waited for, nothing is changed, begun or sent for a
//! token once it is known to be revoked; each change asks here, when its record is made.

use airlock_journal::audit::AuditRecord;
use serde_json::Value;

use crate::principal::Principal;
use crate::record;
use crate::runtime::Runtime;
use crate::tokens::AuthError;

impl Runtime {
    /// The record of what `who` changes, to be written with the change: a token that
    /// was revoked or has expired meanwhile gets none, and changes nothing.
    ///
    /// # Errors
    /// It may not any more.
    pub(crate) fn act_of(
        &self,
        who: &Principal,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<AuditRecord, AuthError> {
        self.check_holds(who)?;
        Ok(record::admin(who, action, subject, detail))
    }

    /// Resolves once the token that `who` came with is revoked.
    pub async fn revoked(&self, who: &Principal) {
        let mut changes = self.token_changes();
        while self.still_holds(who) {
            if changes.changed().await.is_err() {
                // The host goes down, which is no revocation.
                return std::future::pending().await;
            }
        }
    }
}
