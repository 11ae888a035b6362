//! The kill switch: no call starts, those in flight end, runs stand still, until
//! it is lifted; over restarts too.
//!
//! What must stay true: a halt that was acknowledged holds after any crash.

use std::sync::Arc;

use airlock_journal::{Batch, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::principal::Principal;
use crate::problem::Failure;
use crate::record;
use crate::rows::{decode, encode};
use crate::runtime::Runtime;
use crate::stop::Stop;

const SPACE: &str = "halt";
const KEY: &[u8] = b"all";

/// Whether everything stands still.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaltView {
    /// Whether it does.
    pub halted: bool,
    /// Who halted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// Halts or lifts the halt.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaltRequest {
    /// Whether everything is to stand still.
    pub halted: bool,
    /// Why, for the record.
    #[serde(default)]
    pub why: String,
}

/// Why it could not be halted.
#[derive(Debug, thiserror::Error)]
pub enum HaltError {
    /// The reason is too long.
    #[error(transparent)]
    Why(#[from] crate::names::BadName),
    /// The store: everything stands still, and that may not hold over a restart.
    #[error("the halt is not kept")]
    Store(#[from] StoreError),
}

impl Failure for HaltError {
    fn code(&self) -> &'static str {
        match self {
            Self::Why(_) => "bad-name",
            Self::Store(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Why(_) => 400,
            Self::Store(_) => 503,
        }
    }
}

/// How a host begins: halted, when it was halted.
pub(crate) fn begin(store: &dyn Store) -> Result<Stop, StoreError> {
    Ok(match read(store)?.halted {
        true => Stop::Halted,
        false => Stop::No,
    })
}

fn read(store: &dyn Store) -> Result<HaltView, StoreError> {
    let row = store.get(SPACE, KEY)?;
    let view = row.map(|row| decode(SPACE, KEY, &row)).transpose()?;
    Ok(view.unwrap_or_default())
}

impl Runtime {
    /// Whether everything stands still, and why.
    ///
    /// # Errors
    /// The store failed.
    pub fn halt_view(&self) -> Result<HaltView, HaltError> {
        Ok(read(self.store())?)
    }

    /// Makes everything stand still, or lets it go on. Calls in flight are cut
    /// off at once, before that is durable.
    ///
    /// # Errors
    /// The reason is too long, or the store failed.
    pub async fn halt(
        self: &Arc<Self>,
        who: &Principal,
        request: HaltRequest,
    ) -> Result<HaltView, HaltError> {
        crate::names::why(&request.why)?;
        if request.halted {
            self.set_halted(true);
        }
        let view = HaltView {
            halted: request.halted,
            by: Some(who.name.clone()),
            why: Some(request.why),
            at_ms: Some(crate::ids::now_ms()),
        };
        let action = if view.halted { "halt" } else { "halt.lift" };
        let record = record::admin(who, action, "host", json!({ "why": view.why }));
        let batch = Batch::new()
            .put(SPACE, KEY, encode(&view))
            .op(record::op(&record));
        self.store().commit(batch).await?;
        if !request.halted {
            self.set_halted(false);
        }
        Ok(view)
    }

    fn set_halted(self: &Arc<Self>, halted: bool) {
        let (from, to) = match halted {
            true => (Stop::No, Stop::Halted),
            false => (Stop::Halted, Stop::No),
        };
        self.stop.send_if_modified(|stop| {
            let changes = *stop == from;
            if changes {
                *stop = to;
            }
            changes
        });
        self.runs.halt(halted);
    }
}
