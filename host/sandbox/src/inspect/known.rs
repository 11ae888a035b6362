//! Which imports a component may have. The rooms and [`crate::inert`] say what
//! they serve; here a name is looked up, and what is not served is told apart:
//! another version, WASI 0.3, or something nobody knows.
//!
//! What must stay true: what is not served is refused at install.

use semver::Version;

use super::InstallError;
use crate::capability::{LISTED, Served, served, serves};

/// The package of the contract.
pub const CONTRACT_PACKAGE: &str = "airlock:tool";

/// The contract's version this host knows. It runs every component built for
/// the same major version and the same or an earlier minor one.
pub const CONTRACT_VERSION: Version = Version::new(1, 0, 0);

/// What an import's name means to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It links; the capability it belongs to, if any.
    Served(Option<&'static str>),
    /// The interface is known in these versions only.
    OtherVersion(Vec<String>),
    /// An interface of WASI 0.3 or later.
    Wasi03,
    /// Nothing here knows it.
    Unknown,
}

/// Looks up an import by the name the component gives it.
pub fn lookup(name: &str) -> Known {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let contract = contract_interface(interface).is_some();
    match served(name) {
        Some(_) if contract && !runs_contract(version) => {}
        Some(Served::Capability(capability)) => return Known::Served(Some(capability)),
        Some(Served::Inert) => return Known::Served(None),
        None => {}
    }
    if is_wasi_03(interface, version) {
        return Known::Wasi03;
    }
    let versions = versions(interface);
    match (versions.is_empty(), contract) {
        (true, _) => Known::Unknown,
        (false, true) => Known::OtherVersion(vec![contract_versions()]),
        (false, false) => Known::OtherVersion(versions),
    }
}

/// As [`lookup`], for what an agent may import: no capability is among it.
pub fn lookup_for_agent(name: &str) -> Known {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    if serves(crate::agent::INTERFACES, interface, version) {
        return Known::Served(None);
    }
    if is_wasi_03(interface, version) {
        return Known::Wasi03;
    }
    let known = crate::agent::INTERFACES.iter();
    let known = known.filter(|(name, _)| *name == interface);
    let accepted: Vec<String> = known
        .flat_map(|(_, accepted)| accepted.iter().map(|spec| display(spec)))
        .collect();
    if accepted.is_empty() {
        return Known::Unknown;
    }
    Known::OtherVersion(accepted)
}

/// Whether a component with these exports is an agent.
///
/// # Errors
/// It is one of another version of the contract.
pub fn agent_contract(exports: &[String]) -> Result<bool, InstallError> {
    let exported = exports.iter().find_map(|name| {
        let (interface, version) = name.split_once('@')?;
        (interface == "airlock:agent/agent").then_some(version)
    });
    let Some(version) = exported else {
        return Ok(false);
    };
    let known = crate::agent::CONTRACT;
    if known.rsplit_once('@').map(|(_, known)| known) == Some(version) {
        return Ok(true);
    }
    let reason = format!(
        "it exports `airlock:agent/agent@{}`; accepted: `{known}`",
        super::text::line(version)
    );
    Err(InstallError::Contract { reason })
}

/// Whether a component built for this version of the contract runs here.
pub fn runs_contract(version: &str) -> bool {
    Version::parse(version).is_ok_and(|version| {
        version.pre.is_empty()
            && version.major == CONTRACT_VERSION.major
            && (0..=CONTRACT_VERSION.minor).contains(&version.minor)
    })
}

/// The versions of the contract that run here, for people.
pub fn contract_versions() -> String {
    let Version { major, minor, .. } = CONTRACT_VERSION;
    match minor {
        0 => format!("{major}.0.x"),
        _ => format!("{major}.0.x to {major}.{minor}.x"),
    }
}

/// The version in an export's name, when it is `airlock:tool/<interface>`.
pub fn contract_version<'a>(name: &'a str, interface: &str) -> Option<&'a str> {
    let (found, version) = name.split_once('@').unwrap_or((name, ""));
    (contract_interface(found) == Some(interface)).then_some(version)
}

fn contract_interface(interface: &str) -> Option<&str> {
    interface.strip_prefix(CONTRACT_PACKAGE)?.strip_prefix('/')
}

/// All accepted versions of an interface, e.g. `0.2.x`.
fn versions(interface: &str) -> Vec<String> {
    let rooms = LISTED.iter().flat_map(|room| room.interfaces);
    let all = rooms.chain(crate::inert::INTERFACES);
    let known = all.filter(|(name, _)| *name == interface);
    let mut versions: Vec<String> = known
        .flat_map(|(_, accepted)| accepted.iter().map(|spec| display(spec)))
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

fn is_wasi_03(interface: &str, version: &str) -> bool {
    interface.starts_with("wasi:")
        && Version::parse(version).is_ok_and(|v| v.major > 0 || v.minor >= 3)
}

/// `0.2` stands for a line of versions; `0.2.0-draft` for itself.
fn display(spec: &str) -> String {
    if Version::parse(spec).is_ok() {
        return spec.to_owned();
    }
    format!("{spec}.x")
}
