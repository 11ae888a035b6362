//! What an administrator may grant of `kv`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::capability::Given;
use crate::gate::{Allowed, Missing};
use crate::limits::ByteSize;

const BUCKET_BYTES_MAX: usize = 64;
const QUOTA_BYTES_MAX: u64 = 1 << 40;

/// One bucket, e.g. `{ bucket = "seen", bytes = "1MiB", scope = "principal" }`.
/// The first rule with the bucket's name holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name by which the plugin opens it: 1 to 64 characters of
    /// `[A-Za-z0-9._-]`.
    pub bucket: String,
    /// Keys and values together, at most. 1MiB unless stated.
    #[serde(default = "default_bytes")]
    pub bytes: ByteSize,
    /// Number of keys, at most. 1000 unless stated.
    #[serde(default = "default_keys")]
    pub keys: u64,
    /// Whose it is; the quotas hold for each owner by itself.
    #[serde(default)]
    pub scope: Scope,
    /// What may be done with it.
    #[serde(default)]
    pub access: Access,
}

/// Who shares a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Each caller of the plugin has one of its own.
    #[default]
    Principal,
    /// All callers of the plugin share it.
    Plugin,
}

/// What may be done with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Get, exists and list.
    Read,
    /// Everything.
    #[default]
    ReadWrite,
}

fn default_bytes() -> ByteSize {
    ByteSize(1 << 20)
}

fn default_keys() -> u64 {
    1_000
}

/// Whether a bucket can have this name at all.
pub(super) fn is_bucket_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=BUCKET_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        if !is_bucket_name(&self.bucket) {
            return Err(format!(
                "bucket `{}` must be 1 to {BUCKET_BYTES_MAX} characters of [A-Za-z0-9._-]",
                self.bucket.escape_debug()
            ));
        }
        if self.bytes.0 == 0 || self.bytes.0 > QUOTA_BYTES_MAX {
            let max = ByteSize(QUOTA_BYTES_MAX);
            return Err(format!("bytes = \"{}\" must be 1B to {max}", self.bytes));
        }
        if self.keys == 0 {
            return Err("keys = 0 must be at least 1".to_owned());
        }
        Ok(())
    }
}

impl Rule {
    /// How near it comes to a rule that a component asks for.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        let access = self.access == Access::ReadWrite || wanted.access == Access::Read;
        let room = self.bytes >= wanted.bytes && self.keys >= wanted.keys;
        let same = self.bucket == wanted.bucket && self.scope == wanted.scope;
        Given::all_if(same && access && room)
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let found = rules
        .iter()
        .enumerate()
        .find(|(_, rule)| rule.bucket == op.bucket);
    match found {
        None => {
            let bucket = op.bucket.escape_debug();
            Err(Missing::new(format!(
                "no kv rule has bucket = \"{bucket}\"; needed: kv = [{{ bucket = \"{bucket}\" }}]"
            )))
        }
        Some((index, rule)) if rule.access == Access::Read && op.writes() => {
            Err(Missing::new(format!(
                "kv rule {index} grants bucket `{}` with access = \"read\"; \
                 needed: access = \"read-write\"",
                rule.bucket
            )))
        }
        Some((index, _)) => Ok(Allowed::Rule(index)),
    }
}
