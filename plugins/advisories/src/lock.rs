//! The packages of a `Cargo.lock`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use airlock_sdk::prelude::*;
use semver::Version;

const LOCK_BYTES_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
}

/// The versions by name, of what comes from somewhere else: an advisory about a
/// name in a registry says nothing of one's own package of that name.
pub(crate) fn read(path: &str) -> Result<BTreeMap<String, Vec<Version>>, Error> {
    let failed = |error: std::io::Error| Error::from(error).context(path);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(LOCK_BYTES_MAX + 1);
    file.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LOCK_BYTES_MAX {
        return Err(Error::limit("size of the lock file", "4 MiB"));
    }
    let lock: Lock = toml::from_str(&text)
        .map_err(|error| Error::invalid_input(format!("{path}: {}", error.message())))?;
    let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for package in lock.package {
        if package.source.is_none() {
            continue;
        }
        let version = Version::parse(&package.version).map_err(|error| {
            Error::invalid_input(format!(
                "{path}: {} {}: {error}",
                package.name, package.version
            ))
        })?;
        versions.entry(package.name).or_default().push(version);
    }
    Ok(versions)
}
