//! The host's way to language models: the configuration in force, and what agents
//! used of it by day.
//!
//! What must stay true: no model is asked but for a run that was permitted it, or for
//! an administrator; a configuration that can't be used changes nothing; a
//! request that is under way ends on the router it began with; what was counted
//! survives, and a crash never counts less than may have been used.

mod days;
mod error;
mod secrets;
mod trial;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use airlock_journal::Store;
use airlock_models::config::{Config, Price};
use airlock_models::{Client, Redactor, Router};
use airlock_sandbox::capability::models;
use airlock_sandbox::gate::RunPermit;

pub use days::Counted;
pub(crate) use days::{Bounds, DayBounds, DayLeft, Days, Took, day_of};
pub use error::ModelsError;
pub(crate) use secrets::HostSecrets;
pub use trial::{ModelTrial, TryModel};
pub use view::{ModelUsage, ModelUsagePage, ModelUsageQuery, ModelView, ModelsView, RoleView};

use crate::calls::InFlight;
use crate::config::RuntimeConfig;
use crate::engine::Vault;
use crate::principal::Principal;

/// Largest file of models or patterns, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The configuration in force, and what was used.
pub(crate) struct Models {
    file: Option<PathBuf>,
    /// Read where no file is named, and this one is there.
    beside: Option<PathBuf>,
    secrets: Arc<HostSecrets>,
    client: Client,
    now: RwLock<Option<Arc<InForce>>>,
    /// Why none is in force, where this process goes on without.
    unusable: OnceLock<String>,
    pub(crate) days: Days,
    /// Requests that were sent and have no answer yet: stopping waits for them.
    pub(crate) asking: InFlight,
    /// One reads the configuration anew at a time.
    turn: tokio::sync::Mutex<()>,
}

/// One configuration.
pub(crate) struct InForce {
    pub(crate) config: Config,
    router: Router,
}

impl InForce {
    /// The way to the models for what a run was permitted.
    pub(crate) fn permitted(&self, _: &RunPermit<models::Models>) -> &Router {
        &self.router
    }

    /// The way to the models for an administrator, whose own rights were looked at.
    pub(crate) fn administered(&self, _: &Principal) -> &Router {
        &self.router
    }

    /// What all agents together may use in a day.
    pub(crate) fn bounds(&self) -> Bounds {
        let budget = self.config.budget;
        Bounds {
            tokens: budget.day_tokens,
            micros: budget.day_cost.map(Price::micros),
        }
    }
}

impl Models {
    /// With the configuration in the file that is named, or in the one beside the
    /// data where none is.
    pub(crate) fn open(
        config: &RuntimeConfig,
        vault: &Arc<Vault>,
        store: &Arc<dyn Store>,
    ) -> Result<Self, ModelsError> {
        let models = Self {
            file: config.models_file.clone(),
            beside: config.models_beside.clone(),
            secrets: Arc::new(HostSecrets::new(Arc::clone(vault))),
            client: Client::new(config.ca_file.as_deref()).map_err(ModelsError::Client)?,
            now: RwLock::default(),
            unusable: OnceLock::new(),
            days: Days::new(Arc::clone(store)),
            asking: InFlight::new(u32::MAX),
            turn: tokio::sync::Mutex::default(),
        };
        if let Some(file) = models.file() {
            match models.read(&file) {
                Ok(read) => models.put(read),
                Err(error) if config.models_may_fail => {
                    let error = error.to_string();
                    tracing::error!(error, "language models are not in force");
                    models.unusable.set(error).ok();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(models)
    }

    /// The file of the configuration: the one that is named, or the one that is there
    /// or was there before.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let beside = || self.beside.clone();
        let is_used = |file: &PathBuf| self.now().is_some() || file.is_file();
        self.file.clone().or_else(|| beside().filter(is_used))
    }

    /// The configuration in force; `None`: nobody wrote one.
    pub(crate) fn now(&self) -> Option<Arc<InForce>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// The configuration in force, for whoever needs one.
    ///
    /// # Errors
    /// There is none, or it can't be used.
    pub(crate) fn in_force(&self) -> Result<Arc<InForce>, ModelsError> {
        let none = || match self.unusable.get() {
            Some(why) => ModelsError::Unusable(why.clone()),
            None => ModelsError::NotConfigured,
        };
        self.now().ok_or_else(none)
    }

    /// A secret was set or removed.
    pub(crate) fn secrets_changed(&self) {
        self.secrets.changed();
    }

    fn put(&self, read: InForce) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        *now = Some(Arc::new(read));
    }

    fn read(&self, file: &Path) -> Result<InForce, ModelsError> {
        let (config, redactor) = configuration(file)?;
        let secrets = Arc::clone(&self.secrets) as Arc<dyn airlock_models::Secrets>;
        let router = Router::new(&config, redactor, self.client.clone(), secrets);
        let router = router.map_err(|error| ModelsError::Config {
            path: file.to_owned(),
            error,
        })?;
        Ok(InForce { config, router })
    }
}

/// Whether a file of models, and the file of patterns that it names, can be used.
///
/// # Errors
/// All that is wrong, each with its place.
pub fn check_models_file(file: &Path) -> Result<(), ModelsError> {
    configuration(file).map(drop)
}

fn configuration(file: &Path) -> Result<(Config, Redactor), ModelsError> {
    let config = Config::from_toml(&text(file)?).map_err(|error| ModelsError::Config {
        path: file.to_owned(),
        error,
    })?;
    let patterns_file = config.redaction.patterns_file.as_ref();
    let patterns = patterns_file.map(|name| file.parent().unwrap_or(Path::new("")).join(name));
    let redactor = match &patterns {
        None => Redactor::new(&config.redaction, ""),
        Some(path) => {
            let text = text(path).map_err(|failed| match failed {
                ModelsError::Read { path, error } => ModelsError::ReadPatterns {
                    config: file.to_owned(),
                    path,
                    error,
                },
                other => other,
            })?;
            Redactor::new(&config.redaction, &text)
        }
    };
    let redactor = redactor.map_err(|error| ModelsError::Patterns {
        path: patterns.unwrap_or_else(|| file.to_owned()),
        error,
    })?;
    Ok((config, redactor))
}

/// A file of configuration, whole.
fn text(path: &Path) -> Result<String, ModelsError> {
    let failed = |error| ModelsError::Read {
        path: path.to_owned(),
        error,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let why = format!("it has {bytes} bytes, and may have {FILE_BYTES_MAX}");
        return Err(failed(std::io::Error::other(why)));
    }
    std::fs::read_to_string(path).map_err(failed)
}
