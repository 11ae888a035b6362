//! Administration of secrets. Values go in and never come out here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::{Secret, SecretInfo, VaultError};
use crate::principal::Principal;
use crate::problem::Failure;
use crate::record;
use crate::runtime::Runtime;
use crate::tokens::AuthError;

/// A secret as listings show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// How often it was set since it last was absent, from 1.
    pub version: u64,
    /// When it was set, milliseconds since 1970.
    pub set_at_ms: u64,
}

impl From<SecretInfo> for SecretView {
    fn from(info: SecretInfo) -> Self {
        Self {
            name: info.name,
            version: info.version,
            set_at_ms: info.set_at_ms,
        }
    }
}

/// Why a secret could not be set, listed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is none of this name.
    #[error("there is no secret `{0}`")]
    NotFound(String),
    /// The vault refused or failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The act could not be put on record, so it was not done.
    #[error("recording the act")]
    Record(#[from] airlock_journal::StoreError),
}

impl Failure for SecretError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "secret-not-found",
            Self::Vault(error) => error.code(),
            Self::Unauthenticated(error) => error.code(),
            Self::Record(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Unauthenticated(error) => error.status(),
            Self::Vault(VaultError::Name(_) | VaultError::Value(_)) => 400,
            Self::Vault(VaultError::Full | VaultError::Conflict { .. }) => 409,
            Self::Vault(VaultError::Store(_)) | Self::Record(_) => 503,
            Self::Vault(_) => 500,
        }
    }
    fn detail(&self) -> String {
        match self.status() {
            500 => "the secrets can't be read; the host's log says why".to_owned(),
            _ => self.to_string(),
        }
    }
}

impl Runtime {
    /// Sets a secret. It is recorded before it is done, and again if it failed.
    ///
    /// # Errors
    /// The name or the value is not one, there are too many, or the store failed.
    pub async fn set_secret(
        &self,
        who: &Principal,
        name: &str,
        value: &Secret,
    ) -> Result<SecretView, SecretError> {
        // Else a value pasted in the name's place would be in the audit.
        airlock_sandbox::capability::secrets::secret::check_name(name).map_err(VaultError::Name)?;
        self.secret_asked(who, "secret.set", name).await?;
        let set = self.vault.set(name, value).await;
        self.secret_changed(name);
        let outcome = set.as_ref().map_or_else(VaultError::code, |_| "ok");
        self.secret_act(who, "secret.set", name, outcome).await?;
        Ok(set?.into())
    }

    /// Names of all secrets.
    ///
    /// # Errors
    /// The store failed.
    pub fn secrets(&self) -> Result<Vec<SecretView>, SecretError> {
        Ok(self
            .vault
            .list()?
            .into_iter()
            .map(SecretView::from)
            .collect())
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// There is none of this name, or the store failed.
    pub async fn remove_secret(&self, who: &Principal, name: &str) -> Result<(), SecretError> {
        airlock_sandbox::capability::secrets::secret::check_name(name).map_err(VaultError::Name)?;
        self.secret_asked(who, "secret.remove", name).await?;
        let removed = self.vault.remove(name).await;
        self.secret_changed(name);
        let outcome = match &removed {
            Ok(true) => "ok",
            Ok(false) => "not-found",
            Err(error) => error.code(),
        };
        self.secret_act(who, "secret.remove", name, outcome).await?;
        match removed? {
            true => Ok(()),
            false => Err(SecretError::NotFound(name.to_owned())),
        }
    }

    /// Whoever holds its value asks again.
    fn secret_changed(&self, name: &str) {
        self.models.secrets_changed();
        for (_, active) in self.registry.all() {
            if let Some(remote) = &active.remote {
                remote.secret_changed(name);
            }
        }
    }

    /// Puts on record what is about to be done, by whoever still may once it is there.
    async fn secret_asked(
        &self,
        who: &Principal,
        action: &str,
        name: &str,
    ) -> Result<(), SecretError> {
        self.check_holds(who)?;
        self.secret_act(who, action, name, "asked").await?;
        let holds = self.check_holds(who);
        if let Err(error) = &holds {
            self.secret_act(who, action, name, error.code()).await?;
        }
        Ok(holds?)
    }

    async fn secret_act(
        &self,
        who: &Principal,
        action: &str,
        name: &str,
        outcome: &str,
    ) -> Result<(), SecretError> {
        let record = record::admin(who, action, name, json!({})).outcome(outcome);
        self.audit.append(&record).await?;
        Ok(())
    }
}
