//! Brings a component into memory: from disk, or compiled, then linked.
//!
//! What must stay true: loading goes on when the call that began it gives up, so
//! a component that takes longer than a call may wait is there for a later one.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use wasmtime::component::Linker;

use super::{ComponentSource, Plugin};
use crate::call::CallError;
use crate::compile::{CodeCache, CompileError};
use crate::inspect::{InstallError, Kind};
use crate::loaded::{Loaded, LoadedSet};
use crate::state::CallState;

/// Milliseconds after which a call that found its component on the way may come
/// again.
const LOADING_RETRY_MS: u64 = 1_000;

/// What loading needs, and what is loaded.
pub(super) struct Loader {
    pub(super) linker: Linker<CallState>,
    pub(super) loaded: LoadedSet,
    pub(super) cache: Arc<CodeCache>,
    pub(super) components: Arc<dyn ComponentSource>,
    /// The host's runtime.
    pub(super) io: tokio::runtime::Handle,
}

impl Loader {
    /// The plugin's component, waited for until `deadline`.
    pub(super) async fn load(
        self: &Arc<Self>,
        plugin: &Plugin,
        deadline: Instant,
    ) -> Result<Arc<Loaded>, CallError> {
        if let Some(loaded) = plugin.loaded() {
            self.loaded.touch(&loaded);
            return Ok(loaded);
        }
        let (this, manifest) = (Arc::clone(self), Arc::clone(plugin.manifest()));
        let load = async move { this.get(&manifest.digest, manifest.kind).await };
        let Ok(loaded) = timeout_at(deadline, self.io.spawn(load)).await else {
            return Err(CallError::Transient {
                message: format!("the component of `{}` is still being loaded", plugin.name()),
                retry_after_ms: Some(LOADING_RETRY_MS),
            });
        };
        let loaded = loaded.map_err(|error| failed(plugin, &error))?;
        let loaded = loaded.map_err(|error| failed(plugin, &error))?;
        plugin.set_loaded(&loaded);
        Ok(loaded)
    }

    async fn get(&self, digest: &str, kind: Kind) -> Result<Arc<Loaded>, InstallError> {
        self.loaded.get(digest, self.read(digest, kind)).await
    }

    async fn read(&self, digest: &str, kind: Kind) -> Result<Loaded, InstallError> {
        let (components, name) = (Arc::clone(&self.components), digest.to_owned());
        let source = move || components.component(&name);
        let cache = Arc::clone(&self.cache);
        let code = CodeCache::get(cache, &self.io, digest, source).await?;
        Loaded::new(&self.linker, &code.component, kind)
    }
}

/// What the caller is told; the causes are for the log.
fn failed(plugin: &Plugin, error: &(dyn Error + 'static)) -> CallError {
    let (name, digest) = (plugin.name(), &plugin.manifest().digest);
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let text: Vec<String> = causes.clone().map(ToString::to_string).collect();
    tracing::error!(digest, error = text.join(": "), "a component does not load");
    let again = "an administrator installs it again with `airlock plugin add`";
    match causes.filter_map(lost).next() {
        Some(Lost::Missing) => CallError::ComponentMissing {
            message: format!("the component of `{name}` is missing on the host, {digest}; {again}"),
        },
        Some(Lost::Altered) => CallError::ComponentAltered {
            message: format!(
                "the component of `{name}` was altered on the host: its bytes do not match its \
                 digest {digest}; {again}"
            ),
        },
        None => CallError::Permanent {
            message: format!("the component of `{name}` does not load"),
        },
    }
}

enum Lost {
    Missing,
    Altered,
}

/// What an error says of the component's bytes, see [`ComponentSource`].
fn lost(error: &(dyn Error + 'static)) -> Option<Lost> {
    match error.downcast_ref::<CompileError>()? {
        CompileError::Digest => Some(Lost::Altered),
        CompileError::Source(source) => match source.kind() {
            ErrorKind::NotFound => Some(Lost::Missing),
            ErrorKind::InvalidData => Some(Lost::Altered),
            _ => None,
        },
        _ => None,
    }
}
