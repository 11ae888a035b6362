//! Opens the granted directories, once per plugin and grants version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio::runtime::Handle;

use super::Files;
use super::grant::Rule;
use super::quota::{Quota, key};
use super::reserved::{Reserved, identity};
use super::slots::{Io, Slots};
use crate::capability::{Capability, PrepareError};

/// The granted directories of a plugin, open.
pub struct Prepared {
    pub(super) areas: Vec<Arc<Area>>,
    pub(super) io: Io,
    pub(super) slots: Arc<Slots>,
}

/// One granted directory.
pub(super) struct Area {
    pub(super) rule: Rule,
    pub(super) dir: Arc<Dir>,
    /// Where it can be written to.
    pub(super) quota: Option<Quota>,
}

impl Prepared {
    /// Opens the directory of each rule and counts what the writable ones hold.
    ///
    /// # Errors
    /// A directory that is missing, reserved or can't be opened, a guest path
    /// given twice, or a `read` rule inside a `read-write` one.
    pub(super) fn new(
        rules: &[Rule],
        reserved: &Reserved,
        io: &Handle,
    ) -> Result<Self, PrepareError> {
        let mut areas: Vec<(Arc<Area>, PathBuf)> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let area = open(rule, reserved).and_then(|(area, host)| {
                unambiguous(&areas, rule, &host)?;
                Ok((Arc::new(area), host))
            });
            areas.push(area.map_err(|message| PrepareError {
                capability: Files::NAME,
                rule: index,
                message,
            })?);
        }
        Ok(Self {
            areas: areas.into_iter().map(|(area, _)| area).collect(),
            io: Io::new(io),
            slots: Slots::plugin(),
        })
    }

    /// The area of exactly this rule.
    pub(super) fn area(&self, rule: &Rule) -> Option<&Arc<Area>> {
        self.areas.iter().find(|area| area.rule == *rule)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a granted directory is opened by its host path"
)]
fn open(rule: &Rule, reserved: &Reserved) -> Result<(Area, PathBuf), String> {
    let host = &rule.host;
    let canonical = std::fs::canonicalize(host)
        .map_err(|e| format!("the directory `{host}` can't be opened: {e}"))?;
    // A link in the path may lead to what is never granted.
    let real = Rule {
        host: canonical.to_string_lossy().into_owned(),
        ..rule.clone()
    };
    real.validate()?;
    let dir = Dir::open_ambient_dir(&canonical, ambient_authority())
        .map_err(|e| format!("the directory `{host}` can't be opened: {e}"))?;
    // Checked once it is open: what the path leads to can change until then.
    let opened = dir.dir_metadata().map(|meta| key(&meta));
    reserved.check(Path::new(host)).map_err(|e| e.to_string())?;
    if opened.ok() != identity(&canonical).ok() {
        return Err(format!(
            "the directory `{host}` was replaced while it was opened"
        ));
    }
    let dir = Arc::new(dir);
    let quota = rule.writable().then(|| Quota::new(rule, &dir));
    let quota = quota.transpose();
    let quota = quota.map_err(|e| format!("the content of `{host}` can't be counted: {e}"))?;
    let area = Area {
        rule: rule.clone(),
        dir,
        quota,
    };
    Ok((area, canonical))
}

/// Refuses directories that overlap with a reserved place, without opening any.
///
/// # Errors
/// The first rule that names one.
pub fn check_reserved(rules: &[Rule], reserved: &Reserved) -> Result<(), PrepareError> {
    for (rule, named) in rules.iter().enumerate() {
        let checked = reserved.check(Path::new(&named.host));
        checked.map_err(|overlap| PrepareError {
            capability: Files::NAME,
            rule,
            message: overlap.to_string(),
        })?;
    }
    Ok(())
}

/// Refuses what would not hold: one guest path for two directories, or a `read`
/// rule for what another rule of the plugin lets it write.
fn unambiguous(areas: &[(Arc<Area>, PathBuf)], rule: &Rule, host: &Path) -> Result<(), String> {
    for (other, other_host) in areas {
        if other.rule.guest == rule.guest {
            return Err(format!("`guest` = \"{}\" is given twice", rule.guest));
        }
        let hollow = |inner: &Rule, inner_host: &Path, outer: &Rule, outer_host: &Path| {
            !inner.writable() && outer.writable() && inner_host.starts_with(outer_host)
        };
        if hollow(rule, host, &other.rule, other_host)
            || hollow(&other.rule, other_host, rule, host)
        {
            return Err(format!(
                "access = \"read\" would not hold: one of `{}` and `{}` lies in the other, which is granted read-write",
                rule.host, other.rule.host
            ));
        }
    }
    Ok(())
}
