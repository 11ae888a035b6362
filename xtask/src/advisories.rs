//! Checks Cargo.lock against a file of RustSec advisories, one JSON object a
//! line, for machines that can't fetch the advisory database.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use serde_json::Value;

use crate::cargo::root;

/// Advisories that were looked at and do not apply, each with its reason.
const IGNORED: &[(&str, &str)] = &[
    (
        "RUSTSEC-2023-0126",
        "`im` is used by the SQL engine of the plugin `table` alone, inside its sandbox",
    ),
    (
        "RUSTSEC-2026-0255",
        "`sized-chunks` comes with `im`: the plugin `table` alone, inside its sandbox",
    ),
];

struct Package {
    name: String,
    version: Version,
}

/// The command: the file's path is the only argument.
pub fn run(args: &[String]) -> Result<()> {
    match args.first() {
        Some(file) => check(Path::new(file)),
        None => run_if_present(),
    }
}

/// Checks against the given data beside the workspace; says so where it is absent.
pub fn run_if_present() -> Result<()> {
    let file: PathBuf = root().join("../shared/data/rustsec-advisories.jsonl");
    if file.is_file() {
        return check(&file);
    }
    eprintln!("xtask: no file of advisories beside the workspace, check skipped");
    Ok(())
}

fn check(file: &Path) -> Result<()> {
    let packages = locked()?;
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut read = 0;
    let mut found = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let advisory: Value = serde_json::from_str(line)
            .with_context(|| format!("{}:{}", file.display(), number + 1))?;
        read += 1;
        found.extend(
            packages
                .iter()
                .filter_map(|package| hit(&advisory, package)),
        );
    }
    if read == 0 {
        bail!("{} holds no advisory", file.display());
    }
    if !found.is_empty() {
        bail!("{} advisories apply:\n{}", found.len(), found.join("\n"));
    }
    eprintln!(
        "xtask: {} locked packages, {read} advisories, none applies",
        packages.len()
    );
    Ok(())
}

fn hit(advisory: &Value, package: &Package) -> Option<String> {
    let id = advisory["id"].as_str()?;
    let informational = matches!(
        advisory["informational"].as_str(),
        Some("unmaintained" | "notice")
    );
    let withdrawn =
        advisory["withdrawn"].as_bool() == Some(true) || advisory["withdrawn"].is_string();
    if advisory["package"].as_str()? != package.name || informational || withdrawn {
        return None;
    }
    let covered = |key: &str| {
        let ranges = advisory[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        ranges
            .filter_map(|range| VersionReq::parse(range).ok())
            .any(|range| range.matches(&package.version))
    };
    let ignored = IGNORED.iter().any(|(known, _)| *known == id);
    if ignored || covered("patched") || covered("unaffected") {
        return None;
    }
    let title = advisory["title"].as_str().unwrap_or_default();
    Some(format!(
        "  {id} {} {}: {title}",
        package.name, package.version
    ))
}

fn locked() -> Result<Vec<Package>> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let lock: toml::Table = text.parse().context("parsing Cargo.lock")?;
    let packages = lock
        .get("package")
        .and_then(|p| p.as_array())
        .context("Cargo.lock lists no package")?;
    packages
        .iter()
        .filter(|package| package.get("source").is_some())
        .map(|package| {
            let field = |name: &str| {
                package
                    .get(name)
                    .and_then(|v| v.as_str())
                    .context("Cargo.lock entry")
            };
            Ok(Package {
                name: field("name")?.to_owned(),
                version: Version::parse(field("version")?)
                    .map_err(|error| anyhow::anyhow!("{error}"))?,
            })
        })
        .collect()
}
